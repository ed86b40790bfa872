"""The kernel stops: what it said is there after the reset, and a CPU that hangs is found."""
import re
import signal

from tests.emu.debugger import Debugger, instructions_of
from tests.emu.session import PROMPT
from tests.emu.suite import bochs

FILES = {"bulkhead/bulkhead.conf": "panic-reset: 1\n"}


def stop(c, command, reason, seconds):
    """A command that ends in a panic with that reason, and a reset into the shell."""
    c.position = len(c.text)
    c.send(command + "\r")
    c.expect(rf"PANIC on cpu \d: {reason}", seconds, fail=None)
    c.expect("The machine is reset in 1 s", 60, fail=None)
    c.expect("The machine was reset after a panic", 240, fail=None)
    c.prompt(60)


def record(c):
    """What `host crash show` prints: a panic, which ends a usual wait."""
    c.position = len(c.text)
    start = c.position
    c.send("host crash show\r")
    c.expect("Bulkhead has stopped", 60, fail=None)
    c.expect(PROMPT, 60, fail=None)
    return c.text[start:c.position]


def panic(c):
    with c.check("at first there is no record of a panic"):
        assert "E_NOENT" in c.command("host crash show")
        assert "reset after a panic" not in c.command("host log")
    with c.check("a panic: reason, backtrace and log are there after the reset", vital=True):
        stop(c, "debug stop", "asked for by the control partition", 60)
        text = record(c)
        assert re.search(r"\n\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", text), text
        assert re.search(r"PANIC on cpu \d: asked for", text), text
        assert re.search(r"[0-9a-f]{16} panic_call\+0x", text), text
        assert "start: shell" in text, text
        assert re.search(r"reset after a panic on cpu \d: asked", c.command("host log level=error"))


def cleared(c):
    with c.check("host crash clear"):
        assert "E_" not in c.command("host crash clear")
        assert "E_NOENT" in c.command("host crash show")


SELF_IPI, VECTOR = 0x83f, 18


def machine_check(c):
    """Bochs has no machine checks; but an interrupt may have that vector (SDM 3A 11.5.2), and then comes
    through the same gate.  The CPU sends it to itself by its next write to the timer's MSR, which the
    debugger turns into one to another MSR."""
    d = c.machine.debugger
    c.machine.process.send_signal(signal.SIGINT)
    d.until_prompt()
    places = instructions_of("apic_timer_arm", "wrmsr")
    for place in places:
        d.command(f"lb {place:#x}")
    d.command("c")
    for setting in (f"rcx = {SELF_IPI:#x}", f"rax = {VECTOR}", "rdx = 0"):
        d.command("set " + setting)
    for number in range(len(places)):
        d.command(f"d {number + 1}")
    d.send("c")


@bochs("panic", limit=900, cpus=1, files=FILES, prompt=False, debugger=Debugger)
def panic_alone(c):
    c.machine.debugger.until_prompt()
    c.machine.debugger.send("c")
    with c.check("boots to the prompt", vital=True):
        c.prompt(c.machine.boot_seconds)
    panic(c)
    cleared(c)
    with c.check("a machine check that tells of nothing to go on with is a panic, whose record has it", vital=True):
        c.position = len(c.text)
        machine_check(c)
        c.expect("PANIC on cpu 0: machine check, status 0", 60, fail=None)
        c.expect("The machine was reset after a panic", 240, fail=None)
        c.prompt(60)
        assert "PANIC on cpu 0: machine check, status 0" in record(c)
    with c.check("the only CPU hangs: the clock's NMI finds it"):
        stop(c, "debug stop hang", r"cpu 0 is stuck in the kernel, for \d+ s now", 300)
        assert re.search(r"[0-9a-f]{16} panic_call\+0x", record(c))


@bochs("watchdog", limit=900, cpus=2, files=FILES)
def watchdog(c):
    with c.check("a CPU that stays in the kernel is found, says where it is, and both come up again", vital=True):
        stop(c, "debug stop hang", r"cpu \d is stuck in the kernel, for \d+ s now", 300)
        assert re.search(r"[0-9a-f]{16} panic_call\+0x", record(c))
        assert re.search(r"cpus +2 online of 2", c.command("host info"))
