# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest under an emulator: its command line, its life, its logs."""

import ctypes
import os
import select
import signal
import socket
import subprocess
from dataclasses import dataclass, field, replace
from pathlib import Path

from . import paths
from .console import Console
from .heartbeat import Heartbeats, socket_inode
from .net import Namespace, TapNetwork
from .qmp import Qmp

_libc = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class GuestOptions:
    """What one guest is like: the same for the source and the destination of its migration."""

    machine: str = "pc"  # pc, q35 or microvm
    smp: int = 1
    memory: str = "512M"
    # -cpu max is out: under TCG, guests of QEMU 7.2 panic after most of QEMU's own migrations of it.
    cpu: str = "Nehalem"
    accel: str = "tcg"
    working_set: str = "200M"
    dirty: int = 5000  # pages a second
    pattern: str = "random-pages"
    disk: Path | None = None  # a raw image, which source and destination share
    tcp: str | None = None  # HOST:PORT that the guest connects to over its tap
    network: TapNetwork | None = None  # gives the guest a second NIC, on a tap
    policy: str | None = "downtime=50ms,deadline=60s"  # only Drover gets it
    extra: tuple[str, ...] = ()
    env: dict = field(default_factory=dict, hash=False)

    def but(self, **changes) -> "GuestOptions":
        return replace(self, **changes)


def _tsc_khz() -> int:
    with open("/proc/cpuinfo", encoding="ascii") as info:
        for line in info:
            if line.startswith("cpu MHz"):
                return int(float(line.split(":")[1]) * 1000)
    return 2000000


def _kernel_parameters(options: GuestOptions, heartbeat_port: int) -> str:
    words = ["console=ttyS0", "quiet", "panic=-1", f"drover.mem={options.working_set}",
             f"drover.dirty={options.dirty}", f"drover.pattern={options.pattern}",
             f"drover.heartbeat=10.0.2.2:{heartbeat_port}"]
    if options.machine == "microvm" and options.accel == "tcg":
        words.append(f"tsc_early_khz={_tsc_khz()}")  # or its TSC calibration hangs
    if options.disk:
        words.append("drover.disk=1")
    if options.network:
        words.append(f"drover.ip={TapNetwork.GUEST}")
    if options.tcp:
        words.append(f"drover.tcp={options.tcp}")
    return " ".join(words)


def _devices(options: GuestOptions, tap: str | None) -> list[str]:
    bus = "device" if options.machine == "microvm" else "pci"
    rom = "" if bus == "device" else ",romfile="
    arguments = ["-netdev", "user,id=net0", "-device", f"virtio-net-{bus},netdev=net0{rom}"]
    if tap:
        arguments += ["-netdev", f"tap,id=net1,ifname={tap},script=no,downscript=no", "-device",
                      f"virtio-net-{bus},netdev=net1,mac=52:54:00:77:00:02{rom}"]
    if options.disk:
        arguments += ["-drive", f"file={options.disk},if=none,id=disk0,format=raw,cache=none",
                      "-device", f"virtio-blk-{bus},drive=disk0"]
    return arguments


def guest_arguments(options: GuestOptions, heartbeat_port: int, tap: str | None) -> list[str]:
    machine = options.machine
    if machine == "microvm":
        machine += ",pit=on,pic=on,rtc=on"
    arguments = ["-nodefaults", "-no-user-config", "-display", "none", "-M", machine,
                 "-accel", options.accel, "-cpu", options.cpu, "-smp", str(options.smp),
                 "-m", options.memory, "-kernel", paths.guest_file("vmlinuz"),
                 "-initrd", paths.guest_file("initrd"),
                 "-append", _kernel_parameters(options, heartbeat_port)]
    # microvm keeps virtio-mmio devices in reverse: the first -device is the last in the guest.
    devices = _devices(options, tap)
    if options.machine == "microvm" and tap:
        devices = devices[4:8] + devices[0:4] + devices[8:]
    return arguments + devices + list(options.extra)


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Vm:
    """One emulator process. Must be started from the test's main thread: it dies with it."""

    def __init__(self, name: str, options: GuestOptions, directory: Path, beats: Heartbeats,
                 heartbeat_port: int, emulator: str = paths.DROVER, incoming: str | None = None,
                 paused: bool = False, namespace: Namespace | None = None, tap: str | None = None):
        self.name = name
        self.options = options
        self.emulator = emulator
        self.directory = directory
        self._namespace = namespace or Namespace.host()
        self.console = Console(str(directory / f"{name}.console.sock"),
                               str(directory / f"{name}.console.log"))
        monitor, monitor_path = self._listen_for_qmp()
        arguments = [emulator, *guest_arguments(options, heartbeat_port, tap), "-name", name,
                     "-serial", f"unix:{self.console.path}",
                     "-chardev", f"socket,id=mon0,fd={monitor.fileno()},server=on,wait=off",
                     "-mon", "chardev=mon0,mode=control"]
        if options.policy and paths.is_drover(emulator):
            arguments += ["-migrate-policy", options.policy]
        if incoming:
            arguments += ["-incoming", incoming]
        if paused:
            arguments += ["-S"]
        self._start(arguments, monitor)
        beats.watch(self)
        self.qmp = self._connect_qmp(monitor_path)

    def _listen_for_qmp(self) -> tuple[socket.socket, str]:
        """As libvirt does: the emulator inherits a listening socket, so that nobody has to wait
        for it to appear."""
        path = str(self.directory / f"{self.name}.qmp.sock")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen(1)
        return listener, path

    def _connect_qmp(self, path: str) -> Qmp:
        client = socket.socket(socket.AF_UNIX)
        client.connect(path)
        return Qmp(client, open(self.directory / f"{self.name}.qmp.log", "w", encoding="utf-8"))

    def _start(self, arguments: list[str], monitor: socket.socket) -> None:
        (self.directory / f"{self.name}.cmdline").write_text(" ".join(arguments) + "\n")
        self._stderr_path = self.directory / f"{self.name}.stderr"
        with open(self._stderr_path, "wb") as stderr:
            self.process = subprocess.Popen(
                self._namespace.prefix() + arguments, stdin=subprocess.DEVNULL, stdout=stderr,
                stderr=stderr, pass_fds=[monitor.fileno()], preexec_fn=_die_with_parent,
                env={**os.environ, **self.options.env})
        monitor.close()
        self._pidfd = os.pidfd_open(self.process.pid)

    def ready(self, timeout: float = 60) -> "Vm":
        """Negotiates QMP and waits until the guest's workload runs."""
        self.qmp.negotiate(timeout)
        self.console.wait_line("READY", timeout)
        return self

    @property
    def pid(self) -> int:
        return self.process.pid

    def qemu_pid(self) -> int:
        """The process in which QEMU runs: the emulator itself, or Drover's child."""
        if not paths.is_drover(self.emulator):
            return self.pid
        for child in _children(self.pid):
            with open(f"/proc/{child}/comm", encoding="ascii") as comm:
                if comm.read().startswith("qemu-system"):
                    return child
        raise ProcessLookupError(f"{self.name}: Drover has no QEMU")

    def owns_socket(self, udp_port: int) -> bool:
        pid = self.qemu_pid()
        inode = socket_inode(pid, udp_port)
        if inode is None:
            return False
        wanted = f"socket:[{inode}]"
        directory = f"/proc/{pid}/fd"
        return any(_link(f"{directory}/{fd}") == wanted for fd in os.listdir(directory))

    def stderr(self) -> str:
        return self._stderr_path.read_text(errors="replace")

    def running(self) -> bool:
        return self.process.poll() is None

    def wait_exit(self, timeout: float = 10) -> int:
        """The exit code (negative: the signal that ended it)."""
        ready, _, _ = select.select([self._pidfd], [], [], timeout)
        if not ready:
            raise TimeoutError(f"{self.name} still runs after {timeout} s")
        return self.process.wait()

    def kill(self) -> None:
        if self.running():
            self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """Ends it, whatever its state."""
        if self.running():
            self.process.terminate()
            try:
                self.wait_exit(5)
            except TimeoutError:
                pass
        self.kill()
        self.qmp.close()
        self.console.close()


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _children(pid: int) -> list[int]:
    found = []
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as children:
            found += [int(child) for child in children.read().split()]
    return found
