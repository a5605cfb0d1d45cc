# SPDX-License-Identifier: GPL-2.0-or-later
"""Draws how a hotspot came and went: each host's load over time, and what the balancer did when."""

from html import escape

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 960, 360, 70, 24, 60, 300
_INK, _FAINT, _RED = "#1f2933", "#cbd2d9", "#c53030"
_COLOURS = ["#c05621", "#2b6cb0", "#2f855a", "#6b46c1", "#b83280", "#975a16", "#285e61", "#4a5568"]
_TITLES = {"cpu": "processor time wanted, of the slice", "bandwidth": "the uplink's use, of its capacity",
           "swap": "swapped out, of the threshold"}


def _text(x: float, y: float, text: str, size: int = 12, anchor: str = "start", colour: str = _INK) -> str:
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" '
            f'fill="{colour}">{escape(text)}</text>')


def _marks(story, x) -> list[str]:
    parts = []
    events = [(story.found, "found"), (story.began, f"{story.vm} moves"), (story.moved, "moved"),
              (story.cooled, "cool")]
    for row, (at, word) in enumerate(events):
        if at is None:
            continue
        parts.append(f'<line x1="{x(at):.1f}" y1="{_TOP}" x2="{x(at):.1f}" y2="{_BOTTOM}" '
                     f'stroke="{_FAINT}" stroke-dasharray="4 3"/>')
        parts.append(_text(x(at) + 4, _TOP + 12 + 14 * row, f"{word}, {at:.1f} s", 11))
    return parts


def draw(story) -> str:
    last = max((at for at, _ in story.samples), default=1.0)
    peak = max([1.0] + [value for _, hosts in story.samples for value in hosts.values()]) * 1.1

    def x(at: float) -> float:
        return _LEFT + (at / last) * (_WIDTH - _LEFT - _RIGHT)

    def y(value: float) -> float:
        return _BOTTOM - value / peak * (_BOTTOM - _TOP)

    names = sorted({name for _, hosts in story.samples for name in hosts})
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
             'font-family="sans-serif">', f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
             _text(_LEFT, 28, f"A hotspot ({', '.join(sorted(story.kinds))}) comes, and is resolved", 16),
             _text(_LEFT, 48, _TITLES.get(story.hotspot, ""), 12)]
    for value in (0, 0.5, 1.0):
        parts.append(f'<line x1="{_LEFT}" y1="{y(value):.1f}" x2="{_WIDTH - _RIGHT}" y2="{y(value):.1f}" '
                     f'stroke="{_FAINT}"/>')
        parts.append(_text(_LEFT - 8, y(value) + 4, f"{value:.0%}", 11, "end"))
    for number, name in enumerate(names):
        colour = _COLOURS[number % len(_COLOURS)]
        points = " ".join(f"{x(at):.1f},{y(hosts.get(name, 0)):.1f}" for at, hosts in story.samples)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(_text(_LEFT + 90 * number, _HEIGHT - 30, f"— {name}", 12, colour=colour))
    parts += _marks(story, x)
    parts.append(_text(_WIDTH - _RIGHT, _HEIGHT - 30, f"0 to {last:.0f} s after the load began", 11, "end"))
    return "\n".join(parts) + "\n</svg>\n"
