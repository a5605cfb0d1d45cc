# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests under KVM, on two emulated hosts, and a bad link between them."""

import time

from drover_e2e.linked_hosts import LinkedHosts
from drover_e2e.runner import test
from drover_e2e.vm import EVERYWHERE

GUEST = {"cpu": EVERYWHERE, "memory": "160M", "working_set": "48M", "dirty": 200, "pattern": "random-content",
         "policy": "downtime=300ms,reconnect=120s"}
RATE = "40mbit"
ON_ITS_WAY = 4 << 20  # in two channels: what is unsent in the kernel, and in the link's own queue
WATCHED_S = 40  # of a link on which a whole migration would take too long


def moved(hosts, source, guest, emulator: str, options: dict) -> tuple:
    """A whole migration to the other host: the guest there, and what query-migrate says."""
    target = hosts.there if source is hosts.here else hosts.here
    there, port = target.wait(emulator, **options)
    source.migrate(guest, port)
    info = guest.migrated("completed")
    assert there.healthy()
    guest.close()
    return there, info


def transferred(info: dict) -> int:
    return info["ram"]["transferred"]


@test(timeout=900, seconds=[5])
def test_cut(case, seconds):
    link_is_cut(case, seconds)


@test(timeout=900, seconds=[60], thorough=True)
def test_long_cut(case, seconds):
    link_is_cut(case, seconds)


def link_is_cut(case, seconds: int) -> None:
    """In silence, in the middle of a migration: it takes as much longer, and no more bytes."""
    hosts = LinkedHosts(case)
    hosts.shape("rate", RATE)
    guest = hosts.here.boot("drover", **GUEST)
    guest, whole = moved(hosts, hosts.here, guest, "drover", GUEST)
    back, port = hosts.here.wait("drover", **GUEST)
    hosts.there.migrate(guest, port)
    time.sleep(whole["total-time"] / 2e3)
    hosts.cut()
    cut = time.monotonic()
    before = guest.told().number
    time.sleep(seconds)
    assert guest.told(before).number > before, "the guest does not run on"
    hosts.shape("rate", RATE)
    away = time.monotonic() - cut
    info = guest.migrated("completed")
    assert back.healthy()
    assert info["drover"]["link-breaks"] >= 1, info
    longer = (info["total-time"] - whole["total-time"]) / 1e3
    print(f"TOLD a cut of {away:.1f} s: {info['total-time'] / 1e3:.1f} s and {transferred(info) / 1e6:.1f} MB in all, "
          f"without it {whole['total-time'] / 1e3:.1f} s and {transferred(whole) / 1e6:.1f} MB")
    assert longer < away + 0.1 * whole["total-time"] / 1e3 + 2, (longer, away)
    # The guest writes meanwhile, and what it writes follows; and what was on its way comes again.
    written = away * GUEST["dirty"] * 4096
    assert transferred(info) < 1.02 * transferred(whole) + written + ON_ITS_WAY, (transferred(info), transferred(whole))


@test(timeout=1800, delay=["1ms", "75ms", "150ms"], loss=["0%", "1%", "5%"], thorough=True)
def test_goodput(case, delay, loss):
    """Beside stock QEMU's, of the same guest over the same link."""
    hosts = LinkedHosts(case)
    rates = {}
    for name, emulator, policy in (("stock QEMU", "qemu", ""), ("Drover", "drover", "downtime=300ms"),
                                   ("Drover, bbr", "drover", "downtime=300ms,tcp-congestion=bbr")):
        options = {**GUEST, "policy": policy}  # stock QEMU gets none
        hosts.shape()
        guest = hosts.here.boot(emulator, **options)
        there, port = hosts.there.wait(emulator, **options)
        guest.execute("migrate-set-parameters", **{"max-bandwidth": 1 << 30})
        hosts.shape("rate", "200mbit", "delay", delay, "loss", loss, "limit", "20000")
        hosts.here.migrate(guest, port)
        began = time.monotonic()
        while (info := guest.query("query-migrate"))["status"] in ("setup", "active", "device") and \
                time.monotonic() - began < WATCHED_S:
            time.sleep(1)  # as a person who watches it
        rates[name] = info["ram"]["normal"] * 4096 / (info["total-time"] / 1e3)
        guest.close()
        there.close()
    print(f"TOLD {delay} and {loss} each way: " + ", ".join(f"{name} {rate / 1e6:.2f} MB/s" for name, rate in rates.items()))
    assert rates["Drover"] > 0.8 * rates["stock QEMU"], rates
    if (delay, loss) == ("150ms", "1%"):
        assert max(rates.values()) > 3 * rates["stock QEMU"], rates
