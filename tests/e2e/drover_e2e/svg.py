# SPDX-License-Identifier: GPL-2.0-or-later
"""What all pictures share, so that they look like one family: size, margins, colours, type. The pictures of
tools/migration_picture.cpp and of the policy's bench keep to the same."""

import math
from html import escape

WIDTH, LEFT, RIGHT = 960, 70, 24
INK, FAINT, BLUE, RED, GREEN, ORANGE = "#1f2933", "#cbd2d9", "#2b6cb0", "#c53030", "#2f855a", "#c05621"
COLOURS = [ORANGE, BLUE, GREEN, "#6b46c1", "#b83280", "#975a16", "#285e61", "#4a5568"]
TITLE, TEXT, SMALL = 16, 12, 11


def width_of(text: str, size: int = SMALL) -> float:
    """About; rather too much than too little."""
    return len(text) * size * 0.62


def text(x: float, y: float, words: str, size: int = TEXT, anchor: str = "start", colour: str = INK,
         weight: str = "normal", on: str = "white") -> str:
    """With a seam in the colour of what it stands `on`, so that no line runs through it."""
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{colour}" '
            f'font-weight="{weight}" stroke="{on}" stroke-width="3" stroke-linejoin="round" '
            f'paint-order="stroke">{escape(words)}</text>')


def beside(x: float, y: float, words: str, size: int = SMALL, gap: float = 4, **style) -> str:
    """To the right of x, or to its left where it would run over the picture's edge."""
    if x + gap + width_of(words, size) > WIDTH - 4:
        return text(x - gap, y, words, size, "end", **style)
    return text(x + gap, y, words, size, **style)


def line(x1: float, y1: float, x2: float, y2: float, colour: str = FAINT, dashes: str = "") -> str:
    pattern = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"{pattern}/>'


def heading(y: float, words: str) -> str:
    return text(LEFT, y, words, weight="bold")


def ruler(y: float, words: str) -> list[str]:
    return [line(LEFT, y, WIDTH - RIGHT, y), text(LEFT - 8, y + 4, words, SMALL, "end")]


def legend(y: float, entries: list[tuple[str, str]]) -> list[str]:
    """(colour, words) each, to the right end of a line."""
    parts, right = [], WIDTH - RIGHT
    for colour, words in reversed(entries):
        left = right - width_of(words)
        parts += [f'<circle cx="{left - 8:.1f}" cy="{y - 4:.1f}" r="3" fill="{colour}"/>', text(left, y, words, SMALL)]
        right = left - 28
    return parts


class Scale:
    """Seconds to the picture's x."""

    def __init__(self, first: float, last: float):
        self.first, self.last = first, last
        self._factor = (WIDTH - LEFT - RIGHT) / max(last - first, 1e-6)

    def __call__(self, at: float) -> float:
        return round(LEFT + (at - self.first) * self._factor, 1)


def seconds(x: Scale, zero: float, y: float) -> list[str]:
    """Ticks at whole seconds since `zero`, as many as have room."""
    span = x.last - x.first
    step = next(s for s in (1, 2, 5, 10, 20, 60, 120, 600, 3600, 86400 * 365) if span / s <= 12)
    ticks = range(math.ceil((x.first - zero) / step), math.floor((x.last - zero) / step) + 1)
    return [text(x(zero + tick * step), y, f"{tick * step} s", SMALL, "middle") for tick in ticks]


def document(height: float, title: str, parts: list[str]) -> str:
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'font-family="sans-serif">', f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        text(LEFT, 30, title, TITLE, weight="bold"), *parts, "</svg>"]) + "\n"
