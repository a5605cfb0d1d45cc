# SPDX-License-Identifier: GPL-2.0-or-later
"""What a guest's clock makes of a host that has no time for it, without any migration: rows of moves between hypervisors
(tests/lab/xen) count on it."""

import os
import signal
import threading

from drover_e2e import paths, row, tale, watch
from drover_e2e.runner import test
from drover_e2e.vm import NEUTRAL

BEATS = 5  # seconds; what is told of a stall, and some after it


def after_a_stall(guest, seconds: float) -> tuple[float, int]:
    """By how many ms more its clock is behind, turns of the ACPI timer left out, when its host had so long no time for it,
    and how many of those it has missed in all, as it says itself."""
    beat = tale.last(guest.console).number
    before = watch.behind(guest.console, beat - BEATS)
    os.kill(guest.process.pid, signal.SIGSTOP)
    threading.Event().wait(seconds)
    os.kill(guest.process.pid, signal.SIGCONT)
    last = tale.wait(guest.console, lambda told: told.number > beat + BEATS).number
    return (watch.behind(guest.console, last - 3) - before) * 1000, watch.told(guest.console)[-1].turns


@test(timeout=180, thorough=True)
def test_a_stall_costs_a_turn(case):
    """Linux takes a step of more than half a turn for one back."""
    boot = (*NEUTRAL.boot, "clocksource=acpi_pm", "tsc=reliable")
    guest = case.vm(NEUTRAL.but(boot=boot), emulator=paths.QEMU).ready(120)
    tale.wait(guest.console, lambda told: told.number > 2 * BEATS)
    missed = 0
    for seconds, turns in ((1.0, 0), (3.0, 1), (5.5, 1)):
        behind_ms, told = after_a_stall(guest, seconds)
        missed += turns
        assert told == missed, (seconds, told)
        assert abs(behind_ms) < row.DRIFT_MS, (seconds, behind_ms)
