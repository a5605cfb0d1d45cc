# SPDX-License-Identifier: GPL-2.0-or-later
"""One libvirt host, as process 1 of namespaces of its own (libvirt.py makes them): its folders, its
configuration, its sockets, then libvirtd. When libvirtd ends, so does all that runs here.

python3 -m drover_e2e.libvirt_host DIRECTORY NAME ADDRESS CACHE"""

import ctypes
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

SOCKET = "/run/libvirt/libvirt-sock"
TCP_PORT = 16509
TLS_DIRECTORY = "/etc/libvirt/tls"  # each host's own
CLOEXEC_FROM = 3  # systemd's: the first of the descriptors that are passed


def mount(directory: Path, cache: Path, name: str) -> None:
    """What libvirt keeps on a host is this host's own. The cache of what emulators can do outlives it."""
    subprocess.run(["mount", "-t", "tmpfs", "run", "/run"], check=True)
    places = {"/etc/libvirt": "etc", "/var/lib/libvirt": "lib", "/var/log/libvirt": "log"}
    for place, own in places.items():
        (directory / own).mkdir(parents=True, exist_ok=True)
        os.makedirs(place, exist_ok=True)
        subprocess.run(["mount", "--bind", str(directory / own), place], check=True)
    for path in (cache, Path("/var/cache/libvirt")):
        path.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "--bind", str(cache), "/var/cache/libvirt"], check=True)
    # libvirt looks for its user before it reads which one to take; Debian's libvirt-daemon-system, which would
    # make it, starts daemons.
    for file, line in (("passwd", "libvirt-qemu:x:64055:64055::/:/bin/false"), ("group", "libvirt-qemu:x:64055:")):
        own = directory / "etc" / file
        own.write_text(Path(f"/etc/{file}").read_text(encoding="utf-8") + line + "\n", encoding="utf-8")
        subprocess.run(["mount", "--bind", str(own), f"/etc/{file}"], check=True)
    os.makedirs("/run/libvirt", exist_ok=True)
    socket.sethostname(name)


def configure(number: int, address: str) -> None:
    Path("/etc/libvirt/libvirtd.conf").write_text(f"""auth_tcp = "none"
auth_unix_ro = "none"
auth_unix_rw = "none"
host_uuid = "aaaaaaaa-0000-4000-8000-{number:012d}"
log_filters = "3:rpc 3:util.event 3:util.object 3:util.threadjob 1:qemu.qemu_monitor_json 1:qemu.qemu_migration"
log_outputs = "1:file:/var/log/libvirt/libvirtd.log"
""", encoding="ascii")
    os.mkdir(TLS_DIRECTORY)  # libvirtd does not start without it
    # No virtlogd, no cgroups (which a development machine may not have), no security driver.
    Path("/etc/libvirt/qemu.conf").write_text(f"""user = "root"
group = "root"
security_driver = "none"
cgroup_controllers = []
remember_owner = 0
stdio_handler = "file"
migration_host = "{address}"
migrate_tls_x509_cert_dir = "{TLS_DIRECTORY}"
""", encoding="ascii")


def listeners() -> list[socket.socket]:
    """As systemd would pass them, so that nobody has to wait for them to appear."""
    local = socket.socket(socket.AF_UNIX)
    local.bind(SOCKET)
    tcp = socket.socket(socket.AF_INET)
    tcp.bind(("0.0.0.0", TCP_PORT))
    for listener in (local, tcp):
        listener.listen(16)
    return [local, tcp]


def become_libvirtd(passed: list[socket.socket], log: int) -> None:
    """In the child."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    high = [os.dup(listener.fileno()) for listener in passed]  # none of them is where another belongs
    for index, fd in enumerate(high):
        os.dup2(fd, CLOEXEC_FROM + index)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(passed)),
                      LISTEN_FDNAMES="libvirtd.socket:libvirtd-tcp.socket")
    os.execv("/usr/sbin/libvirtd", ["libvirtd"])


def main() -> None:
    directory, name, address, cache = Path(sys.argv[1]), sys.argv[2], sys.argv[3], Path(sys.argv[4])
    mount(directory, cache, name)
    configure(int(address.rsplit(".", 1)[1]), address)
    passed = listeners()
    log = os.open("/var/log/libvirt/libvirtd.out", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    child = os.fork()
    if child == 0:
        become_libvirtd(passed, log)
    for listener in passed:
        listener.close()
    print("listening", flush=True)
    # libvirt's guests are daemons: they become ours, and a zombie would look alive to libvirt.
    while os.wait()[0] != child:
        pass


if __name__ == "__main__":
    main()
