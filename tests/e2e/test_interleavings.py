# SPDX-License-Identifier: GPL-2.0-or-later
"""The tables of docs/architecture.md ("Who runs the guest"), row by row: each side is held at the very moment at which
it has entered a state and told nobody, and then somebody dies, or the link breaks."""

import os
import signal
import time

from drover_e2e import paths
from drover_e2e.case import Skip
from drover_e2e.proxy import Proxy
from drover_e2e.runner import test
from drover_e2e.sync import SyncPoints
from drover_e2e.vm import GuestOptions

SMALL = GuestOptions(memory="192M", working_set="32M", dirty=2000, policy="downtime=50ms,deadline=60s,reconnect=2s")
ACTIONS = ("source dies", "destination dies", "link breaks")
# What becomes of the guest, for each action. "asks" is who stands paused until the operator says whose it is; "gone"
# is a guest whose host died before anybody else could run it.
OUTCOMES = {
    "source switching": ("gone", "source", "source"),
    "source loading": ("gone, or destination asks", "source", "source"),  # as at "destination loading"
    "source committing": ("destination asks", "source asks", "destination"),
    # It goes on loading; whether it is ready before it hears that the link has ended is chance.
    "destination loading": ("gone, or destination asks", "source", "source"),
    "destination ready": ("destination asks", "source", "source"),
    "destination taking-over": ("destination", "source asks", "destination"),
    "destination completed": ("destination", "source asks", "destination"),
}


class Held:
    """A migration in which somebody stands at a point."""

    def __init__(self, case, point: str):
        if not paths.is_drover(case.emulator):
            raise Skip("what stock QEMU does when something dies is not ours to test")
        self.case, self.point = case, point
        self.points = case.keep(SyncPoints(f"{case.scratch}/sync"))
        options = SMALL.but(env=self.points.env)
        self.source, self.destination = case.guest(options), case.destination(options)
        self.proxy = case.keep(Proxy(f"{case.scratch}/proxy", self.destination.uri))
        self.points.hold(point)
        self.mark = case.start_migration(self.source, self.proxy.uri)
        self.points.wait(point)

    def act(self, action: str) -> None:
        self.acted = time.monotonic()
        if action == "link breaks":
            self.proxy.interrupt()
            self.points.let_go(self.point)
            self.proxy.called.acquire(timeout=1)  # in vain; then the link is back
            self.proxy.refuses = False
            return
        victim = self.source if action == "source dies" else self.destination
        os.kill(victim.pid if "QEMU" in action else victim.drover_pid(), signal.SIGKILL)
        victim.wait_exit()
        self.points.let_go(self.point)

    def nobody_runs(self) -> None:
        """For a second: that nothing happens shows in time only."""
        time.sleep(max(0, self.acted + 1.3 - time.monotonic()))
        beats = self.case.beats.between(self.acted + 0.3, time.monotonic())
        assert not beats, f"it runs on {({beat.side for beat in beats})}"

    def resolve(self, vm) -> None:
        """Who waits for the operator's word does nothing before it comes."""
        self.nobody_runs()
        vm.qmp.execute("migrate-resolve", guest__is__here=True)
        self.case.alive_on(vm)

    def check(self, outcome: str) -> None:
        if outcome == "gone":
            assert self.destination.wait_exit() != 0
            self.nobody_runs()
        elif outcome == "gone, or destination asks":
            try:
                assert self.destination.wait_exit(3) != 0
                self.nobody_runs()
            except TimeoutError:
                self.check("destination asks")
        elif outcome.endswith(" asks"):
            asker = outcome.removesuffix(" asks")
            self.points.wait(f"{asker} asking")
            self.points.let_go(f"{asker} asking")
            self.resolve(self.source if asker == "source" else self.destination)
        else:
            winner = self.source if outcome == "source" else self.destination
            self.case.alive_on(winner, 10)
            self.case.healthy(winner)
            sides = {beat.side for beat in self.case.beats.between(self.acted + 0.3, time.monotonic())}
            assert sides == {winner.name}, sides


@test(point=list(OUTCOMES), action=list(ACTIONS))
def test_who_runs_the_guest(case, point, action):
    outcome = OUTCOMES[point][ACTIONS.index(action)]
    held = Held(case, point)
    if outcome.endswith(" asks"):
        held.points.hold(outcome.replace("gone, or ", "").replace("asks", "asking"))
    held.act(action)
    held.check(outcome)


@test(point=["source committing", "destination ready"])
def test_a_dead_qemu_has_run_nothing(case, point):
    """Drover outlives it at the destination, and can say that it was never told to run the guest."""
    held = Held(case, point)
    held.act("destination's QEMU dies")
    held.check("source")
