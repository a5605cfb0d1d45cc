# SPDX-License-Identifier: GPL-2.0-or-later
"""Memory that is plugged while the guest runs: it arrives whole, whichever side names it where. And
what may not happen to a machine that is being moved. No guest is needed: the test writes the memory."""

from drover_e2e import paths
from drover_e2e.case import Skip
from drover_e2e.qmp import QmpError
from drover_e2e.qtest import QtestMachine
from drover_e2e.runner import test

SIZE = 16 << 20
AT = 0x100000000  # where the first DIMM is seen
LINE = ("-object", f'{{"qom-type":"memory-backend-ram","id":"m1","size":{SIZE}}}',
        "-device", "pc-dimm,id=d1,memdev=m1")


def machine(case, name: str, *arguments: str) -> QtestMachine:
    return case.qtest(name, "-M", "pc", "-m", "64M,slots=4,maxmem=1G", *arguments)


def plug(vm: QtestMachine, kind: str = "memfd", number: int = 1) -> None:
    vm.qmp.execute("object-add", **{"qom__type": f"memory-backend-{kind}", "id": f"m{number}",
                                    "size": SIZE})
    vm.qmp.execute("device_add", driver="pc-dimm", id=f"d{number}", memdev=f"m{number}")


def refusal(vm: QtestMachine, command: str, **arguments) -> str:
    try:
        vm.qmp.execute(command, **arguments)
    except QmpError as error:
        return error.desc
    raise AssertionError(f"{command} {arguments} was accepted")


def move(case, source: QtestMachine, destination: QtestMachine) -> None:
    mark = case.start_migration(source, case.listen(destination))
    case.finish_migration(source, mark)


@test(kind=["ram", "memfd"])
def test_plugged_memory_moves(case, kind):
    """Plugged by QMP, then named on the line, then plugged by QMP again; and a second one on top."""
    a = machine(case, "a")
    plug(a, kind)
    a.write(AT + 4096, b"plugged")
    b = machine(case, "b", *LINE, "-incoming", "defer")
    move(case, a, b)
    assert b.read(AT + 4096, 7) == b"plugged"
    plug(b, kind, 2)
    b.write(AT + SIZE, b"more")
    c = machine(case, "c", "-incoming", "defer")
    plug(c, kind)
    plug(c, kind, 2)
    move(case, b, c)
    assert c.read(AT + 4096, 7) == b"plugged"
    assert c.read(AT + SIZE, 4) == b"more"


@test()
def test_nvdimm_moves(case):
    """With its labels, which are in the same memory."""
    line = ("-M", "pc,nvdimm=on", "-object", f"memory-backend-ram,id=m1,size={SIZE}",
            "-device", "nvdimm,id=n1,memdev=m1,label-size=128K")
    a, b = machine(case, "a", *line), machine(case, "b", *line, "-incoming", "defer")
    a.write(AT + 4096, b"kept")
    move(case, a, b)
    assert b.read(AT + 4096, 4) == b"kept"


@test()
def test_memory_that_the_destination_lacks(case):
    if not paths.is_drover(case.emulator):
        raise Skip("Drover's own words")
    source = machine(case, "source")
    source.qmp.execute("object-add", **{"qom__type": "memory-backend-ram", "id": "m1", "size": SIZE})
    destination = machine(case, "destination", "-incoming", "defer")
    mark = case.start_migration(source, case.listen(destination))
    source.qmp.wait_migration("failed", timeout=20, after=mark)
    text = source.qmp.execute("query-migrate")["error-desc"]
    assert "no RAM block 'm1'" in text and "plugged" in text, text
    assert destination.running()


@test()
def test_blockers_come_and_go(case):
    """Shared memory that Drover does not hold, Linux AIO and QEMU's own reasons."""
    if not paths.is_drover(case.emulator):
        raise Skip("Drover's own words")
    with open(case.scratch / "part", "wb") as file:
        file.truncate(2 * SIZE)
    vm = machine(case, "vm", "-vmm", "qemu,aio=keep")
    assert "blocked-reasons" not in vm.qmp.execute("query-migrate")
    vm.qmp.execute("device_add", driver="nvme", id="vfio-d", serial="1")
    vm.qmp.execute("blockdev-add", **{"driver": "file", "node__name": "n", "aio": "native",
                                      "filename": str(case.scratch / "part"),
                                      "cache": {"direct": True}})
    reasons = vm.qmp.execute("query-migrate")["blocked-reasons"]
    assert any("nvme" in reason for reason in reasons), reasons
    assert any("aio=threads" in reason for reason in reasons), reasons
    assert "more reasons" in refusal(vm, "migrate", uri="tcp:127.0.0.1:1")
    assert "cannot be migrated" in refusal(vm, "query-migrate-forecast", bandwidth=1 << 27)
    vm.qmp.execute("blockdev-del", **{"node__name": "n"})
    reasons = vm.qmp.execute("query-migrate")["blocked-reasons"]
    assert len(reasons) == 1 and "nvme" in reasons[0], reasons


@test()
def test_commands_that_do_not_pass(case):
    """From the first round nothing changes the machine; from the pause nothing writes its RAM."""
    if not paths.is_drover(case.emulator):
        raise Skip("Drover's own table")
    source = machine(case, "source", "-device", "virtio-balloon-pci,id=bal")
    plug(source)
    destination = machine(case, "destination", *LINE, "-device", "virtio-balloon-pci,id=bal",
                          "-incoming", "defer")
    for vm in (source, destination):
        vm.qmp.execute("migrate-set-capabilities", capabilities=[
            {"capability": "pause-before-switchover", "state": True}])
    source.qmp.execute("migrate-set-capabilities", capabilities=[
        {"capability": "events", "state": True}])
    mark = source.qmp.mark()
    source.qmp.execute("migrate", uri=case.listen(destination))
    source.qmp.wait_migration("pre-switchover", after=mark)
    for command, arguments in [("device_del", {"id": "bal"}), ("object-del", {"id": "m1"}),
                               ("system_reset", {}), ("netdev_del", {"id": "x"})]:
        text = refusal(source, command, **arguments)
        assert "not allowed while migrating" in text, text
    for line in ["device_del bal", "loadvm x", " object_del m1", "drive_add 0 if=none"]:
        text = source.qmp.execute("human-monitor-command", **{"command__line": line})
        assert "not allowed while migrating" in text, text
    assert "not allowed" in refusal(destination, "device_del", id="bal")
    source.qmp.execute("query-block")
    source.qmp.execute("human-monitor-command", **{"command__line": "info status"})
    source.qmp.execute("migrate-continue", state="pre-switchover")
    case.finish_migration(source, mark)


@test(contents=[True, False])
def test_private_memory_of_a_file(case, contents):
    """A template that guests start from stays private, and travels in QEMU's own stream; a file that
    holds nothing (libvirt names one that there is not) is no more than memory."""
    template = case.scratch / "template"
    if contents:
        with open(template, "wb") as file:
            file.seek(32 << 20)
            file.write(b"from the template")
            file.truncate(64 << 20)
    backing = ("-object", f"memory-backend-file,id=r,size=64M,mem-path={template}",
               "-M", "pc,memory-backend=r")
    source = machine(case, "source", *backing)
    if contents:
        assert source.read(32 << 20, 17) == b"from the template"
    source.write(33 << 20, b"the guest's own")
    destination = machine(case, "destination", *backing, "-incoming", "defer")
    move(case, source, destination)
    assert destination.read(33 << 20, 15) == b"the guest's own"
    assert destination.read(32 << 20, 17) == (b"from the template" if contents else bytes(17))
    assert not contents or b"guest" not in template.read_bytes()
