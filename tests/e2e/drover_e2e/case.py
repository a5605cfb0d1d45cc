# SPDX-License-Identifier: GPL-2.0-or-later
"""What a test gets: guests, destinations, migrations and their verification, all cleaned up."""

import shutil
import socket
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from . import analysis, net, paths, ram
from .emulator import Emulator
from .heartbeat import Heartbeats
from .memory import parse_size
from .net import Namespace, TapNetwork
from .qtest import QtestMachine
from .tcppeer import TcpPeer
from .vm import GuestOptions, Vm


class Skip(Exception):
    """Raised by a test that cannot run here; the text says why."""


class Case:
    def __init__(self, directory: Path, emulator: str = paths.DROVER):
        self.directory = directory
        self.emulator = emulator
        # UNIX socket paths are short; the log directory's may not be.
        self.scratch = Path(tempfile.mkdtemp(prefix="drover-"))
        self.beats = Heartbeats()
        self._cleanup = ExitStack()
        self._cleanup.callback(self._remove_scratch)
        self._cleanup.callback(self.beats.close)
        self._ports: dict[str, int] = {}
        self._count = 0

    # Making guests

    def vm(self, options: GuestOptions, name: str | None = None, **more) -> Vm:
        """Starts an emulator without waiting for anything."""
        self._count += 1
        name = name or f"vm{self._count}"
        namespace = more.pop("namespace", None)
        if namespace is None:
            namespace = options.network.namespace if options.network else Namespace.host()
        tap = more.pop("tap", None)
        if options.network and tap is None:
            tap = options.network.taps[(self._count - 1) % len(options.network.taps)]
        more.setdefault("emulator", self.emulator)
        vm = Vm(name, options, self.scratch, self.beats, self.heartbeat_port(namespace),
                namespace=namespace, tap=tap, **more)
        self._cleanup.callback(vm.close)
        return vm

    def bare(self, name: str, *extra: str, paused: bool = True) -> Emulator:
        """A machine that boots nothing, negotiated: what is seen by QMP alone needs no guest."""
        arguments = ["-M", "pc", "-accel", "tcg", "-m", "64M", "-nodefaults", "-no-user-config",
                     "-display", "none", *(["-S"] if paused else []), *extra]
        vm = Emulator(name, arguments, self.scratch, self.emulator)
        self._cleanup.callback(vm.close)
        vm.qmp.negotiate()
        return vm

    def qtest(self, name: str, *words: str) -> QtestMachine:
        """A machine whose CPU is the test, negotiated."""
        machine = QtestMachine(name, list(words), self.scratch, self.emulator)
        self._cleanup.callback(machine.close)
        machine.qmp.negotiate()
        return machine

    def guest(self, options: GuestOptions = GuestOptions(), **more) -> Vm:
        """A guest whose workload runs and beats."""
        vm = self.vm(options, **more).ready()
        self.beats.wait(vm.name, 60, match=lambda beat: beat.ready)
        return vm

    def destination(self, options: GuestOptions = GuestOptions(), address: str | None = None,
                    **more) -> Vm:
        """An emulator that waits for a migration; `uri` of the result is where."""
        deferred = self.vm(options, incoming=more.pop("incoming", "defer"), **more)
        deferred.qmp.negotiate(240 if options.accel == "kvm" else 30)
        deferred.qmp.execute("migrate-set-capabilities",
                             capabilities=[{"capability": "events", "state": True}])
        deferred.uri = self.listen(deferred, address)
        return deferred

    def listen(self, vm: Emulator, address: str | None = None) -> str:
        """Where a deferred destination of any kind waits from now on."""
        uri = address or f"unix:{self.scratch}/{vm.name}.migrate"
        vm.qmp.execute("migrate-incoming", uri=uri)
        return uri

    def heartbeat_port(self, namespace: Namespace) -> int:
        """The same port in each namespace, since the guest's command line names it."""
        if namespace.path not in self._ports:
            known = next(iter(self._ports.values()), 0)
            self._ports[namespace.path] = self.beats.listen(namespace, known)
        return self._ports[namespace.path]

    def tcp_address(self, options: GuestOptions) -> str:
        """A free TCP address of the namespace in which these guests run."""
        namespace = options.network.namespace if options.network else Namespace.host()
        with namespace.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.bind(("127.0.0.1", 0))
            return f"tcp:127.0.0.1:{probe.getsockname()[1]}"

    def disk(self, size: int = 16 << 20) -> Path:
        path = self.directory / "disk.raw"
        with open(path, "wb") as image:
            image.truncate(size)
        return path

    def tap_network(self) -> TapNetwork:
        reason = net.why_not()
        if reason:
            raise Skip(reason)
        network = TapNetwork()
        self._cleanup.callback(network.close)
        return network

    def tcp_peer(self, network: TapNetwork) -> TcpPeer:
        peer = TcpPeer(network.namespace, TapNetwork.HOST)
        self._cleanup.callback(peer.close)
        return peer

    def keep(self, closable):
        """Closes it at the test's end."""
        self._cleanup.callback(closable.close)
        return closable

    def enter(self, context):
        """Leaves it at the test's end."""
        return self._cleanup.enter_context(context)

    # Migrating

    def start_migration(self, source: Vm, uri: str) -> int:
        """Starts it; the result is the mark of the source's events before it."""
        source.qmp.execute("migrate-set-capabilities",
                           capabilities=[{"capability": "events", "state": True}])
        mark = source.qmp.mark()
        source.qmp.execute("migrate", uri=uri)
        return mark

    def finish_migration(self, source: Vm, mark: int, timeout: float = 60) -> None:
        event = source.qmp.wait_migration("completed", "failed", "cancelled", timeout=timeout,
                                          after=mark)
        if event.data["status"] != "completed":
            raise AssertionError(f"the migration {event.data['status']}: "
                                 f"{source.qmp.execute('query-migrate')}; {source.stderr()}")

    def migrate(self, source: Vm, destination: Vm, timeout: float = 60,
                within: float = 1.0) -> analysis.Handover:
        """A whole migration of a running guest, verified: the result is what was seen outside."""
        started = time.monotonic()
        mark = self.start_migration(source, destination.uri)
        self.finish_migration(source, mark, timeout)
        self.alive_on(destination, within)
        seen = analysis.handover(self.beats.between(started, time.monotonic()), source.name,
                                 destination.name)
        assert seen.overlap == 0, f"both sides ran: {seen}"
        return seen

    # Verifying

    def alive_on(self, vm: Vm, within: float = 1.0) -> None:
        """The guest beats on this side, its pages get written, and no other side beats."""
        first = self.beats.wait(vm.name, within)
        self.beats.wait(vm.name, max(2, within), after=first.at,
                        match=lambda beat: beat.at - first.at > 0.2
                        and (beat.pages_written > first.pages_written or vm.options.dirty == 0
                             or vm.options.pattern == "idle"))
        others = {beat.side for beat in self.beats.between(first.at + 0.01, time.monotonic())}
        others -= {vm.name}
        assert not others, f"the guest beats on {sorted(others)} besides {vm.name}"

    def writes_at(self, vm: Vm, rate: float, since: float | None = None) -> None:
        """The guest writes so many pages a second for half a second of the next thirty: on a busy
        host no guest does all the time, and one that is held back never does."""
        since = since or time.monotonic()
        fastest = 0.0
        beat = self.beats.wait(vm.name, 30, match=lambda beat: beat.at >= since + 0.5)
        while True:
            now = analysis.rate(self.beats.between(beat.at - 0.5, beat.at, vm.name))
            fastest = max(fastest, now)
            if now >= rate:
                return
            assert beat.at < since + 30, f"{fastest:.0f} pages/s at best, and not {rate:.0f}"
            beat = self.beats.wait(vm.name, 30, after=beat.at + 0.25)

    def healthy(self, vm: Vm) -> None:
        """No wrong page, block or byte, and nothing bad on the console; all pages looked at."""
        before = self.beats.last(vm.name)
        pages = pages_of(vm.options.working_set)
        patience = 300 if vm.options.accel == "kvm" else 60  # the lab's hosts are emulated themselves
        self.beats.wait(vm.name, patience, match=lambda beat: beat.memory_errors > 0 or
                        beat.pages_verified - before.pages_verified >= pages)
        problems = analysis.problems(self.beats.between(0, time.monotonic()))
        problems += vm.console.corrupt_lines()
        assert not problems, problems

    def same_ram(self, source: Vm, destination: Vm) -> None:
        """Both are paused after a migration to a destination that was started with -S."""
        if not paths.is_drover(source.emulator):
            return
        vcpus = source.options.smp if source.options.accel == "kvm" else 0
        differences = ram.differences(source.pid, destination.pid, vcpus)
        assert not differences, differences

    def close(self) -> None:
        self._cleanup.close()

    def last_words(self) -> str:
        """What the emulators said on stderr, for a test that failed."""
        found = sorted(self.scratch.glob("*.stderr"))
        return "\n".join(f"{path.stem}: {line}" for path in found
                         for line in path.read_text(errors="replace").splitlines()[-5:])

    def _remove_scratch(self) -> None:
        """Logs go to the test's directory, sockets away."""
        for path in self.scratch.iterdir():
            if path.is_socket():
                path.unlink(missing_ok=True)  # a companion removes its guest's, a moment after it
            else:
                shutil.move(path, self.directory / path.name)
        self.scratch.rmdir()


def pages_of(size: str) -> int:
    return parse_size(size) // 4096

