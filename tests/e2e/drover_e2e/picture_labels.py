# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether a picture's words can be read: none runs over the edge, none over another."""

from dataclasses import dataclass
from xml.etree import ElementTree

WIDTH, HEIGHT = 0.56, 0.75  # of a letter, in parts of the type's size, as DejaVu Sans has it for our words


@dataclass(frozen=True)
class Label:
    words: str
    left: float
    right: float
    top: float
    bottom: float

    def meets(self, other: "Label") -> bool:
        return (self.left < other.right and other.left < self.right
                and self.top < other.bottom and other.top < self.bottom)


def labels_of(picture: ElementTree.Element) -> list[Label]:
    labels = []
    for element in picture.iter():
        words = "".join(element.itertext()).strip()
        if not element.tag.endswith("text") or not words:
            continue
        x, y, size = float(element.get("x")), float(element.get("y")), float(
            element.get("font-size") or picture.get("font-size"))
        width = len(words) * size * WIDTH * (1.1 if element.get("font-weight") == "bold" else 1)
        left = x - width * {"start": 0, "middle": 0.5, "end": 1}[element.get("text-anchor", "start")]
        labels.append(Label(words, left, left + width, y - size * HEIGHT, y))
    return labels


def problems(svg: str) -> list[str]:
    picture = ElementTree.fromstring(svg)
    width, height = float(picture.get("width")), float(picture.get("height"))
    labels = labels_of(picture)
    found = [f"'{label.words}' runs over the edge" for label in labels
             if label.left < 0 or label.right > width or label.top < 0 or label.bottom > height]
    for i, label in enumerate(labels):
        found += [f"'{label.words}' runs over '{other.words}'" for other in labels[i + 1:] if label.meets(other)]
    return found if labels else ["it has no words"]
