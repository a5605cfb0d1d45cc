# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests that move where their hypervisor's own state could not be loaded: it is translated."""

import shlex
import shutil
import subprocess
import time
from pathlib import Path

from drover_e2e import newer, paths, tale, watch
from drover_e2e.case import Skip
from drover_e2e.net import Namespace
from drover_e2e.runner import test
from drover_e2e.vm import GuestOptions, guest_arguments

SMALL = GuestOptions(machine="microvm", memory="256M", working_set="64M", dirty=1000)
# A CPU with AVX.
WATCHED = SMALL.but(cpu="SandyBridge,-x2apic,-tsc-deadline", boot=("drover.tell=250", "drover.watch=1"))


def new(options: GuestOptions) -> GuestOptions:
    if reason := newer.why_not("qemu"):
        raise Skip(reason)
    return options.but(qemu=newer.QEMU)


@test(timeout=180, smp=[1, 2])
def test_microvm_of_two_versions(case, smp):
    """Its type has no version in its name, and another form in each version of QEMU."""
    old = WATCHED.but(smp=smp, disk=case.disk())
    first, second, third = case.guest(old), case.destination(new(old)), case.destination(old)
    before = tale.wait(first.console)
    case.migrate(first, second)
    first.stop()
    case.healthy(second)
    before = watch.steady(second.console, before.number)[-1]
    case.migrate(second, third)
    case.healthy(third)
    watch.steady(third.console, before.beat)


ASKED = "how this machine is loaded was asked of a second QEMU"
KNOWN = "how this machine is loaded is known from before"


def until_said(vm, words: str) -> None:
    deadline = time.monotonic() + 30
    while words not in vm.stderr():
        assert time.monotonic() < deadline, vm.stderr()
        time.sleep(0.05)


def copy_of_new(case) -> str:
    """The same QEMU as another file, with the firmware that it finds beside itself."""
    tree = Path(newer.QEMU).parents[1]
    program = case.scratch / "usr" / "bin" / Path(newer.QEMU).name
    program.parent.mkdir(parents=True)
    shutil.copy(newer.QEMU, program)
    (case.scratch / "usr" / "share").symlink_to(tree / "share")
    return str(program)


@test(timeout=240)
def test_a_form_is_asked_for_once(case):
    """How a QEMU wants its devices is kept: for that build, that command line, and as long as nobody touches it."""
    old = SMALL.but(env={"DROVER_DEBUG": "1"})
    other = new(old).but(qemu=copy_of_new(case))
    here = case.guest(old)

    def move(options: GuestOptions) -> str:
        nonlocal here
        there = case.destination(options)
        case.migrate(here, there)
        here.stop()
        here = there
        return there.stderr()

    ways = [new(old), old]
    assert all(ASKED in move(way) for way in ways)
    for way in ways:
        said = move(way)
        assert KNOWN in said and ASKED not in said, said
    assert ASKED in move(other), "another build"
    assert KNOWN in move(old)
    assert ASKED in move(new(old).but(boot=("drover.another=line",))), "another command line"
    assert KNOWN in move(old)
    for form in (case.scratch / "cache" / "drover").iterdir():
        with open(form, "r+b") as damaged:
            damaged.seek(1000)
            damaged.write(b"damaged")
    said = move(new(old))
    assert ASKED in said and "was damaged" in said, said
    move(old)
    assert KNOWN in move(new(old))
    case.healthy(here)


@test(timeout=120)
def test_a_form_is_asked_for_ahead_where_such_guests_come(case):
    """A host that has taken a guest of another kind asks as soon as it awaits the next one; no other does."""
    old = SMALL.but(env={"DROVER_DEBUG": "1"})
    here = case.guest(old)
    there = case.destination(new(old))
    assert ASKED not in there.stderr()
    case.migrate(here, there)
    here.stop()
    back = case.destination(old)
    until_said(back, ASKED)
    case.migrate(there, back)
    case.healthy(back)


@test(timeout=120)
def test_what_has_no_place_leaves_the_guest_where_it_is(case):
    """Found out when its state is loaded: QEMU's own network has a state, which another back-end has not."""
    source = case.guest(SMALL)
    other = case.destination(new(SMALL.but(nic=False, extra=(
        "-netdev", "hubport,id=net0,hubid=7", "-device", "virtio-net-device,netdev=net0"))))
    mark = case.start_migration(source, other.uri)
    source.qmp.wait_migration("failed", timeout=60, after=mark)
    why = source.qmp.execute("query-migrate")["error-desc"]
    assert "slirp has no place there" in why, why
    case.alive_on(source)
    second = case.destination(new(SMALL))
    case.migrate(source, second)
    case.healthy(second)


@test(timeout=120)
def test_video_memory_goes_along(case):
    """What is no guest RAM, and no device either."""
    old = SMALL.but(extra=("-device", "VGA"), machine="pc-i440fx-7.2")
    source, destination = case.guest(old), case.destination(old)
    case.migrate(source, destination)
    case.healthy(destination)


def save(case, vm, path):
    """Stopped, by QEMU's own migration, which is what a saved guest is."""
    vm.qmp.execute("stop")
    case.finish_migration(vm, case.start_migration(vm, f"exec:cat >{shlex.quote(str(path))}"))


def convert(*words: str) -> subprocess.CompletedProcess:
    return subprocess.run([paths.DROVER_TOOL, "convert", *words], capture_output=True, text=True,
                          check=False, timeout=60)


@test(timeout=120)
def test_a_saved_guest_is_converted(case):
    """For another version of QEMU, without a hypervisor that runs it."""
    old = SMALL.but(policy=None)
    saved, converted = case.scratch / "saved", case.scratch / "converted"
    guest = case.guest(old, emulator=paths.QEMU)
    save(case, guest, saved)
    guest.stop()
    port = case.heartbeat_port(Namespace.host())
    command = [newer.QEMU, *guest_arguments(new(old), port, None), "-serial", "null"]
    done = convert(str(saved), str(converted), "--", *command)
    assert done.returncode == 0, done
    vm = case.vm(new(old), emulator=paths.QEMU, incoming=f"exec:cat {shlex.quote(str(converted))}")
    vm.qmp.negotiate()
    vm.qmp.execute("cont")
    case.alive_on(vm, 10)
    case.healthy(vm)
    # And what cannot be is said before anything is written.
    other = case.scratch / "other"
    done = convert(str(saved), str(other), "--", *command, "-device", "virtio-rng-device")
    assert done.returncode == 1 and "virtio-rng" in done.stderr, done
    assert not other.exists() and not list(case.scratch.glob("*.part")), list(case.scratch.iterdir())
