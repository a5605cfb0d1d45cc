# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab: boots an emulated KVM host (QEMU emulates AMD SVM) and shows the tests that run in it;
or two of them, joined by two networks: a cluster; or a Xen host (xen_lab.py); or runs tests here, which boot KVM
hosts beside this machine: those of tests/lab/accelerators and network.

With --kernel 6.12 the KVM host has the kernel of Debian's backports, and the tests of tests/lab/newer run.

python3 -m drover_e2e.lab [cluster|xen|accelerators|network] [--kernel 6.12] [--short] [--filter TEXT] [--repeat N] [--moves N]
[--timeout SECONDS]"""

import argparse
import re
import socket
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

from . import kvm_machine, newer, paths, xen_lab
from .emulated_host import EmulatedHost, HostDied, machine_arguments
from .fleet import SINK
from .outer import MOVES_WORD
from .outer_machine import OuterMachine

HERE = ("accelerators", "network")  # the tests run on this machine, and boot the hosts that they need
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


def test_words(test_filter: str, repeat: int) -> str:
    """For the lab's init: what to run."""
    return f"lab.repeat={repeat}" + (f" lab.filter={test_filter}" if test_filter else "")


def host_command(kernel: Kernel, words: str, memory: int = 3072, devices: tuple[str, ...] = ()) -> list[str]:
    # A timer that ticks by itself: where each tick sets the next, one interrupt that is lost is the host's last.
    words = f"console=ttyS0 quiet panic=-1 nohz=off highres=off lapic=notscdeadline lab.suite={kernel.suite} {words}"
    return machine_arguments("qemu64,+svm,+npt,-cx16", memory,
                             ["-kernel", kernel.image, "-initrd", kernel.initrd, "-append", words], devices)


MEMORY_OF = {1: 640, 2: 1200}  # MiB: host 1 is to run out of it
SWAP_BYTES = 512 << 20


def swap_disk(file: Path) -> list[str]:
    """The host's /dev/vda, empty."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file, "wb") as disk:
        disk.truncate(SWAP_BYTES)
    return ["-drive", f"file={file},if=none,id=swap,format=raw,cache=unsafe",
            "-device", "virtio-blk-pci,drive=swap"]


def cluster_command(number: int, directory: Path, sink: int, words: str) -> list[str]:
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
    return host_command(debian_kernel(), words, MEMORY_OF[number], tuple(devices))


def start_kvm() -> tuple[EmulatedHost, int]:
    """A KVM host beside a Xen host (kvm_machine.py), once a test wants one."""
    build_kvm_host()
    return kvm_machine.start(host_command_of)


def host_command_of(words: str, memory: int, devices: tuple[str, ...]) -> list[str]:
    """Of a host with Debian's own kernel."""
    return host_command(debian_kernel(), words, memory, devices)


class Lab:
    """The tests, on as many hosts as it takes: what has passed on one that died stays passed."""

    def __init__(self, options):
        self._options = options
        self._kernel = newer_kernel() if options.kernel else debian_kernel()
        self._done: dict[str, str] = {}  # PASS or SKIP, by the test's name

    def words(self) -> str:
        words = test_words(self._options.filter, self._options.repeat) + (" lab.short" if self._options.short else "")
        words += f" {MOVES_WORD}={self._options.moves}" if self._options.moves else ""
        return f"{words} lab.done={','.join(self._done)}" if self._done else words

    def run_cluster(self) -> tuple[int, int, int]:
        """As run_host(), of host 1, while host 2 is there."""
        with tempfile.TemporaryDirectory(prefix="drover-lab-") as directory, \
                socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink:
            sink.bind(("127.0.0.1", 0))  # nobody reads: what overflows is dropped, and nobody is told
            port = sink.getsockname()[1]
            second = EmulatedHost(cluster_command(2, Path(directory), port, test_words("", 1)),
                                  paths.BUILD / "lab" / "console2.log")
            try:
                return self._watch(self._host(cluster_command(1, Path(directory), port, self.words())), second)
            finally:
                second.end()

    def run_host(self) -> tuple[int, int, int]:
        swap = swap_disk(paths.BUILD / "lab" / f"swap-{self._kernel.suite}")
        return self._watch(self._host(host_command(self._kernel, self.words(), devices=tuple(swap))))

    def run_xen(self) -> tuple[int, int, int]:
        with OuterMachine(paths.BUILD / "lab" / "outer", start_kvm=start_kvm) as outer:
            return self._watch(xen_lab.start(self.words(), outer))

    def _host(self, command: list[str]) -> EmulatedHost:
        return EmulatedHost(command, paths.BUILD / "lab" / self._kernel.console)

    def _watch(self, host: EmulatedHost, companion: EmulatedHost | None = None) -> tuple[int, int, int]:
        """Shows the results as they come. Without its companion a host is of no use."""
        tally = None
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


def build_kvm_host(*kernel: str) -> None:
    subprocess.run([str(paths.ROOT / "tests/lab/build-host"), str(paths.BUILD), *kernel], check=True)


def prepare(options) -> str | None:
    """Makes the host's parts; why they cannot be had, or None."""
    if options.what == "xen":
        reason = xen_lab.why_not()
        if not reason:
            xen_lab.build()
        return reason
    if not options.kernel:
        build_kvm_host()
    elif reason := newer.why_not("kernel"):
        return reason
    else:
        build_kvm_host("newer", str(paths.NEWER / "kernel"))
    return None


def run_here(options) -> int:
    """The tests that need no host but the one that they boot."""
    words = ["--filter", options.filter, "--repeat", str(options.repeat), "--second-chance"]
    return subprocess.run([sys.executable, "-m", "drover_e2e.runner", str(paths.ROOT / "tests/lab" / options.what), *words,
                           *(["--short"] if options.short else [])], check=False).returncode


def main() -> int:
    parser = argparse.ArgumentParser(prog="devtool lab")
    parser.add_argument("what", nargs="?", choices=["cluster", "xen", *HERE])
    parser.add_argument("--filter", default="")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--timeout", type=float, default=1500)
    parser.add_argument("--moves", type=int, help="how often a guest of xen/test_rows.py moves, instead of 20 times")
    parser.add_argument("--short", action="store_true", help="without what is thorough")
    parser.add_argument("--kernel", choices=["6.12"], help="of Debian's backports, instead of Debian's own")
    options = parser.parse_args()
    if reason := prepare(options):
        print(f"SKIP lab {options.what or f'under kernel {options.kernel}'}: {reason}\n0 passed, 0 failed, 1 skipped")
        return 0
    if options.what in HERE:
        return run_here(options)
    lab = Lab(options)
    runs = {"cluster": lab.run_cluster, "xen": lab.run_xen}
    passed, failed, skipped = run_hosts(runs.get(options.what, lab.run_host))
    print(f"{passed} passed, {failed} failed, {skipped} skipped", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
