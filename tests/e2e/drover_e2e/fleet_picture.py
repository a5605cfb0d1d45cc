# SPDX-License-Identifier: GPL-2.0-or-later
"""Draws how a hotspot came and went: each host's load over time, and what the balancer did when."""

from . import svg

_TOP, _BOTTOM = 132, 352
_TITLES = {"cpu": "processor time wanted, of the slice", "bandwidth": "the uplink's use, of its capacity",
           "swap": "swapped out, of the threshold"}


def _marks(story, x: svg.Scale) -> list[str]:
    """A line of words for each event, above the curves: two that come close stay apart."""
    parts = []
    events = [(story.found, "hotspot found"), (story.began, f"{story.vm} begins to move"), (story.moved, "it has moved"),
              (story.cooled, "cool again")]
    for row, (at, word) in enumerate(events):
        if at is None:
            continue
        y = 74 + 14 * row
        parts += [svg.line(x(at), y - 9, x(at), _BOTTOM, dashes="4 3"), svg.beside(x(at), y, f"{word}, {at:.1f} s")]
    return parts


def _curves(story, x: svg.Scale) -> list[str]:
    names = sorted({name for _, hosts in story.samples for name in hosts})
    peak = max([1.0] + [value for _, hosts in story.samples for value in hosts.values()])

    def y(value: float) -> float:
        return _BOTTOM - value / peak * (_BOTTOM - _TOP)

    colours = [(svg.COLOURS[number % len(svg.COLOURS)], name) for number, name in enumerate(names)]
    parts = svg.legend(50, colours)
    for value in (0, 0.5, 1.0):
        parts += svg.ruler(y(value), f"{value:.0%}")
    for colour, name in colours:
        points = " ".join(f"{x(at)},{y(hosts.get(name, 0)):.1f}" for at, hosts in story.samples)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
    return parts


def draw(story) -> str:
    x = svg.Scale(0, max((at for at, _ in story.samples), default=1.0))
    end = "is not resolved" if story.cooled is None else f"is resolved after {story.cooled:.1f} s"
    title = f"A hotspot ({', '.join(sorted(story.kinds)) or 'none found'}) comes, and {end}"
    return svg.document(384, title, [svg.heading(50, _TITLES.get(story.hotspot, "")), *_curves(story, x),
                                     *_marks(story, x), *svg.seconds(x, 0, _BOTTOM + 20)])
