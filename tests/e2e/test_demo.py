# SPDX-License-Identifier: GPL-2.0-or-later
"""The two demonstrations as a person runs them: on a terminal, where they draw otherwise than in a pipe."""

import re
import sys

from drover_e2e import net, paths, picture_labels, terminal
from drover_e2e.case import Skip
from drover_e2e.runner import test

COLUMNS, LINES = 100, 30


def demonstrate(module: str, timeout: float) -> str:
    """What is left to read of it when colours are taken away."""
    code, text = terminal.run([sys.executable, "-m", f"drover_e2e.{module}"], timeout, COLUMNS, LINES,
                              {"PYTHONPATH": str(paths.ROOT / "tests" / "e2e")})
    assert code == 0, text
    assert "\x1b[1m==" in text, text  # it knew that it is on a terminal
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def frames_fit(text: str) -> None:
    """Each is drawn over the one before: no wider than the terminal, and less high."""
    frames = [frame for frame in text.split("\x1b[J")[1:] if "mode automatic" in frame]
    assert len(frames) > 5, text
    for before, frame in zip(frames, frames[1:]):
        lines = before.split("\r\n")[:-1]
        assert all(len(line) <= COLUMNS for line in lines), before
        assert len(lines) < LINES
        assert before.endswith(f"\x1b[{len(lines)}A\r"), before[-40:]


def picture_is_legible(text: str) -> None:
    path = paths.ROOT / re.search(r"picture: (\S+)", text)[1]
    assert not picture_labels.problems(path.read_text()), (path, picture_labels.problems(path.read_text()))


@test()
def test_the_pictures_of_the_documents(case):
    """Were drawn by the programs in real runs, and kept."""
    pictures = sorted((paths.ROOT / "docs" / "images").glob("*.svg"))
    assert len(pictures) >= 4
    for picture in pictures:
        assert not picture_labels.problems(picture.read_text()), (picture, picture_labels.problems(picture.read_text()))


@test(timeout=300, alone=True)
def test_a_hotspot_on_a_terminal(case):
    """All as delivered: 30 s above the threshold to be hot, 30 s below it to be cool, and 14 s are wanted for the rest."""
    if reason := net.why_not():
        raise Skip(reason)
    text = demonstrate("demo", 280)
    assert re.search(r"hotspot +.*host-cpu.* on h1", text), text
    assert re.search(r"decision +web[12] from h1 to h2", text), text
    moved = re.search(r"moved +after [\d.]+ s, downtime (\d+) ms", text)
    assert moved and int(moved[1]) < 10_000, text
    resolved = re.search(r"resolved +after ([\d.]+) s", text)
    assert resolved and 45 < float(resolved[1]) < 114, text  # the boots may have made some of the seconds that count
    assert "✗" not in text and "picture: " in text, text
    picture_is_legible(text)
    frames_fit(text)


@test(timeout=120)
def test_a_move_on_a_terminal(case):
    text = demonstrate("move_demo", 100)
    assert "round 1  " in text and "\r\x1b[K" in text, text
    assert "✗" not in text and "picture: " in text, text
    picture_is_legible(text)
