"""Bochs tier: a guest that attacks, beside one that looks whether anything of its own changes."""
import os
import random
import re
import time

from tests.emu import guests, hostile_control
from tests.emu.session import PATIENCE
from tests.emu.suite import bochs

# A million in all; FUZZ_SEED and FUZZ_ACTIONS make a run again.
ACTIONS, ACTIONS_NO_VID = 700_000, 300_000
# A guest that says nothing new for so long, by the clock of the machine, hangs by its own doing.
HANG_SECONDS = 3


def free_kib(c):
    return int(re.search(r"(?m)^free +(\d+) KiB", c.command("host mem"))[1])


class Fuzz:
    """Runs the fuzzing guest as often as it takes: what it does may well kill it."""

    def __init__(self, c, actions):
        self.c, self.left, self.done = c, actions, 0
        self.seed = int(os.environ.get("FUZZ_SEED", time.time_ns() // 1000 % 1_000_000))
        self.left = actions = int(os.environ.get("FUZZ_ACTIONS", actions))
        self.deaths, self.strays = [], 0

    def run(self):
        while self.left > 0:
            last = self.once()
            self.done += last
            self.left -= max(last, 1)
            self.seed += 1

    def once(self):
        """One life of the guest; returns how many actions it did."""
        guests.start(self.c, "fuzz", "fuzz",
                     cmdline=f"{self.tcg()}seed={self.seed},actions={self.left}")
        at, starts, moved = 0, 1, 0
        while True:
            self.c.pump(0.3)
            now = self.uptime()
            text = guests.console(self.c, "fuzz")
            if "VERDICT pass fuzz" in text:
                self.strays += int(re.search(r"fuzz (\d+) interrupts came into IF=0", text)[1])
                guests.remove(self.c, "fuzz")
                return self.left
            said = [int(n) for n in re.findall(rf"fuzz {self.seed} (\d+)", text)]
            starts = said.count(0)
            if said and said[-1] > at:
                at, moved = said[-1], now
            why = self.died(text, starts, now - moved)
            if why:
                self.deaths.append(f"seed {self.seed} after {at}: {why}")
                guests.remove(self.c, "fuzz")
                return at

    def died(self, text, starts, silent):
        if re.search("VERDICT fail fuzz", text):
            return re.search("VERDICT fail fuzz.*", text).group()
        if guests.stopped(self.c, "fuzz"):
            log = self.c.command("vm log fuzz").splitlines()
            said = [line for line in log if re.search("stopped:|powered off", line)]
            return (said or log)[-1].strip()
        if starts > 1:
            return "reset itself"
        return "hangs" if silent > HANG_SECONDS * (5 * PATIENCE if self.tcg() else 1) else None

    def uptime(self):
        """Seconds since the guest was started, 0 when it has ended."""
        said = re.search(r"uptime +(\d+)d (\d+):(\d+):(\d+)", self.c.command("vm show fuzz"))
        days, hours, minutes, seconds = (int(n) for n in said.groups()) if said else (0, 0, 0, 0)
        return ((days * 24 + hours) * 60 + minutes) * 60 + seconds

    def tcg(self):
        return "tcg," if self.c.machine.emulates_svm else ""


def fuzz(c, actions, may_stray=False):
    """may_stray: Bochs brings interrupts into IF=0, docs/testing.md."""
    with c.check("the neighbour watches", vital=True):
        guests.start(c, "neighbour", "watch")
        guests.wait(c, "first count", lambda: guests.counter(c, "neighbour") > 0, 60)
    f = Fuzz(c, actions)
    with c.check(f"{f.left} hostile actions from seed {f.seed}", vital=True):
        f.run()
    with c.check(f"{f.done} actions counted; the guest was started anew {len(f.deaths)} times, "
                 f"{f.strays} interrupts came into IF=0"):
        print("".join(f"        {line}\n" for line in f.deaths), end="", flush=True)
        assert may_stray or not f.strays
        assert len(f.deaths) < 20 + f.done / 1000
    with c.check("the neighbour lost nothing"):
        before = guests.counter(c, "neighbour")
        guests.wait(c, "it counts on", lambda: guests.counter(c, "neighbour") > before, 60)
        assert "VERDICT" not in guests.console(c, "neighbour"), guests.console(c, "neighbour")
        guests.remove(c, "neighbour")
    with c.check("no memory is lost, and the kernel complains of nothing"):
        assert re.search(r"(?i)guests +0|0 in guests", c.command("host info"))
        log = c.command("host log level=error")
        assert "VM entry failed" not in log and "panic" not in log.lower(), log


@bochs("fuzz", limit=900, cpus=1, files=guests.files("watch", "fuzz"))
def fuzz_vid(c):
    fuzz(c, ACTIONS, may_stray=True)


# Without virtual-interrupt delivery the kernel does what the CPU did.
@bochs("fuzz-no-vid", limit=600, cpus=1, model="corei7_ivy_bridge_3770k",
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


CRASH_POINTS = 200


@bochs("crash-points", limit=900, cpus=1, files=guests.files("watch", "flood_uart"))
def crash_points(c):
    """The control partition dies at exits picked at random; guests and frames are all there after it."""
    seed = int(os.environ.get("FUZZ_SEED", time.time_ns() // 1000 % 1_000_000))
    points = random.Random(seed)
    with c.check("two guests run"):
        before = free_kib(c)
        guests.start(c, "neighbour", "watch")
        guests.start(c, "flood", "flood_uart")
        guests.wait(c, "first count", lambda: guests.counter(c, "neighbour") > 0, 60)
    with c.check(f"{CRASH_POINTS} crashes at exits from seed {seed}"):
        for count in range(1, CRASH_POINTS + 1):
            c.send(f"debug crash-exit {points.randrange(600)}\r")
            c.expect(rf"restarted \({count}\)", 30)
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
