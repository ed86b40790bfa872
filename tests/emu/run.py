#!/usr/bin/python3
"""Runs one tier of emulator tests.

usage: run.py qemu|bochs|bochs-ipxe [--list] [NAME...]      NAME: a boot's, * for any text

One line a check, with its time; what this machine cannot run is counted before the
last line, which is "N passed, N failed".  Logs of each boot are in
build/logs/TIER/NAME.  JOBS boots run at a time (two, or one on a single CPU); PATIENCE=1
shortens every time limit to a fifth, for a quiet machine.
"""
import concurrent.futures
import fnmatch
import glob
import importlib
import os
import sys
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, TOP)
# pylint: disable=wrong-import-position
from tests.emu.suite import BOOTS, LOGS, NOT_RUN, Report


def main():
    tier, names = sys.argv[1], [a for a in sys.argv[2:] if a != "--list"]
    for path in sorted(glob.glob(os.path.join(TOP, "tests", "emu", tier.split("-")[0] + "_*.py"))):
        importlib.import_module("tests.emu." + os.path.basename(path)[:-3])
    boots = [b for b in BOOTS if b.tier == tier and
             (not names or any(fnmatch.fnmatch(b.name, n) for n in names))]
    if "--list" in sys.argv:
        print("\n".join(b.name for b in boots))
        return 0
    jobs = int(os.environ.get("JOBS", min(2, os.cpu_count() or 1)))
    began = time.monotonic()
    report = Report()
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for done in [pool.submit(b.run, report) for b in boots]:
            done.result()
    if report.crashes:
        print(*report.crashes, sep="\n")
    if report.failed or not boots:
        print(f"logs: {os.path.relpath(os.path.join(LOGS, tier))}"
              if boots else f"no boot of tier {tier} is named {names}")
    print(f"{tier} tier: {time.monotonic() - began:.0f} s")
    print(f"{len(NOT_RUN)} not run" + "".join(f"\n        {why}" for why in sorted(NOT_RUN)))
    print(f"{report.passed} passed, {report.failed} failed")
    return 1 if report.failed or not boots else 0


if __name__ == "__main__":
    sys.exit(main())
