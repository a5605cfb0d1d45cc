# SPDX-License-Identifier: GPL-2.0-or-later
"""An emulated Xen host: Debian's hypervisor, a Dom0 of Debian's kernel and of what every host of the lab has, and its
ways to the machine that emulates it: a folder and calls (outer.py)."""

import subprocess
from . import paths
from .emulated_host import EmulatedHost, machine_arguments
from .fetched import fetched
from .outer import CALLS_WORD, DISKS_TAG, DISKS_WORD, DOOR, SHARE_TAG
from .outer_machine import OuterMachine

HOST_MIB, DOM0_MIB = 7168, 2560  # Dom0's files, and guests that were saved, are in its memory


def why_not() -> str | None:
    """Fetches Xen; why it cannot be had, or None where it is there."""
    return fetched(paths.ROOT / "tests/lab/xen/fetch", paths.XEN)


def build() -> None:
    subprocess.run([str(paths.ROOT / "tests/lab/build-host"), str(paths.BUILD), "xen", str(paths.XEN / "host")],
                   check=True)


def _boot(words: str) -> list[str]:
    """Xen takes Dom0's kernel, its words and its initramfs as modules; QEMU wants a comma within one twice. Memory that no
    guest uses is not cleared at the boot: it would be this machine's."""
    xen = f"dom0_mem={DOM0_MIB}M,max:{DOM0_MIB}M console=com1 com1=115200,8n1 loglvl=warning guest_loglvl=warning " \
          "sched=credit noreboot bootscrub=0"
    dom0 = f"{paths.XEN / 'host/vmlinuz'} console=hvc0 quiet panic=-1 lab.suite=xen {words}"
    modules = (dom0, str(paths.BUILD / "lab" / "initrd-xen"))
    return ["-kernel", str(paths.XEN / "host/xen"), "-append", xen,
            "-initrd", ",".join(module.replace(",", ",,") for module in modules)]


def start(words: str, outer: OuterMachine) -> EmulatedHost:
    """`words` for the lab's init. The folder of disks has the same path there as here.

    The CPU is the simplest that has SVM: PV Dom0 dies at once of the SMAP of others, as QEMU emulates it. Xen's timer
    is set anew at each tick, so that one interrupt that the emulation loses is the host's last: it is kept awake."""
    devices = ("-fsdev", f"local,id=share,path={outer.share},security_model=none",
               "-device", f"virtio-9p-pci,fsdev=share,mount_tag={SHARE_TAG}",
               "-fsdev", f"local,id=disks,path={outer.disks},security_model=none",
               "-device", f"virtio-9p-pci,fsdev=disks,mount_tag={DISKS_TAG}",
               "-netdev", f"user,id=net0,hostfwd=tcp:127.0.0.1:{outer.door}-:{DOOR}",
               "-device", "virtio-net-pci,netdev=net0,romfile=")
    words = f"{words} {CALLS_WORD}={outer.port} {DISKS_WORD}={outer.disks}"
    command = machine_arguments("qemu64,+svm,+npt", HOST_MIB, _boot(words), devices)
    return EmulatedHost(command, paths.BUILD / "lab" / "console-xen.log", wake=True)
