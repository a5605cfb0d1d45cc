# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU 10 and kernel 6.12 of Debian's backports: fetched into build/newer when a test first wants them."""

from . import paths
from .fetched import fetched

QEMU = str(paths.NEWER / "qemu" / "usr" / "bin" / "qemu-system-x86_64")


def why_not(what: str) -> str | None:
    """Fetches `what` (qemu, kernel); why it cannot be had, or None where it is there."""
    return fetched(paths.ROOT / "tests/newer/fetch", paths.NEWER, what)
