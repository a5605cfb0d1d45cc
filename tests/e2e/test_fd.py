# SPDX-License-Identifier: GPL-2.0-or-later
"""A migration over one connected socket that somebody else made (fd:), as libvirt passes them."""

import socket

from drover_e2e import paths
from drover_e2e.case import Skip
from drover_e2e.runner import test
from drover_e2e.vm import GuestOptions

SMALL = GuestOptions(memory="256M", working_set="64M", dirty=2000)


@test(channels=[1, 4])
def test_one_connected_socket(case, channels):
    if not paths.is_drover(case.emulator):
        raise Skip("Drover's own way of using one socket")
    source = case.guest(SMALL)
    destination = case.vm(SMALL, incoming="defer")
    destination.qmp.negotiate()
    here, there = socket.socketpair()
    source.give_descriptor("out", here.fileno())
    destination.give_descriptor("in", there.fileno())
    here.close()
    there.close()
    destination.qmp.execute("migrate-incoming", uri="fd:in")
    source.qmp.execute("migrate-set-parameters", multifd__channels=channels)
    mark = case.start_migration(source, "fd:out")
    case.finish_migration(source, mark)
    case.alive_on(destination)
    case.healthy(destination)


@test()
def test_broken_socket(case):
    if not paths.is_drover(case.emulator):
        raise Skip("Drover's own way of using one socket")
    source = case.guest(SMALL)
    here, there = socket.socketpair()
    source.give_descriptor("out", here.fileno())
    here.close()
    there.close()
    mark = case.start_migration(source, "fd:out")
    source.qmp.wait_migration("failed", timeout=20, after=mark)
    case.alive_on(source)
