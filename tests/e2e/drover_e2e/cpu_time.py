# SPDX-License-Identifier: GPL-2.0-or-later
"""Processor time that a migration takes: all that an emulator's processes use, but for the guest's own vCPUs."""

import os
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


def _seconds(stat: Path) -> float:
    """User and system time; of a process, threads that have ended included."""
    fields = stat.read_text(encoding="ascii", errors="replace").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def _is_vcpu(task: Path) -> bool:
    return (task / "comm").read_text(encoding="ascii", errors="replace").startswith("CPU ")


def besides_vcpus(*pids: int) -> float:
    """Seconds so far. QEMU names the threads of its vCPUs."""
    total = 0.0
    for pid in set(pids):
        total += _seconds(Path(f"/proc/{pid}/stat"))
        for task in Path(f"/proc/{pid}/task").iterdir():
            if _is_vcpu(task):
                total -= _seconds(task / "stat")
    return total
