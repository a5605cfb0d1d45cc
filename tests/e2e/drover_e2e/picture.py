# SPDX-License-Identifier: GPL-2.0-or-later
"""Draws a migration as SVG: rounds, the guest's write rate and the gaps between its heartbeats."""

import math
from dataclasses import dataclass
from html import escape

from .heartbeat import Beat

_WIDTH, _LEFT, _RIGHT = 960, 90, 24
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


def _rounds(run: Run, x: _Scale, top: float) -> list[str]:
    parts = [_text(_LEFT - 10, top + 26, "rounds", anchor="end")]
    at = run.start + run.setup_s
    for entry in run.rounds:
        left, right = x(at), x(at + entry["seconds"])
        at += entry["seconds"]
        width = max(right - left, 1.5)
        colour = _RED if entry["guest-paused"] else _BLUE
        parts.append(f'<rect x="{left}" y="{top + 8}" width="{width:.1f}" height="28" rx="2" '
                     f'fill="{colour}" fill-opacity="0.8"/>')
        if width > 90:
            parts.append(_text(left + 8, top + 26, f"{entry['round']}: {entry['sent-pages']:,} pages",
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


def _rate(run: Run, x: _Scale, top: float, height: float) -> list[str]:
    points = _rate_points(run.beats)
    peak = max((rate for _, rate in points), default=1) * 1.2 or 1
    path = " ".join(f"{x(at)},{top + height - rate / peak * height:.1f}" for at, rate in points)
    return [_text(_LEFT - 10, top + 14, f"{peak:,.0f}", anchor="end", size=11),
            _text(_LEFT - 10, top + height / 2, "pages/s", anchor="end"),
            _text(_LEFT - 10, top + height, "0", anchor="end", size=11),
            _line(_LEFT, top + height, _WIDTH - _RIGHT, top + height),
            f'<polyline points="{path}" fill="none" stroke="{_GREEN}" stroke-width="1.5"/>']


def _gap_height(milliseconds: float, height: float) -> float:
    """Logarithmic: 0.5 ms at the bottom, 500 ms at the top."""
    share = math.log10(min(max(milliseconds, 0.5), 500) / 0.5) / 3
    return share * height


def _gaps(run: Run, x: _Scale, top: float, height: float) -> list[str]:
    parts = [_text(_LEFT - 10, top - 8, "ms since the last heartbeat", size=11)]
    for mark in (1, 10, 100):
        y = round(top + height - _gap_height(mark, height), 1)
        parts += [_line(_LEFT, y, _WIDTH - _RIGHT, y), _text(_LEFT - 10, y + 4, f"{mark} ms",
                                                             anchor="end", size=11)]
    times = sorted((beat.at, beat.side) for beat in run.beats)
    first_side = times[0][1]
    for (before, _), (at, side) in zip(times, times[1:]):
        gap = (at - before) * 1e3
        colour = _BLUE if side == first_side else _GREEN
        y = top + height - _gap_height(gap, height)
        parts.append(f'<circle cx="{x(at)}" cy="{y:.1f}" r="1.4" fill="{colour}"/>')
    gap = (run.first_here - run.last_there) * 1e3
    y = round(top + height - _gap_height(gap, height), 1)
    parts += [f'<circle cx="{x(run.first_here)}" cy="{y}" r="5" fill="none" stroke="{_RED}" '
              'stroke-width="2"/>',
              _text(x(run.first_here) + 10, y + 4, f"hand-over: {gap:.1f} ms", colour=_RED,
                    weight="bold")]
    return parts


def draw(run: Run) -> str:
    first, last = run.beats[0].at, run.beats[-1].at
    x = _Scale(first, last)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="470" '
             'font-family="sans-serif">', f'<rect width="{_WIDTH}" height="470" fill="white"/>',
             _text(_LEFT, 32, run.title, size=16, weight="bold")]
    for at, name in ((run.start, "migrate"), (run.end, "completed")):
        parts += [_line(x(at), 50, x(at), 430), _text(x(at) + 4, 60, name, size=11)]
    parts += _rounds(run, x, 66) + _rate(run, x, 130, 90) + _gaps(run, x, 260, 170)
    for second in range(math.ceil(first - run.start), math.floor(last - run.start) + 1):
        parts.append(_text(x(run.start + second), 452, f"{second} s", anchor="middle", size=11))
    return "\n".join(parts) + "\n</svg>\n"
