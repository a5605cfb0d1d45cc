# SPDX-License-Identifier: GPL-2.0-or-later
"""A droverd on the machine that emulates a Xen host of the lab, to and from which the balancer's orders move guests."""

import os
import shutil
import signal

from .case import Case
from .console import Console
from .fleet import Daemon
from .net import Namespace
from .qmp import Qmp
from .vm import GuestOptions


class HostGuest:
    """One that droverd starts here, as far as it is heard."""

    def __init__(self, case: Case, name: str, options: GuestOptions):
        self.name = name
        self.options = options
        listens = case.scratch / f"{name}.console.sock"
        listens.unlink(missing_ok=True)  # another's of that name
        self.console = Console(str(listens), str(case.directory / f"{name}.console.log"))

    def close(self) -> None:
        self.console.close()


class Host:
    """A droverd of this machine."""

    def __init__(self, case: Case, address: str):
        directory = self._directory = case.scratch / "droverd"
        directory.mkdir()
        config, sock = directory / "droverd.toml", directory / "droverd.sock"
        config.write_text(f"""name = "outer"
state-directory = "{directory}/state"
socket = "{sock}"
[migration]
address = "{address}"
[definitions]
check = false
""", encoding="utf-8")
        self._daemon = Daemon("droverd", ["--config", str(config)], case.directory / "droverd.log", Namespace.host(),
                              sock)
        self.qmp = Qmp.connect(sock)
        self.prepared = 0  # the mark of the latest

    def close(self) -> None:
        for vm in self.qmp.execute("query-vms"):
            if pid := vm.get("pid"):
                os.kill(pid, signal.SIGKILL)
        self._daemon.stop()
        shutil.rmtree(self._directory, ignore_errors=True)
