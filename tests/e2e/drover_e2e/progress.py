# SPDX-License-Identifier: GPL-2.0-or-later
"""Shows a migration while it runs: a bar for each round, redrawn on a terminal, else a line each."""

import sys

from .qmp import Qmp

_WIDTH = 30


def _bar(share: float) -> str:
    full = round(min(max(share, 0.0), 1.0) * _WIDTH)
    return "█" * full + "░" * (_WIDTH - full)


class Progress:
    def __init__(self, qmp: Qmp, expected_pages: int):
        self._qmp = qmp
        self._expected = expected_pages  # of the round under way
        self._shown = 0  # rounds whose final line has been printed
        self._terminal = sys.stdout.isatty()
        self._drawn = False

    def update(self) -> None:
        info = self._qmp.execute("query-migrate")
        rounds = info.get("drover", {}).get("rounds", [])
        for entry in rounds[self._shown:]:
            self._line(self._finished(entry), end="\n")
            self._expected = entry["dirty-pages"]
        self._shown = len(rounds)
        ram = info.get("ram")
        if self._terminal and ram and info["status"] == "active":
            done = ram["normal"] + ram["duplicate"]
            done -= sum(entry["sent-pages"] + entry["zero-pages"] for entry in rounds)
            share = done / self._expected if self._expected else 1.0
            self._line(f"  round {self._shown + 1}  {_bar(share)} {done:>7,} pages", end="")

    def _finished(self, entry: dict) -> str:
        kind = "guest paused" if entry["guest-paused"] else f"{entry['dirty-pages']:,} dirtied meanwhile"
        return (f"  round {entry['round']}  {_bar(1.0)} {entry['sent-pages'] + entry['zero-pages']:>7,}"
                f" pages {entry['bytes'] / 1e6:>7.1f} MB {entry['seconds'] * 1e3:>7.1f} ms  ({kind})")

    def _line(self, text: str, end: str) -> None:
        start = "\r\033[K" if self._drawn else ""
        print(start + text, end=end, flush=True)
        self._drawn = self._terminal and end == ""
