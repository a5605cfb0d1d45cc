# SPDX-License-Identifier: GPL-2.0-or-later
"""Looks at the guest RAM of drover processes from outside, by their memfds."""

import os
from dataclasses import dataclass

_PREFIX = "/memfd:drover-ram:"
_PAGE = 4096
_STEP = 2 << 20


@dataclass
class Ram:
    """One RAM block of a drover process; close() when done."""

    name: str
    fd: int

    @property
    def size(self) -> int:
        return os.fstat(self.fd).st_size

    @property
    def allocated(self) -> int:
        """Bytes of memory that it takes."""
        return os.fstat(self.fd).st_blocks * 512

    def data_runs(self):
        """(start, end) of each run that is not a hole."""
        position = 0
        while True:
            try:
                start = os.lseek(self.fd, position, os.SEEK_DATA)
            except OSError:
                return  # nothing but a hole is left
            position = os.lseek(self.fd, start, os.SEEK_HOLE)
            yield start, position

    def close(self) -> None:
        os.close(self.fd)


def blocks_of(pid: int) -> list[Ram]:
    """The RAM blocks of a drover process, by name. More than one descriptor may name one file."""
    found: dict[str, Ram] = {}
    directory = f"/proc/{pid}/fd"
    for entry in os.listdir(directory):
        try:
            target = os.readlink(f"{directory}/{entry}")
        except OSError:
            continue
        if target.startswith(_PREFIX):
            name = target[len(_PREFIX):].removesuffix(" (deleted)")
            if name not in found:
                found[name] = Ram(name, os.open(f"{directory}/{entry}", os.O_RDONLY))
    return [found[name] for name in sorted(found)]


def _holes(start: int, end: int, runs: list[tuple[int, int]]):
    """What of start…end no run covers."""
    for run_start, run_end in runs:
        if run_end <= start or run_start >= end:
            continue
        if run_start > start:
            yield start, run_start
        start = max(start, run_end)
    if start < end:
        yield start, end


def _steps(start: int, end: int):
    for at in range(start, end, _STEP):
        yield at, min(_STEP, end - at)


# Read by pread: unlike a look through a mapping it does not fill the holes of a shared file.


def _is_zero(fd: int, start: int, end: int) -> bool:
    return all(os.pread(fd, count, at) == bytes(count) for at, count in _steps(start, end))


def _differing_pages(a: int, b: int, start: int, end: int) -> list[int]:
    differing = []
    for at, count in _steps(start, end):
        ours, theirs = os.pread(a, count, at), os.pread(b, count, at)
        if ours != theirs:
            differing += [(at + page) // _PAGE for page in range(0, count, _PAGE)
                          if ours[page:page + _PAGE] != theirs[page:page + _PAGE]]
    return differing


def _describe(a: int, b: int, page: int) -> str:
    """Which bytes of a page differ, and how."""
    ours, theirs = os.pread(a, _PAGE, page * _PAGE), os.pread(b, _PAGE, page * _PAGE)
    places = [i for i in range(_PAGE) if ours[i] != theirs[i]]
    first, last = places[0], places[-1] + 1
    shown = slice(first, min(last, first + 32))
    return (f"page {page}: {len(places)} bytes in {first:#x}…{last:#x}, "
            f"{ours[shown].hex()} here, {theirs[shown].hex()} there")


def _compare_block(a: Ram, b: Ram, kvm_vcpus: int) -> list[str]:
    if a.size != b.size:
        return [f"{a.name}: {a.size} bytes here, {b.size} there"]
    differing = []
    runs = list(a.data_runs())
    for start, end in runs:
        differing += _differing_pages(a.fd, b.fd, start, end)
    # What is a hole here must be a hole there, or zeros.
    for start, end in b.data_runs():
        for hole_start, hole_end in _holes(start, end, runs):
            if not _is_zero(b.fd, hole_start, hole_end):
                differing.append(hole_start // _PAGE)
    if kvm_vcpus and len(differing) == 1 and _only_clocks_differ(a, b, differing[0], kvm_vcpus):
        return []
    if not differing:
        return []
    details = [_describe(a.fd, b.fd, page) for page in differing[:8]]
    return [f"{a.name}: {len(differing)} pages differ: {'; '.join(details)}"]


def _only_clocks_differ(a: Ram, b: Ram, page: int, vcpus: int) -> bool:
    """KVM writes its paravirtual clocks (64 bytes a vCPU, and the wall clock) into the guest's RAM
    when the vCPUs' registers are loaded, as it does under QEMU's own migration."""
    ours, theirs = (os.pread(ram.fd, _PAGE, page * _PAGE) for ram in (a, b))
    return sum(x != y for x, y in zip(ours, theirs)) <= 64 * vcpus + 16


def differences(source_pid: int, destination_pid: int, kvm_vcpus: int = 0) -> list[str]:
    """Compares all RAM blocks of two paused VMs; an empty list means that they are equal. Under KVM,
    with so many vCPUs, the page of the guest's paravirtual clocks may differ in them."""
    sources, destinations = blocks_of(source_pid), blocks_of(destination_pid)
    try:
        names = [block.name for block in sources]
        if not names or names != [block.name for block in destinations]:
            return [f"RAM blocks: {names} here, {[b.name for b in destinations]} there"]
        return [text for a, b in zip(sources, destinations)
                for text in _compare_block(a, b, kvm_vcpus)]
    finally:
        for block in sources + destinations:
            block.close()


def allocated(pid: int) -> int:
    """Bytes of memory that a drover process's guest RAM takes."""
    blocks = blocks_of(pid)
    try:
        return sum(block.allocated for block in blocks)
    finally:
        for block in blocks:
            block.close()
