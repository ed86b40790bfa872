#!/usr/bin/python3
"""`make test`: runs every tier, whatever happens to the others, and adds up their verdicts.

A tier that ends without its line "N passed, N failed", or fails with none failed, counts as one
failure.  What failed is told again at the end; the last line is the sum.
"""
import os
import re
import subprocess
import sys
import time

TIERS = ["host", "qemu", "bochs"]
VERDICT = re.compile(r"^(\d+) passed, (\d+) failed$")
FAILURE = re.compile(r"^FAIL(ED)? ")
DETAILS = 16  # lines that are kept of one failure


class Failures:
    """The lines of checks that failed: each and what is indented below it."""

    def __init__(self):
        self.lines, self.room = [], 0

    def see(self, line):
        if FAILURE.match(line):
            self.room = DETAILS
        elif not line.startswith("    "):
            self.room = 0
        if self.room:
            self.room -= 1
            self.lines.append(line)


def run_tier(tier, failures):
    print(f"==== {tier} tier", flush=True)
    passed = failed = None
    with subprocess.Popen([os.environ.get("MAKE", "make"), "--no-print-directory", "test-" + tier],
                          stdout=subprocess.PIPE, text=True, errors="replace") as process:
        for line in process.stdout:
            print(line, end="", flush=True)
            failures.see(line)
            verdict = VERDICT.match(line)
            if verdict:
                passed, failed = int(verdict[1]), int(verdict[2])
    if passed is None or (process.returncode and not failed):
        print(f"{tier} tier: broke off (exit code {process.returncode})")
        return passed or 0, (failed or 0) + 1
    return passed, failed


def main():
    began = time.monotonic()
    failures = Failures()
    results = {tier: run_tier(tier, failures) for tier in TIERS}
    print("==== all tiers")
    print("".join(failures.lines), end="")
    for tier, (passed, failed) in results.items():
        print(f"{tier}: {passed} passed, {failed} failed")
    print(f"{time.monotonic() - began:.0f} s")
    failed = sum(f for _, f in results.values())
    print(f"{sum(p for p, _ in results.values())} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
