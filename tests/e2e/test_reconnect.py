# SPDX-License-Identifier: GPL-2.0-or-later
"""A link that breaks while the guest is copied: the guest runs on, and the copy goes on over another one."""

import subprocess
import time

from drover_e2e import analysis, paths, tls
from drover_e2e.case import Skip
from drover_e2e.proxy import Proxy
from drover_e2e.qmp import QmpError
from drover_e2e.runner import test
from drover_e2e.vm import GuestOptions

POLICY = "downtime=100ms,reconnect=60s"
BUSY = GuestOptions(memory="256M", working_set="64M", dirty=5000, smp=2, policy=POLICY)
# Nothing of it can be made smaller, and nothing is written again.
STILL = BUSY.but(working_set="160M", dirty=1, pattern="random-content")
SLOW_LINK = 40_000_000


class Away:
    """A migration through a proxy, and a link that can be lost and mended."""

    def __init__(self, case, options=BUSY, rate=SLOW_LINK, inside_tls=False, source=None):
        if not paths.is_drover(case.emulator):
            raise Skip("stock QEMU's migration fails when its link breaks")
        self.case, self.source = case, source or case.guest(options)
        if inside_tls:
            self.destination, address = self._safe_destination(options), case.tcp_address(options)
        else:
            self.destination, address = case.destination(options), f"{case.scratch}/proxy"
        self.proxy = case.keep(Proxy(address, self.destination.uri))
        self.source.qmp.execute("migrate-set-parameters", max__bandwidth=rate)

    def _safe_destination(self, options):
        fleet = tls.authority(self.case.scratch, "fleet")
        destination = self.case.vm(options, incoming="defer")
        destination.qmp.negotiate()
        tls.use(self.source, tls.x509(tls.host(fleet, "here", "127.0.0.1"), "client"))
        tls.use(destination, tls.x509(tls.host(fleet, "there", "127.0.0.1"), "server"))
        destination.uri = self.case.listen(destination, self.case.tcp_address(options))
        return destination

    def start(self) -> None:
        self.mark, self.there = self.source.qmp.mark(), self.destination.qmp.mark()
        self.case.start_migration(self.source, self.proxy.uri)

    def lose_at(self, offset: int, way: str = "cut") -> float:
        """Loses the link when so many bytes have passed; when both sides had noticed."""
        self.proxy.at(offset, self.proxy.stall if way == "stall" else self.proxy.interrupt)
        self.start()
        return self.lost()

    def lost(self) -> float:
        for vm, mark in ((self.source, self.mark), (self.destination, self.there)):
            vm.qmp.wait_event("MIGRATION_LINK", 20, mark, lambda data: not data["up"])
        return time.monotonic()

    def mend(self) -> None:
        again = self.source.qmp.mark()
        self.proxy.refuses = False
        self.proxy.resume()
        self.source.qmp.wait_event("MIGRATION_LINK", 20, again, lambda data: data["up"])

    def drover(self, vm=None) -> dict:
        return (vm or self.source).qmp.execute("query-migrate")["drover"]

    def arrives(self) -> None:
        self.source.qmp.execute("migrate-set-parameters", max__bandwidth=0)
        self.case.finish_migration(self.source, self.mark)
        self.case.alive_on(self.destination)
        self.case.healthy(self.destination)


@test(when=["first-round", "later"])
def test_copy_goes_on(case, when):
    way, offset = ("stall", 2 << 20) if when == "first-round" else ("cut", 100 << 20)
    away = Away(case)
    started = time.monotonic()
    noticed = away.lose_at(offset, way)
    time.sleep(1.0)  # while it is away
    told = away.source.qmp.execute("query-migrate")
    assert told["status"] == "active" and told["drover"]["state"] == "reconnecting", told
    assert told["drover"]["reconnecting"]["seconds"] > 0.5, told
    assert away.drover(away.destination)["state"] == "reconnecting"
    assert len(case.beats.between(noticed, time.monotonic())) > 5, "the guest does not run on"
    away.mend()
    away.arrives()
    seen = analysis.handover(case.beats.between(started, time.monotonic()), away.source.name, away.destination.name)
    assert seen.overlap == 0 and seen.downtime_ms < 1000, seen
    report = away.drover()
    assert report["link-breaks"] == 1 and "reconnecting" not in report, report


@test()
def test_nothing_is_sent_twice(case):
    """But for what was on its way: of contents that no encoding makes less the bytes of a copy without a break tell."""
    source, destination = case.guest(STILL), case.destination(STILL)
    case.migrate(source, destination)
    whole = source.qmp.execute("query-migrate")["drover"]["rounds"][0]["bytes"]
    away = Away(case, STILL, rate=0, source=destination)
    away.lose_at(90 << 20)
    away.mend()
    away.arrives()
    first = away.drover()["rounds"][0]["bytes"]
    # On its way is what the sockets hold, and what the proxy has read.
    assert first < 1.02 * whole, (first, whole)


@test()
def test_link_that_breaks_again_and_again(case):
    away = Away(case)
    away.lose_at(5 << 20)
    for _ in range(4):
        away.mend()
        away.proxy.at(away.proxy.forwarded + (6 << 20), away.proxy.interrupt)
        away.mark, away.there = away.source.qmp.mark(), away.destination.qmp.mark()
        away.lost()
    away.mend()
    away.arrives()
    assert away.drover()["link-breaks"] == 5


@test()
def test_inside_tls(case):
    away = Away(case, inside_tls=True)
    away.lose_at(10 << 20)
    away.mend()
    away.arrives()
    assert away.drover()["encryption"].startswith("TLS 1.3")


@test(ends=["cancel", "reconnect", "deadline"])
def test_it_is_given_up(case, ends):
    """By the user, and by the policy. The guest stays, the destination ends, and the next try succeeds."""
    policy = {"cancel": POLICY, "reconnect": "reconnect=3s", "deadline": "deadline=8s,on-stall=wait:abort"}[ends]
    away = Away(case, BUSY.but(policy=policy), rate=10_000_000)
    away.lose_at(5 << 20)
    if ends == "cancel":
        away.source.qmp.execute("migrate_cancel")
    away.source.qmp.wait_migration("cancelled" if ends == "cancel" else "failed", timeout=20, after=away.mark)
    case.alive_on(away.source)
    away.proxy.refuses = False  # who gave up says so
    assert away.destination.wait_exit() != 0
    assert away.destination.stderr().strip()
    away.source.qmp.execute("migrate-set-parameters", max__bandwidth=0)
    second = case.destination(BUSY)
    case.migrate(away.source, second)
    case.healthy(second)


@test()
def test_destination_that_has_ended_is_not_called_for_long(case):
    away = Away(case)
    mark = case.start_migration(away.source, away.destination.uri)
    away.source.qmp.wait_event("MIGRATION_DECISION", 60, mark)
    away.destination.kill()
    away.source.qmp.wait_migration("failed", timeout=15, after=mark)
    assert "ended" in away.source.qmp.execute("query-migrate")["error-desc"]
    case.alive_on(away.source)


@test()
def test_commands_meanwhile(case):
    """The guest is here, and may be paused; post-copy cannot begin."""
    away = Away(case)
    away.source.qmp.execute("migrate-set-capabilities",
                            capabilities=[{"capability": "postcopy-ram", "state": True}])
    away.lose_at(20 << 20)
    try:
        away.source.qmp.execute("migrate-start-postcopy")
        raise AssertionError("post-copy without a link")
    except QmpError as error:
        assert "reconnecting" in str(error), error
    away.source.qmp.execute("stop")
    away.source.qmp.execute("cont")
    case.alive_on(away.source)
    away.mend()
    away.arrives()


@test()
def test_drover_migrate_shows_it(case):
    monitor = case.scratch / "monitor"
    away = Away(case, source=case.guest(BUSY.but(extra=("-qmp", f"unix:{monitor},server=on,wait=off"))))
    away.proxy.at(5 << 20, away.proxy.interrupt)
    shown = subprocess.Popen([paths.DROVER_TOOL, "migrate", monitor, away.proxy.uri],
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    away.mark, away.there = away.source.qmp.mark(), 0
    away.lost()
    before = ""
    while "reconnecting" not in before:  # it asks now and then
        before = shown.stdout.readline()
        assert before, "it has ended"
    away.mend()
    away.arrives()
    shown.communicate(timeout=30)
    assert shown.returncode == 0
