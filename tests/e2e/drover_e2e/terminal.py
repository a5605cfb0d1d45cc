# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs as a person runs them: on a terminal."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time


def run(command: list[str], timeout: float, columns: int = 80, lines: int = 24,
        env: dict | None = None, says: list[tuple[str, str]] | None = None) -> tuple[int, str]:
    """Runs it with a terminal of this size as its standard files: its exit code, and all that it wrote. Of `says`,
    each second is typed when the first has been read."""
    mine, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    process = subprocess.Popen(command, stdin=its, stdout=its, stderr=its, start_new_session=True,
                               env={**os.environ, "TERM": "xterm", **(env or {})})
    os.close(its)
    try:
        text = _talk(mine, time.monotonic() + timeout, says or [])
        return process.wait(5), text.decode(errors="replace")
    finally:
        process.kill()
        process.wait()
        os.close(mine)


def _talk(end: int, deadline: float, says: list[tuple[str, str]]) -> bytes:
    """A terminal that nobody has open any more says EIO."""
    text = b""
    while True:
        while says and says[0][0].encode() in text:
            os.write(end, says[0][1].encode())
            says = says[1:]
        if not select.select([end], [], [], max(deadline - time.monotonic(), 0))[0]:
            raise TimeoutError(f"it is not done; its last words: {text[-2000:].decode(errors='replace')}")
        try:
            text += os.read(end, 65536)
        except OSError:
            return text
