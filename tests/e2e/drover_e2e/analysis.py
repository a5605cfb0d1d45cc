# SPDX-License-Identifier: GPL-2.0-or-later
"""What a run of heartbeats says about a migration."""

from dataclasses import dataclass

from .heartbeat import Beat, TCP_STATES


@dataclass
class Handover:
    """Seen from outside: the last beat of the one side and the first of the other."""

    last_there: float
    first_here: float
    overlap: int  # beats of the old side after the first of the new one: two copies ran

    @property
    def downtime_ms(self) -> float:
        return (self.first_here - self.last_there) * 1e3


def handover(beats: list[Beat], source: str, destination: str) -> Handover:
    arrived = [beat.at for beat in beats if beat.side == destination]
    if not arrived:
        raise AssertionError(f"no heartbeat of {destination}")
    first = min(arrived)
    before = [beat.at for beat in beats if beat.side == source and beat.at < first]
    if not before:
        raise AssertionError(f"no heartbeat of {source} before the first of {destination}")
    overlap = sum(1 for beat in beats if beat.side == source and beat.at > first)
    return Handover(max(before), first, overlap)


def rate(beats: list[Beat]) -> float:
    """Pages written a second, over these beats of one boot."""
    if len(beats) < 2 or beats[-1].at <= beats[0].at:
        return 0.0
    return (beats[-1].pages_written - beats[0].pages_written) / (beats[-1].at - beats[0].at)


def longest_gap_ms(beats: list[Beat]) -> float:
    times = sorted(beat.at for beat in beats)
    return max((b - a for a, b in zip(times, times[1:])), default=0.0) * 1e3


def problems(beats: list[Beat]) -> list[str]:
    """What the guest itself, or the order of its beats, complains about."""
    found = []
    if not beats:
        return ["no heartbeats"]
    worst = max(beats, key=lambda b: b.memory_errors + b.disk_errors)
    if worst.memory_errors:
        found.append(f"{worst.memory_errors} wrong pages in the guest")
    if worst.disk_errors:
        found.append(f"{worst.disk_errors} wrong blocks on the guest's disk")
    if TCP_STATES[beats[-1].tcp_state] in ("broken", "corrupt"):
        found.append(f"the guest's TCP connection is {TCP_STATES[beats[-1].tcp_state]}")
    # A beat that repeats one means that two copies of the guest ran from the same state.
    seen = set()
    doubled = 0
    for beat in beats:
        doubled += (beat.boot, beat.sequence) in seen
        seen.add((beat.boot, beat.sequence))
    if doubled:
        found.append(f"{doubled} heartbeats came twice: two copies of the guest ran")
    return found
