# SPDX-License-Identifier: GPL-2.0-or-later
"""What runs on an emulated host of the cluster lab, as process 1: network, swap, droverd and, on host 1, the
tests.

python3 -m drover_e2e.cluster_host NUMBER [ARGUMENT OF THE RUNNER…]"""

import os
import socket
import subprocess
import sys
from pathlib import Path

from . import paths
from .fleet import Daemon, Guest
from .net import Namespace
from .qmp import Qmp

CERTS = Path("/drover/certs")
RUN = Path("/run/drover")
UPLINK = 180_000  # bytes/s: a guest under emulated KVM sends no more without using up its host's CPU
PORT = 9700
END_PORT = 9699  # who connects there ends the guests of a host other than the first


def sh(*words: str) -> None:
    subprocess.run(words, check=True)


def set_up_network(number: int) -> None:
    """eth0: control and migrations. eth1: what guests send, limited, with a millisecond of delay."""
    sh("ip", "addr", "add", f"10.81.0.1{number}/24", "dev", "eth0")
    sh("ip", "link", "set", "eth0", "up")
    sh("ip", "link", "add", "br0", "type", "bridge", "stp_state", "0", "forward_delay", "0")
    sh("ip", "link", "set", "eth1", "master", "br0", "up")
    sh("ip", "link", "set", "br0", "up")
    sh("tc", "qdisc", "add", "dev", "eth1", "root", "handle", "1:", "tbf", "rate", f"{UPLINK * 8}bit",
       "burst", "32kb", "latency", "50ms")
    sh("tc", "qdisc", "add", "dev", "eth0", "root", "netem", "delay", "1ms")


def sink_port() -> int:
    """Where guests send to at SINK, which is the machine that emulates us."""
    words = Path("/proc/cmdline").read_text(encoding="ascii").split()
    return next(int(word.removeprefix("lab.sink=")) for word in words if word.startswith("lab.sink="))


def set_up_swap() -> None:
    sh("mkswap", "/dev/vda")
    sh("swapon", "/dev/vda")


def start_droverd(number: int) -> Daemon:
    RUN.mkdir(parents=True, exist_ok=True)
    config = RUN / "droverd.toml"
    config.write_text(f"""name = "h{number}"
state-directory = "{RUN}"
socket = "{RUN}/droverd.sock"
listen = "tls:10.81.0.1{number}:{PORT}"
[tls]
ca = "{CERTS}/ca.crt"
certificate = "{CERTS}/h{number}.crt"
key = "{CERTS}/h{number}.key"
[migration]
address = "10.81.0.1{number}"
tls = false # an emulated processor has no instructions for it; tests/e2e/test_droverd.py moves inside TLS
[definitions]
directories = ["{Path(paths.guest_file('vmlinuz')).parent}"]
[[nic]]
name = "eth1"
capacity = {UPLINK}
""", encoding="ascii")
    return Daemon("droverd", ["--config", str(config)], RUN / "droverd.log", Namespace.host(),
                  RUN / "droverd.sock")


def create(guest: Guest) -> None:
    path = RUN / f"{guest.name}.toml"
    path.write_text(guest.vm_file(), encoding="utf-8")
    Qmp.connect(RUN / "droverd.sock").execute("vm-create", timeout=240, file=str(path))


def end_guests() -> None:
    """All that this host's droverd has."""
    local = Qmp.connect(RUN / "droverd.sock")
    for vm in local.execute("query-vms"):
        if vm["state"] == "shut-off":
            local.execute("vm-forget", name=vm["name"])
        else:
            local.execute("vm-end", name=vm["name"], force=True)


def run_host(number: int, arguments: list[str]) -> None:
    set_up_network(number)
    set_up_swap()
    start_droverd(number)
    print("LAB HOST UP", flush=True)
    if number == 1:
        sh("python3", "-m", "drover_e2e.runner", "/drover/tests/cluster", *arguments)
        return
    listener = socket.create_server((f"10.81.0.1{number}", END_PORT))
    while True:  # until the lab ends us
        caller, _ = listener.accept()
        end_guests()
        caller.close()


def main() -> None:
    try:
        run_host(int(sys.argv[1]), sys.argv[2:])
    except BaseException as error:  # process 1 must not end before the power is off
        log = RUN / "droverd.log"
        print(f"LAB HOST FAILED: {error!r}", log.read_text()[-2000:] if log.exists() else "", flush=True)
    print("LAB HOST DONE", flush=True)
    subprocess.run(["poweroff", "-f"], check=False)
    os._exit(0)


if __name__ == "__main__":
    main()
