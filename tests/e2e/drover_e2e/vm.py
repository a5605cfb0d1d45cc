# SPDX-License-Identifier: GPL-2.0-or-later
"""A Linux guest under an emulator: what it is like, its command line, its console."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from . import paths
from .console import Console
from .emulator import Emulator
from .heartbeat import Heartbeats
from .net import Namespace, TapNetwork


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
    aio: str | None = None  # of the disk
    tcp: str | None = None  # HOST:PORT that the guest connects to over its tap
    nic: bool = True  # on QEMU's user network, which carries the heartbeat
    network: TapNetwork | None = None  # gives the guest a second NIC, on a tap
    vhost: bool = False  # that NIC's, with the kernel's vhost-net
    policy: str | None = "downtime=50ms,deadline=60s"  # only Drover gets it
    boot: tuple[str, ...] = ()  # more words for the kernel
    extra: tuple[str, ...] = ()
    qemu: str | None = paths.OTHER_QEMU  # another QEMU than the search path's, below Drover or by itself
    env: dict = field(default_factory=dict, hash=False)

    def but(self, **changes) -> "GuestOptions":
        return replace(self, **changes)

    @property
    def board(self) -> str:
        """The machine without its properties."""
        return self.machine.split(",")[0]


# A guest that runs under QEMU and Xen alike: no paravirtual features of either, no HPET (they tick at different
# rates), a CPU that an emulated Xen host has. Its console says how it is (tale.py). The host may be emulated: it
# wakes up rarely. Who dies does not come back: nobody waits for long.
NEUTRAL = GuestOptions(machine="pc,hpet=off", cpu="qemu64", memory="128M", working_set="24M", dirty=300, nic=False,
                       policy="downtime=50ms,deadline=60s,reconnect=3s",
                       boot=("nopv", "drover.tell=1000", "drover.watch=1", "drover.verify=1000", "drover.tick=20"))

# What a CPU has under KVM, TCG and Xen alike: KVM has the interrupt controller's newer form, which TCG of QEMU 7.2 has
# not, and the emulated hosts' CPUs lack one of the model's instructions.
EVERYWHERE = "qemu64,-x2apic,-cx16,-svm,kvm=off"


def _tsc_khz() -> int:
    with open("/proc/cpuinfo", encoding="ascii") as info:
        for line in info:
            if line.startswith("cpu MHz"):
                return int(float(line.split(":")[1]) * 1000)
    return 2000000


def kernel_parameters(options: GuestOptions, heartbeat_port: int = 0) -> str:
    # no_timer_check: on a machine that is busy enough the kernel's check of its timer fails, and the boot with it.
    # cryptomgr.notests: its ciphers' checks of themselves are a tenth of an emulated boot.
    words = ["console=ttyS0", "quiet", "panic=-1", "no_timer_check", "cryptomgr.notests",
             f"drover.mem={options.working_set}", f"drover.dirty={options.dirty}", f"drover.pattern={options.pattern}"]
    if options.nic:
        words.append(f"drover.heartbeat=10.0.2.2:{heartbeat_port}")
    if options.board == "microvm" and options.accel == "tcg":
        words.append(f"tsc_early_khz={_tsc_khz()}")  # or its TSC calibration hangs
    if options.disk:
        words.append("drover.disk=1")
    if options.network:
        words.append(f"drover.ip={TapNetwork.GUEST}")
    if options.tcp:
        words.append(f"drover.tcp={options.tcp}")
    return " ".join([*words, *options.boot])


def _devices(options: GuestOptions, tap: str | None) -> list[str]:
    bus = "device" if options.board == "microvm" else "pci"
    rom = "" if bus == "device" else ",romfile="
    arguments = []
    if options.nic:
        arguments += ["-netdev", "user,id=net0", "-device", f"virtio-net-{bus},netdev=net0{rom}"]
    if tap:
        vhost = ",vhost=on" if options.vhost else ""
        arguments += ["-netdev", f"tap,id=net1,ifname={tap},script=no,downscript=no{vhost}", "-device",
                      f"virtio-net-{bus},netdev=net1,mac=52:54:00:77:00:02{rom}"]
    if options.disk:
        arguments += ["-drive", f"file={options.disk},if=none,id=disk0,format=raw,cache=none"
                      + (f",aio={options.aio}" if options.aio else ""),
                      "-device", f"virtio-blk-{bus},drive=disk0"]
    return arguments


def guest_arguments(options: GuestOptions, heartbeat_port: int, tap: str | None) -> list[str]:
    machine = options.machine
    if options.board == "microvm" and options.accel == "tcg":
        machine += ",pit=on,pic=on,rtc=on"
    arguments = ["-nodefaults", "-no-user-config", "-display", "none", "-M", machine,
                 "-accel", options.accel, "-cpu", options.cpu, "-smp", str(options.smp),
                 "-m", options.memory, "-kernel", paths.guest_file("vmlinuz"),
                 "-initrd", paths.guest_file("initrd"),
                 "-append", kernel_parameters(options, heartbeat_port)]
    return arguments + _devices(options, tap) + list(options.extra)


class Vm(Emulator):
    """A guest; `uri` is where a destination waits for its migration."""

    uri = ""

    def __init__(self, name: str, options: GuestOptions, directory: Path, beats: Heartbeats,
                 heartbeat_port: int, emulator: str = paths.DROVER, incoming: str | None = None,
                 paused: bool = False, namespace: Namespace | None = None, tap: str | None = None):
        self.options = options
        self.console = Console(str(directory / f"{name}.console.sock"),
                               str(directory / f"{name}.console.log"))
        arguments = [*guest_arguments(options, heartbeat_port, tap),
                     "-serial", f"unix:{self.console.path}"]
        if options.qemu and not paths.is_drover(emulator):
            emulator = options.qemu
        elif options.qemu:
            arguments += ["-vmm", f"qemu,path={options.qemu}"]
        if options.policy and paths.is_drover(emulator):
            arguments += ["-migrate-policy", options.policy]
        if incoming:
            arguments += ["-incoming", incoming]
        if paused:
            arguments += ["-S"]
        super().__init__(name, arguments, directory, emulator, namespace, options.env)
        beats.watch(self)

    def ready(self, timeout: float | None = None) -> "Vm":
        """Negotiates QMP and waits until the guest's workload runs. Guests under KVM live in the
        lab, on a host that is itself emulated: they are given more time."""
        timeout = timeout or (240 if self.options.accel == "kvm" else 60)
        self.qmp.negotiate(timeout)
        self.console.wait_line("READY", timeout)
        return self

    def stop(self) -> None:
        super().stop()
        self.console.close()
