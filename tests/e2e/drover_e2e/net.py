# SPDX-License-Identifier: GPL-2.0-or-later
"""Network namespaces of our own: taps on a bridge, and a link with a real limit.

A namespace lives as long as its descriptor here; nothing is left behind when the process ends."""

import ctypes
import fcntl
import json
import os
import socket
import struct
import subprocess
import threading

CLONE_NEWNET = 0x40000000
_TUNSETIFF = 0x400454CA
_TAP_WITHOUT_HEADER = 0x1002  # IFF_TAP | IFF_NO_PI
_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")


def _in_thread(function):
    """Runs a function in a thread of its own, whose namespace may be changed, and returns its
    result or raises its exception here."""
    outcome = {}

    def body():
        try:
            outcome["value"] = function()
        except BaseException as error:  # handed on to the caller, whatever it is
            outcome["error"] = error

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    if "error" in outcome:
        raise outcome["error"]
    return outcome["value"]


class Namespace:
    """A network namespace; `Namespace.host()` is the one that we run in."""

    def __init__(self):
        def make():
            _check(_libc.unshare(CLONE_NEWNET), "unshare(CLONE_NEWNET)")
            return os.open("/proc/thread-self/ns/net", os.O_RDONLY)

        self._fd: int | None = _in_thread(make)
        self.run("ip", "link", "set", "lo", "up")

    @classmethod
    def host(cls) -> "Namespace":
        namespace = cls.__new__(cls)
        namespace._fd = None
        return namespace

    @property
    def path(self) -> str:
        return f"/proc/{os.getpid()}/fd/{self._fd}"

    def prefix(self) -> list[str]:
        """Put before a command, runs it inside; the process keeps its number."""
        return [] if self._fd is None else ["nsenter", f"--net={self.path}"]

    def run(self, *command: str) -> str:
        done = subprocess.run(self.prefix() + list(command), capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout

    def socket(self, family: int, kind: int) -> socket.socket:
        if self._fd is None:
            return socket.socket(family, kind)

        def make():
            _check(_libc.setns(self._fd, CLONE_NEWNET), "setns")
            return socket.socket(family, kind)

        return _in_thread(make)

    def tap(self, name: str) -> int:
        """A new tap device, which exists as long as this descriptor of its frames."""

        def make():
            if self._fd is not None:
                _check(_libc.setns(self._fd, CLONE_NEWNET), "setns")
            tap = os.open("/dev/net/tun", os.O_RDWR)
            fcntl.ioctl(tap, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _TAP_WITHOUT_HEADER))
            return tap

        return _in_thread(make)

    def counter(self, device: str, name: str) -> int:
        """One of the device's statistics, such as tx_bytes."""
        text = self.run("ip", "-s", "-j", "link", "show", "dev", device)
        direction, field = name.split("_", 1)
        return json.loads(text)[0]["stats64"][direction][field]

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def why_not() -> str | None:
    """Why namespaces with taps cannot be had here, or None where they can."""
    try:
        namespace = Namespace()
        try:
            namespace.run("ip", "tuntap", "add", "dev", "probe0", "mode", "tap")
        finally:
            namespace.close()
    except (OSError, RuntimeError) as error:
        return f"no network namespace with a tap device: {error}"
    return None


class TapNetwork:
    """A bridge at 10.77.0.1 with taps, in a namespace of its own: a guest's connections can follow
    it from one tap to another."""

    HOST = "10.77.0.1"
    GUEST = "10.77.0.2/24"

    def __init__(self, taps: int = 2):
        self.namespace = Namespace()
        run = self.namespace.run
        run("ip", "link", "add", "br0", "type", "bridge", "stp_state", "0", "forward_delay", "0")
        run("ip", "addr", "add", f"{self.HOST}/24", "dev", "br0")
        run("ip", "link", "set", "br0", "up")
        self.taps = [f"tap{i}" for i in range(taps)]
        for tap in self.taps:
            run("ip", "tuntap", "add", "dev", tap, "mode", "tap")
            run("ip", "link", "set", tap, "master", "br0", "up")

    def close(self) -> None:
        self.namespace.close()


class LimitedLink:
    """Two namespaces joined by a veth pair that a token bucket limits in both directions."""

    ADDRESSES = ("10.78.0.1", "10.78.0.2")

    def __init__(self, bytes_per_second: int | None):
        self.source = Namespace()
        self.destination = Namespace()
        self.source.run("ip", "link", "add", "link0", "type", "veth", "peer", "name", "link0",
                        "netns", self.destination.path)
        for namespace, address in zip((self.source, self.destination), self.ADDRESSES):
            namespace.run("ip", "addr", "add", f"{address}/24", "dev", "link0")
            namespace.run("ip", "link", "set", "link0", "up")
            if bytes_per_second:
                # The bucket must hold a large offloaded segment; the queue is 20 ms long.
                namespace.run("tc", "qdisc", "add", "dev", "link0", "root", "tbf", "rate",
                              f"{bytes_per_second * 8}bit", "burst", "256kb", "latency", "20ms")

    def bytes_sent(self) -> int:
        return self.source.counter("link0", "tx_bytes")

    def close(self) -> None:
        self.source.close()
        self.destination.close()
