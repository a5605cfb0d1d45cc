# SPDX-License-Identifier: GPL-2.0-or-later
"""What is known before a guest moves: query-migrate-forecast, drover check-migration, drover cpu-baseline. And a state
that is found out in the pause only."""

import json
import subprocess
import time

from drover_e2e import newer, paths
from drover_e2e.case import Skip
from drover_e2e.runner import test

MICROVM = ("-M", "microvm,pit=on,pic=on,rtc=on")


def new_qemu() -> tuple[str, ...]:
    if reason := newer.why_not("qemu"):
        raise Skip(reason)
    return "-vmm", f"qemu,path={newer.QEMU}"


def tool(*words: str) -> subprocess.CompletedProcess:
    return subprocess.run([paths.DROVER_TOOL, *words], capture_output=True, text=True, check=False, timeout=60)


def second_monitor(case, name: str) -> str:
    """A monitor serves one client at a time, and the first is the test's."""
    return f"{case.scratch}/{name}.tool.sock"


def machine(case, name: str, *words: str, **more):
    return case.bare(name, *words, "-qmp", f"unix:{second_monitor(case, name)},server=on,wait=off", **more)


def check(case, uri: str, *words: str) -> subprocess.CompletedProcess:
    return tool("check-migration", second_monitor(case, "source"), uri, *words)


def waiting(case, name: str, *words: str):
    vm = machine(case, name, *words, "-incoming", "defer", paused=False)
    return vm, case.listen(vm)


def refused(vm, uri: str) -> str:
    """A migration that the destination refuses; why."""
    vm.qmp.execute("migrate-set-capabilities", capabilities=[{"capability": "events", "state": True}])
    mark = vm.qmp.mark()
    vm.qmp.execute("migrate", uri=uri)
    vm.qmp.wait_migration("failed", timeout=30, after=mark)
    info = vm.qmp.execute("query-migrate")
    assert not info["drover"]["rounds"], info  # not a page
    return info["error-desc"]


@test(timeout=60)
def test_it_can_go(case):
    """To another version of QEMU, translated; and then it does."""
    source = machine(case, "source", *MICROVM, "-cpu", "Nehalem", paused=False)
    there, uri = waiting(case, "there", *MICROVM, "-cpu", "Nehalem", *new_qemu())
    said = check(case, uri)
    assert said.returncode == 0 and said.stdout == "the guest can go there; its devices are translated\n", said
    told = json.loads(check(case, uri, "--json").stdout)
    assert told == {"can-go": True, "state-form": "neutral", "blocks": [], "warnings": []}, told
    forecast = source.qmp.execute("query-migrate-forecast", uri=uri)
    assert forecast["can-go"] and forecast["state-form"] == "neutral" and forecast["ways"], forecast
    assert source.qmp.execute("query-status")["running"]
    case.finish_migration(source, case.start_migration(source, uri))
    assert there.qmp.execute("query-status")["running"]


@test(timeout=60)
def test_it_cannot_go(case):
    """All that speaks against it, by name; the migration is refused with the first of that."""
    source = machine(case, "source", "-cpu", "Westmere", "-device", "virtio-gpu-pci,id=screen,addr=5",
                       "-device", "virtio-rng-pci,id=rng,addr=6")
    _, uri = waiting(case, "there", "-cpu", "Westmere,-aes,-pclmulqdq")
    said = check(case, uri)
    assert said.returncode == 1, said
    lines = said.stdout.splitlines()
    assert lines[-1] == "the guest cannot go there", lines
    for words in ("pclmulqdq, aes", "screen (virtio-gpu-pci)", "rng (virtio-rng-pci)"):
        assert any(line.startswith("blocks: ") and words in line for line in lines), (words, lines)
    told = source.qmp.execute("query-migrate-forecast", uri=uri, check=True)
    assert not told["can-go"] and len(told["blocks"]) == 4, told
    why = refused(source, uri)
    assert why.startswith("the destination: " + told["blocks"][0]["what"]), (why, told)
    # What cannot be asked is no answer.
    said = check(case, f"unix:{case.scratch}/nobody")
    assert said.returncode == 3 and not said.stdout and said.stderr, said
    assert tool("check-migration", "name", uri).returncode == 2


@test(timeout=60)
def test_what_is_not_translated_is_refused_at_the_hello(case):
    """MPX has registers that the neutral state has no place for: between equal QEMUs it goes, translated not."""
    words = (*MICROVM, "-cpu", "Nehalem,+xsave,+mpx")
    source = machine(case, "source", *words)
    _, uri = waiting(case, "there", *words, *new_qemu())
    told = source.qmp.execute("query-migrate-forecast", uri=uri, check=True)
    assert [block["what"] for block in told["blocks"] if "mpx" in block["what"]], told
    assert "-mpx" in told["blocks"][0]["remedy"], told
    assert "mpx" in refused(source, uri)
    _, uri = waiting(case, "equal", *words)
    assert source.qmp.execute("query-migrate-forecast", uri=uri, check=True)["can-go"]


def firmware(case) -> str:
    """Sets a register that is not translated (IA32_PKRS), then counts at 0x1000 for ever."""
    image = bytearray(b"\x90" * 0x10000)
    code = bytes.fromhex("66b9e1060000" "66b804000000" "6631d2" "0f30" "66ff060010" "ebf9")
    image[0xff00:0xff00 + len(code)] = code
    image[0xfff0:0xfff3] = bytes.fromhex("e90dff")  # where a CPU begins
    path = case.directory / "firmware"
    path.write_bytes(image)
    return str(path)


def counter(vm) -> int:
    return int(vm.qmp.execute("human-monitor-command", **{"command-line": "xp /1wx 0x1000"}).split(":")[1], 16)


@test(timeout=60)
def test_a_source_that_cannot_translate_in_the_pause(case):
    """The guest goes on where it is, and can go where nothing is translated."""
    words = (*MICROVM, "-cpu", "Nehalem,+pks", "-bios", firmware(case), "-migrate-policy", "downtime=500ms")
    source = machine(case, "source", *words, paused=False)
    other, uri = waiting(case, "there", *words, *new_qemu())
    mark = case.start_migration(source, uri)
    source.qmp.wait_migration("failed", timeout=40, after=mark)
    info = source.qmp.execute("query-migrate")
    assert "pkrs" in info["error-desc"] and info["drover"]["rounds"], info
    assert source.qmp.execute("query-status")["running"]
    before, deadline = counter(source), time.monotonic() + 10
    while counter(source) == before:  # each is a round trip to QEMU; on a busy host it takes some
        assert time.monotonic() < deadline, "it does not go on"
    other.process.wait(20)  # a destination whose migration had begun ends
    equal, uri = waiting(case, "equal", *words)
    case.finish_migration(source, case.start_migration(source, uri))
    assert equal.qmp.execute("query-status")["running"]
    assert not source.qmp.execute("query-status")["running"]


def described(case, name: str, *words: str) -> str:
    path = case.directory / f"{name}.json"
    said = tool("cpu-baseline", "--describe", "--accel", "tcg", *words)
    assert said.returncode == 0, said
    path.write_text(said.stdout)
    return str(path)


@test(timeout=120)
def test_cpu_baseline(case):
    """Of three hosts that can give different CPUs, by two versions of QEMU; a guest with it moves between them."""
    newest = new_qemu()
    hosts = [described(case, "old", "--cpu", "Haswell-v2"),
             described(case, "new", "--qemu", newer.QEMU, "--cpu", "EPYC-v1"),
             described(case, "max")]
    said = tool("cpu-baseline", *hosts, "--json")
    assert said.returncode == 0, said
    baseline = json.loads(said.stdout)
    assert any(line.startswith("sse4a: not on ") for line in baseline["left-out"]), baseline
    assert {"avx2", "aes", "xsave", "lm"} <= set(baseline["features"]), baseline
    assert baseline["xcr0"] == 7 and baseline["xsave-bytes"] == 832, baseline
    assert tool("cpu-baseline", *hosts).stdout.splitlines()[0] == f"-cpu {baseline['cpu']}"
    words = (*MICROVM, "-cpu", baseline["cpu"] + ",enforce")
    source = machine(case, "source", *words, paused=False)
    there, uri = waiting(case, "there", *words, *newest)
    assert check(case, uri).returncode == 0, check(case, uri)
    case.finish_migration(source, case.start_migration(source, uri))
    assert there.qmp.execute("query-status")["running"]
    # A QEMU that runs is asked by its monitor, too: it can give more than its guest has.
    said = tool("cpu-baseline", second_monitor(case, "there"), *hosts)
    assert said.returncode == 0 and said.stdout.startswith("-cpu "), said
    nonsense = case.directory / "nonsense.json"
    nonsense.write_text('{"features": ["$(reboot)"]}')
    said = tool("cpu-baseline", hosts[0], str(nonsense))
    assert said.returncode == 1 and "--describe" in said.stderr, said
