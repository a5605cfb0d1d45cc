# SPDX-License-Identifier: GPL-2.0-or-later
"""The KVM lab: boots an emulated KVM host (QEMU emulates AMD SVM) and shows the tests that run in it;
or two of them, joined by two networks: a cluster.

python3 -m drover_e2e.lab [cluster] [--filter TEXT] [--repeat N] [--timeout SECONDS]"""

import argparse
import re
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from . import paths
from .fleet import SINK

_RESULT = re.compile(r"^(PASS|FAIL|SKIP) |^    ")
_TALLY = re.compile(r"^(\d+) passed, (\d+) failed, (\d+) skipped$")


def host_command(test_filter: str, repeat: int, memory: int = 3072, words: str = "",
                 devices: tuple[str, ...] = ()) -> list[str]:
    # One vCPU: with two, QEMU's emulation of SVM corrupts the host's kernel much more often.
    words = f"console=ttyS0 quiet panic=-1 lab.repeat={repeat} {words}"
    words += f" lab.filter={test_filter}" if test_filter else ""
    return [paths.QEMU, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
            "-M", "pc", "-accel", "tcg,thread=multi", "-cpu", "max,+svm,+npt", "-smp", "1",
            "-m", str(memory), "-kernel", paths.guest_file("vmlinuz"),
            "-initrd", str(paths.BUILD / "lab" / "initrd"), "-append", words, "-serial", "stdio",
            *devices]


MEMORY_OF = {1: 640, 2: 1200}  # MiB: host 1 is to run out of it
SWAP_BYTES = 512 << 20


def cluster_command(number: int, directory: Path, sink: int, test_filter: str, repeat: int) -> list[str]:
    """Host `number` of two. They see each other by datagrams over UNIX sockets, which need no order of
    starting; what their guests send goes out by another link, to this machine's UDP port `sink`."""
    swap = directory / f"swap{number}"
    with open(swap, "wb") as file:
        file.truncate(SWAP_BYTES)
    devices = ["-drive", f"file={swap},if=none,id=swap,format=raw,cache=unsafe",
               "-device", "virtio-blk-pci,drive=swap"]
    here, there = directory / f"moves{number}", directory / f"moves{3 - number}"
    links = {"moves": f"dgram,local.type=unix,local.path={here},remote.type=unix,remote.path={there}",
             "guests": f"user,net=10.80.0.0/16,host={SINK},restrict=off"}
    for index, (net, backend) in enumerate(links.items()):
        devices += ["-netdev", f"{backend},id={net}", "-device",
                    f"virtio-net-pci,netdev={net},mac=52:54:00:81:{index:02x}:{number:02x},romfile="]
    words = f"lab.cluster={number} lab.sink={sink}"
    return host_command(test_filter, repeat, MEMORY_OF[number], words, tuple(devices))


BOOT_S = 240.0  # usually 40


class HostDied(Exception):
    """The emulated host came to no end of its own."""


def run_cluster(test_filter: str, repeat: int, timeout: float) -> int:
    """As run_host(), of host 1, while host 2 is there."""
    with tempfile.TemporaryDirectory(prefix="drover-lab-") as directory, \
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink, \
            open(paths.BUILD / "lab" / "console2.log", "wb") as console:
        sink.bind(("127.0.0.1", 0))  # nobody reads: what overflows is dropped, and nobody is told
        first, second = (cluster_command(number, Path(directory), sink.getsockname()[1], words, times)
                         for number, words, times in ((1, test_filter, repeat), (2, "", 1)))
        companion = subprocess.Popen(second, stdin=subprocess.DEVNULL, stdout=console,
                                     stderr=subprocess.STDOUT)
        try:
            return run_host(first, timeout, companion)
        finally:
            companion.kill()
            companion.wait()


def die_together(companion: subprocess.Popen, host: subprocess.Popen) -> None:
    companion.wait()
    host.kill()


def run_host(command: list[str], timeout: float, companion: subprocess.Popen | None = None) -> int:
    """Shows the results as they come; 0 if no test failed. Without its companion it is of no use."""
    log = paths.BUILD / "lab" / "console.log"
    tally = None
    panicked = False
    with open(log, "w", encoding="utf-8", buffering=1) as console:
        host = subprocess.Popen(command, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                errors="replace")
        if companion:
            threading.Thread(target=die_together, args=(companion, host), daemon=True).start()
        limit = threading.Timer(timeout, host.kill)
        limit.start()
        boot_limit = threading.Timer(BOOT_S, host.kill)
        boot_limit.start()
        up = False
        for line in host.stdout:
            line = line.rstrip()
            console.write(line + "\n")
            panicked = panicked or "Kernel panic" in line
            if line.startswith("LAB HOST UP"):
                boot_limit.cancel()
                up = True
            if found := _TALLY.match(line):
                tally = found
            elif _RESULT.match(line):
                print(line, flush=True)
        code = host.wait()
        limit.cancel()
        boot_limit.cancel()
    if tally is None:
        how = ("its kernel panicked" if panicked else
               "the other host died" if companion and companion.poll() is not None else
               f"it was not up within {BOOT_S:.0f} s" if code < 0 and not up else
               f"it did not come to its end in {timeout:.0f} s" if code < 0 else
               f"it reset by itself (QEMU's exit code: {code})")
        raise HostDied(f"lab host: {how}; its console: {log}")
    print(tally.group(0), flush=True)
    return 1 if int(tally.group(2)) else 0


def run_hosts(run) -> int:
    """QEMU's emulation of nested SVM corrupts the host's kernel now and then: that is nobody's
    failure but the emulation's, and another host gets a chance. A test that fails does not."""
    for last in (False, False, True):
        try:
            return run()
        except HostDied as died:
            print(f"FAIL {died}" if last else f"AGAIN {died}; another one is tried", flush=True)
    print("0 passed, 1 failed, 0 skipped")
    return 1


def main() -> int:
    parser = argparse.ArgumentParser(prog="devtool lab")
    parser.add_argument("what", nargs="?", choices=["cluster"])
    parser.add_argument("--filter", default="")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--timeout", type=float, default=1500)
    options = parser.parse_args()
    subprocess.run([str(paths.ROOT / "tests/lab/build-host"), str(paths.BUILD)], check=True)
    if options.what == "cluster":
        return run_hosts(lambda: run_cluster(options.filter, options.repeat, options.timeout))
    command = host_command(options.filter, options.repeat)
    return run_hosts(lambda: run_host(command, options.timeout))


if __name__ == "__main__":
    sys.exit(main())
