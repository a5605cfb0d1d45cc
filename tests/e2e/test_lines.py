# SPDX-License-Identifier: GPL-2.0-or-later
"""Command lines as people and programs write them: each starts, or says why not and what to write. Bare machines
without a kernel; what the options become is in tests/unit/vmm/."""

import json
import os
import select
import socket
import subprocess

from drover_e2e import terminal
from drover_e2e.qmp import Qmp, QmpError
from drover_e2e.runner import test

BARE = ("-M", "pc", "-accel", "tcg", "-m", "64")

INCUS = """# as Incus writes it
[machine]
graphics = "off"
type = "q35"
accel = "tcg"
usb = "off"
[global]
driver = "ICH9-LPC"
property = "disable_s3"
value = "1"
[boot-opts]
strict = "on"
[chardev "console"]
backend = "null"
[chardev "monitor"]
backend = "socket"
path = "{qmp}"
server = "on"
wait = "off"
[mon]
chardev = "monitor"
mode = "control"
[memory]
size = "96M"
maxmem = "1G"
slots = "2"
[object "mem0"]
qom-type = "memory-backend-memfd"
size = "96M"
share = "on"
[numa]
type = "node"
nodeid = "0"
memdev = "mem0"
[smp-opts]
cpus = "1"
[device "qemu_pcie1"]
driver = "pcie-root-port"
[device "rng"]
driver = "virtio-rng-pci"
addr = "00.0"
bus = "qemu_pcie1"
"""


class Line:
    """An emulator with these words, which calls us as its QMP client when it is up. Paused: it need not do anything."""

    def __init__(self, case, *words: str, monitor: str = "-qmp unix:{path}{more}", more: str = "", **popen):
        path = case.scratch / f"line{len(list(case.scratch.iterdir()))}"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()
            listener.settimeout(30)
            self.process = subprocess.Popen(
                [case.emulator, *words, "-S", "-display", "none", *monitor.format(path=path, more=more).split()],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **popen)
            try:
                self.qmp = Qmp(listener.accept()[0])
                self.qmp.negotiate()
            except TimeoutError as error:
                self.process.kill()
                raise AssertionError(f"{words}: {self.process.communicate()[0]}") from error

    def memory(self) -> int:
        size = self.qmp.execute("query-memory-size-summary")
        return size["base-memory"] + size["plugged-memory"]

    def quit(self) -> str:
        """What it said."""
        self.qmp.execute("quit")
        self.qmp.close()
        said = self.process.communicate(timeout=20)[0]
        assert self.process.returncode == 0, said
        return said


def daemon(case, *words: str) -> None:
    """Starts it with -daemonize: its monitor listens when the parent has ended."""
    path, pidfile = case.scratch / "d", case.scratch / "d.pid"
    done = subprocess.run([case.emulator, *words, "-daemonize", "-pidfile", str(pidfile)], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    qmp = Qmp.connect(path)
    pidfd = os.pidfd_open(int(pidfile.read_text()))
    qmp.execute("quit")
    qmp.close()
    assert select.select([pidfd], [], [], 20)[0], "it still runs"
    os.close(pidfd)


@test()
def test_daemons_without_graphics(case):
    qmp = ("-S", "-qmp", f"unix:{case.scratch / 'd'},server=on,wait=off")
    daemon(case, *BARE, "-nographic", "-nodefaults", *qmp)
    daemon(case, *BARE, "-nographic", "-serial", "null", "-parallel", "none", *qmp)
    config = case.scratch / "qemu.conf"
    config.write_text(INCUS.format(qmp=case.scratch / "d"))
    daemon(case, "-S", "-name", "vm1", "-nographic", "-serial", "chardev:console", "-nodefaults", "-no-user-config",
           "-sandbox", "on,obsolete=deny,elevateprivileges=allow,spawn=allow,resourcecontrol=deny",
           "-readconfig", str(config), "-D", str(case.scratch / "log"))


@test()
def test_memory_as_it_may_be_written(case):
    """What the guest gets is what stock QEMU would have given it."""
    config = case.scratch / "memory.conf"
    config.write_text('[memory]\n size = "80"\n[device]\n driver = "isa-serial"\n chardev = "c"\n'
                      '[chardev "c"]\n backend = "null"\n')
    ram = json.dumps({"qom-type": "memory-backend-ram", "id": "r", "size": 80 << 20, "prealloc": False})
    dimm = ("-object", "memory-backend-ram,id=d0,size=128M", "-device", "pc-dimm,memdev=d0,id=dimm0")
    for words, size in (
            (("-readconfig", str(config)), 80), (("-object", ram, "-M", "memory-backend=r", "-m", "80"), 80),
            (("-M", "memory.size=80M"), 80), ((), 128), (("-m", "size=64M,slots=2,maxmem=1G", *dimm), 192)):
        line = Line(case, "-M", "pc", "-accel", "tcg", "-nodefaults", *words)
        assert line.memory() == size << 20, words
        line.quit()


@test()
def test_a_config_file_by_a_pipe(case):
    reading, writing = os.pipe()
    os.write(writing, b'[memory]\n size = "80M"\n')
    os.close(writing)
    line = Line(case, "-M", "pc", "-accel", "tcg", "-readconfig", f"/dev/fd/{reading}", pass_fds=[reading])
    os.close(reading)
    assert line.memory() == 80 << 20
    line.quit()


@test()
def test_monitor_and_console_on_the_terminal(case):
    """"mon:stdio" carries both; what is said to the monitor behind it is heard."""
    for words in ((), ("-serial", "mon:stdio"), ("-serial", "mon:stdio", "-incoming", "defer")):
        code, text = terminal.run([case.emulator, *BARE, "-nographic", *words], 30,
                                  says=[("", "\x01c"), ("(qemu)", "quit\n")])
        assert code == 0, (words, text)


@test()
def test_monitors_of_many_kinds(case):
    log, name = case.scratch / "k.log", f"drover-test-{os.getpid()}"
    line = Line(case, *BARE, "-qmp", f"unix:{name},server=on,wait=off,abstract=on", "-chroot", "/", "-msg",
                "timestamp=on", more=f",logfile={log}")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(b"\0" + name.encode())
        assert b'"QMP"' in client.recv(4096)
    assert line.memory() == 64 << 20
    line.quit()
    assert '"QMP"' in log.read_text() and '"base-memory"' in log.read_text(), log.read_text()
    Line(case, *BARE, monitor="-chardev socket,id=c,path={path} -object monitor-qmp,id=m,chardev=c").quit()


@test()
def test_refused_in_words(case):
    """The reason and the remedy, at the start."""
    for words, says in (
            (("-daemonize", "-nographic"), "-nographic cannot be used with -daemonize (use -display none"),
            (("-daemonize", "-serial", "stdio"), "cannot be used with -daemonize (use a socket or a file)"),
            (("-preconfig",), "-preconfig is not supported"),
            (("-qmp", "unix:/q,websocket=on"), "websocket=on is not supported for a QMP monitor (a QMP monitor can be"),
            (("-incoming", '{"transport":"rdma"}'), "'rdma' is not supported (write tcp:HOST:PORT")):
        done = subprocess.run([case.emulator, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=20)
        assert done.returncode == 1 and says in done.stderr, (words, done)
    line = Line(case, *BARE, "-compat", "unstable-input=reject")
    try:
        line.qmp.execute("migrate", uri="tcp:127.0.0.1:1")
        raise AssertionError("it migrates")
    except QmpError as refused:
        assert "unstable-input=reject forbids" in refused.desc, refused
    assert "this guest cannot be migrated: -compat" in line.quit()
