# SPDX-License-Identifier: GPL-2.0-or-later
"""The host's end of the guest's TCP connection: sends back what came, and checks it on the way."""

import socket
import threading

from .net import Namespace

_MULTIPLIER = 0x9E3779B97F4A7C15


def expected_bytes(offset: int, count: int) -> bytes:
    """byte_at() of tests/guest/workload/tcp.c."""
    return bytes(((offset + i) * _MULTIPLIER >> 56) & 0xFF for i in range(count))


class TcpPeer:
    def __init__(self, namespace: Namespace, address: str):
        self.connections = 0
        self.received = 0
        self.problem: str | None = None
        self._changed = threading.Condition()
        self._listener = namespace.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._listener.bind((address, 0))
        self._listener.listen(4)
        self.target = f"{address}:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        try:
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                self._echo(connection)
        except OSError:
            pass

    def _echo(self, connection: socket.socket) -> None:
        offset = 0
        try:
            while data := connection.recv(65536):
                if data != expected_bytes(offset, len(data)):
                    self.problem = f"wrong bytes at offset {offset}"
                offset += len(data)
                with self._changed:
                    self.received = offset
                    self._changed.notify_all()
                connection.sendall(data)
        except OSError as error:
            with self._changed:
                self.problem = f"the guest's connection broke: {error}"
                self._changed.notify_all()

    def wait(self, beyond: int, timeout: float) -> int:
        """Until more bytes than that have come, all right, by one connection; how many."""
        with self._changed:
            self._changed.wait_for(lambda: self.received > beyond or self.problem, timeout)
        assert self.received > beyond and not self.problem and self.connections == 1, \
            (self.received, beyond, self.problem, self.connections)
        return self.received

    def close(self) -> None:
        self._listener.close()
