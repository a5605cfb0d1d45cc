# SPDX-License-Identifier: GPL-2.0-or-later
"""What a guest tells of its clocks, its sleeps and its registers (drover.watch=1 with drover.tell=MILLISECONDS,
tests/guest/workload/{clocks,registers}.c)."""

import re
from dataclasses import dataclass
from typing import NamedTuple

from .console import Console

LATE_US = 10_000  # a sleep may take so much longer than asked for
# Where the kernel trusts no TSC each look at its clock is a look at a device, on an emulated Xen host by way of Dom0: how
# late a sleep ends is then that way's length.
EARLY_SOURCES = ("tsc-early", "jiffies", "refined-jiffies")  # of a kernel that boots
FAR_SOURCES = ("acpi_pm",)
_WATCH = re.compile(r"WATCH (\d+): (\d+) (\S+)" + r" (\d+)" * 9 + r"\b")  # in the order of Watched's members
TURN_S = 2**24 / 3579545  # of the ACPI timer
_WINDOWS = 3  # at least so many are looked at


@dataclass(frozen=True)
class Watched:
    beat: int  # its number, as in tale.Told
    guest_us: int  # CLOCK_MONOTONIC
    source: str  # what the guest's kernel reads the time from
    back: int  # how often time ran back
    sleeps: int  # since the beat before
    early: int  # sleeps that were too short
    late_us: int  # the median of how much too long they were
    worst_us: int
    held: int  # how often all registers were held, and compared
    wrong: int
    apart_us: int  # the furthest that TSC and what the kernel reads moved apart at once, since the beat before
    turns: int  # of the ACPI timer that the kernel's clock has missed, since it could not look at it for half of one


def _parse(line: str) -> Watched | None:
    found = _WATCH.search(line)
    return Watched(*(int(word) if word.isdigit() else word for word in found.groups())) if found else None


def told(console: Console, after: int = 0) -> list[Watched]:
    """All of later beats."""
    return [seen for line in list(console.lines) if (seen := _parse(line)) and seen.beat > after]


def problems(console: Console) -> list[str]:
    """The kernel has another clock only if it does not trust the one that it had, but for its first seconds."""
    all_told = told(console)
    clocks = [seen.source for seen in all_told if seen.source not in EARLY_SOURCES]
    return [f"{seen}" for seen in all_told
            if seen.back or seen.early or seen.wrong or seen.source not in (*EARLY_SOURCES, *clocks[:1])]


def steady(console: Console, after: int, timeout: float = 60) -> list[Watched]:
    """Waits for what it tells behind that beat, the first after its arrival: nothing is wrong, registers were held, and
    sleeps last as long as they should, once the machine that runs all this has the time: a timer that is wrong stays so."""
    def find() -> list[Watched] | None:
        seen = told(console, after)
        held = len(seen) > _WINDOWS and seen[-1].held > seen[0].held + 1
        if not held:
            return seen if problems(console) else None
        in_time = lateness(seen) <= LATE_US or seen[-1].source in FAR_SOURCES
        return seen if in_time or problems(console) else None

    seen = console.wait_for(find, "word of its clocks, or of sleeps that end in time", timeout)
    bad = problems(console) + console.corrupt_lines()
    assert not bad, bad
    return seen


def lateness(seen: list[Watched]) -> int:
    """Of the best second, in µs: the first is part of the pause."""
    return min(window.late_us for window in seen[1:])


def behind(console: Console, after: int) -> float:
    """By how many seconds the guest's clock is behind time.monotonic() here, turns that it missed left out, from what it
    told behind that beat: of the line that came soonest."""
    pairs = [(stamp, seen) for stamp, line in zip(list(console.stamps), list(console.lines)) if (seen := _parse(line))]
    return min(stamp - seen.guest_us / 1e6 - seen.turns * TURN_S for stamp, seen in pairs if seen.beat > after)


class Look(NamedTuple):
    source: str  # what its kernel reads the time from
    late_us: int  # how much too late sleeps end there
    behind_s: float  # behind()
    apart_us: int  # the furthest that TSC and clock moved apart at once since it came
    turns: int  # Watched.turns


def look(console: Console, after: int) -> Look:
    """What it tells behind that beat is as it should be (steady())."""
    seen = steady(console, after)
    return Look(seen[-1].source, lateness(seen), behind(console, after),
                max(each.apart_us for each in told(console)), seen[-1].turns)
