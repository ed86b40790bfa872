#!/usr/bin/python3
"""Where the ticks of one operation go: instructions by function, in order.

usage: exit-profile.py [--list] [OPERATION]

OPERATION is one of tests/guests/bench.c (port, inject, mmio, deadline, ...); the trace goes from one
run of it to the next.  Bochs executes an instruction a tick, so the sum is what `make bench` counts,
and the loop around it.  --list prints the instructions too.
Needs Debian 13's Bochs, for its debugger: tools/fetch-bochs.sh --debugger.
"""
import bisect
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, TOP)
# pylint: disable=wrong-import-position
from tests.emu import guests
from tests.emu.emulator import BUILD, Bochs
from tests.emu.suite import IMAGE, LOGS, Console, Report, put_files

PROMPT = "<bochs:"
WARM = 8         # arrivals before the one that is traced
LONGEST = 20000  # instructions
LINE = re.compile(r"\(0\)\.\[\d+\] \[0x[0-9a-f]+\] [0-9a-f]{4}:([0-9a-f]{16}) \([^)]*\): (.*?) +;")


class Debugger:
    """The prompt of Bochs' debugger at the other end of a terminal."""

    def __init__(self):
        self.end, self.terminal = pty.openpty()
        self.machine = None

    def read(self, timeout):
        if not select.select([self.end], [], [], timeout)[0]:
            return ""
        return os.read(self.end, 1 << 16).decode("latin-1")

    def until_prompt(self, timeout=300):
        text, deadline = "", time.monotonic() + timeout
        while PROMPT not in text[-40:]:
            text += self.read(1)
            if time.monotonic() > deadline:
                sys.exit(f"no prompt of the debugger; last: {text[-300:]}")
        return text

    def command(self, line):
        os.write(self.end, line.encode() + b"\n")
        return self.until_prompt()


def symbols():
    """[(address, name)] of kernel, control partition and the guest; their code does not overlap."""
    rows = []
    for path in ("kernel.elf", "control.elf", "test-guests/bench.elf"):
        text = subprocess.run(["nm", os.path.join(BUILD, path)], check=True, encoding="ascii",
                              stdout=subprocess.PIPE).stdout
        rows += [(int(a, 16), name) for a, name in re.findall(r"^(\S+) [tTwW] (\S+)$", text, re.M)]
    return sorted(rows)


def trace(operation, address):
    """Text of the debugger: the instructions from one arrival at `address` on."""
    debugger = Debugger()
    machine = Bochs("profile", IMAGE, cpus=1, memory_mib=1024, flavour="debian13",
                    terminal=debugger.terminal)
    machine.copy_image(os.path.join(LOGS, "profile"))
    put_files(machine.disk, guests.files("bench"))
    try:
        machine.start()
        debugger.until_prompt()
        os.write(debugger.end, b"c\n")
        c = Console(machine, Report(), 900)
        c.prompt(machine.boot_seconds)
        guests.create(c, "bench", "bench", cpu=2 if operation == "ipi" else 1,
                      cmdline=f'"{operation} 1024"')
        guests.must(c, "vm start bench")
        guests.wait(c, "start of bench", lambda: "first" in guests.console(c, "bench"))
        machine.process.send_signal(signal.SIGINT)
        debugger.until_prompt()
        debugger.command(f"lb {address:#x}")
        for _ in range(WARM):
            debugger.command("c")
        debugger.command("trace on")
        return debugger.command(f"s {LONGEST}")
    finally:
        machine.stop()


def main():
    words = [w for w in sys.argv[1:] if w != "--list"] or ["port"]
    table = symbols()
    starts = [a for a, _ in table]
    begin = [a for a, name in table if name == "op_" + words[0].replace("-", "_")]
    if len(begin) != 1 or len(words) != 1:
        sys.exit(__doc__)
    steps = [(int(a, 16), text) for a, text in LINE.findall(trace(words[0], begin[0]))]
    if not 0 < len(steps) < LONGEST:  # the next arrival at the breakpoint ends the trace
        sys.exit(f"{words[0]} does not end within {LONGEST} instructions")
    runs, total = [], {}
    for address, text in steps:
        name = table[bisect.bisect_right(starts, address) - 1][1]
        if not runs or runs[-1][0] != name:
            runs.append([name, 0])
        runs[-1][1] += 1
        total[name] = total.get(name, 0) + 1
        if "--list" in sys.argv:
            print(f"{address:16x}  {name:24}  {text}")
    for name, count in runs:
        print(f"{count:6} {name}")
    print(f"{len(steps):6} in all; the most:",
          ", ".join(f"{n} {c}" for n, c in sorted(total.items(), key=lambda x: -x[1])[:12]))


if __name__ == "__main__":
    main()
