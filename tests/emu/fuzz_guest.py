"""The fuzzing guest beside one that looks whether anything of its own changes; for both tiers."""
import os
import re

from tests.emu import guests
from tests.emu.session import PATIENCE

# The seeds of `make test`: life n of the guest in a boot has seed SEED + n, so that a run can be made
# again.  `make fuzz-guests` sets FUZZ_SEED to another one; FUZZ_ACTIONS makes runs short.
SEED = int(os.environ.get("FUZZ_SEED", 1))
# A guest that says nothing new for so long, by the clock of the machine, hangs by its own doing.
# Bochs' clock counts instructions; QEMU's is this machine's, which may be loaded.
HANG_SECONDS, HANG_SECONDS_QEMU = 1, 15


class Fuzz:
    """Runs the fuzzing guest as often as it takes: what it does may well kill it."""

    def __init__(self, c, actions, options=""):
        self.c, self.options, self.seed = c, options, SEED
        self.left, self.done = int(os.environ.get("FUZZ_ACTIONS", actions)), 0
        self.deaths, self.strays = [], 0

    def run(self):
        guests.create(self.c, "fuzz", "fuzz")
        while self.left > 0:
            last = self.once()
            self.done += last
            self.left -= max(last, 1)
            self.seed += 1
        guests.remove(self.c, "fuzz")

    def once(self):
        """One life of the guest; returns how many actions it did."""
        guests.must(self.c, f"vm set fuzz cmdline={self.options}seed={self.seed},actions={self.left}")
        guests.must(self.c, "vm start fuzz")
        at, moved = 0, 0
        while True:
            self.c.pump(0.3)
            state = self.c.command("vm show fuzz")
            said = guests.console(self.c, "fuzz")
            if "VERDICT pass fuzz" in said:
                self.strays += int(re.search(r"fuzz (\d+) interrupts came into IF=0", said)[1])
                self.stop()
                return self.left
            numbers = [int(n) for n in re.findall(rf"fuzz {self.seed} (\d+)", said)]
            now = uptime(state)
            if numbers and numbers[-1] > at:
                at, moved = numbers[-1], now
            why = self.died(state, said, numbers.count(0), now - moved)
            if why:
                self.deaths.append(f"seed {self.seed} after {at}: {why}")
                self.stop()
                return at

    def died(self, state, said, starts, silent):
        if "VERDICT fail fuzz" in said:
            return re.search("VERDICT fail fuzz.*", said).group()
        if re.search(guests.STOPPED, state):
            by = re.search(r"(?m)^stopped by +(.*)", state)
            return by[1] if by else "stopped"
        if starts > 1:
            return "reset itself"
        limit = HANG_SECONDS_QEMU if self.c.machine.emulates_svm else HANG_SECONDS
        return "hangs" if silent > limit * PATIENCE else None

    def stop(self):
        self.c.command("vm stop fuzz")
        guests.wait(self.c, "fuzz stops", lambda: guests.stopped(self.c, "fuzz"), 20)


def uptime(state):
    """Seconds since the guest was started, 0 when it has ended."""
    said = re.search(r"uptime +(\d+)d (\d+):(\d+):(\d+)", state)
    days, hours, minutes, seconds = (int(n) for n in said.groups()) if said else (0, 0, 0, 0)
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def fuzz(c, actions, may_stray=False, options=""):
    """may_stray: Bochs brings interrupts into IF=0, docs/testing.md."""
    with c.check("the neighbour watches", vital=True):
        guests.start(c, "neighbour", "watch")
        guests.wait(c, "first count", lambda: guests.counter(c, "neighbour") > 0, 60)
    f = Fuzz(c, actions, options)
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
        assert not [why for why in f.deaths if "VM entry" in why]
