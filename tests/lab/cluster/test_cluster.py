# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs on host 1 of the cluster lab: two hosts with real KVM, real swap and real links, TLS between
them, one balancer. Each kind of hotspot is made for real, and must be found, resolved and told."""

import json
import socket
import subprocess
import time
from pathlib import Path

from drover_e2e.cluster_host import CERTS, END_PORT, PORT, RUN, create, end_guests, sink_port
from drover_e2e.fleet import SINK, Control, Daemon, Guest
from drover_e2e.net import Namespace
from drover_e2e.qmp import Qmp
from drover_e2e.runner import test

LIMIT = 400  # seconds; the hosts are emulated, and slow


class Balancer:
    """Over both hosts, with a journal of its own, so that no test knows of the one before."""

    def __init__(self, directory: Path, thresholds: str):
        state = Path("/tmp") / f"balancer-{time.monotonic_ns()}"
        state.mkdir()
        self.address = f"unix:{state}/balancer.sock"
        config = state / "fleet.toml"
        config.write_text(f"""[balancer]
mode = "automatic"
socket = "{state}/balancer.sock"
state-dir = "{state}"
tls = {{ ca = "{CERTS}/ca.crt", cert = "{CERTS}/balancer.crt", key = "{CERTS}/balancer.key" }}
{thresholds}
[[host]]
name = "h1"
address = "unix:{RUN}/droverd.sock"
[[host]]
name = "h2"
address = "tls:10.81.0.12:{PORT}"
""", encoding="ascii")
        self.daemon = Daemon("drover-balancer", ["--config", str(config)], directory / "balancer.log",
                             Namespace.host(), state / "balancer.sock")
        self.qmp = Qmp.connect(state / "balancer.sock")

    def drover(self, *words: str) -> str:
        return subprocess.run(["drover", *words, "--balancer", self.address], check=True,
                              capture_output=True, text=True).stdout

    def close(self) -> None:
        self.daemon.stop()


def boot(case, names: list[str], memory: str = "96M", expected: int = 0) -> dict[str, Control]:
    controls = {}
    for number, name in enumerate(names):
        create(Guest(name, f"10.80.1.{10 + number}", memory=memory, accel="kvm",
                     expected_bandwidth=expected if number == 0 else 0))
        controls[name] = case.keep(Control(RUN / "run" / name / "control.sock"))
    for control in controls.values():
        control.ready(240)
    return controls


def resolved(balancer: Balancer, names: list[str], kind: str, start: float) -> str:
    """Waits until a hotspot of this kind was found on h1, a guest was moved and all is over; the report's
    line. `start` is on the wall clock, as a hotspot's "since" is."""
    qmp, spot, found, moved, told = balancer.qmp, None, 0.0, None, ""
    while time.time() - start < LIMIT:
        spots = [h for h in qmp.execute("query-hotspots") if h["host"] == "h1"]
        if spot is None and (spot := next((h for h in spots if h["kind"] == kind), None)):
            found = time.time()
            told = balancer.drover("explain", str(spot["id"]))
        if moved is None and any(vm["host"] == "h2" and vm["name"] in names
                                 for vm in qmp.execute("query-vms")):
            moved = time.time()
        if moved is not None and spot is not None and not spots:
            since = spot["since"]
            return (f"appeared {since - start:.0f} s after the load began; {found - since:.0f} s later found, "
                    f"{moved - since:.0f} s moved, {time.time() - since:.0f} s over; {told.splitlines()[0]}")
        time.sleep(1)  # the balancer's own pace
    plan = json.dumps(qmp.execute("query-plan"))[:1500]
    raise AssertionError(f"{kind}: hotspot {spot}, moved {moved}; {plan}; {balancer.drover('hosts')}")


def clean_up(balancer: Balancer) -> None:
    """All guests end, on both hosts: the next test finds them as they were. None is ended on its way: a
    second move may have begun in the same second in which all was found over."""
    balancer.drover("mode", "off")
    end = time.time() + LIMIT
    while balancer.qmp.execute("query-migrations") and time.time() < end:
        time.sleep(1)  # the balancer's own pace
    balancer.close()
    end_guests()
    with socket.create_connection(("10.81.0.12", END_PORT), 60) as other:
        other.recv(1)


def run(case, names: list[str], kind: str, drive, thresholds: str = 'persistence = "3s"', **guest) -> None:
    controls = boot(case, names, **guest)
    balancer = Balancer(case.directory, thresholds and f"[thresholds]\n{thresholds}")
    try:
        start = time.time()
        for control in controls.values():
            drive(control)
            control.tell(f"end {LIMIT}")
        print(f"TOLD {kind}: {resolved(balancer, names, kind, start)}")
    finally:
        clean_up(balancer)


@test(timeout=900)
def test_vcpus_that_burn(case):
    """All as delivered: the others are judged sooner, since a lab's host is slow."""
    run(case, ["cpu1", "cpu2"], "host-cpu", lambda control: control.tell("cpu 65"), thresholds="")


@test(timeout=900)
def test_a_link_that_is_full(case):
    run(case, ["net1", "net2"], "vm-bandwidth",
        lambda control: control.tell(f"net {SINK}:{sink_port()} 120000"), expected=110_000)


@test(timeout=900)
def test_a_host_that_swaps_out(case):
    """Page faults under emulated KVM cost so much processor time that this would be found first."""
    run(case, ["mem1", "mem2"], "host-swap", lambda control: control.tell(f"memory {110 << 20} {5 << 20}"),
        thresholds='persistence = "3s"\ncpu = 1.0', memory="208M")
