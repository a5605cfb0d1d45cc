# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest's serial console: we listen, the emulator connects, a thread keeps the lines."""

import socket
import threading
import time


class Console:
    def __init__(self, path: str, log_path: str):
        self.path = path
        self.lines: list[str] = []
        self.stamps: list[float] = []  # when the first of each was read, by time.monotonic(): some are slow
        self._changed = threading.Condition()
        self._log = open(log_path, "wb")
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen(1)
        self._ended = False
        threading.Thread(target=self._read, daemon=True).start()

    def wait_line(self, text: str, timeout: float = 60, count: int = 1) -> str:
        """Waits for the count-th line that contains the text."""

        def find() -> str | None:
            found = [line for line in self.lines if text in line]
            return found[count - 1] if len(found) >= count else None

        return self.wait_for(find, repr(text), timeout)

    def wait_for(self, find, what: str, timeout: float = 60):
        """Waits until find() finds something in the lines, looked at with each that comes."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                if (found := find()) is not None:
                    return found
                left = deadline - time.monotonic()
                if left <= 0 or self._ended:
                    why = "it ended" if self._ended else f"{timeout} s passed"
                    raise TimeoutError(f"no {what} on the console before {why}; "
                                       f"last lines: {self.lines[-5:]}")
                self._changed.wait(left)

    def corrupt_lines(self) -> list[str]:
        with self._changed:
            return [line for line in self.lines
                    if "CORRUPT" in line or "Kernel panic" in line or "WORKLOAD" in line]

    def close(self) -> None:
        self._listener.close()

    def _read(self) -> None:
        try:
            connection, _ = self._listener.accept()
            rest, began = b"", 0.0
            while data := connection.recv(4096):
                now = time.monotonic()
                began = began if rest else now
                self._log.write(data)
                self._log.flush()
                *lines, rest = (rest + data).split(b"\n")
                with self._changed:
                    self.stamps += [began, *[now] * len(lines)][:len(lines)]
                    self.lines += [line.decode(errors="replace").strip() for line in lines]
                    self._changed.notify_all()
                began = now if lines else began
        except OSError:
            pass
        with self._changed:
            self._ended = True
            self._changed.notify_all()
