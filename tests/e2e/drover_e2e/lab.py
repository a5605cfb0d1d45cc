# SPDX-License-Identifier: GPL-2.0-or-later
"""The KVM lab: boots an emulated KVM host (QEMU emulates AMD SVM) and shows the tests that run in it.

python3 -m drover_e2e.lab [--filter TEXT] [--repeat N] [--timeout SECONDS]"""

import argparse
import re
import subprocess
import sys
import threading

from . import paths

_RESULT = re.compile(r"^(PASS|FAIL|SKIP) |^    ")
_TALLY = re.compile(r"^(\d+) passed, (\d+) failed, (\d+) skipped$")


def host_command(test_filter: str, repeat: int) -> list[str]:
    words = f"console=ttyS0 quiet panic=-1 lab.repeat={repeat}"
    words += f" lab.filter={test_filter}" if test_filter else ""
    return [paths.QEMU, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
            "-M", "pc", "-accel", "tcg,thread=multi", "-cpu", "max,+svm,+npt", "-smp", "2",
            "-m", "3072", "-kernel", paths.guest_file("vmlinuz"),
            "-initrd", str(paths.BUILD / "lab" / "initrd"), "-append", words, "-serial", "stdio"]


BOOT_S = 240.0  # usually 40


class HostDied(Exception):
    """The emulated host came to no end of its own."""


def run_host(test_filter: str, repeat: int, timeout: float) -> int:
    """Shows the results as they come; 0 if no test failed."""
    log = paths.BUILD / "lab" / "console.log"
    tally = None
    panicked = False
    with open(log, "w", encoding="utf-8") as console:
        host = subprocess.Popen(host_command(test_filter, repeat), stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                errors="replace")
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
               f"it was not up within {BOOT_S:.0f} s" if code < 0 and not up else
               f"it did not come to its end in {timeout:.0f} s" if code < 0 else
               f"it reset by itself (QEMU's exit code: {code})")
        raise HostDied(f"lab host: {how}; its console: {log}")
    print(tally.group(0), flush=True)
    return 1 if int(tally.group(2)) else 0


def run_hosts(test_filter: str, repeat: int, timeout: float) -> int:
    """QEMU's emulation of nested SVM corrupts the host's kernel now and then: that is nobody's
    failure but the emulation's, and another host gets a chance. A test that fails does not."""
    for last in (False, False, True):
        try:
            return run_host(test_filter, repeat, timeout)
        except HostDied as died:
            print(f"FAIL {died}" if last else f"AGAIN {died}; another one is tried", flush=True)
    print("0 passed, 1 failed, 0 skipped")
    return 1


def main() -> int:
    parser = argparse.ArgumentParser(prog="devtool lab")
    parser.add_argument("--filter", default="")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--timeout", type=float, default=1500)
    options = parser.parse_args()
    subprocess.run([str(paths.ROOT / "tests/lab/build-host"), str(paths.BUILD)], check=True)
    return run_hosts(options.filter, options.repeat, options.timeout)


if __name__ == "__main__":
    sys.exit(main())
