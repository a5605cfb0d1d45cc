# SPDX-License-Identifier: GPL-2.0-or-later
"""Where things are. DROVER_BUILD names another build directory than build/."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
BUILD = Path(os.environ.get("DROVER_BUILD", ROOT / "build")).resolve()
DROVER = str(BUILD / "bin" / "drover-system-x86_64")
DROVER_TOOL = str(BUILD / "bin" / "drover")
NEWER = BUILD / "newer"  # what tests/newer/fetch fetches
XEN = BUILD / "xen"  # what tests/lab/xen/fetch fetches
PYTHON = "/usr/bin/python3"  # Debian's
QEMU = "/usr/bin/qemu-system-x86_64"
OTHER_QEMU = os.environ.get("DROVER_E2E_QEMU") or None  # what the tests' guests run on (the runner's --qemu)


def guest_file(name: str) -> str:
    path = BUILD / "guest" / name
    if not path.exists():
        raise RuntimeError(f"{path} is missing: run tests/guest/build-guest {BUILD / 'guest'}")
    return str(path)


def is_drover(emulator: str) -> bool:
    return os.path.basename(emulator).startswith("drover-system")
