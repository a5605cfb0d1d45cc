# SPDX-License-Identifier: GPL-2.0-or-later
"""Two real libvirt hosts on one machine, in namespaces of their own, and a guest on them by virsh."""

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

from . import net, paths
from .case import Case, Skip
from .libvirt_host import TCP_PORT
from .memory import parse_size
from .vm import GuestOptions, kernel_parameters

GUEST = GuestOptions(memory="192M", working_set="48M", dirty=1000)
PROGRAMS = ("libvirtd", "virsh", "nsenter", "unshare")


class VirshError(Exception):
    """virsh ended with an error; its words."""


class ConsoleFile:
    """The serial port's file, as far as Case.healthy() asks."""

    def __init__(self, path: Path):
        self._path = path

    def corrupt_lines(self) -> list[str]:
        text = self._path.read_text(errors="replace") if self._path.exists() else ""
        return [line for line in text.splitlines()
                if "CORRUPT" in line or "Kernel panic" in line or "WORKLOAD" in line]


class Host:
    """One host. It passes for a `Vm` where Case verifies the guest that runs on it."""

    def __init__(self, case: Case, name: str, namespace: net.Namespace, address: str):
        self.name, self.namespace, self.address = name, namespace, address
        self.options = GUEST
        self.directory = case.directory / name
        self.directory.mkdir()
        self.console = ConsoleFile(self.directory / "log" / "console.log")
        cache = paths.BUILD / "libvirt-cache"
        self._process = subprocess.Popen(
            [*namespace.prefix(), "unshare", "--uts", "--mount", "--ipc", "--pid", "--fork", "--kill-child",
             "--mount-proc", "--propagation", "private", paths.PYTHON, "-m", "drover_e2e.libvirt_host",
             str(self.directory), name, address, str(cache / name)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        said = self._process.stdout.readline()
        if said != "listening\n":
            raise Skip(f"no libvirt host can be made here: {said.strip()}")
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
        self.init_pid = int(children.split()[0])

    @property
    def uri(self) -> str:
        return f"qemu+tcp://{self.address}:{TCP_PORT}/system"

    def command(self, *words: str) -> list[str]:
        return ["nsenter", "-t", str(self.init_pid), "-m", "-u", "-n", "-p", "-i", *words]

    def virsh(self, *words: str, timeout: float = 60) -> str:
        """A guest that libvirt waits for without an end must not hang the test: it fails here."""
        done = subprocess.run(self.command("virsh", "-q", *words), capture_output=True, text=True,
                              timeout=timeout, check=False, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            raise VirshError(f"{self.name}: virsh {' '.join(words)}: {done.stderr.strip()}")
        return done.stdout.strip()

    def start_virsh(self, *words: str) -> subprocess.Popen:
        return subprocess.Popen(self.command("virsh", *words), stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def state(self) -> str:
        return self.virsh("domstate", "g")

    def close(self) -> None:
        self._process.kill()  # --kill-child: process 1 of the namespace goes, and all others with it
        self._process.wait()
        for folder in ("etc", "lib"):
            shutil.rmtree(self.directory / folder, ignore_errors=True)


class Hosts:
    """Host A and host B, joined by a veth pair."""

    def __init__(self, case: Case):
        why = why_not()
        if why:
            raise Skip(why)
        self.case = case
        link = case.keep(net.LimitedLink(None))
        self.a = case.keep(Host(case, "A", link.source, link.ADDRESSES[0]))
        self.b = case.keep(Host(case, "B", link.destination, link.ADDRESSES[1]))
        self.port = 0
        for host in (self.a, self.b):
            self.port = case.beats.listen(host.namespace, self.port, side=host.name)
        self.disk = case.disk()

    def start(self, **more) -> None:
        """Defines and starts the guest on host A, and waits until its workload runs."""
        path = self.case.directory / "g.xml"
        path.write_text(domain(self, **more), encoding="utf-8")
        self.a.virsh("define", str(path))
        self.a.virsh("start", "g")
        self.case.beats.wait("A", 60, match=lambda beat: beat.ready)

    def migrate(self, source: Host, destination: Host, *words: str, timeout: float = 60) -> None:
        # Unsafe says libvirt where it does not know that both hosts see the same disk.
        source.virsh("migrate", "g", destination.uri, "--unsafe", *words, timeout=timeout)
        self.runs_on(destination)

    def runs_on(self, host: Host) -> None:
        """There and nowhere else, by libvirt's word and by the guest's own."""
        assert host.state() == "running", host.state()
        self.case.alive_on(host, 5)
        other = self.b if host is self.a else self.a
        running = other.virsh("list", "--name")
        assert "g" not in running.split(), f"{other.name} has it too: {running}"


def why_not() -> str | None:
    """Why there is no libvirt to be tried, or None where there is."""
    missing = [program for program in PROGRAMS if not shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin")]
    if missing:
        return f"not installed: {', '.join(missing)}"
    return net.why_not()


def domain(hosts: Hosts, disk: str = "", max_memory: str = "", format: str = "raw", backing: str = "") -> str:
    """The guest's definition: libvirt's defaults (a balloon among them), and the workload of all our guests.
    With `max_memory` (in KiB) DIMMs can be plugged; `backing` goes into <memoryBacking>."""
    options = GUEST
    words = kernel_parameters(replace(options, disk=hosts.disk), hosts.port) + " memhp_default_state=online"
    kib = parse_size(options.memory) >> 10
    memory = f"<maxMemory slots='4' unit='KiB'>{max_memory}</maxMemory>" if max_memory else ""
    numa = f"<numa><cell id='0' cpus='0' memory='{kib}' unit='KiB'/></numa>" if max_memory else ""
    return f"""<domain type='qemu'>
  <name>g</name><uuid>0000574f-1111-4222-8333-000000000001</uuid>
  {f"<memoryBacking>{backing}</memoryBacking>" if backing else ""}
  {memory}<memory unit='KiB'>{kib}</memory><vcpu>{options.smp}</vcpu>
  <os><type arch='x86_64' machine='{options.machine}'>hvm</type>
    <kernel>{paths.guest_file("vmlinuz")}</kernel><initrd>{paths.guest_file("initrd")}</initrd>
    <cmdline>{words}</cmdline></os>
  <features><acpi/><apic/></features>
  <cpu mode='custom' match='exact' check='none'><model fallback='forbid'>{options.cpu}</model>{numa}</cpu>
  <on_poweroff>destroy</on_poweroff><on_reboot>restart</on_reboot><on_crash>destroy</on_crash>
  <devices><emulator>{hosts.case.emulator}</emulator>
    <disk type='file' device='disk'><driver name='qemu' type='{format}' cache='none'/>
      <source file='{disk or hosts.disk}'/><target dev='vda' bus='virtio'/></disk>
    <interface type='user'><model type='virtio'/></interface>
    <serial type='file'><source path='/var/log/libvirt/console.log' append='on'/></serial>
  </devices>
</domain>
"""


DIMM = "<memory model='dimm'><target><size unit='MiB'>128</size><node>0</node></target></memory>"


def job_infos(host: Host, process: subprocess.Popen):
    """What `virsh domjobinfo` says while that virsh runs: as a person watches a migration. Sizes in bytes."""
    units = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
    while process.poll() is None:
        try:
            lines = host.virsh("domjobinfo", "g").splitlines()
        except VirshError:
            continue  # the guest has just left
        found = {}
        for name, _, value in (line.partition(":") for line in lines):
            words = value.split()
            if len(words) == 2 and words[1] in units:
                found[name] = float(words[0]) * units[words[1]]
            elif words:
                found[name] = words[0]
        if found.get("Operation") == "Outgoing":
            yield found
