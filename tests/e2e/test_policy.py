# SPDX-License-Identifier: GPL-2.0-or-later
"""The convergence policy, on real guests that write faster than the link carries."""

import os
import subprocess
import time

from drover_e2e import analysis, paths
from drover_e2e.case import Skip
from drover_e2e.qmp import Qmp, QmpError
from drover_e2e.runner import test
from drover_e2e.vm import GuestOptions

WAYS = ["write-governor", "vcpu-share"]
# 64 MiB written 10,000 times a second, over a link of 25 MB/s: rounds alone never end.
# Whole pages of random bytes: no encoding makes them less.
BUSY = GuestOptions(memory="256M", working_set="64M", dirty=10000, pattern="random-content")
SLOW_LINK = 25_000_000
CPU_CGROUPS = ("/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup")


def limit(vm, **parameters) -> None:
    vm.qmp.execute("migrate-set-parameters", max__bandwidth=SLOW_LINK, **parameters)


def left_over_groups(vm) -> list[str]:
    """Control groups of the emulator's threads that Drover made."""
    threads = os.listdir(f"/proc/{vm.pid}/task")
    return [f"{root}/drover-{thread}" for root in CPU_CGROUPS for thread in threads
            if os.path.exists(f"{root}/drover-{thread}")]


def vcpu_is_bound(vm) -> bool:
    """Whether a thread of the emulator is in a group of Drover's."""
    pid = vm.pid
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/cgroup", encoding="ascii") as groups:
            if f"/drover-{thread}" in groups.read():
                return True
    return False


def rate_over(case, vm, seconds: float) -> float:
    first = case.beats.wait(vm.name)
    last = case.beats.wait(vm.name, 30, match=lambda beat: beat.at - first.at >= seconds)
    return analysis.rate(case.beats.between(first.at, last.at, vm.name))


def slowed_by(way: str) -> dict[str, str]:
    return {"DROVER_SLOWDOWN": way}


def wait_slowed(source, mark: int, way: str | None = None) -> dict:
    try:
        decision = source.qmp.wait_event("MIGRATION_DECISION", 60, mark,
                                         lambda data: data["slowdown"] > 0).data
        assert way in (None, source.qmp.execute("query-migrate")["drover"]["slowed-by"])
        return decision
    except TimeoutError:
        if "cannot be slowed down" in source.stderr():
            raise Skip("this host permits no way to slow a guest") from None
        raise


@test(slowdown=WAYS)
def test_slowed_guest_converges(case, slowdown):
    """Slowed as far as permitted and no further, it ends within the wishes, at full speed again."""
    options = BUSY.but(policy="downtime=200ms,deadline=60s,max-slowdown=60,on-stall=slow:abort",
                       env=slowed_by(slowdown))
    source, destination = case.guest(options), case.destination(options)
    before = rate_over(case, source, 1.0)
    limit(source)
    mark = source.qmp.mark()
    case.start_migration(source, destination.uri)
    decision = wait_slowed(source, mark, slowdown)
    assert "slowed by" in decision["reason"] or "slowing" in decision["reason"], decision
    case.finish_migration(source, mark)
    report = source.qmp.execute("query-migrate")
    assert 0 < report["drover"]["worst-slowdown"] <= 60, report
    assert report["drover"]["slowed-by"] == slowdown, report
    assert report["downtime"] < 400, report
    case.alive_on(destination)
    case.writes_at(destination, 0.8 * before)
    case.healthy(destination)
    assert not left_over_groups(source) and not vcpu_is_bound(source)


@test(timeout=180)
def test_auto_converge(case):
    """Without a policy of ours: QEMU's word permits to slow the guest, by max-cpu-throttle at most, from the first
    step on that was set."""
    options = BUSY.but(policy=None)
    source, destination = case.guest(options), case.destination(options)
    source.qmp.execute("migrate-set-parameters", max__bandwidth=16_000_000, downtime__limit=30,
                       max__cpu__throttle=70, cpu__throttle__initial=7)
    source.qmp.execute("migrate-set-capabilities",
                       capabilities=[{"capability": "auto-converge", "state": True}])
    mark = case.start_migration(source, destination.uri)
    if paths.is_drover(case.emulator):
        decision = wait_slowed(source, mark)
        assert round(decision["slowdown"]) == 7, decision
        assert 0 < source.qmp.execute("query-migrate")["cpu-throttle-percentage"] <= 70
    case.finish_migration(source, mark, 120)
    case.alive_on(destination)
    case.healthy(destination)


@test(way=["cancel", "destination"], slowdown=WAYS)
def test_slow_down_ends_with_the_migration(case, way, slowdown):
    """Cancelled, or failed: the guest runs at full speed at once."""
    options = BUSY.but(policy="downtime=20ms,max-slowdown=80,on-stall=slow",
                       env=slowed_by(slowdown))
    source, destination = case.guest(options), case.destination(options)
    before = rate_over(case, source, 1.0)
    limit(source)
    mark = case.start_migration(source, destination.uri)
    wait_slowed(source, mark, slowdown)
    assert vcpu_is_bound(source) == (slowdown == "vcpu-share")
    if way == "cancel":
        source.qmp.execute("migrate_cancel")
    else:
        destination.kill()
    source.qmp.wait_migration("cancelled", "failed", after=mark)
    assert not vcpu_is_bound(source)
    case.writes_at(source, 0.8 * before)


@test()
def test_governor_bounds_a_fast_writer(case):
    """20,000 random pages a second of which all is new, over a link that carries 15,000: it converges."""
    options = GuestOptions(memory="512M", working_set="200M", dirty=20000, pattern="random-content",
                           policy="downtime=50ms,deadline=60s,max-slowdown=60,on-stall=slow:abort",
                           env=slowed_by("write-governor"))
    source, destination = case.guest(options), case.destination(options)
    source.qmp.execute("migrate-set-parameters", max__bandwidth=62_500_000)
    mark = case.start_migration(source, destination.uri)
    decision = wait_slowed(source, mark, "write-governor")
    assert 0 < decision["write-rate"] < 20000, decision
    case.finish_migration(source, mark)
    report = source.qmp.execute("query-migrate")
    assert report["drover"]["slowed-by"] == "write-governor", report
    assert report["downtime"] < 100, report
    case.alive_on(destination)
    case.healthy(destination)


@test()
def test_policy_gives_up_where_it_may_do_nothing_else(case):
    options = BUSY.but(policy="downtime=20ms,on-stall=abort")
    source, destination = case.guest(options), case.destination(options)
    limit(source)
    mark = case.start_migration(source, destination.uri)
    source.qmp.wait_migration("failed", after=mark)
    text = source.qmp.execute("query-migrate")["error-desc"]
    assert "the migration policy gave up" in text and "pages left" in text, text
    case.alive_on(source)


@test()
def test_policy_by_qmp(case):
    """Set, read, refused with the range, and changed while a migration runs."""
    source, destination = case.guest(BUSY), case.destination(BUSY)
    qmp = source.qmp
    assert qmp.execute("query-migrate-policy")["downtime"] == 0.05
    qmp.execute("migrate-set-policy", preset="gentle", downtime="30ms")
    policy = qmp.execute("query-migrate-policy")
    assert policy["on-stall"] == ["wait"] and policy["downtime"] == 0.03, policy
    assert qmp.execute("query-migrate-parameters")["downtime-limit"] == 30
    for arguments, words in (({"max__slowdown": 100}, "from 0 to 99"), ({"preset": "x"}, "gentle"),
                             ({"on__stall": ["pray"]}, "on-stall"), ({"colour": 1}, "colour"),
                             ({"downtime": True}, "type")):
        try:
            qmp.execute("migrate-set-policy", **arguments)
            raise AssertionError(f"{arguments} was accepted")
        except QmpError as error:
            assert words in error.desc, error.desc
    assert qmp.execute("query-migrate-policy") == policy, "nothing of what was refused is kept"
    names = {command["name"] for command in qmp.execute("query-commands")}
    assert {"migrate-set-policy", "query-migrate-policy"} <= names
    limit(source)
    mark = case.start_migration(source, destination.uri)
    waiting = qmp.wait_event("MIGRATION_DECISION", 60, mark,
                             lambda data: "waiting" in data["reason"])
    assert waiting.data["action"] == "next-round"
    qmp.execute("migrate-set-policy", on__stall=["switch"])
    case.finish_migration(source, mark)
    case.alive_on(destination, 5)


@test()
def test_link_that_drops_triggers_nothing(case):
    """A tenth of the link is left for a while: nothing is decided on that, and nothing lost."""
    options = BUSY.but(policy="downtime=50ms,on-stall=wait")
    source, destination = case.guest(options), case.destination(options)
    qmp = source.qmp
    qmp.execute("migrate-set-parameters", max__bandwidth=40_000_000)
    mark = case.start_migration(source, destination.uri)
    qmp.wait_event("MIGRATION_DECISION", 60, mark, lambda data: data["round"] >= 2)
    qmp.execute("migrate-set-parameters", max__bandwidth=4_000_000)
    dropped = qmp.wait_event("MIGRATION_DECISION", 60, mark,
                             lambda data: "the link fell" in data["reason"])
    assert dropped.data["action"] == "next-round" and dropped.data["slowdown"] == 0, dropped
    qmp.execute("migrate-set-parameters", max__bandwidth=40_000_000)
    qmp.execute("migrate-set-policy", on__stall=["switch"])
    case.finish_migration(source, mark)
    case.alive_on(destination, 5)
    case.healthy(destination)


@test()
def test_bandwidth_of_the_policy_is_kept(case):
    options = BUSY.but(pattern="idle", dirty=0, policy="bandwidth=30MB/s")
    source, destination = case.guest(options), case.destination(options)
    started = time.monotonic()
    mark = case.start_migration(source, destination.uri)
    case.finish_migration(source, mark)
    sent = source.qmp.execute("query-migrate")["ram"]["transferred"]
    assert sent / (time.monotonic() - started) < 33e6


@test()
def test_nonsense_on_the_command_line(case):
    for policy, words in (("max-slowdown=200", "from 0 to 99"), ("preset=fast", "guaranteed"),
                          ("on-stall=pray", "postcopy")):
        done = subprocess.run([case.emulator, "-M", "pc", "-display", "none", "-S",
                               "-migrate-policy", policy],
                              timeout=30, capture_output=True, text=True)
        assert done.returncode == 1 and words in done.stderr, done


@test()
def test_forecast_comes_true(case):
    """What is foretold before the start is what happens, and the guest is not disturbed."""
    options = GuestOptions(memory="512M", working_set="200M", dirty=3000)
    source, destination = case.guest(options), case.destination(options)
    try:
        source.qmp.execute("query-migrate-forecast")
        raise AssertionError("nobody said how fast the link is")
    except QmpError as error:
        assert "bandwidth" in error.desc, error.desc
    before = rate_over(case, source, 1.0)
    forecast = source.qmp.execute("query-migrate-forecast", bandwidth="60MB/s",
                                  uri=destination.uri)
    ways = {way["way"]: way for way in forecast["ways"]}
    assert ways["precopy"]["keeps-wish"], forecast
    assert forecast["bandwidth"] == 60e6, "the link, a UNIX socket, carries more"
    assert 0 < forecast["round-trip"] < 0.05 and forecast["contents"]["sampled"] == 512, forecast
    assert ways["postcopy"]["possible"] and ways["postcopy"]["downtime"]["expected"] < 0.05, forecast
    assert len(forecast["windows"]) == 6 and forecast["pages"] > 51200, forecast
    case.writes_at(source, 0.97 * before)
    source.qmp.execute("migrate-set-parameters", max__bandwidth=60_000_000)
    mark = case.start_migration(source, destination.uri)
    case.finish_migration(source, mark)
    report = source.qmp.execute("query-migrate")
    total, foretold = report["total-time"] / 1e3, ways["precopy"]["total"]
    assert abs(foretold["expected"] - total) < 0.2 * total, (foretold, report)
    sent, foretold = report["ram"]["transferred"], ways["precopy"]["bytes"]
    assert abs(foretold["expected"] - sent) < 0.2 * sent, (foretold, report)


@test()
def test_forecast_gives_way_to_a_migration(case):
    path = case.scratch / "second.qmp"
    source = case.guest(BUSY.but(extra=("-qmp", f"unix:{path},server=on,wait=off")))
    destination = case.destination(BUSY)
    asking = case.keep(Qmp.connect(path))
    number = asking.send("query-migrate-forecast", bandwidth=10**9)
    # Answered by the other client's monitor only after the loop has turned: by then it is heard.
    source.qmp.execute("query-status")
    mark = case.start_migration(source, destination.uri)
    try:
        asking.result(number, "query-migrate-forecast")
        raise AssertionError("a forecast of what had begun")
    except QmpError as error:
        assert "a migration began" in error.desc, error.desc
    case.finish_migration(source, mark)
    case.alive_on(destination)
