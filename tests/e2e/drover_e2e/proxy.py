# SPDX-License-Identifier: GPL-2.0-or-later
"""A stream proxy between source and destination that can break what passes it."""

import socket
import threading

_STEP = 256 << 10


def _open(uri: str) -> tuple[socket.socket, object]:
    """A socket for such an address, unix:PATH or tcp:HOST:PORT, and what to bind or to connect it to."""
    kind, _, rest = uri.partition(":")
    if kind == "unix":
        return socket.socket(socket.AF_UNIX), rest
    host, _, port = rest.rpartition(":")
    return socket.socket(socket.AF_INET), (host, int(port))


class Proxy:
    """Listens on a socket and forwards each connection to another one. What comes from the
    source is counted over all connections; `at(offset, action)` runs an action when so many bytes
    have been forwarded, and none more before the action is done."""

    def __init__(self, address: str, target_uri: str):
        """`address`: the path of a UNIX socket, or tcp:HOST:PORT."""
        self.uri = address if address.startswith("tcp:") else f"unix:{address}"
        self.forwarded = 0
        self.openings: list[bytes] = []  # what came first over each connection
        self._target = target_uri
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._lock = threading.Lock()
        self._gate = threading.Event()
        self._gate.set()
        self._mark: int | None = None
        self._action = None
        self._corrupt_at: int | None = None
        self.refuses = False  # new connections are closed at once
        self.called = threading.Semaphore(0)  # released for each of those
        self.acted = threading.Event()
        self._listener, where = _open(self.uri)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(where)
        self._listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def at(self, offset: int, action) -> None:
        with self._lock:
            self._mark, self._action = offset, action

    def corrupt_at(self, offset: int) -> None:
        """Flips a bit of the byte at that offset of all that is forwarded."""
        with self._lock:
            self._corrupt_at = offset

    def cut(self) -> None:
        """Ends all connections, as when a cable is pulled and the kernels notice."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        self._listener.close()
        for pair in pairs:
            for end in pair:
                _shut(end)
        self._gate.set()

    def interrupt(self) -> None:
        """Ends all connections and refuses new ones until `refuses` is false again."""
        self.refuses = True
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            _shut(*pair)

    def stall(self) -> None:
        """Nothing passes any more, in either direction, and nobody is told."""
        self._gate.clear()

    def resume(self) -> None:
        self._gate.set()

    def close(self) -> None:
        self.cut()

    def _accept(self) -> None:
        try:
            while True:
                near, _ = self._listener.accept()
                if self.refuses:
                    near.close()
                    self.called.release()
                    continue
                far, where = _open(self._target)
                try:
                    far.connect(where)
                except OSError:
                    near.close()
                    continue
                with self._lock:
                    self._pairs.append((near, far))
                threading.Thread(target=self._forward, args=(near, far), daemon=True).start()
                threading.Thread(target=self._return, args=(far, near), daemon=True).start()
        except OSError:
            pass

    def _forward(self, near: socket.socket, far: socket.socket) -> None:
        opening = b""
        try:
            while data := near.recv(_STEP):
                if not opening:
                    opening = data[:16]
                    self.openings.append(opening)
                self._gate.wait()
                for piece in self._pieces(data):
                    self._gate.wait()
                    far.sendall(piece)
        except OSError:
            pass
        _shut(near, far)

    def _pieces(self, data: bytes):
        """The data, changed and cut in two where something is to happen."""
        with self._lock:
            start = self.forwarded
            self.forwarded += len(data)
            if self._corrupt_at is not None and 0 <= self._corrupt_at - start < len(data):
                at = self._corrupt_at - start
                data = data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]
            action = None
            if self._mark is not None and start + len(data) > self._mark:
                at, action = max(0, self._mark - start), self._action
                self._mark = self._action = None
        if action is None:
            yield data
            return
        if at:
            yield data[:at]
        action()
        self.acted.set()
        yield data[at:]

    def _return(self, far: socket.socket, near: socket.socket) -> None:
        try:
            while data := far.recv(_STEP):
                self._gate.wait()
                near.sendall(data)
        except OSError:
            pass
        _shut(near, far)


def _shut(*ends: socket.socket) -> None:
    for end in ends:
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def send_and_close(uri: str, data: bytes, linger: bool = False) -> socket.socket | None:
    """What a stranger does to a migration port. With `linger` the connection stays open."""
    stranger = socket.socket(socket.AF_UNIX)
    stranger.connect(uri.removeprefix("unix:"))
    try:
        stranger.sendall(data)
    except OSError:
        pass  # closed in our face: that is what we want
    if linger:
        return stranger
    stranger.close()
    return None
