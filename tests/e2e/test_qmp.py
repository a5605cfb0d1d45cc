# SPDX-License-Identifier: GPL-2.0-or-later
"""What programs that drive QEMU see on QMP: descriptors, settings, HMP, query-migrate; and QEMU's
own migration behind exec: and pipes."""

import os
import socket
import threading

from drover_e2e import paths
from drover_e2e.case import Skip
from drover_e2e.qmp import QmpError
from drover_e2e.runner import test
from drover_e2e.vm import GuestOptions

SMALL = GuestOptions(memory="256M", working_set="64M", dirty=2000)


class Reader:
    """Reads to the end of a pipe or socket, as libvirt's helper does."""

    def __init__(self, fd: int):
        self.data = bytearray()
        self._fd = fd
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        while piece := os.read(self._fd, 1 << 20):
            self.data += piece
        os.close(self._fd)

    def at_end(self, within: float) -> bool:
        self._thread.join(within)
        return not self._thread.is_alive()


def refused(vm, command: str, *words: str, **arguments) -> str:
    try:
        vm.qmp.execute(command, **arguments)
    except QmpError as error:
        for word in words:
            assert word in error.desc, f"{word!r} is not in: {error.desc}"
        return error.desc
    raise AssertionError(f"{command} {arguments} was accepted")


@test()
def test_saved_to_a_pipe_and_restored(case):
    """As "virsh save" and "virsh restore": QEMU's own stream. The guest is then as movable as it
    was before."""
    guest = case.guest(SMALL)
    reading, writing = os.pipe()
    reader = Reader(reading)
    guest.give_descriptor("migrate", writing)
    os.close(writing)
    guest.qmp.execute("stop")
    mark = case.start_migration(guest, "fd:migrate")
    guest.qmp.wait_migration("completed", timeout=60, after=mark)
    assert guest.qmp.execute("query-migrate")["status"] == "completed"
    assert reader.at_end(10), "the pipe's other end waits for ever"
    guest.qmp.execute("quit")
    guest.wait_exit()
    image = case.directory / "saved"
    image.write_bytes(reader.data)
    restored = case.vm(SMALL, incoming=f"exec:cat {image}")
    restored.qmp.negotiate()
    restored.qmp.execute("migrate-set-capabilities",
                         capabilities=[{"capability": "events", "state": True}])
    if restored.qmp.execute("query-migrate").get("status") != "completed":
        restored.qmp.wait_migration("completed")
    restored.qmp.execute("cont")  # it was saved paused
    case.alive_on(restored, within=10)
    case.healthy(restored)
    destination = case.destination(SMALL)
    case.migrate(restored, destination)
    case.healthy(destination)


@test()
def test_descriptors_are_not_kept(case):
    """Whoever handed a descriptor over waits for its last holder to close it."""
    vm = case.bare("vm")
    reading, writing = os.pipe()
    dump = Reader(reading)
    vm.give_descriptor("dump", writing)
    os.close(writing)
    vm.qmp.execute("dump-guest-memory", paging=False, protocol="fd:dump")
    assert dump.at_end(10), "a dump's reader waits for ever"
    here, there = socket.socketpair()
    channel = Reader(there.detach())
    vm.give_descriptor("channel", here.fileno())
    here.close()
    vm.qmp.execute("chardev-add", id="c", backend={"type": "socket", "data": {
        "server": False, "addr": {"type": "fd", "data": {"str": "channel"}}}})
    vm.qmp.execute("chardev-remove", id="c")
    assert channel.at_end(10), "an unplugged device's peer waits for ever"
    refused(vm, "closefd", "channel", fdname="channel")
    here, there = socket.socketpair()
    peer = Reader(there.detach())
    vm.give_descriptor("migrate", here.fileno())
    here.close()
    vm.qmp.execute("migrate", uri="fd:migrate")
    vm.qmp.execute("migrate_cancel")
    refused(vm, "closefd", "migrate", fdname="migrate")
    assert peer.at_end(10), "a cancelled migration's peer waits for ever"


@test()
def test_settings_are_checked_as_qemu_does(case):
    vm = case.bare("vm")
    for wrong in ({"cpu-throttle-initial": "five"}, {"multifd-compression": "nonsense"},
                  {"multifd-compression": 7}, {"cpu-throttle-initial": 0},
                  {"multifd-channels": 0}, {"multifd-channels": 256}, {"no-such": 1},
                  {"downtime-limit": 2000001}, {"downtime-limit": "x"}, {"max-bandwidth": "x"}):
        refused(vm, "migrate-set-parameters", **wrong)
    right = {"downtime-limit": 0, "multifd-channels": 255, "max-bandwidth": (1 << 63) + 1,
             "tls-creds": None, "cpu-throttle-initial": 5}
    if not paths.is_drover(case.emulator):
        right["max-bandwidth"] = 1 << 62
    vm.qmp.execute("migrate-set-parameters", **right)
    shown = vm.qmp.execute("query-migrate-parameters")
    for name, value in right.items():
        assert shown[name] == ("" if value is None else value), (name, shown[name])
    for wrong in ([{"capability": "no-such", "state": True}], [{"capability": "events"}],
                  [{"capability": "events", "state": 1}], "events",
                  [{"capability": "xbzrle", "state": True, "more": 1}]):
        refused(vm, "migrate-set-capabilities", capabilities=wrong)
    vm.qmp.execute("migrate-set-capabilities", capabilities=[
        {"capability": "events", "state": True}, {"capability": "auto-converge", "state": True}])
    on = [c["capability"] for c in vm.qmp.execute("query-migrate-capabilities") if c["state"]]
    assert on == ["auto-converge", "events"], on


@test()
def test_hmp_is_the_qmp_command(case):
    """A human's command never fails as a QMP command does, and shows what is in force."""
    vm = case.bare("vm")

    def hmp(line: str) -> str:
        return vm.qmp.execute("human-monitor-command", **{"command-line": line})

    assert hmp("migrate_set_parameter downtime-limit 77") == ""
    assert vm.qmp.execute("query-migrate-parameters")["downtime-limit"] == 77
    assert "77" in hmp("info migrate_parameters")
    assert hmp("migrate_set_capability events on") == ""
    assert "events: on" in hmp("info migrate_capabilities")
    assert hmp("migrate_set_parameter downtime-limit much").startswith("Error")
    assert hmp("migrate nowhere").startswith("Error")
    assert hmp("migrate_cancel") == ""
    hmp("info migrate")


@test()
def test_port_that_the_system_chooses(case):
    """Who asked for port 0 learns it; every round and its remaining pages are told."""
    source = case.bare("source")
    destination = case.bare("destination", "-incoming", "tcp:127.0.0.1:0")
    address = destination.qmp.execute("query-migrate")["socket-address"][0]
    assert address["type"] == "inet" and address["port"] != "0", address
    mark = case.start_migration(source, f"tcp:127.0.0.1:{address['port']}")
    case.finish_migration(source, mark)
    assert source.qmp.statuses(mark)[0] == "setup", source.qmp.statuses(mark)
    assert source.qmp.wait_event("MIGRATION_PASS", after=mark).data["pass"] == 1
    ram = source.qmp.execute("query-migrate")["ram"]
    assert ram["remaining"] == 0 and ram["dirty-sync-count"] >= 1, ram
    refused(destination, "migrate-incoming", "already been started", uri="tcp:127.0.0.1:0")
    deferred = case.bare("deferred", "-incoming", "defer")
    if deferred.qmp.greeting["version"]["qemu"]["major"] < 9:
        refused(deferred, "migrate-incoming", "is unexpected", uri="tcp:127.0.0.1:0", exit__on__error=False)


@test()
def test_remaining_falls_from_the_total(case):
    source = case.guest(SMALL)
    destination = case.destination(SMALL)
    source.qmp.execute("migrate-set-parameters", max__bandwidth=20 << 20)
    case.start_migration(source, destination.uri)
    source.qmp.wait_event("MIGRATION_PASS")
    info = source.qmp.execute("query-migrate")
    assert info["ram"]["remaining"] > SMALL_BYTES // 2, info["ram"]
    assert info["ram"]["dirty-sync-count"] == 1 and info["expected-downtime"] > 0, info
    refused(source, "migrate-set-capabilities", "in progress",
            capabilities=[{"capability": "xbzrle", "state": True}])
    source.qmp.execute("migrate_cancel")
    case.alive_on(source)


SMALL_BYTES = 256 << 20


@test()
def test_bad_destination_shows_setup_and_failed(case):
    vm = case.bare("vm")
    mark = case.start_migration(vm, "tcp:127.0.0.1:1")
    vm.qmp.wait_migration("failed", after=mark)
    assert vm.qmp.statuses(mark) == ["setup", "failed"], vm.qmp.statuses(mark)


@test()
def test_the_guest_runs_when_a_client_may_speak(case):
    """The guest was started before: no other state, and no event of it."""
    for count in range(8):
        vm = case.bare(f"vm{count}", paused=False)
        assert vm.qmp.execute("query-status")["status"] == "running"
        assert not [e for e in vm.qmp.events if e.name == "RESUME"], vm.qmp.events
        vm.stop()


@test(kind=["same", "other", "source-not-set", "destination-not-set"])
def test_validate_uuid(case, kind):
    first, second = "11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222"
    theirs = {"same": (first, first), "other": (first, second), "source-not-set": (None, first),
              "destination-not-set": (first, None)}[kind]
    options = [["-uuid", uuid] if uuid else [] for uuid in theirs]
    source = case.bare("source", *options[0])
    destination = case.bare("destination", *options[1], "-incoming", "tcp:127.0.0.1:0")
    for vm in (source, destination):
        vm.qmp.execute("migrate-set-capabilities",
                       capabilities=[{"capability": "validate-uuid", "state": True}])
    port = destination.qmp.execute("query-migrate")["socket-address"][0]["port"]
    mark = case.start_migration(source, f"tcp:127.0.0.1:{port}")
    end = source.qmp.wait_migration("completed", "failed", after=mark).data["status"]
    assert end == ("failed" if kind == "other" else "completed"), end
    if kind == "other" and paths.is_drover(case.emulator):
        assert "UUID" in source.qmp.execute("query-migrate")["error-desc"]
    if kind == "other":  # who waits for another guest waits in vain
        assert destination.process.wait(10) == 1


@test(wish=[True, False])
def test_dirty_bitmaps(case, wish):
    """A backup's bitmap goes with the disk where both sides were told so, and else it does not."""
    disk = ("-blockdev", f"driver=file,node-name=n,filename={case.disk()}", "-device",
            "virtio-blk-pci,drive=n")
    source = case.bare("source", *disk)
    destination = case.bare("destination", *disk, "-incoming", "defer")
    for vm in (source, destination):
        vm.qmp.execute("migrate-set-capabilities",
                       capabilities=[{"capability": "dirty-bitmaps", "state": wish}])
    source.qmp.execute("block-dirty-bitmap-add", node="n", name="backup")
    case.finish_migration(source, case.start_migration(source, case.listen(destination)))
    destination.qmp.execute("cont")
    nodes = {node["node-name"]: node for node in destination.qmp.execute("query-named-block-nodes")}
    found = [bitmap["name"] for bitmap in nodes["n"].get("dirty-bitmaps", [])]
    assert found == (["backup"] if wish else []), found
