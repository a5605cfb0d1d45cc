# SPDX-License-Identifier: GPL-2.0-or-later
"""Receives the guests' heartbeats and says what they tell: who runs, how fast, how long it stood.

Times are the kernel's receive timestamps as seconds of time.monotonic(), so a busy harness does not
blur them."""

import selectors
import socket
import struct
import threading
import time
from dataclasses import dataclass

from .net import Namespace

# struct heartbeat of tests/guest/workload/heartbeat.c
_FORMAT = struct.Struct("<4sBBHQQQQQQQII")
_SO_TIMESTAMPNS = getattr(socket, "SO_TIMESTAMPNS", 35)
TCP_STATES = ("off", "connecting", "open", "broken", "corrupt")


@dataclass(slots=True)
class Beat:
    at: float
    side: str  # the name of the VM that sent it, "?" if unknown
    ready: int
    tcp_state: int
    boot: int
    sequence: int
    guest_ns: int
    pages_written: int
    pages_verified: int
    tcp_bytes: int
    disk_blocks: int
    memory_errors: int
    disk_errors: int


def socket_inode(namespace_pid: int, port: int) -> str | None:
    """The inode of the UDP socket that has this local port, in that process's namespace."""
    with open(f"/proc/{namespace_pid}/net/udp", encoding="ascii") as table:
        next(table)
        for line in table:
            fields = line.split()
            if int(fields[1].split(":")[1], 16) == port:
                return fields[9]
    return None


class Heartbeats:
    """One receiver for all VMs of a test; each namespace has its socket."""

    def __init__(self):
        self.beats: list[Beat] = []
        self._vms = []
        self._sides: dict[tuple, str] = {}
        self._side_of_socket: dict[int, str] = {}
        self._addresses: dict[str, tuple] = {}
        self._sockets: dict[int, socket.socket] = {}
        self._changed = threading.Condition()
        self._selector = selectors.DefaultSelector()
        self._wake, wake_end = socket.socketpair()
        self._selector.register(wake_end, selectors.EVENT_READ, None)
        self._open = True
        threading.Thread(target=self._receive, daemon=True).start()

    def listen(self, namespace: Namespace, port: int = 0, side: str | None = None) -> int:
        """Listens on the namespace's loopback (which slirp guests see as 10.0.2.2). With `side` all beats that
        come there carry that name; else the emulator that owns the sender's socket is looked for."""
        sock = namespace.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        sock.bind(("127.0.0.1", port))
        if side:
            self._side_of_socket[sock.fileno()] = side
        self._selector.register(sock, selectors.EVENT_READ, sock)
        self._wake.send(b"!")
        return sock.getsockname()[1]

    def watch(self, vm) -> None:
        """Lets beats that come from this VM's emulator carry its name."""
        self._vms.append(vm)

    def command(self, side: str, text: str) -> None:
        """Answers the side's last heartbeat with a command for the workload."""
        with self._changed:
            sock, address = self._addresses[side]
        sock.sendto(text.encode(), address)

    def last(self, side: str | None = None) -> Beat | None:
        with self._changed:
            for beat in reversed(self.beats):
                if side is None or beat.side == side:
                    return beat
        return None

    def wait(self, side: str, timeout: float = 10, after: float | None = None, match=None) -> Beat:
        """Waits for a beat of that side that arrived after that time (default: now)."""
        if after is None:
            after = time.monotonic()
        deadline = time.monotonic() + timeout
        with self._changed:
            index = len(self.beats)
            while index > 0 and self.beats[index - 1].at > after:
                index -= 1
            while True:
                for beat in self.beats[index:]:
                    if beat.side == side and beat.at > after and (match is None or match(beat)):
                        return beat
                index = len(self.beats)
                left = deadline - time.monotonic()
                if left <= 0:
                    heard = {b.side: round(b.at - after, 3) for b in self.beats[-2000:]}
                    raise TimeoutError(f"no such heartbeat of {side} in {timeout} s; "
                                       f"the last ones of each side, in seconds: {heard}")
                self._changed.wait(left)

    def between(self, start: float, end: float, side: str | None = None) -> list[Beat]:
        with self._changed:
            return [b for b in self.beats if start <= b.at <= end and (side is None or b.side == side)]

    def close(self) -> None:
        self._open = False
        self._wake.send(b"!")

    def _receive(self) -> None:
        while self._open:
            for key, _ in self._selector.select():
                if key.data is None:
                    key.fileobj.recv(64)
                else:
                    self._take(key.data)

    def _take(self, sock: socket.socket) -> None:
        batch = []
        offset = time.time() - time.monotonic()
        for _ in range(64):
            try:
                data, extra, _, address = sock.recvmsg(256, 128, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            if len(data) != _FORMAT.size or data[:4] != b"DHB1":
                continue
            seconds, nanoseconds = struct.unpack("qq", extra[0][2][:16])
            side = self._side(sock, address)
            fields = _FORMAT.unpack(data)
            batch.append(Beat(seconds + nanoseconds / 1e9 - offset, side, fields[1], fields[2], *fields[4:]))
            self._addresses[side] = (sock, address)
        if batch:
            with self._changed:
                self.beats += batch
                self._changed.notify_all()

    def _side(self, sock: socket.socket, address: tuple) -> str:
        """Which VM's emulator owns the socket that the datagram came from."""
        key = (sock.fileno(), address[1])
        side = self._sides.get(key)
        if side is None:
            side = self._side_of_socket.get(sock.fileno()) or self._find_owner(address[1])
            self._sides[key] = side
        return side

    def _find_owner(self, port: int) -> str:
        for vm in list(self._vms):
            try:
                if vm.owns_socket(port):
                    return vm.name
            except OSError:
                continue
        return "?"
