# SPDX-License-Identifier: GPL-2.0-or-later
"""The balancer over real droverds and real guests: each kind of hotspot, its modes, what is asked of it by
hand, and what happens when daemons die."""

import io
import json
import os
import time
from pathlib import Path

from drover_e2e import demo, faults, net, paths, swap
from drover_e2e.case import Skip
from drover_e2e.fleet import Fleet, Guest, Slice
from drover_e2e.qmp import QmpError
from drover_e2e.runner import test


def need_namespaces() -> None:
    if reason := net.why_not():
        raise Skip(reason)


def fleet_with(case, guests: list[tuple[str, str]], mode: str = "recommend", hosts: int = 2,
               more: str = "", cores: float = 1.2) -> Fleet:
    need_namespaces()
    fleet = case.keep(Fleet(hosts, Slice(cores=cores, link=50_000_000), mode=mode, more=more))
    controls = []
    for number, (name, host) in enumerate(guests):
        fleet.hosts[host].create(Guest(name, f"10.80.1.{10 + number}", memory="96M"))
        controls.append(fleet.hosts[host].control(name))
    for control in controls:
        control.ready(120).close()
    fleet.start_balancer()
    return fleet


def wait_for(what, limit: float = 60):
    """Looks each fifth of a second: other processes' states make no events for us."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        if value := what():
            return value
        time.sleep(0.2)
    raise TimeoutError("it did not come to pass")


def up(fleet: Fleet, vms: int) -> None:
    wait_for(lambda: len(fleet.qmp.execute("query-vms")) == vms
             and all(host["state"] == "up" and host.get("load", {}).get("cores")
                     for host in fleet.qmp.execute("query-hosts")))


def migrate(fleet: Fleet, vm: str, host: str) -> str:
    """As soon as the balancer has heard enough of the hosts to dare it; the migration's ID."""
    def begun():
        try:
            return fleet.drover("migrate", vm, host, "--json")
        except RuntimeError as error:
            assert "nothing was heard" in str(error), error
            return None
    return json.loads(wait_for(begun, 10))["id"]


def is_quiet(fleet: Fleet) -> bool:
    """No migration is open."""
    return all(move["state"] == "closed" for move in fleet.qmp.execute("query-migrations"))


def runs_on(fleet: Fleet, name: str, host: str, limit: float = 60) -> None:
    wait_for(lambda: fleet.where(name) == [host], limit)
    path = fleet.hosts[host].directory / "run" / name / "control.sock"
    assert fleet.hosts[host].control(name).tell("status").endswith("errors 0"), path


@test(timeout=240, alone=True, hotspot=["bandwidth", "swap"])  # cpu: test_demo.py, on a terminal
def test_a_hotspot_is_resolved(case, hotspot):
    need_namespaces()
    scenario = demo.SCENARIOS[hotspot]
    with swap.file_if(scenario.needs_swap) as why:
        if why:
            raise Skip(f"no swap here: {why}; the cluster lab has some")
        out = io.StringIO()
        story, failed = demo.run(scenario, 2, out, persistence=3)
        print(out.getvalue())
        assert not failed, out.getvalue()
        assert scenario.kind in story.kinds, story
        assert story.source == "h1" and story.target == "h2", story
        assert story.cooled < 60, story  # 20 are wanted, and reached on a quiet machine: docs/balancer.md
        assert story.cause and story.why
        assert 0 < story.downtime < 10, story


@test(timeout=180)
def test_recommended_moves_wait_for_approval(case):
    fleet = fleet_with(case, [("web1", "h1"), ("web2", "h1")], cores=0.8)
    up(fleet, 2)
    for name in ("web1", "web2"):
        fleet.hosts["h1"].control(name).tell("cpu 50")
    moves = wait_for(lambda: fleet.qmp.execute("query-plan").get("moves"), 40)
    assert fleet.where("web1") == ["h1"] and fleet.where("web2") == ["h1"], "nobody approved"
    told = fleet.drover("plan")
    assert moves[0]["vm"] in told

    def approved():  # of the plan as it is: the next round may have made another one meanwhile
        for move in fleet.qmp.execute("query-plan").get("moves", []):
            try:
                fleet.drover("approve", str(move["id"]))
                return move
            except RuntimeError as error:
                assert "not in the plan any more" in str(error), error
        return None
    runs_on(fleet, wait_for(approved)["vm"], "h2")


@test(timeout=180)
def test_a_move_by_hand_and_its_history(case):
    fleet = fleet_with(case, [("web1", "h1")], mode="off")
    up(fleet, 1)
    migrate(fleet, "web1", "h2")
    runs_on(fleet, "web1", "h2")
    wait_for(lambda: is_quiet(fleet))
    history = json.loads(fleet.drover("history", "--json"))
    assert any(entry["vm"] == "web1" and entry["to"] == "h2" for entry in history), history
    for words in (["hosts"], ["vms"], ["plan"], ["top", "--once"], ["history"]):
        assert fleet.drover(*words).strip(), words
        json.loads(fleet.drover(*words, "--json"))


def as_delivered() -> str:
    """The configuration that is shipped, without what names a machine: its doors and its hosts."""
    text = (paths.ROOT / "docs/examples/fleet.toml").read_text(encoding="utf-8")
    return text[text.index("[thresholds]"):text.index("[[host]]")]


def watch(fleet: Fleet, host: str, seconds: float) -> list[float]:
    """How full the host's processors are, sample by sample, while its own clock goes on so far."""
    samples = {}

    def is_over():
        load = next(h for h in fleet.qmp.execute("query-hosts") if h["name"] == host)["load"]
        samples[load["time"]] = (load["cpu-busy"] + load["cpu-steal"]) / load["cores"]
        return max(samples) - min(samples) >= seconds
    wait_for(is_over, 60 + 2 * seconds)
    return list(samples.values())


@test(timeout=400, alone=True)
def test_as_delivered(case):
    """With the thresholds and limits that are shipped a burst moves nobody, and a load that lasts does."""
    fleet = fleet_with(case, [("web1", "h1"), ("web2", "h1")], cores=0.8, more=as_delivered())
    up(fleet, 2)
    fleet.drover("mode", "automatic")
    controls = [fleet.hosts["h1"].control(name) for name in ("web1", "web2")]
    watch(fleet, "h1", 10)
    for control in controls:
        control.tell("cpu 60")
    burst = watch(fleet, "h1", 4)
    for control in controls:
        control.tell("cpu 0")
    assert max(burst) > 0.85, burst
    watch(fleet, "h1", 20)
    assert not any(entry["what"] == "migration" for entry in fleet.qmp.execute("query-history"))
    assert fleet.where("web1") == ["h1"] and fleet.where("web2") == ["h1"]
    for control in controls:
        control.tell("cpu 60")
    wait_for(lambda: len(fleet.qmp.execute("query-vms")) == 2
             and sorted(fleet.where("web1") + fleet.where("web2")) == ["h1", "h2"], 150)


@test(timeout=240, kind=["drover", "qemu"])
def test_our_own_migration_is_no_load(case, kind):
    """It fills the links of both hosts for much longer than a hotspot takes, and nobody moves for that."""
    need_namespaces()
    fleet = case.keep(Fleet(3, Slice(cores=2, link=3_000_000, shared_link=True),
                            more='[thresholds]\nbandwidth = "60%"\npersistence = "3s"'))
    fleet.hosts["h1"].create(Guest("web1", "10.80.1.10", memory="96M", kind=kind))
    fleet.hosts["h1"].create(Guest("web2", "10.80.1.11", memory="96M", kind=kind))
    for name in ("web1", "web2"):
        control = fleet.hosts["h1"].control(name).ready(120)
        control.tell("net 10.80.0.1:9 300000")
        control.close()
    fleet.start_balancer()
    up(fleet, 2)
    migrate(fleet, "web1", "h2")
    shares: dict[str, dict[float, float]] = {"h1": {}, "h2": {}}  # by host and time

    def is_over():
        for host in fleet.qmp.execute("query-hosts"):
            load = host.get("load", {})
            if host["name"] in shares and load.get("nics"):
                nic = load["nics"][0]
                shares[host["name"]][load["time"]] = max(nic["rx"], nic["tx"]) / nic["capacity"]
        spots = [spot["cause"] for spot in fleet.qmp.execute("query-hotspots")
                 if spot["kind"] == "host-bandwidth"]
        assert not spots, spots
        return is_quiet(fleet)

    wait_for(is_over, 120)
    for host, seen in shares.items():
        full = [share for share in seen.values() if share > 0.6]
        assert len(full) >= 6, f"the link of {host} was never full, this proves nothing: {sorted(seen.values())}"
    assert fleet.where("web1") == ["h2"] and fleet.where("web2") == ["h1"]


@test(timeout=180)
def test_a_full_network_beside_an_idle_one(case):
    """Each network is judged by itself: the sum of both would be far from full."""
    need_namespaces()
    fleet = case.keep(Fleet(2, Slice(cores=2, link=2_000_000, idle_link=125_000_000), mode="recommend"))
    fleet.hosts["h1"].create(Guest("web1", "10.80.1.10", memory="96M"))
    control = fleet.hosts["h1"].control("web1").ready(120)
    fleet.start_balancer()
    up(fleet, 1)
    control.tell("net 10.80.0.1:9 4000000")
    spot = wait_for(lambda: [spot for spot in fleet.qmp.execute("query-hotspots")
                             if spot["kind"] == "host-bandwidth"], 60)[0]
    assert spot["host"] == "h1" and spot["threshold"] < 2_000_000, spot
    load = fleet.hosts["h1"].qmp.execute("query-load")
    assert load["host"]["migration-nic"] == "moves", load["host"]
    assert load["vms"][0]["nics"][0]["uplink"] == "uplink", load["vms"]
    control.close()


@test(timeout=180)
def test_what_would_happen(case):
    """Asked of the balancer: whether a VM can go, and which CPU guests can have on all hosts. Nothing comes of it."""
    fleet = fleet_with(case, [("vm1", "h1")])
    up(fleet, 1)
    told = json.loads(fleet.drover("check-migration", "vm1", "h2", "--json"))
    assert told["can-go"] and told["state-form"] == "own" and not told["blocks"], told
    wait_for(lambda: not fleet.hosts["h2"].qmp.execute("query-vms"), 30)
    runs_on(fleet, "vm1", "h1")
    try:
        fleet.drover("check-migration", "vm1", "h1")
        raise AssertionError("it is there already")
    except RuntimeError as error:
        assert "already" in str(error), error
    assert fleet.drover("cpu-baseline", "h1", "h2").startswith("-cpu "), fleet.drover("cpu-baseline", "h1", "h2")


@test(timeout=180)
def test_a_move_is_cancelled(case):
    fleet = fleet_with(case, [("web1", "h1")], mode="off")
    up(fleet, 1)
    move = migrate(fleet, "web1", "h2")
    fleet.drover("cancel", move)  # its target needs a moment to make ready
    wait_for(lambda: is_quiet(fleet))
    assert fleet.where("web1") == ["h1"]
    assert "cancelled" in fleet.drover("explain", move)


@test(timeout=240)
def test_evacuation(case):
    fleet = fleet_with(case, [("web1", "h1"), ("web2", "h1")], mode="off")
    up(fleet, 2)
    fleet.drover("evacuate", "h1")
    for name in ("web1", "web2"):
        runs_on(fleet, name, "h2", 90)


@test(timeout=240, victim=["balancer", "source", "target", "all"])
def test_a_death_in_mid_migration(case, victim):
    fleet = fleet_with(case, [("web1", "h1")], mode="off", more='[limits]\nmigration-bandwidth = "8MB/s"')
    up(fleet, 1)
    migrate(fleet, "web1", "h2")
    wait_for(lambda: any(m.get("status") == "active" for m in fleet.qmp.execute("query-migrations")))
    if victim in ("balancer", "all"):
        fleet.balancer.kill()
    for host in ("h1", "h2"):
        if victim == "all" or victim == {"h1": "source", "h2": "target"}[host]:
            fleet.hosts[host].kill()
            fleet.hosts[host].start()
    if victim in ("balancer", "all"):
        fleet.start_balancer()
    runs_on(fleet, "web1", "h2", 90)
    wait_for(lambda: all(m["state"] == "closed" for m in fleet.qmp.execute("query-migrations")))
    wait_for(lambda: not fleet.hosts["h1"].qmp.execute("query-vms"))


SLOW = '[limits]\nmigration-bandwidth = "2MB/s"'


def begin_slowly(case) -> tuple[Fleet, str]:
    """A fleet in which a migration from h1 to h2 is on its way, and its ID."""
    fleet = fleet_with(case, [("web1", "h1")], mode="off", more=SLOW)
    up(fleet, 1)
    move = migrate(fleet, "web1", "h2")
    wait_for(lambda: any(m.get("status") == "active" for m in fleet.qmp.execute("query-migrations")))
    return fleet, move


def seen_by(fleet: Fleet):
    """Another balancer, which sees a migration that it does not know."""
    other = fleet.start_other_balancer()
    wait_for(lambda: other.qmp.execute("query-status")["foreign-migrations"] == 1)
    return other


@test(timeout=240, first=["alive", "dead"])  # dead: the other one has lost the journal
def test_a_balancer_leaves_what_it_does_not_know_alone(case, first):
    fleet, move = begin_slowly(case)
    if first == "dead":
        fleet.balancer.kill()
    other = seen_by(fleet)
    assert other.qmp.execute("query-migrations") == []
    for minutes in (2, 4):
        other.clock.pass_by(minutes * 60)
    try:
        fleet.hosts["h2"].qmp.execute("vm-abandon", migration=move)
        raise AssertionError("somebody else ended it")
    except QmpError as error:
        assert "another balancer's" in str(error), error
    runs_on(fleet, "web1", "h2", 120)


@test(timeout=240)
def test_an_operator_ends_what_the_balancer_does_not_know(case):
    fleet, move = begin_slowly(case)
    other = seen_by(fleet)
    other.qmp.execute("cancel", id=move)
    wait_for(lambda: is_quiet(fleet))
    wait_for(lambda: not fleet.hosts["h2"].qmp.execute("query-vms"))
    runs_on(fleet, "web1", "h1")


SLOW_START = """#!/bin/sh
# Stands for huge pages that are allocated, or a slow NFS: an incoming guest's emulator waits for us.
case "$*" in *-incoming*) cat {fifo} ;; esac
exec {emulator} "$@"
"""


def slow_starter(case) -> tuple[Fleet, Path]:
    """Two hosts on which an emulator that awaits a guest starts once a FIFO was opened and closed."""
    need_namespaces()
    fleet = case.keep(Fleet(2, Slice(cores=1.2, link=50_000_000), mode="off", faulty=True))
    fifo, wrapper = fleet.directory / "go", fleet.directory / "slow-drover"
    os.mkfifo(fifo)
    wrapper.write_text(SLOW_START.format(fifo=fifo, emulator=paths.DROVER), encoding="ascii")
    wrapper.chmod(0o755)
    for host in fleet.hosts.values():
        host.daemon.stop()
        host.config.write_text(f'emulators = ["{wrapper}"]\n' + host.config.read_text())
        host.start()
    fleet.hosts["h1"].create(Guest("web1", "10.80.1.10", memory="96M"), emulator=str(wrapper))
    fleet.hosts["h1"].control("web1").ready(120).close()
    fleet.start_balancer()
    up(fleet, 1)
    return fleet, fifo


def is_watched(fleet: Fleet, name: str) -> None:
    """The balancer goes on hearing of this host."""
    def host():
        return next(h for h in fleet.qmp.execute("query-hosts") if h["name"] == name)
    first = host()["load"]["time"]
    wait_for(lambda: host()["state"] == "up" and host()["load"]["time"] > first + 2, 20)


@test(timeout=240)
def test_a_slow_start_does_not_hide_the_host(case):
    fleet, fifo = slow_starter(case)
    migrate(fleet, "web1", "h2")
    with open(fifo, "wb"):  # as soon as the emulator waits for it
        is_watched(fleet, "h2")
        fleet.clocks["balancer"].pass_by(300)
        is_watched(fleet, "h2")
        assert [vm["host"] for vm in fleet.qmp.execute("query-vms")] == ["h1"]
    runs_on(fleet, "web1", "h2", 90)


@test(timeout=240)
def test_a_slow_start_is_cancelled(case):
    fleet, fifo = slow_starter(case)
    move = migrate(fleet, "web1", "h2")
    with open(fifo, "wb"):
        fleet.drover("cancel", move)
        wait_for(lambda: not fleet.hosts["h2"].qmp.execute("query-vms"))
    wait_for(lambda: is_quiet(fleet))
    assert fleet.where("web1") == ["h1"]


@test(timeout=400)
def test_faults(case):
    """A short ordeal with a seed; ./devtool bench faults makes a long one."""
    need_namespaces()
    print(faults.ordeal(20, 7, open(os.devnull, "w", encoding="ascii")))
