# SPDX-License-Identifier: GPL-2.0-or-later
"""Draws a migration as SVG: rounds, the guest's write rate and the gaps between its heartbeats."""

import math
from dataclasses import dataclass
from html import escape

from .heartbeat import Beat

_WIDTH, _HEIGHT, _LEFT, _RIGHT = 960, 486, 70, 24
_INK, _FAINT, _BLUE, _RED, _GREEN = "#1f2933", "#cbd2d9", "#2b6cb0", "#c53030", "#2f855a"


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


class _Scale:
    def __init__(self, first: float, last: float):
        self._first = first
        self._factor = (_WIDTH - _LEFT - _RIGHT) / (last - first)

    def __call__(self, at: float) -> float:
        return round(_LEFT + (at - self._first) * self._factor, 1)


def _text(x: float, y: float, text: str, size: int = 12, anchor: str = "start",
          colour: str = _INK, weight: str = "normal") -> str:
    return (f'<text x="{x}" y="{y}" font-size="{size}" text-anchor="{anchor}" fill="{colour}" '
            f'font-weight="{weight}">{escape(text)}</text>')


def _line(x1: float, y1: float, x2: float, y2: float, colour: str = _FAINT) -> str:
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{colour}"/>'


def _heading(y: float, text: str) -> str:
    return _text(_LEFT, y, text, weight="bold")


def _ruler(y: float, text: str) -> list[str]:
    return [_line(_LEFT, y, _WIDTH - _RIGHT, y), _text(_LEFT - 8, y + 4, text, 11, "end")]


def _rounds(run: Run, x: _Scale, top: float) -> list[str]:
    parts = [_heading(top, "rounds of copying")]
    at = run.start + run.setup_s
    for entry in run.rounds:
        left, right = x(at), x(at + entry["seconds"])
        at += entry["seconds"]
        width = max(right - left - 1, 1.5)
        colour = _RED if entry["guest-paused"] else _BLUE
        parts.append(f'<rect x="{left}" y="{top + 8}" width="{width:.1f}" height="28" rx="2" '
                     f'fill="{colour}" fill-opacity="0.8"/>')
        label = f"{entry['round']}: {entry['sent-pages']:,} pages"
        if width > 7 * len(label):
            parts.append(_text(left + 8, top + 27, label, colour="white"))
        elif width > 20:
            parts.append(_text(left + width / 2, top + 27, f"{entry['round']}", anchor="middle",
                               colour="white"))
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


def _rate(run: Run, x: _Scale, top: float, height: float) -> list[str]:
    points = _rate_points(run.beats)
    peak = _round_up(max((rate for _, rate in points), default=1))
    bottom = top + 12 + height
    path = " ".join(f"{x(at)},{bottom - rate / peak * height:.1f}" for at, rate in points)
    return [_heading(top, "pages a second that the guest writes"),
            *_ruler(bottom - height, f"{peak:,.0f}"), *_ruler(bottom, "0"),
            f'<polyline points="{path}" fill="none" stroke="{_INK}" stroke-width="1.5"/>']


def _gap_height(milliseconds: float, height: float) -> float:
    """Logarithmic: 0.5 ms at the bottom, 500 ms at the top."""
    share = math.log10(min(max(milliseconds, 0.5), 500) / 0.5) / 3
    return share * height


def _dots(points: set[tuple[float, float]], colour: str) -> str:
    """One path: thousands of circles would make a large file."""
    path = "".join(f"M{x:g} {y:g}h0" for x, y in sorted(points))
    return (f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="2.6" '
            'stroke-linecap="round"/>')


def _legend(y: float) -> list[str]:
    parts = []
    for left, colour, text in ((_WIDTH - 222, _BLUE, "at the source"),
                               (_WIDTH - 122, _GREEN, "at the destination")):
        parts += [_dots({(left - 8, y - 4)}, colour), _text(left, y, text, size=11)]
    return parts


def _gaps(run: Run, x: _Scale, top: float, height: float) -> list[str]:
    parts = [_heading(top, "gaps between the guest's heartbeats, as seen from outside"),
             *_legend(top)]
    bottom = top + 6 + height
    for mark in (1, 10, 100):
        parts += _ruler(round(bottom - _gap_height(mark, height), 1), f"{mark} ms")
    times = sorted((beat.at, beat.side) for beat in run.beats)
    first_side = times[0][1]
    sides: dict[str, set] = {_BLUE: set(), _GREEN: set()}
    for (before, _), (at, side) in zip(times, times[1:]):
        y = round(bottom - _gap_height((at - before) * 1e3, height))
        sides[_BLUE if side == first_side else _GREEN].add((round(x(at)), y))
    parts += [_dots(points, colour) for colour, points in sides.items()]
    gap = (run.first_here - run.last_there) * 1e3
    y = round(bottom - _gap_height(gap, height), 1)
    return parts + [
        f'<circle cx="{x(run.first_here)}" cy="{y}" r="5" fill="none" stroke="{_RED}" '
        'stroke-width="2"/>',
        _text(x(run.first_here) + 10, y + 4, f"hand-over: {gap:.1f} ms", colour=_RED, weight="bold")]


def draw(run: Run) -> str:
    first, last = run.beats[0].at, run.beats[-1].at
    x = _Scale(first, last)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
             f'width="{_WIDTH}" height="{_HEIGHT}" font-family="sans-serif">',
             f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
             _text(_LEFT, 30, run.title, size=16, weight="bold")]
    for at, name in ((run.start, "migrate"), (run.end, "completed")):
        parts += [_line(x(at), 44, x(at), 450), _text(x(at) + 4, 54, name, size=11)]
    parts += _rounds(run, x, 80) + _rate(run, x, 148, 80) + _gaps(run, x, 274, 170)
    for second in range(math.ceil(first - run.start), math.floor(last - run.start) + 1):
        parts.append(_text(x(run.start + second), 472, f"{second} s", anchor="middle", size=11))
    return "\n".join(parts) + "\n</svg>\n"
