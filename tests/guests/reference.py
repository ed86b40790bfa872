#!/usr/bin/python3
"""Runs the test guests on QEMU's emulated machine, to check the guests themselves.

A guest that fails here is wrong, or asks for more than a machine must give.  Ends in
"N passed, N failed".
"""
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cases import case  # noqa: E402

BUILD = "build/test-guests"


def run(name):
    """(passed, what to print)"""
    wants = case(name)
    command = ["qemu-system-x86_64", "-machine", "q35", "-accel", "tcg,thread=single", "-cpu", "max,la57=off",
               "-smp", str(wants["cpus"]), "-m", str(max(wants["mem"], 64)), "-display", "none",
               "-net", "none", "-no-reboot", "-serial", "stdio", "-monitor", "none",
               "-kernel", f"{BUILD}/{name}.elf"]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=wants["seconds"], check=False)
        out = done.stdout
    except subprocess.TimeoutExpired as late:
        out = (late.stdout or b"") + b"\nno end\n"
    text = out.decode(errors="replace").replace("\r", "")
    verdict = re.search(r"VERDICT (pass|fail) (.*)$", text, re.M)
    return bool(verdict and verdict.group(1) == "pass"), text


def main():
    names = sys.argv[1:] or sorted(f[:-4] for f in os.listdir(BUILD) if f.endswith(".elf"))
    passed = failed = 0
    for name in names:
        if not case(name)["reference"] and not sys.argv[1:]:
            continue
        good, text = run(name)
        print(f"{'ok  ' if good else 'FAIL'} {name}", flush=True)
        if not good:
            print("".join(f"    {line}\n" for line in text.splitlines()[-30:]), end="")
        passed += good
        failed += not good
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
