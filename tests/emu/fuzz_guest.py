"""The fuzzing guest beside one that looks whether anything of its own changes; for both tiers."""
import os
import re

from tests.emu import guests
from tests.emu.session import PATIENCE, Timeout

# The seeds of `make test`: life n of the guest in a boot has seed SEED + n, so that a run can be made
# again.  `make fuzz-guests` sets FUZZ_SEED to another one; FUZZ_ACTIONS makes runs short.
SEED = int(os.environ.get("FUZZ_SEED", 1))
# A guest that says nothing new for so long, by the clock of the machine, hangs by its own doing.
# Bochs' clock counts instructions; QEMU's is this machine's, which may be loaded: a hundred times what
# it takes from one report to the next.
HANG_SECONDS, HANG_SECONDS_QEMU = 1 * PATIENCE, 10
# QEMU 7.2's emulation of AMD-V: what tests/guests/lib/fuzz_tables.h says that it does not survive.
OPTIONS_QEMU = "tcg,mask=15,report=128,"
# Words of its last will, if what the options take away was put together by the guest's own writes.
QEMU_DIES = r"fatal: invalid tss.*|tcg_handle_interrupt.*"
QEMU_DEATHS = 3


class Fuzz:
    """Runs the fuzzing guest as often as it takes: what it does may well kill it."""

    def __init__(self, c, actions):
        self.c, self.seed = c, SEED
        self.options = OPTIONS_QEMU if c.machine.emulates_svm else ""
        self.left, self.done, self.at = int(os.environ.get("FUZZ_ACTIONS", actions)), 0, 0
        self.deaths, self.emulator_deaths, self.strays = [], [], 0

    def run(self):
        self.begin()
        while self.left > 0:
            try:
                last = self.once()
            except (Timeout, OSError) as e:
                last = self.emulator_died(e)
            self.done += last
            self.left -= max(last, 1)
            self.seed += 1
        guests.remove(self.c, "fuzz")

    def begin(self):
        guests.start(self.c, "neighbour", "watch")
        guests.wait(self.c, "first count", lambda: guests.counter(self.c, "neighbour") > 0, 60)
        guests.create(self.c, "fuzz", "fuzz")

    def emulator_died(self, error):
        """Not Bulkhead: it goes on in a machine of its own."""
        with open(os.path.join(self.c.machine.folder, "emulator.out"), errors="replace") as f:
            why = re.search(QEMU_DIES, f.read())
        if not why or len(self.emulator_deaths) == QEMU_DEATHS:
            raise error
        self.emulator_deaths.append(f"seed {self.seed} after {self.at}: {why[0]}")
        self.c.restart()
        self.begin()
        return self.at

    def once(self):
        """One life of the guest; returns how many actions it did."""
        guests.must(self.c, f"vm set fuzz cmdline={self.options}seed={self.seed},actions={self.left}")
        guests.must(self.c, "vm start fuzz")
        at = self.at = 0
        moved = 0
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
                at = self.at = numbers[-1]
                moved = now
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
        return "hangs" if silent > limit else None

    def stop(self):
        self.c.command("vm stop fuzz")
        guests.wait(self.c, "fuzz stops", lambda: guests.stopped(self.c, "fuzz"), 20)


def uptime(state):
    """Seconds since the guest was started, 0 when it has ended."""
    said = re.search(r"uptime +(\d+)d (\d+):(\d+):(\d+)", state)
    days, hours, minutes, seconds = (int(n) for n in said.groups()) if said else (0, 0, 0, 0)
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def fuzz(c, actions, may_stray=False):
    """may_stray: Bochs brings interrupts into IF=0, docs/testing.md."""
    f = Fuzz(c, actions)
    with c.check(f"{f.left} hostile actions from seed {f.seed}", vital=True):
        f.run()
    with c.check(f"{f.done} actions counted; the guest was started anew {len(f.deaths)} times, "
                 f"{f.strays} interrupts came into IF=0"):
        for line in f.deaths + [f"QEMU ended: {line}" for line in f.emulator_deaths]:
            print("        " + line, flush=True)
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
        assert "panic" not in log.lower(), log
        if not c.machine.emulates_svm:  # whose instructions make states that its VMRUN refuses
            assert "VM entry failed" not in log, log
            assert not [why for why in f.deaths if "VM entry" in why]
