"""The kernel stops: what it said is there after the reset, and a CPU that hangs is found."""
import re

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


@bochs("panic", limit=900, cpus=1, files=FILES)
def panic_alone(c):
    panic(c)
    cleared(c)
    with c.check("the only CPU hangs: the clock's NMI finds it"):
        stop(c, "debug stop hang", r"cpu 0 is stuck in the kernel, for \d+ s now", 300)
        assert re.search(r"[0-9a-f]{16} panic_call\+0x", record(c))


@bochs("watchdog", limit=900, cpus=2, files=FILES)
def watchdog(c):
    with c.check("a CPU that stays in the kernel is found, says where it is, and both come up again", vital=True):
        stop(c, "debug stop hang", r"cpu \d is stuck in the kernel, for \d+ s now", 300)
        assert re.search(r"[0-9a-f]{16} panic_call\+0x", record(c))
        assert re.search(r"cpus +2 online of 2", c.command("host info"))
