# SPDX-License-Identifier: GPL-2.0-or-later
"""Hosts on this machine: each a network namespace with a droverd that has a slice of the machine, and
one drover-balancer over them. Guests hang on a bridge of their host; its uplink is limited."""

import contextlib
import json
import os
import select
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from . import paths
from . import tls as certificates
from .emulator import _die_with_parent, children_of
from .faulty import Clock, SmallDisk
from .net import Namespace
from .qmp import Qmp

BIN = paths.BUILD / "bin"
SINK = "10.80.0.1"  # where guests send to
SINK_PORT = 9
CGROUPS = Path("/sys/fs/cgroup")
GUEST_LOAD = "drover.mem=16M drover.dirty=20 drover.verify=50 drover.tick=100"


@dataclass(frozen=True)
class Slice:
    cores: float = 0.9
    memory: str = "1GiB"
    link: int = 5_000_000  # bytes/s, each direction
    idle_link: int = 0  # the capacity of a second network that nobody uses, if there is one
    shared_link: bool = False  # migrations take it too; else they have a network of their own


class Fleet:
    """Everything is gone when it is closed. `more` are lines for the balancer's file; `persistence`, shorter than
    the default since a stage is minutes long (empty: as delivered), is not written where `more` has thresholds of its own. With `faulty`, each
    daemon has a disk that can be filled (where we may mount one) and a wall clock that can be moved."""

    def __init__(self, hosts: int = 2, slices: Slice = Slice(), mode: str = "automatic",
                 more: str = "", own_slices: dict[str, Slice] | None = None, faulty: bool = False,
                 persistence: str = "3s", tls: bool = False):
        self.directory = Path(tempfile.mkdtemp(prefix="drover-fleet-"))
        self.faulty = faulty
        self.authority = certificates.authority(self.directory, "certs") if tls else None
        self.disks: dict[str, SmallDisk] = {}
        self.clocks: dict[str, Clock] = {}
        self.core = Namespace()
        self.hosts: dict[str, Host] = {}
        self.balancer: Daemon | None = None
        self.others: list[OtherBalancer] = []
        self._qmp: Qmp | None = None
        self._make_core()
        try:
            for number in range(1, hosts + 1):
                name = f"h{number}"
                part = (own_slices or {}).get(name, slices)
                self.hosts[name] = Host(self, name, number, part)
            if persistence and "[thresholds]" not in more:
                more += f'\n[thresholds]\npersistence = "{persistence}"\n'
            self._write_config(mode, more)
        except BaseException:
            self.close()
            raise

    def part(self, name: str) -> tuple[Path, dict[str, str]]:
        """The directory of a daemon, and what it needs in its environment."""
        directory = self.directory / name
        if not directory.exists():
            directory.mkdir()
            if self.faulty:
                self.clocks[name] = Clock(self.directory / f"{name}.clock")
                if disk := SmallDisk.mount(directory):
                    self.disks[name] = disk
        return directory, self.clocks[name].environment if self.faulty else {}

    def _make_core(self) -> None:
        run = self.core.run
        for bridge, address in (("guests", f"{SINK}/16"), ("moves", "10.81.0.1/24")):
            run("ip", "link", "add", bridge, "type", "bridge", "stp_state", "0", "forward_delay", "0")
            run("ip", "addr", "add", address, "dev", bridge)
            run("ip", "link", "set", bridge, "up")
        self._sink = self.core.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sink.bind((SINK, SINK_PORT))
        threading.Thread(target=self._swallow, daemon=True).start()

    def _swallow(self) -> None:
        try:
            while self._sink.recv(2048):
                pass
        except OSError:
            pass

    def _write_config(self, mode: str, more: str) -> None:
        lines = ["[balancer]", f'mode = "{mode}"', f'socket = "{self.directory}/balancer.sock"',
                 f'state-dir = "{self.directory}/balancer"', more]
        for host in self.hosts.values():
            lines += ["[[host]]", f'name = "{host.name}"', f'address = "unix:{host.socket}"']
        self.config = self.directory / "fleet.toml"
        self.config.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def start_balancer(self) -> None:
        _, environment = self.part("balancer")
        self.balancer = Daemon("drover-balancer", ["--config", str(self.config)],
                               self.directory / "balancer.log", Namespace.host(),
                               self.directory / "balancer.sock", environment)
        self._qmp = None

    def start_other_balancer(self) -> "OtherBalancer":
        """Over the same hosts, with a journal of its own, in mode off."""
        self.others.append(OtherBalancer(self, f"other{len(self.others) + 1}"))
        return self.others[-1]

    @property
    def qmp(self) -> Qmp:
        if self._qmp is None:
            self._qmp = Qmp.connect(self.directory / "balancer.sock")
        return self._qmp

    def drover(self, *words: str, env: dict | None = None) -> str:
        """What the drover command prints."""
        done = subprocess.run([str(BIN / "drover"), *words], capture_output=True, text=True,
                              env={**os.environ, "DROVER_BALANCER": f"unix:{self.directory}/balancer.sock",
                                   **(env or {})})
        if done.returncode != 0:
            raise RuntimeError(f"drover {' '.join(words)}: {done.stderr.strip()}")
        return done.stdout

    def where(self, name: str) -> list[str]:
        """The hosts that run this guest."""
        return [host.name for host in self.hosts.values()
                for vm in host.qmp.execute("query-vms")
                if vm["name"] == name and vm["state"] in ("running", "moving")]

    def close(self) -> None:
        for balancer in [self.balancer, *(other.daemon for other in self.others)]:
            if balancer:
                balancer.stop()
        for host in self.hosts.values():
            host.close()
        self._sink.close()
        self.core.close()
        for disk in self.disks.values():
            disk.close()
        shutil.rmtree(self.directory, ignore_errors=True)


class OtherBalancer:
    """A balancer beside the fleet's own, or after it has lost its journal; its clock can be moved."""

    def __init__(self, fleet: Fleet, name: str):
        self.socket = fleet.directory / f"{name}.sock"
        config = fleet.directory / f"{name}.toml"
        lines = fleet.config.read_text(encoding="utf-8").splitlines()
        own = {"mode": "off", "socket": self.socket, "state-dir": fleet.directory / name}
        lines = [f'{key} = "{own[key]}"' if (key := line.partition(" ")[0]) in own else line
                 for line in lines]
        config.write_text("\n".join(lines) + "\n", encoding="utf-8")
        self.clock = Clock(fleet.directory / f"{name}.clock")
        self.daemon = Daemon("drover-balancer", ["--config", str(config)], fleet.directory / f"{name}.log",
                             Namespace.host(), self.socket, self.clock.environment)
        self.qmp = Qmp.connect(self.socket)


class Daemon:
    """A program of ours that opens a UNIX socket when it is ready."""

    def __init__(self, program: str, words: list[str], log: Path, namespace: Namespace, sock: Path,
                 environment: dict[str, str] | None = None):
        self.program = program
        self.log = log
        sock.unlink(missing_ok=True)
        # For the daemon alone: what would be preloaded into nsenter is no concern of the latter's.
        given = [f"{key}={value}" for key, value in (environment or {}).items()]
        given = ["env", *given] if given else []
        with open(log, "ab") as out:
            self.process = subprocess.Popen(
                namespace.prefix() + [*given, str(BIN / program), *words],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, preexec_fn=_die_with_parent)
        self._wait_for(sock)

    def _wait_for(self, sock: Path) -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            probe = socket.socket(socket.AF_UNIX)
            try:
                probe.connect(str(sock))
                return
            except OSError:
                if self.process.poll() is not None:
                    break
                select.select([], [], [], 0.02)  # there is nothing to wait on before it listens
            finally:
                probe.close()
        raise RuntimeError(f"{self.program} is not up: {self.log.read_text(errors='replace')[-2000:]}")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()


class Host:
    def __init__(self, fleet: Fleet, name: str, number: int, part: Slice):
        self.fleet = fleet
        self.name = name
        self.slice = part
        self.namespace = Namespace()
        self.directory, self._environment = fleet.part(name)
        self.socket = self.directory / "droverd.sock"
        self.cgroup = f"{fleet.directory.name}-{name}"  # other fleets may run beside this one
        self._qmp: Qmp | None = None
        self._connect(number)
        self._write_config(number)
        self.start()

    def _connect(self, number: int) -> None:
        """Two links to the middle: `uplink` for what guests send, `moves` for migrations."""
        run, core = self.namespace.run, self.fleet.core
        run("ip", "link", "add", "br0", "type", "bridge", "stp_state", "0", "forward_delay", "0")
        run("ip", "link", "set", "br0", "up")
        for device, bridge in (("uplink", "guests"), ("moves", "moves")):
            core_end = f"{device}{number}"
            run("ip", "link", "add", device, "type", "veth", "peer", "name", core_end, "netns",
                core.path)
            core.run("ip", "link", "set", core_end, "master", bridge, "up")
            run("ip", "link", "set", device, "up")
        run("ip", "link", "set", "uplink", "master", "br0")
        run("ip", "addr", "add", f"10.81.0.{10 + number}/24", "dev", "moves")
        if self.slice.shared_link:
            run("ip", "addr", "add", f"{self._migration_address(number)}/16", "dev", "br0")
        rate = f"{self.slice.link * 8}bit"
        for namespace, device in ((self.namespace, "uplink"), (core, f"uplink{number}")):
            namespace.run("tc", "qdisc", "add", "dev", device, "root", "tbf", "rate", rate, "burst",
                          "64kb", "latency", "50ms")

    def _migration_address(self, number: int) -> str:
        return f"10.80.255.{10 + number}" if self.slice.shared_link else f"10.81.0.{10 + number}"

    def _idle_nic(self) -> str:
        return f'[[nic]]\nname = "moves"\ncapacity = {self.slice.idle_link}\n' if self.slice.idle_link else ""

    def _certificates(self) -> str:
        """They name the host, and no address of any of its networks."""
        if not self.fleet.authority:
            return ""
        certificates.host(self.fleet.authority, self.name)
        files = {"ca": "ca.crt", "certificate": f"{self.name}.crt", "key": f"{self.name}.key"}
        return "[tls]\n" + "".join(f'{member} = "{self.fleet.authority}/{file}"\n' for member, file in files.items())

    def _write_config(self, number: int) -> None:
        self.config = self.directory / "droverd.toml"
        self.config.write_text(f"""name = "{self.name}"
state-directory = "{self.directory}"
socket = "{self.socket}"
[slice]
cores = {self.slice.cores}
memory = "{self.slice.memory}"
cgroup = "{self.cgroup}"
[migration]
address = "{self._migration_address(number)}"
[definitions]
directories = ["{Path(paths.guest_file('vmlinuz')).parent}", "{self.fleet.directory}"]
[[nic]]
name = "uplink"
capacity = {self.slice.link}
{self._idle_nic()}{self._certificates()}""", encoding="utf-8")

    def start(self) -> None:
        self.daemon = Daemon("droverd", ["--config", str(self.config)],
                             self.directory / "droverd.log", self.namespace, self.socket,
                             self._environment)
        self._qmp = None

    def kill(self) -> None:
        self.daemon.kill()

    def cut_power(self) -> None:
        """Nothing runs any more, and what is kept until a boot only is gone."""
        running = [vm for vm in self.qmp.execute("query-vms") if vm.get("pid", 0) > 1]
        self.kill()
        for vm in running:
            kill_with_children(vm["pid"])
            self.namespace.run("ip", "link", "delete", vm["name"])  # its tap
        for part in ("vms", "run", "migrations"):
            shutil.rmtree(self.directory / part, ignore_errors=True)
        (self.directory / "definitions" / "last-boot").unlink()

    @property
    def qmp(self) -> Qmp:
        if self._qmp is None:
            self._qmp = Qmp.connect(self.socket)
        return self._qmp

    def create(self, guest: "Guest", emulator: str = "") -> None:
        path = self.directory / f"{guest.name}.toml"
        path.write_text(guest.vm_file(emulator), encoding="utf-8")
        self.qmp.execute("vm-create", timeout=60, file=str(path))

    def control(self, name: str) -> "Control":
        return Control(self.directory / "run" / name / "control.sock")

    def close(self) -> None:
        try:
            if self.daemon.process.poll() is not None:
                self.start()
            for vm in self.qmp.execute("query-vms"):
                if vm.get("pid", 0) > 1:  # not one that is shut off
                    kill_with_children(vm["pid"])
        except Exception as error:  # the rest must go all the same
            print(f"closing {self.name}: {error}")
        self.daemon.stop()
        self.namespace.close()
        self._remove_cgroups()

    def _remove_cgroups(self) -> None:
        """Which a droverd leaves to its guests. A guest that was killed is gone a moment later."""
        for group in (*CGROUPS.glob(self.cgroup), *CGROUPS.glob(f"*/{self.cgroup}")):
            deadline = time.monotonic() + 5
            while (group / "cgroup.procs").read_text(encoding="ascii") and time.monotonic() < deadline:
                select.select([], [], [], 0.02)  # a control group tells nobody that it is empty
            with contextlib.suppress(OSError):
                for slowed in group.glob("drover-*"):  # of a Drover that was killed while it slowed its guest
                    slowed.rmdir()
                group.rmdir()


def kill_with_children(pid: int) -> None:
    """Drover, which is a child of QEMU's, first: it would tell others of QEMU's end."""
    for process in (*children_of(pid), pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, 9)


@dataclass(frozen=True)
class Guest:
    name: str
    address: str  # such as 10.80.1.1, in the guests' network
    memory: str = "128M"
    expected_bandwidth: int = 0
    kind: str = "drover"
    more: str = ""  # lines of the VM file
    accel: str = "tcg"
    disk: str = ""  # a raw image that its workload writes and checks

    def _disk(self) -> list[str]:
        if not self.disk:
            return []
        return ["-drive", f"file={self.disk},if=none,id=disk0,format=raw,cache=none",
                "-device", "virtio-blk-pci,drive=disk0"]

    def _machine(self) -> list[str]:
        """Under KVM, on hosts that are themselves emulated, the machine that boots fastest."""
        if self.accel == "kvm":
            return ["-M", "microvm", "-accel", "kvm", "-cpu", "host"]
        return ["-M", "pc", "-accel", "tcg", "-cpu", "Nehalem"]

    def _nic(self) -> str:
        mac = "52:54:00:80:" + ":".join(f"{int(part):02x}" for part in self.address.split(".")[2:])
        if self.accel == "kvm":
            return f"virtio-net-device,netdev=net0,mac={mac}"
        return f"virtio-net-pci,netdev=net0,mac={mac},romfile="

    def vm_file(self, emulator: str = "") -> str:
        control = ["-serial", "unix:${run}/control.sock,server=on,wait=off"]
        append = f"quiet panic=-1 no_timer_check cryptomgr.notests {GUEST_LOAD} drover.ip={self.address}/16"
        if self.disk:
            append += " drover.disk=1"
        if self.accel == "kvm":  # a microvm has one serial port only
            append += " drover.control=/dev/ttyS0"
        else:
            append += " console=ttyS0 drover.control=/dev/ttyS1"
            control = ["-serial", "file:${run}/console.log", *control]
        words = ["-nodefaults", "-no-user-config", "-display", "none", *self._machine(), "-m",
                 self.memory, "-kernel", paths.guest_file("vmlinuz"), "-initrd",
                 paths.guest_file("initrd"), "-append", append, "-netdev",
                 f"tap,id=net0,ifname={self.name},script=no,downscript=no", "-device", self._nic(),
                 *self._disk(), *control]
        emulator = emulator or os.path.basename(paths.QEMU if self.kind == "qemu" else paths.DROVER)
        return (f'name = "{self.name}"\nkind = "{self.kind}"\n'
                f'emulator = "{emulator}"\ncommand = {json.dumps(words)}\n{self.more}\n'
                f'[[nic]]\nid = "net0"\nifname = "{self.name}"\nbridge = "br0"\n'
                f"expected-bandwidth = {self.expected_bandwidth}\n")


class Control:
    """The guest's ear (tests/guest/workload/load.c)."""

    def __init__(self, path: Path):
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._buffer = b""

    def tell(self, command: str, timeout: float = 10) -> str:
        self._socket.sendall(command.encode() + b"\n")
        return self._line(timeout)

    def ready(self, timeout: float = 60) -> "Control":
        """While the guest boots, what is said to its serial port is lost or cut: said again until it
        is understood; then the answers that are still to come are taken."""
        deadline = time.monotonic() + timeout
        while not self._says("status", "alive"):
            if time.monotonic() > deadline:
                raise TimeoutError("the guest does not answer")
        while not self._says("cpu 0", "ok cpu 0"):
            pass
        return self

    def _says(self, command: str, wanted: str) -> bool:
        """Whether such an answer comes within a second, whatever comes before it."""
        self._socket.sendall(command.encode() + b"\n")
        end = time.monotonic() + 1
        while (left := end - time.monotonic()) > 0:
            ready, _, _ = select.select([self._socket], [], [], left)
            if ready and self._line(left).startswith(wanted):
                return True
        return False

    def _line(self, timeout: float) -> str:
        self._socket.settimeout(max(timeout, 0.01))
        while b"\n" not in self._buffer:
            try:
                data = self._socket.recv(4096)
            except TimeoutError:
                return ""
            if not data:
                raise ConnectionError("the guest's emulator has gone")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.decode(errors="replace").strip()

    def close(self) -> None:
        self._socket.close()

    @classmethod
    def ask(cls, path: Path, command: str, timeout: float = 10) -> str:
        control = cls(path)
        try:
            return control.tell(command, timeout)
        finally:
            control.close()
