# SPDX-License-Identifier: GPL-2.0-or-later
"""Draws a migration as SVG: rounds, the guest's write rate and the gaps between its heartbeats."""

import math
from dataclasses import dataclass

from . import svg
from .heartbeat import Beat

_HEIGHT = 486


@dataclass
class Run:
    """Times are time.monotonic() seconds."""

    title: str
    start: float  # "migrate" was given
    end: float  # "completed"
    setup_s: float
    rounds: list[dict]  # as query-migrate reports them
    beats: list[Beat]
    last_there: float
    first_here: float


def _rounds(run: Run, x: svg.Scale, top: float) -> list[str]:
    parts = [svg.heading(top, "rounds of copying")]
    at = run.start + run.setup_s
    for entry in run.rounds:
        left, right = x(at), x(at + entry["seconds"])
        at += entry["seconds"]
        width = max(right - left - 1, 1.5)
        colour = svg.RED if entry["guest-paused"] else svg.BLUE
        parts.append(f'<rect x="{left}" y="{top + 8}" width="{width:.1f}" height="28" rx="2" '
                     f'fill="{colour}" fill-opacity="0.8"/>')
        label = f"{entry['round']}: {entry['sent-pages']:,} pages"
        if width > 7 * len(label):
            parts.append(svg.text(left + 8, top + 27, label, colour="white", on="none"))
        elif width > 20:
            parts.append(svg.text(left + width / 2, top + 27, f"{entry['round']}", anchor="middle",
                               colour="white", on="none"))
    return parts


def _rate_points(beats: list[Beat], step: float = 0.1) -> list[tuple[float, float]]:
    points = []
    mark = beats[0]
    for beat in beats:
        if beat.at - mark.at >= step:
            written = max(beat.pages_written - mark.pages_written, 0)
            points.append(((beat.at + mark.at) / 2, written / (beat.at - mark.at)))
            mark = beat
    return points


def _round_up(value: float) -> float:
    """1, 2, 2.5 or 5 times a power of ten."""
    power = 10 ** math.floor(math.log10(max(value, 1)))
    return next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= value)


def _rate(run: Run, x: svg.Scale, top: float, height: float) -> list[str]:
    points = _rate_points(run.beats)
    peak = _round_up(max((rate for _, rate in points), default=1))
    bottom = top + 12 + height
    path = " ".join(f"{x(at)},{bottom - rate / peak * height:.1f}" for at, rate in points)
    return [svg.heading(top, "pages a second that the guest writes"),
            *svg.ruler(bottom - height, f"{peak:,.0f}"), *svg.ruler(bottom, "0"),
            f'<polyline points="{path}" fill="none" stroke="{svg.INK}" stroke-width="1.5"/>']


def _gap_height(milliseconds: float, height: float) -> float:
    """Logarithmic: 0.5 ms at the bottom, 500 ms at the top."""
    share = math.log10(min(max(milliseconds, 0.5), 500) / 0.5) / 3
    return share * height


def _dots(points: set[tuple[float, float]], colour: str) -> str:
    """One path: thousands of circles would make a large file."""
    path = "".join(f"M{x:g} {y:g}h0" for x, y in sorted(points))
    return (f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="2.6" '
            'stroke-linecap="round"/>')


def _gaps(run: Run, x: svg.Scale, top: float, height: float) -> list[str]:
    parts = [svg.heading(top, "gaps between the guest's heartbeats, as seen from outside"),
             *svg.legend(top, [(svg.BLUE, "at the source"), (svg.GREEN, "at the destination")])]
    bottom = top + 6 + height
    for mark in (1, 10, 100):
        parts += svg.ruler(round(bottom - _gap_height(mark, height), 1), f"{mark} ms")
    times = sorted((beat.at, beat.side) for beat in run.beats)
    first_side = times[0][1]
    sides: dict[str, set] = {svg.BLUE: set(), svg.GREEN: set()}
    for (before, _), (at, side) in zip(times, times[1:]):
        y = round(bottom - _gap_height((at - before) * 1e3, height))
        sides[svg.BLUE if side == first_side else svg.GREEN].add((round(x(at)), y))
    parts += [_dots(points, colour) for colour, points in sides.items()]
    gap = (run.first_here - run.last_there) * 1e3
    y = round(bottom - _gap_height(gap, height), 1)
    return parts + [
        f'<circle cx="{x(run.first_here)}" cy="{y}" r="5" fill="none" stroke="{svg.RED}" '
        'stroke-width="2"/>',
        svg.beside(x(run.first_here), y + 4, f"hand-over: {gap:.1f} ms", svg.TEXT, 10, colour=svg.RED,
                   weight="bold")]


def _marks(run: Run, x: svg.Scale) -> list[str]:
    """Where it is over in no time, the two words go to either side."""
    first, last = x(run.start), x(run.end)
    close = last - first < svg.width_of("migrate") + 12
    parts = [svg.line(at, 44, at, 450) for at in (first, last)]
    parts.append(svg.text(first - 4, 54, "migrate", svg.SMALL, "end") if close else svg.beside(first, 54, "migrate"))
    return parts + [svg.beside(last, 54, "completed")]


def draw(run: Run) -> str:
    x = svg.Scale(run.beats[0].at, run.beats[-1].at)
    return svg.document(_HEIGHT, run.title, [
        *_marks(run, x), *_rounds(run, x, 80), *_rate(run, x, 148, 80), *_gaps(run, x, 274, 170),
        *svg.seconds(x, run.start, 472)])
