# SPDX-License-Identifier: GPL-2.0-or-later
"""The test's end of the programs' sync points (util/sync_point.h): who comes to a point that was asked for waits there
until the test lets it go on, or kills it."""

import socket
import threading


class SyncPoints:
    """`env` is for the programs. Others than those that were asked for hold nobody up."""

    def __init__(self, path: str):
        self.env = {"DROVER_SYNC_POINTS": path}
        self.passed: list[str] = []  # all that anybody came to, in their order
        self._wanted: dict[str, threading.Event] = {}
        self._held: dict[str, socket.socket] = {}
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen(64)
        threading.Thread(target=self._serve, daemon=True).start()

    def hold(self, point: str) -> None:
        """The next one who comes to "source committing" is to wait there."""
        self._wanted[point] = threading.Event()

    def wait(self, point: str, timeout: float = 30) -> None:
        """Until somebody stands at that point."""
        if not self._wanted[point].wait(timeout):
            raise TimeoutError(f"nobody came to '{point}', but to {self.passed}")

    def let_go(self, point: str) -> None:
        self._held.pop(point).close()

    def close(self) -> None:
        self._listener.close()
        for connection in self._held.values():
            connection.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection.makefile("r") as lines:
                point = lines.readline().strip()
            self.passed.append(point)
            if point in self._wanted and not self._wanted[point].is_set():
                self._held[point] = connection
                self._wanted[point].set()
            else:
                connection.close()
