# SPDX-License-Identifier: GPL-2.0-or-later
"""Looks at a guest's RAM inside its QEMU process, whichever way it is allocated."""

import array
import os

_PAGE = 4096
_STEP = 512  # pages


def parse_size(size: str) -> int:
    return int(size[:-1]) << {"K": 10, "M": 20, "G": 30}[size[-1]]


def _ram_mapping(pid: int, size: int) -> tuple[int, int]:
    """The first mapping that is large enough to be the guest's RAM."""
    with open(f"/proc/{pid}/maps", encoding="ascii", errors="replace") as maps:
        for line in maps:
            addresses, permissions = line.split()[:2]
            start, end = (int(part, 16) for part in addresses.split("-"))
            if permissions.startswith("rw") and end - start >= size:
                return start, end
    raise RuntimeError(f"process {pid} has no mapping of {size} bytes")


def _present(pagemap: int, first: int, count: int) -> list[bool]:
    entries = array.array("Q", os.pread(pagemap, count * 8, first * 8))
    return [bool(entry >> 62) for entry in entries]  # present or swapped


def nonzero_bytes(pid: int, memory: str) -> int:
    """The bytes in pages of the guest's RAM that are not all zero: what a migration has to send at
    least once if it sends whole pages."""
    start, end = _ram_mapping(pid, parse_size(memory))
    zero = bytes(_PAGE)
    count = 0
    memory_fd = os.open(f"/proc/{pid}/mem", os.O_RDONLY)
    pagemap = os.open(f"/proc/{pid}/pagemap", os.O_RDONLY)
    try:
        for first in range(start // _PAGE, end // _PAGE, _STEP):
            pages = min(_STEP, end // _PAGE - first)
            present = _present(pagemap, first, pages)
            if not any(present):
                continue
            data = os.pread(memory_fd, pages * _PAGE, first * _PAGE)
            count += sum(data[i * _PAGE:(i + 1) * _PAGE] != zero
                         for i, there in enumerate(present) if there)
    finally:
        os.close(memory_fd)
        os.close(pagemap)
    return count * _PAGE
