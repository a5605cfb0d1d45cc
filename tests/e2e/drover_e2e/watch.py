# SPDX-License-Identifier: GPL-2.0-or-later
"""What a guest tells of its clocks, its sleeps and its registers (drover.watch=1 with drover.tell=MILLISECONDS,
tests/guest/workload/{clocks,registers}.c)."""

import re
from dataclasses import dataclass

from .console import Console

WATCH = ("drover.tell=1000", "drover.watch=1")  # for the kernel's command line
LATE_US = 10_000  # a sleep may take so much longer than asked for
_WATCH = re.compile(r"WATCH (\d+): (\d+) us by (\S+), (\d+) back, (\d+) sleeps, (\d+) early, late (\d+) to (\d+) us, "
                    r"(\d+) held, (\d+) wrong")
_WINDOWS = 3  # the beat of an arrival is half of the pause, and a busy machine may disturb one


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


def _parse(line: str) -> Watched | None:
    found = _WATCH.search(line)
    return Watched(*(int(word) if word.isdigit() else word for word in found.groups())) if found else None


def told(console: Console, after: int = 0) -> list[Watched]:
    """All of later beats."""
    return [seen for line in list(console.lines) if (seen := _parse(line)) and seen.beat > after]


def problems(console: Console) -> list[str]:
    return [f"{seen}" for seen in told(console) if seen.back or seen.early or seen.wrong]


def steady(console: Console, after: int, timeout: float = 60) -> list[Watched]:
    """Waits for what it tells behind that beat, the first after its arrival: nothing is wrong, its sleeps last as
    long as they should, and registers were held since."""
    def find() -> list[Watched] | None:
        seen = told(console, after)
        return seen if len(seen) > _WINDOWS and seen[-1].held > seen[0].held + 1 else None

    seen = console.wait_for(find, "word of its clocks", timeout)
    assert not problems(console) and not console.corrupt_lines(), (problems(console), console.corrupt_lines())
    late = min(window.late_us for window in seen[1:])
    assert late <= LATE_US, f"sleeps ended {late} us late: {seen}"
    print(f"TOLD sleeps {late / 1000:.1f} ms late, at worst {max(window.worst_us for window in seen[1:]) / 1000:.1f} ms")
    return seen
