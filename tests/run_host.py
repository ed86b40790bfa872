#!/usr/bin/python3
"""Runs the host tier: the checks, the unit-test programs and the fuzzers, two at a time.

One line a program; the last line is "N passed, N failed", summed over cmocka cases, fuzz
targets and checks.  The output of whatever fails is shown in full.
"""
import argparse
import itertools
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
# pylint: disable=wrong-import-position
from tests import bench_net  # noqa: E402

CHECKS = [
    ("layers", ["tests/check_layers.sh"]),
    ("headers", ["tests/check_headers.sh"]),
    ("style", ["tests/check_style.sh"]),
    ("format", ["tests/check_format.sh"]),
    ("warnings", ["tests/check_warnings.sh"]),
    ("cppcheck", ["tests/check_cppcheck.sh"]),
    ("budget", ["tests/check_budget.sh"]),
    ("run", ["tests/check_run.py"]),
    ("branches", ["tests/check_branches.sh"]),
    ("calls", ["tests/check_calls.py"]),
]
SHORT_RUNS = 200000    # inputs a fuzzer tries in the test run ...
SHORT_SECONDS = 10     # ... or as many as it can in this time
UNIT_SECONDS = 600  # on a loaded machine; most need less than one


def execute(command, seconds, env=None):
    """(exit code, output); a time-out is code 124."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=seconds, env=env, check=False)
        return done.returncode, done.stdout.decode(errors="replace")
    except subprocess.TimeoutExpired as late:
        return 124, (late.stdout or b"").decode(errors="replace") + f"\nno end in {seconds} s\n"
    except OSError as why:
        return 127, f"{why}\n"


def run_check(name, command):
    code, out = execute(command, 600)
    last = out.strip().splitlines()[-1] if out.strip() else ""
    return name, 1 if code == 0 else 0, 0 if code == 0 else 1, last if code == 0 else "", out


def run_unit(program):
    name = os.path.basename(program)
    if not os.path.exists(program):
        return name, 0, 1, "", "did not build\n"
    code, out = execute([program], UNIT_SECONDS)
    planned = sum(int(n) for n in re.findall(r"^\[=+\] Running (\d+) test", out, re.M))
    passed = len(re.findall(r"^\[ +OK +\]", out, re.M))
    failed = planned - passed
    if code != 0 or planned == 0:
        failed = max(failed, 1)
    return name, passed, failed, f"{passed} cases", out


def seed_bytes(text):
    """Hex digits; ".N." stands for N zeros, ".NxHH." for N of that byte."""
    parts = text.split(".")
    for i in range(1, len(parts), 2):
        count, _, byte = parts[i].partition("x")
        parts[i] = (byte or "00") * int(count)
    return bytes.fromhex("".join(parts))


def seeds_of(short):
    """The folder of a fuzzer's first inputs: files, or made of lines "NAME TEXT"."""
    folder, lines = f"tests/fuzz/corpus/{short}", f"tests/fuzz/corpus/{short}.hex"
    if os.path.exists(lines):
        folder = f"build/fuzz/seeds/{short}"
        os.makedirs(folder, exist_ok=True)
        with open(lines, encoding="ascii") as f:
            for name, digits in map(str.split, f):
                with open(os.path.join(folder, name), "wb") as seed:
                    seed.write(seed_bytes(digits))
    return folder


def run_rates():
    """Frames a second of the virtual switch beside other switches, in one run and with nothing of ours beside it.
    Figures and no targets: they fail only where our switch forwards nothing."""
    rows = bench_net.rows(1)
    text = ", ".join(f"{name.removeprefix('net.').removesuffix('.mpps')} {value}" for name, value in rows.items())
    good = bool(rows) and all(value for name, value in rows.items() if ".switch." in name)
    return "rates", int(good), int(not good), f"million frames a second: {text}", text + "\n"


def run_fuzz(program, seconds):
    name = os.path.basename(program)
    if not os.path.exists(program):
        return name, 0, 1, "", "did not build\n"
    short = name.removeprefix("fuzz_")
    work = f"build/fuzz/{short}"
    seeds = seeds_of(short)
    os.makedirs(work, exist_ok=True)
    command = [program, f"-artifact_prefix=build/fuzz/{short}-", "-timeout=60", "-print_final_stats=1",
               "-rss_limit_mb=1024", "-max_len=8192",
               "-entropic_scale_per_exec_time=1"]  # fewer of the slow inputs
    if seconds:
        command.append(f"-max_total_time={seconds}")
    else:
        command += [f"-runs={SHORT_RUNS}", f"-max_total_time={SHORT_SECONDS}", "-seed=1"]
    command.append(work)
    if os.path.isdir(seeds):
        command.append(seeds)
    # Memory that was freed is used again soon: new pages would cost more than the rest.
    env = os.environ | {"ASAN_OPTIONS": "quarantine_size_mb=4"}
    code, out = execute(command, (seconds or SHORT_SECONDS) + 300, env)
    runs = re.search(r"number_of_executed_units: *(\d+)", out)
    text = f"{runs.group(1)} inputs" if runs else ""
    if seconds and runs:  # in the form of docs/fuzzing.md
        with open("build/fuzz/ledger.md", "a", encoding="ascii") as ledger:
            found = "nothing" if code == 0 else f"see build/fuzz/{short}-*"
            ledger.write(f"| {short} | {int(runs.group(1)):,} | {time.strftime('%F')} | {found} |\n")
    # Only the end tells why; the rest is one line a new input.
    return name, int(code == 0), int(code != 0), text, out[-6000:]


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--checks", action="store_true")
    arguments.add_argument("--unit", nargs="*", default=[])
    arguments.add_argument("--fuzz", nargs="*", default=[])
    arguments.add_argument("--fuzz-seconds", type=int, default=0)
    arguments.add_argument("--rates", action="store_true")
    options = arguments.parse_args()

    total_passed = total_failed = 0
    with ThreadPoolExecutor(max_workers=2) as pool:
        jobs = []
        if options.checks:
            jobs += [pool.submit(run_check, *check) for check in CHECKS]
        jobs += [pool.submit(run_unit, program) for program in options.unit]
        jobs += [pool.submit(run_fuzz, program, options.fuzz_seconds) for program in options.fuzz]
        results = itertools.chain((job.result() for job in jobs), (run() for run in [run_rates] * options.rates))
        for name, passed, failed, text, output in results:
            print(f"{'FAIL' if failed else 'ok  '} {name:<24} {text}", flush=True)
            if failed:
                print("".join(f"    {line}\n" for line in output.splitlines()), end="", flush=True)
            total_passed += passed
            total_failed += failed
    print(f"{total_passed} passed, {total_failed} failed")
    return 1 if total_failed or not total_passed else 0


if __name__ == "__main__":
    sys.exit(main())
