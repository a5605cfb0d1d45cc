# SPDX-License-Identifier: GPL-2.0-or-later
"""What a guest without a network tells on its console (drover.tell=MILLISECONDS, tests/guest/workload/tell.c)."""

import re
from dataclasses import dataclass

from . import watch
from .console import Console

_ENTROPY = re.compile(r"ENTROPY (\d+) bytes")
_PLACE = re.compile(r"PLACE (\d+) pages above 4 GiB, (\d+) below")
_BEAT = re.compile(r"BEAT (\d+) at (\d+) ms: (\d+) pages written, (\d+) verified, (\d+) wrong")


@dataclass(frozen=True)
class Told:
    number: int  # of the beat, from 1 on
    guest_ms: int  # the guest's own clock
    written: int
    verified: int
    wrong: int


def _parse(line: str) -> Told | None:
    found = _BEAT.search(line)
    return Told(*map(int, found.groups())) if found else None


def last(console: Console) -> Told | None:
    return next((told for line in reversed(console.lines) if (told := _parse(line))), None)


def wait(console: Console, match=None, timeout: float = 60) -> Told:
    """The first that it told, before or after now, that matches."""

    def find() -> Told | None:
        return next((told for line in console.lines if (told := _parse(line)) and (match is None or match(told))), None)

    return console.wait_for(find, "such beat", timeout)


def place(console: Console) -> list[int]:
    """How many pages of its memory lie above 4 GiB, and below (drover.place=1)."""
    line = next(found for line in console.lines if (found := _PLACE.search(line)))
    return [int(count) for count in line.groups()]


def entropy(console: Console, beyond: int = 0, timeout: float = 60) -> int:
    """How many bytes it has had from its entropy device, once there are more than that."""
    return console.wait_for(lambda: next((count for line in reversed(list(console.lines))
                                          if (found := _ENTROPY.search(line)) and (count := int(found[1])) > beyond),
                                         None), "more entropy", timeout)


def healthy(console: Console, pages: int, timeout: float = 60) -> Told:
    """Waits until the guest has looked at that many pages once more, and found all right; its clocks too."""
    before = last(console) or wait(console)
    told = wait(console, lambda beat: beat.wrong > 0 or beat.verified >= before.verified + pages, timeout)
    bad = console.corrupt_lines() + watch.problems(console)
    assert told.wrong == 0 and not bad, (told, bad)
    return told
