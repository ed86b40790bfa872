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
import sys

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, TOP)
# pylint: disable=wrong-import-position
from tests.emu.debugger import LINE, Traced, address_of, symbols

LONGEST = 20000  # instructions


def trace(operation, address):
    """Text of the debugger: the instructions from one arrival at `address` on."""
    with Traced("profile") as machine:
        machine.run_until(operation, address)
        machine.debugger.command("trace on")
        return machine.debugger.command(f"s {LONGEST}")


def main():
    words = [w for w in sys.argv[1:] if w != "--list"] or ["port"]
    table = symbols()
    starts = [a for a, _ in table]
    if len(words) != 1:
        sys.exit(__doc__)
    begin = address_of(table, "op_" + words[0].replace("-", "_"))
    steps = [(int(a, 16), text) for a, text in LINE.findall(trace(words[0], begin))]
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
