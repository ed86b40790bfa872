"""What ring 3 may not do: images of tests/control in place of the control partition."""
import os
import pathlib
import re

from tests.emu.emulator import BUILD
from tests.emu.suite import qemu

SECONDS = 120


def instead(name):
    """The `files` of a boot with that image as control partition."""
    return {"bulkhead/control.elf": pathlib.Path(BUILD, "test-control", name + ".elf")}


def verdicts(c):
    with c.check("all attacks come to an end"):
        c.expect(r"VERDICT \w+", SECONDS)
    cases = re.findall(r"CASE (.*?): (passed|FAILED.*)", c.text)
    with c.check("and are 65"):
        assert len(cases) == 65, f"{len(cases)} came"
    for name, verdict in cases:
        with c.check(name):
            assert verdict == "passed", verdict
    with c.check("each crash was reported with its reason"):
        reports = re.findall(r"control partition: .* at [0-9a-f]{16} on cpu \d+", c.text)
        assert len(reports) == 25, f"{len(reports)} reports"


@qemu("isolation", prompt=False, machine="q35", cpus=2, files=instead("isolation"))
def isolation(c):
    verdicts(c)


@qemu("crash-loop", prompt=False, machine="pc", cpus=2, files=instead("crash_loop"))
def crash_loop(c):
    with c.check("a control partition that cannot start ends in a panic that says so"):
        c.expect(r"PANIC on cpu \d: the control partition fails each time it starts \(5 times\). Try:",
                 SECONDS, fail=None)
    with c.check("the panic shows a backtrace with names"):
        c.expect(r"[0-9a-f]{16} control_fault\+0x", SECONDS, fail=None)
    with c.check("and the log"):
        c.expect(r"control partition: #UD [\s\S]*Bulkhead has stopped", SECONDS, fail=None)
