"""Bochs tier: a guest that attacks, beside one that looks whether anything of its own changes."""
import random
import re

from tests.emu import guests, hostile_control
from tests.emu.fuzz_guest import SEED, fuzz
from tests.emu.suite import bochs

# A million in all.
ACTIONS, ACTIONS_NO_VID = 700_000, 300_000


def free_kib(c):
    return int(re.search(r"(?m)^free +(\d+) KiB", c.command("host mem"))[1])


@bochs("fuzz", limit=2400, cpus=1, files=guests.files("watch", "fuzz"))
def fuzz_vid(c):
    fuzz(c, ACTIONS, may_stray=True)


# Without virtual-interrupt delivery the kernel does what the CPU did.
@bochs("fuzz-no-vid", limit=1500, cpus=1, model="corei7_ivy_bridge_3770k",
       files=guests.files("watch", "fuzz"))
def fuzz_no_vid(c):
    with c.check("this CPU has no virtual-interrupt delivery"):
        info = c.command("host info")
        assert re.search(r"(?i)virtual-interrupt delivery +(absent|-)", info), info
    fuzz(c, ACTIONS_NO_VID)


@bochs("sysfuzz", prompt=False, limit=600, cpus=1, files=hostile_control.FILES)
def sysfuzz(c):
    hostile_control.sysfuzz(c)


@bochs("sysfuzz-2", prompt=False, limit=600, cpus=2, files=hostile_control.FILES)
def sysfuzz_two(c):
    hostile_control.sysfuzz(c)


CRASH_POINTS, CRASH_POINTS_QEMU = 200, 60
CRASH_GUESTS = ["watch", "flood_uart"]


@bochs("crash-points", limit=900, cpus=1, files=guests.files(*CRASH_GUESTS))
def crash_points(c):
    """The control partition dies at exits picked at random; guests and frames are all there after it."""
    points = random.Random(SEED)
    crashes = CRASH_POINTS_QEMU if c.machine.emulates_svm else CRASH_POINTS
    with c.check("two guests run"):
        before = free_kib(c)
        restarts = int(re.search(r"control restarts +(\d+)", c.command("host info"))[1])
        guests.start(c, "neighbour", "watch")
        guests.start(c, "flood", "flood_uart")
        guests.wait(c, "first count", lambda: guests.counter(c, "neighbour") > 0, 60)
    with c.check(f"{crashes} crashes at exits from seed {SEED}"):
        for count in range(1, crashes + 1):
            c.send(f"debug crash-exit {points.randrange(600)}\r")
            c.expect(rf"restarted \({restarts + count}\)", 30)
            c.prompt(30)
    with c.check("both guests live, and the one that watches lost nothing"):
        count = guests.counter(c, "neighbour")
        guests.wait(c, "it counts on", lambda: guests.counter(c, "neighbour") > count, 60)
        assert "VERDICT" not in guests.console(c, "neighbour"), guests.console(c, "neighbour")
        listed = c.command("vm list")
        assert len(re.findall(r"(neighbour|flood) +running", listed)) == 2, listed
    with c.check("no frame is lost"):
        guests.remove(c, "neighbour")
        guests.remove(c, "flood")
        assert before - free_kib(c) < 512, f"{before} KiB were free, now {free_kib(c)}"
