# SPDX-License-Identifier: GPL-2.0-or-later
"""The KVM lab: boots an emulated KVM host (QEMU emulates AMD SVM) and shows the tests that run in it;
or two of them, joined by two networks: a cluster.

With --kernel 6.12 the host has the kernel of Debian's backports, and the tests of tests/lab/newer run.

python3 -m drover_e2e.lab [cluster] [--kernel 6.12] [--filter TEXT] [--repeat N] [--timeout SECONDS]"""

import argparse
import re
import socket
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

from . import newer, paths
from .fleet import SINK

_RESULT = re.compile(r"^(PASS|FAIL|SKIP) |^    |^failed: ")
_TALLY = re.compile(r"^(\d+) passed, (\d+) failed, (\d+) skipped$")


@dataclass(frozen=True)
class Kernel:
    """What an emulated host runs: its image, the root file system with its modules, the tests for it."""

    image: str
    initrd: str
    suite: str
    console: str


def debian_kernel() -> Kernel:
    return Kernel(paths.guest_file("vmlinuz"), str(paths.BUILD / "lab" / "initrd"), "inside", "console.log")


def newer_kernel() -> Kernel:
    return Kernel(str(paths.NEWER / "kernel" / "vmlinuz"), str(paths.BUILD / "lab" / "initrd-newer"), "newer",
                  "console-newer.log")


def host_command(kernel: Kernel, test_filter: str, repeat: int, memory: int = 3072, words: str = "",
                 devices: tuple[str, ...] = ()) -> list[str]:
    # One vCPU: with two, QEMU's emulation of SVM corrupts the host's kernel much more often. A timer that
    # ticks by itself: where each tick sets the next, one interrupt that is lost is the host's last.
    words = f"console=ttyS0 quiet panic=-1 nohz=off highres=off lapic=notscdeadline lab.repeat={repeat} lab.suite={kernel.suite} {words}"
    words += f" lab.filter={test_filter}" if test_filter else ""
    return [paths.QEMU, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
            "-M", "pc", "-accel", "tcg,thread=multi", "-cpu", "qemu64,+svm,+npt,-cx16", "-smp", "1",
            "-m", str(memory), "-kernel", kernel.image, "-initrd", kernel.initrd, "-append", words, "-serial", "stdio",
            *devices]


MEMORY_OF = {1: 640, 2: 1200}  # MiB: host 1 is to run out of it
SWAP_BYTES = 512 << 20


def swap_disk(file: Path) -> list[str]:
    """The host's /dev/vda, empty."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file, "wb") as disk:
        disk.truncate(SWAP_BYTES)
    return ["-drive", f"file={file},if=none,id=swap,format=raw,cache=unsafe",
            "-device", "virtio-blk-pci,drive=swap"]


def cluster_command(number: int, directory: Path, sink: int, test_filter: str, repeat: int,
                    words: str = "") -> list[str]:
    """Host `number` of two. They see each other by datagrams over UNIX sockets, which need no order of
    starting; what their guests send goes out by another link, to this machine's UDP port `sink`."""
    devices = swap_disk(directory / f"swap{number}")
    here, there = directory / f"moves{number}", directory / f"moves{3 - number}"
    links = {"moves": f"dgram,local.type=unix,local.path={here},remote.type=unix,remote.path={there}",
             "guests": f"user,net=10.80.0.0/16,host={SINK},restrict=off"}
    for index, (net, backend) in enumerate(links.items()):
        devices += ["-netdev", f"{backend},id={net}", "-device",
                    f"virtio-net-pci,netdev={net},mac=52:54:00:81:{index:02x}:{number:02x},romfile="]
    words = f"lab.cluster={number} lab.sink={sink} {words}"
    return host_command(debian_kernel(), test_filter, repeat, MEMORY_OF[number], words, tuple(devices))


SILENT_S = 120.0  # a host says each ten seconds that it lives; its boot usually takes 40


class HostDied(Exception):
    """The emulated host came to no end of its own."""


class EmulatedHost:
    """Its console, line by line. QEMU's emulation of nested SVM now and then corrupts the host's kernel,
    or loses its timer, and then it sleeps for ever: a host that is silent is killed."""

    def __init__(self, command: list[str], log: Path):
        self.log = log
        self.panicked = self.was_silent = False
        self._limit = threading.Timer(0, lambda: None)
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, text=True, errors="replace")

    def lines(self):
        with open(self.log, "w", encoding="utf-8", buffering=1) as console:
            self._wait()
            for line in self.process.stdout:
                self._wait()
                self.panicked = self.panicked or "Kernel panic" in line
                if line.startswith("LAB HOST ALIVE"):
                    continue
                console.write(line)
                yield line.rstrip()
        self._limit.cancel()
        self.process.wait()

    def _wait(self) -> None:
        self._limit.cancel()
        self._limit = threading.Timer(SILENT_S, self._give_up)
        self._limit.daemon = True
        self._limit.start()

    def _give_up(self) -> None:
        self.was_silent = True
        self.process.kill()

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self._limit.cancel()

    def how_it_died(self) -> str:
        if self.panicked:
            return "its kernel panicked"
        if self.was_silent:
            return f"it was silent for {SILENT_S:.0f} s"
        return f"it reset by itself, or was killed (QEMU's exit code: {self.process.returncode})"


class Lab:
    """The tests, on as many hosts as it takes: what has passed on one that died stays passed."""

    def __init__(self, options):
        self._options = options
        self._kernel = newer_kernel() if options.kernel else debian_kernel()
        self._done: dict[str, str] = {}  # PASS or SKIP, by the test's name

    def words(self) -> str:
        return f"lab.done={','.join(self._done)}" if self._done else ""

    def run_cluster(self) -> tuple[int, int, int]:
        """As run_host(), of host 1, while host 2 is there."""
        options = self._options
        with tempfile.TemporaryDirectory(prefix="drover-lab-") as directory, \
                socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink:
            sink.bind(("127.0.0.1", 0))  # nobody reads: what overflows is dropped, and nobody is told
            port = sink.getsockname()[1]
            second = EmulatedHost(cluster_command(2, Path(directory), port, "", 1),
                                  paths.BUILD / "lab" / "console2.log")
            try:
                return self._watch(cluster_command(1, Path(directory), port, options.filter,
                                                   options.repeat, self.words()), second)
            finally:
                second.end()

    def run_host(self) -> tuple[int, int, int]:
        swap = swap_disk(paths.BUILD / "lab" / f"swap-{self._kernel.suite}")
        return self._watch(host_command(self._kernel, self._options.filter, self._options.repeat,
                                        words=self.words(), devices=tuple(swap)))

    def _watch(self, command: list[str], companion: EmulatedHost | None = None) -> tuple[int, int, int]:
        """Shows the results as they come. Without its companion a host is of no use."""
        tally = None
        host = EmulatedHost(command, paths.BUILD / "lab" / self._kernel.console)
        if companion:
            def drain() -> None:
                for _ in companion.lines():
                    pass
                host.process.kill()

            threading.Thread(target=drain, daemon=True).start()
        before = list(self._done.values())
        limit = threading.Timer(self._options.timeout, host.process.kill)
        limit.start()
        for line in host.lines():
            if found := _TALLY.match(line):
                tally = tuple(int(number) for number in found.groups())
            elif found := _RESULT.match(line):
                print(line, flush=True)
                if found.group(1) in ("PASS", "SKIP"):
                    self._done[line.split()[1]] = found.group(1)
        limit.cancel()
        if tally is None:
            died = companion if companion and companion.process.poll() is not None else host
            raise HostDied(f"lab host: {died.how_it_died()}; its console: {died.log}")
        return tally[0] + before.count("PASS"), tally[1], tally[2] + before.count("SKIP")


def run_hosts(run) -> tuple[int, int, int]:
    """A host that dies is nobody's failure but the emulation's, and another one gets a chance. A test
    that fails does not."""
    for last in (False, False, False, True):
        try:
            return run()
        except HostDied as died:
            print(f"FAIL {died}" if last else f"AGAIN {died}; another one is tried", flush=True)
    return 0, 1, 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="devtool lab")
    parser.add_argument("what", nargs="?", choices=["cluster"])
    parser.add_argument("--filter", default="")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--timeout", type=float, default=1500)
    parser.add_argument("--kernel", choices=["6.12"], help="of Debian's backports, instead of Debian's own")
    options = parser.parse_args()
    parts = [str(paths.BUILD)]
    if options.kernel:
        if reason := newer.why_not("kernel"):
            print(f"SKIP lab under kernel {options.kernel}: {reason}\n0 passed, 0 failed, 1 skipped")
            return 0
        parts.append(str(paths.NEWER / "kernel"))
    subprocess.run([str(paths.ROOT / "tests/lab/build-host"), *parts], check=True)
    lab = Lab(options)
    passed, failed, skipped = run_hosts(lab.run_cluster if options.what == "cluster" else lab.run_host)
    print(f"{passed} passed, {failed} failed, {skipped} skipped", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
