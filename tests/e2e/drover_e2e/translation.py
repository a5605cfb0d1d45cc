# SPDX-License-Identifier: GPL-2.0-or-later
"""How long the translation between hypervisors takes alone, which the guest stands still for: of the state of a
guest that runs, by the code that a migration runs (tests/bench/state).

python3 -m drover_e2e.translation [--json] [--runs N]"""

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from . import newer, paths
from .case import Case
from .vm import NEUTRAL, GuestOptions, guest_arguments

BENCH = str(paths.BUILD / "tests" / "bench" / "state" / "state-bench")
SMP = (1, 2, 4)
MICROVM = GuestOptions(machine="microvm", memory="128M", working_set="24M", dirty=300, nic=False)


def shared(options: GuestOptions) -> GuestOptions:
    """Its RAM is left out of what it saves, as under Drover."""
    ram = ("-object", f"memory-backend-memfd,id=ram,size={options.memory},share=on")
    return options.but(machine=f"{options.machine},memory-backend=ram", extra=options.extra + ram)


def save(case: Case, options: GuestOptions, file: Path) -> None:
    guest = case.vm(options, emulator=paths.QEMU).ready(240)
    guest.qmp.execute("migrate-set-capabilities", capabilities=[{"capability": "x-ignore-shared", "state": True}])
    case.finish_migration(guest, case.start_migration(guest, f"exec:cat >{shlex.quote(str(file))}"))
    guest.stop()


def measure(case: Case, options: GuestOptions, runs: int, qemu: str) -> list[dict]:
    """To this QEMU; and, of a `pc`, to Xen and from there."""
    file, options = case.scratch / "state", shared(options)
    save(case, options, file)
    line = [qemu, *guest_arguments(options.but(qemu=qemu), 0, None), "-serial", "null"]
    command = [BENCH, str(file), str(runs), "--", *line]
    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    file.unlink()
    return [{"machine": options.board, "vcpus": options.smp, "direction": direction, "median_us": int(median),
             "processor_us": int(processor)} for direction, median, processor in map(str.split, said.splitlines())]


def show(row: dict, as_json: bool) -> None:
    print(json.dumps(row) if as_json else "{machine:8} {vcpus} vCPUs  {direction:16} {median_us:6} µs  "
          "({processor_us} µs of processor time)".format(**row), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="devtool bench translation")
    parser.add_argument("--json", action="store_true", help="one object a line instead of a table")
    parser.add_argument("--runs", type=int, default=200)
    options = parser.parse_args()
    kinds = [(NEUTRAL.but(smp=smp), paths.QEMU) for smp in SMP]
    if not newer.why_not("qemu"):
        kinds.append((MICROVM, newer.QEMU))
    directory = Path(tempfile.mkdtemp(prefix="drover-bench-"))
    case = Case(directory, paths.QEMU)
    try:
        for guest, qemu in kinds:
            for row in measure(case, guest, options.runs, qemu):
                show(row, options.json)
    finally:
        case.close()
        shutil.rmtree(directory)
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)
