# SPDX-License-Identifier: GPL-2.0-or-later
"""Fewer bytes than pages: chosen by itself, where it gains."""

from drover_e2e import paths
from drover_e2e.case import Skip
from drover_e2e.runner import test
from drover_e2e.vm import GuestOptions

# Most of what it holds is its kernel, programs and caches: text and tables, as in any guest.
QUIET = GuestOptions(memory="256M", working_set="4M", pattern="idle", dirty=0)
# Each write changes three of a page's 64 lines.
BUSY = GuestOptions(memory="256M", working_set="64M", dirty=10000, pattern="small-changes",
                    policy="downtime=100ms,deadline=60s")
SLOW_LINK = 20_000_000  # bytes/s


def moved(case, options, **parameters) -> dict:
    """query-migrate after a migration at whose end RAM was compared byte by byte."""
    if not paths.is_drover(case.emulator):
        raise Skip("Drover's own encodings")
    source, destination = case.guest(options), case.destination(options, paused=True)
    if parameters:
        source.qmp.execute("migrate-set-parameters", **parameters)
    mark = case.start_migration(source, destination.uri)
    case.finish_migration(source, mark)
    info = source.qmp.execute("query-migrate")
    case.same_ram(source, destination)
    destination.qmp.execute("cont")
    case.alive_on(destination)
    case.healthy(destination)
    return info


def pages_of(info: dict, *names: str) -> int:
    return sum(info["drover"]["encodings"][name]["pages"] for name in names)


@test()
def test_fewer_bytes_on_a_slow_link(case):
    info = moved(case, QUIET, max__bandwidth=SLOW_LINK)
    # About half of it is compressed already: an initramfs, and the kernel's image.
    assert pages_of(info, "lz4", "zstd") > 0.5 * pages_of(info, "raw"), info
    assert info["ram"]["transferred"] < 0.75 * info["ram"]["normal-bytes"], info
    assert info["compression"]["compression-rate"] > 1.5, info
    assert 0 < info["drover"]["compression-cpu"] < info["drover"]["total"], info


@test()
def test_nothing_is_compressed_that_the_user_forbids(case):
    info = moved(case, QUIET, max__bandwidth=SLOW_LINK, multifd__compression="none")
    assert pages_of(info, "lz4", "zstd") == 0 and "compression" not in info, info
    assert info["drover"]["compression-cpu"] == 0, info


@test()
def test_small_changes_are_deltas(case):
    """10,000 pages/s are twice what the link carries of whole pages: the guest is not slowed for it."""
    info = moved(case, BUSY, max__bandwidth=SLOW_LINK)
    assert pages_of(info, "delta") > 5000, info
    assert info["xbzrle-cache"]["encoding-rate"] > 5, info
    assert info["drover"]["worst-slowdown"] == 0, info
    assert info["ram"]["transferred"] < 150e6, info


@test()
def test_nothing_is_tried_on_a_fast_link(case):
    info = moved(case, QUIET.but(working_set="128M"))
    whole = pages_of(info, "raw", "lz4", "zstd")
    assert pages_of(info, "lz4", "zstd") < 0.02 * whole, info
    assert info["drover"]["compression-cpu"] < 0.05 * info["drover"]["total"], info
