# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests of the Xen host on which this runs (its Dom0), made by xl.

They are neutral (vm.NEUTRAL): nothing of Xen's in them that another hypervisor has not, nor of QEMU's that Xen has not.
The device model that xl starts for one is then QEMU's ordinary `pc` machine."""

import hashlib
import json
import shutil
import subprocess
import time
from pathlib import Path

from . import outer, paths, tale, watch
from .case import Case, pages_of
from .console import Console
from .memory import parse_size
from .tale import Told
from .vm import NEUTRAL, GuestOptions, kernel_parameters

# QEMU's options that give the tables of Xen's firmware a place, where QEMU's machine has none.
PLACE_FOR_TABLES = ("-object", "memory-backend-ram,id=acpihole,size=2M",
                    "-device", "ivshmem-plain,memdev=acpihole,master=on")
BOOT_S = 240  # QEMU's firmware reads the kernel byte by byte, each of which leaves the guest


def configuration(name: str, options: GuestOptions, serial: str) -> str:
    """As `xl create` and `xl restore` read it; `serial` as QEMU's -serial has it."""
    values = {
        "name": name, "type": "hvm", "memory": parse_size(options.memory) >> 20, "vcpus": options.smp,
        "kernel": paths.guest_file("vmlinuz"), "ramdisk": paths.guest_file("initrd"),
        "cmdline": kernel_parameters(options), "serial": serial,
        "vga": "none", "nographic": 1, "vnc": 0, "sdl": 0, "usb": 0,
        "xen_platform_pci": 0,  # or the machine is one of Xen's own
        "hpet": 0,  # Xen's ticks at 62.5 MHz, QEMU's at 100
        "tsc_mode": "native",
        "on_crash": "preserve", "on_reboot": "preserve",
    }
    lines = [f'{key} = "{value}"' if isinstance(value, str) else f"{key} = {value}" for key, value in values.items()]
    if options.extra:
        lines.append("device_model_args_hvm = [" + ", ".join(f'"{word}"' for word in options.extra) + "]")
    return "\n".join(lines) + "\n"


def xl(*words: str, log: Path, timeout: float = 120) -> float:
    """Runs it; how many seconds it took. It leaves a process behind, so its output is a file and no pipe."""
    started = time.monotonic()
    with open(log, "ab") as output:
        output.write(f"# xl {' '.join(words)}\n".encode())
        output.flush()
        code = subprocess.run(["xl", *words], stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=timeout,
                              check=False).returncode
    if code != 0:
        raise RuntimeError(f"xl {' '.join(words)}: exit code {code}: {log.read_text(errors='replace')[-1500:]}")
    return time.monotonic() - started


def domains() -> list[str]:
    """The names of all but Dom0."""
    said = subprocess.run(["xl", "list", "-l"], capture_output=True, check=True).stdout
    return [domain["config"]["c_info"]["name"] for domain in json.loads(said) if domain["domid"] != 0]


class XenGuest:
    """A domain; its name is unique among those of a host at a time. Made by create() or restore()."""

    def __init__(self, case: Case, name: str, options: GuestOptions = NEUTRAL):
        self.name = name
        self.options = options
        self.console = Console(str(case.scratch / f"{name}.console.sock"), str(case.directory / f"{name}.console.log"))
        self._log = case.directory / f"{name}.xl.log"
        self.file = case.directory / f"{name}.cfg"
        self.file.write_text(configuration(name, options, f"unix:{self.console.path}"))
        self._exists = False
        case.keep(self)

    def create(self) -> "XenGuest":
        """Boots; ready() waits for its end."""
        self._exists = True
        xl("create", str(self.file), log=self._log)
        return self

    def ready(self) -> "XenGuest":
        self.console.wait_line("READY", BOOT_S)
        return self

    def restore(self, file: Path, paused: bool = False) -> float:
        """Goes on from a file of `xl save`, or one like it, with the configuration that it has here; seconds."""
        self._exists = True
        return xl("restore", *(["-p"] if paused else []), str(self.file), str(file), log=self._log)

    def save(self, file: Path) -> float:
        """The domain is no more; seconds. The file must not be one of the outer machine's folder."""
        took = xl("save", self.name, str(file), log=self._log)
        self._exists = False
        return took

    def told(self, after: int = 0, timeout: float = 60) -> Told:
        """What it tells after that beat."""
        return tale.wait(self.console, lambda told: told.number > after, timeout)

    def healthy(self, timeout: float = 240) -> Told:
        """It has looked at all of its pages once more, and found them right."""
        return tale.healthy(self.console, pages_of(self.options.working_set), timeout)

    def entropy(self, beyond: int = 0) -> int:
        """How many bytes it has had from its entropy device, once there are more than that."""
        return tale.entropy(self.console, beyond)

    def looked_at(self, after: int) -> watch.Look:
        """Its clocks, sleeps and registers were watched since that beat: watch.look()."""
        return watch.look(self.console, after)

    def destroy(self) -> None:
        xl("destroy", self.name, log=self._log)
        self._exists = False

    def arrived(self) -> "XenGuest":
        """Somebody else has made it."""
        self._exists = True
        return self

    def gone(self) -> None:
        """Somebody else has destroyed it."""
        self._exists = False

    def close(self) -> None:
        if self._exists:
            try:
                self.destroy()
            except RuntimeError as error:  # what failed before has been told
                print(error)
        self.console.close()


def _what_it_is(options: GuestOptions) -> str:
    """Differs where a booted guest would."""
    parts = [configuration("", options, "")]
    for file in ("vmlinuz", "initrd"):
        parts.append(hashlib.sha256(Path(paths.guest_file(file)).read_bytes()).hexdigest())
    parts.append(Path("/sys/hypervisor/version/extra").read_text(encoding="ascii"))
    return hashlib.sha256("".join(parts).encode()).hexdigest()[:16]


def _kept(options: GuestOptions) -> Path:
    return outer.SHARE / f"booted-{_what_it_is(options)}.save"


def keep_booted(guest: XenGuest, file: Path) -> None:
    """Saves it to the file, and for those who want one like it."""
    guest.save(file)
    kept = _kept(guest.options)
    shutil.copyfile(file, kept.with_suffix(".new"))
    kept.with_suffix(".new").rename(kept)


def booted(case: Case, name: str, options: GuestOptions = NEUTRAL) -> XenGuest:
    """A guest of which the workload runs. Only the first of its kind boots, which takes most of a minute: the others,
    also those of later hosts, are copies of it."""
    file = case.scratch / f"{name}.booted"
    if (kept := _kept(options)).exists():
        shutil.copyfile(kept, file)
    else:
        first = XenGuest(case, f"{name}-first", options).create().ready()
        first.told()
        keep_booted(first, file)
    guest = XenGuest(case, name, options)
    guest.restore(file)
    file.unlink()
    return guest
