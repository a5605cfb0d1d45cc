# SPDX-License-Identifier: GPL-2.0-or-later
"""What this kernel can do, found by trying."""

import ctypes
import mmap
import os
import struct


def has_soft_dirty() -> bool:
    """Writes a page and looks whether its soft-dirty bit is set: a kernel without it takes the
    write to clear_refs too."""
    with mmap.mmap(-1, 4096) as page:
        page[0] = 1
        with open("/proc/self/clear_refs", "w", encoding="ascii") as clear:
            clear.write("4")
        address = ctypes.addressof(ctypes.c_char.from_buffer(page))
        before = _pagemap(address)
        ctypes.memset(address, 2, 1)
        after = _pagemap(address)
        return not before >> 55 & 1 and bool(after >> 55 & 1)


def _pagemap(address: int) -> int:
    fd = os.open("/proc/self/pagemap", os.O_RDONLY)
    try:
        return struct.unpack("Q", os.pread(fd, 8, address // 4096 * 8))[0]
    finally:
        os.close(fd)


def has_pagemap_scan() -> bool:
    major, minor = os.uname().release.split(".")[:2]
    return (int(major), int(minor)) >= (6, 7)


def trackers() -> list[str]:
    found = ["pagemap-scan"] if has_pagemap_scan() else []
    return found + (["soft-dirty"] if has_soft_dirty() else [])
