# SPDX-License-Identifier: GPL-2.0-or-later
"""A network that reaches into an emulated host: NICs of QEMU's (-netdev socket,connect=…), wherever they are, and the
kernel's TCP at 10.77.0.1, which echoes. A guest's connection can follow it from one host to another."""

import os
import selectors
import socket
import struct
import threading

from .net import Namespace, TapNetwork
from .tcppeer import TcpPeer

_FRAME = 65536  # bytes, at most
_TAP = "lan0"


class _Nic:
    """A connection of a NIC's: each frame behind its length."""

    def __init__(self, connection: socket.socket):
        self.connection = connection
        self._rest = b""

    def frames(self) -> list[bytes] | None:
        """Those that have come; None where it has ended."""
        try:
            data = self.connection.recv(_FRAME)
        except ConnectionError:
            return None
        if not data:
            return None
        self._rest += data
        found = []
        while len(self._rest) >= 4 and len(self._rest) - 4 >= (size := struct.unpack("!I", self._rest[:4])[0]):
            found.append(self._rest[4:4 + size])
            self._rest = self._rest[4 + size:]
        return found

    def send(self, frame: bytes) -> None:
        try:
            self.connection.sendall(struct.pack("!I", len(frame)) + frame)
        except ConnectionError:
            pass  # frames() sees its end


class Lan:
    """A hub, and its echoing peer; `port` is where NICs connect to on 127.0.0.1."""

    def __init__(self):
        self._namespace = Namespace()
        self._tap = self._namespace.tap(_TAP)
        self._namespace.run("ip", "addr", "add", f"{TapNetwork.HOST}/24", "dev", _TAP)
        self._namespace.run("ip", "link", "set", _TAP, "up")
        self.peer = TcpPeer(self._namespace, TapNetwork.HOST)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._nics: dict[int, _Nic] = {}
        self._wake, self._end = socket.socketpair()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._end.close()
        self._thread.join()
        for nic in self._nics.values():
            nic.connection.close()
        self._wake.close()
        self._listener.close()
        self.peer.close()
        os.close(self._tap)
        self._namespace.close()

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            for readable in (self._tap, self._listener, self._wake):
                selector.register(readable, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj is self._wake:
                        return
                    if key.fileobj is self._listener:
                        connection, _ = self._listener.accept()
                        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                        self._nics[connection.fileno()] = _Nic(connection)
                        selector.register(connection, selectors.EVENT_READ)
                    elif key.fileobj == self._tap:
                        self._flood(os.read(self._tap, _FRAME), None)
                    else:
                        self._take(selector, key.fileobj)

    def _take(self, selector: selectors.BaseSelector, connection: socket.socket) -> None:
        nic = self._nics[connection.fileno()]
        frames = nic.frames()
        if frames is None:
            selector.unregister(connection)
            del self._nics[connection.fileno()]
            connection.close()
            return
        for frame in frames:
            self._flood(frame, nic)
            os.write(self._tap, frame)

    def _flood(self, frame: bytes, sender: _Nic | None) -> None:
        for nic in list(self._nics.values()):
            if nic is not sender:
                nic.send(frame)
