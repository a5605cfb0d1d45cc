# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs tests: functions test_* of files test_*.py, each in a process of its own.

python3 -m drover_e2e.runner DIRECTORY [--filter TEXT] [--parallel N] [--emulator PATH] [--qemu PATH] [--json]"""

import argparse
import importlib.util
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path

from . import paths
from .case import Case, Skip

_SKIPPED = 77
_MAX_SECOND_CHANCES = 12
_COLOURS = {"PASS": "32", "FAIL": "31", "SKIP": "33"}


def test(timeout: float = 120, alone: bool = False, thorough: bool = False, **axes):
    """Marks a test's time limit and its variants: @test(smp=[1, 4]) runs it twice, with smp=1 and
    smp=4 as arguments. `alone`: beside no other, because it needs the whole machine. A short run
    leaves out what is `thorough`, and of each other test all variants but the first."""

    def mark(function):
        function.timeout = timeout
        function.alone = alone
        function.thorough = thorough
        function.axes = axes
        return function

    return mark


@dataclass(frozen=True)
class Job:
    file: Path
    function: str
    name: str
    arguments: tuple
    timeout: float
    alone: bool = False
    thorough: bool = False
    label: str = ""  # the name as shown, if it is run several times

    @property
    def shown(self) -> str:
        return self.label or self.name


@dataclass
class Outcome:
    job: Job
    result: str  # PASS, FAIL or SKIP
    seconds: float
    text: str


def load(file: Path):
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def discover(directory: Path) -> list[Job]:
    jobs = []
    for file in sorted(directory.glob("test_*.py")):
        for name, function in vars(load(file)).items():
            if not name.startswith("test_") or not callable(function):
                continue
            axes = getattr(function, "axes", {})
            for number, values in enumerate(itertools.product(*axes.values())):
                label = "-".join(str(value) for value in values)
                full = f"{file.stem}.{name}" + (f"[{label}]" if label else "")
                jobs.append(Job(file, name, full, tuple(zip(axes, values)),
                                getattr(function, "timeout", 120),
                                getattr(function, "alone", False),
                                number > 0 or getattr(function, "thorough", False)))
    return jobs


def run_inside(job: Job, directory: Path, emulator: str) -> int:
    """In the test's own process."""
    case = Case(directory, emulator)
    try:
        getattr(load(job.file), job.function)(case, **dict(job.arguments))
        return 0
    except Skip as reason:
        print(f"SKIP: {reason}")
        return _SKIPPED
    except BaseException:  # reported, whatever it is
        traceback.print_exc(limit=-4, file=sys.stdout)
        print(case.last_words())
        return 1
    finally:
        case.close()


def run_job(job: Job, options) -> Outcome:
    directory = options.logs / re.sub(r"[^A-Za-z0-9_.-]", "_", job.shown)
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    start = time.monotonic()
    command = [sys.executable, "-m", "drover_e2e.runner", str(options.directory), "--inside",
               job.name, "--logs", str(directory), "--emulator", options.emulator]
    output = directory / "output"
    # What was freed is overwritten at once (mallopt(3)): whoever still uses it does not get away with it.
    environment = {**os.environ, "MALLOC_PERTURB_": "165"}
    if options.qemu:
        environment["DROVER_E2E_QEMU"] = os.path.abspath(options.qemu)
    with open(output, "wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                   start_new_session=True, env=environment)
        try:
            code = process.wait(job.timeout * options.patience)
        except subprocess.TimeoutExpired:
            code = None
        if process.poll() is None or code != 0:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        process.wait()
    seconds = time.monotonic() - start
    text = output.read_text(errors="replace").strip()
    if code is None:
        return Outcome(job, "FAIL", seconds, f"{text}\ntimed out after {job.timeout} s")
    result = {0: "PASS", _SKIPPED: "SKIP"}.get(code, "FAIL")
    if result != "FAIL":
        shutil.rmtree(directory, ignore_errors=True)
    return Outcome(job, result, seconds, text)


def show(outcome: Outcome, options) -> None:
    if options.json:
        print(json.dumps({"name": outcome.job.shown, "result": outcome.result,
                          "seconds": round(outcome.seconds, 2), "text": outcome.text}), flush=True)
        return
    word = outcome.result
    if sys.stdout.isatty():
        word = f"\033[{_COLOURS[word]}m{word}\033[0m"
    line = f"{word} {outcome.job.shown} {outcome.seconds:.1f}s"
    if outcome.result == "SKIP":
        line += " " + outcome.text.splitlines()[-1].removeprefix("SKIP: ")
    if outcome.result == "PASS":  # what a test tells of what it measured
        line += "".join("\n    " + text.removeprefix("TOLD ") for text in outcome.text.splitlines()
                        if text.startswith("TOLD "))
    if outcome.result == "FAIL":
        line += "\n" + "\n".join("    " + text for text in outcome.text.splitlines()[-40:])
    print(line, flush=True)


def once_more(outcomes: list[Outcome], options) -> list[Outcome]:
    """Timing tests can fail for want of processor time. Those few that failed run again, alone; the
    first failure has been shown and its log is kept. Many failures are no accident."""
    failed = [outcome for outcome in outcomes if outcome.result == "FAIL"]
    if not options.second_chance or len(failed) > _MAX_SECOND_CHANCES:
        return outcomes
    kept = [outcome for outcome in outcomes if outcome.result != "FAIL"]
    for outcome in failed:
        again = replace(outcome.job, label=f"{outcome.job.shown} (again, alone)")
        kept.append(run_job(again, options))
        show(kept[-1], options)
    return kept


def why(outcome: Outcome) -> str:
    """Where it failed and with what word, in a line: a run's end tells it again."""
    lines = [line.strip() for line in outcome.text.splitlines()]
    places = [re.sub(r'File ".*/(\S+)", line (\d+), .*', r"\1:\2", line) for line in lines
              if line.startswith('File "')]
    words = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Expired|Interrupt)\b|timed out", line)]
    return " ".join(places[-2:] + words[-1:])[:300]


def run_all(jobs: list[Job], options) -> int:
    outcomes = []
    for alone, lanes in ((False, options.parallel), (True, 1)):
        with ThreadPoolExecutor(lanes) as pool:
            runs = [pool.submit(run_job, job, options) for job in jobs if job.alone == alone]
            for future in as_completed(runs):
                outcomes.append(future.result())
                show(outcomes[-1], options)
    outcomes = once_more(outcomes, options)
    for outcome in outcomes:
        if outcome.result == "FAIL":
            print(f"failed: {outcome.job.shown}: {why(outcome)}")
    counts = [sum(outcome.result == word for outcome in outcomes) for word in _COLOURS]
    print(f"{counts[0]} passed, {counts[1]} failed, {counts[2]} skipped", flush=True)
    return 1 if counts[1] or not outcomes else 0


def parse_arguments():
    parser = argparse.ArgumentParser(prog="drover_e2e.runner", description="Runs tests.")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--filter", default="", help="only tests whose name contains this")
    parser.add_argument("--without", default="", help="names of tests to be left out: A,B")
    parser.add_argument("--short", action="store_true", help="without what is thorough")
    parser.add_argument("--repeat", type=int, default=1, help="runs each test so many times")
    parser.add_argument("--parallel", type=int, default=1)
    parser.add_argument("--emulator", default=paths.DROVER)
    parser.add_argument("--qemu", help="the QEMU below Drover (or instead of stock QEMU), such as "
                        "build/newer/qemu/usr/bin/qemu-system-x86_64")
    parser.add_argument("--json", action="store_true", help="one JSON object a test")
    parser.add_argument("--list", action="store_true", help="only list the tests' names")
    parser.add_argument("--logs", type=Path, default=paths.BUILD / "test-logs",
                        help="where the logs of failed tests are kept")
    parser.add_argument("--patience", type=float, default=1.0, help="factor on all time limits")
    parser.add_argument("--second-chance", action="store_true",
                        help="the few tests that failed run once more, alone")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> int:
    options = parse_arguments()
    jobs = discover(options.directory)
    if options.inside:
        job = next(job for job in jobs if job.name == options.inside)
        return run_inside(job, options.logs, options.emulator)
    without = options.without.split(",")
    jobs = [job for job in jobs if options.filter in job.name and job.name not in without
            and not (options.short and job.thorough)]
    if options.repeat > 1:
        jobs = [replace(job, label=f"{job.name}#{n}") for job in jobs
                for n in range(options.repeat)]
    if options.list:
        print("\n".join(job.name for job in jobs))
        return 0
    return run_all(jobs, options)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # reader threads may still wait for processes that ended badly
