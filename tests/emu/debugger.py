"""Bochs' own debugger, which sees every instruction of hypervisor and guest: used by
tools/exit-profile.py, tests/bench_vmcs.py and bochs_panic.py.  Needs Debian 13's Bochs."""
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time

from tests.emu import guests
from tests.emu.emulator import BUILD, Bochs, EmulatorError
from tests.emu.suite import IMAGE, LOGS, Console, Report, Verdicts, put_files

PROMPT = "<bochs:"
WARM = 8  # arrivals at an operation before the one that is looked at
AT = re.compile(r"\(0\) \[0x[0-9a-f]+\] [0-9a-f]{4}:([0-9a-f]{16}) ")
TIME = re.compile(r"Next at t=(\d+)")
LINE = re.compile(r"\(0\)\.\[\d+\] \[0x[0-9a-f]+\] [0-9a-f]{4}:([0-9a-f]{16}) \([^)]*\): (.*?) +;")
GUEST = "test-guests/bench.elf"


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
        parts, tail, deadline = [], "", time.monotonic() + timeout
        while PROMPT not in tail:
            parts.append(self.read(1))
            tail = (tail + parts[-1])[-40:]
            if time.monotonic() > deadline:
                raise EmulatorError(f"no prompt of the debugger; last: {tail}")
        return "".join(parts)

    def send(self, line):
        os.write(self.end, line.encode() + b"\n")

    def command(self, line):
        self.send(line)
        return self.until_prompt()


def symbols(*paths):
    """[(address, name)] of these images; by default kernel, control partition and the bench guest,
    whose code does not overlap."""
    rows = []
    for path in paths or ("kernel.elf", "control.elf", GUEST):
        text = subprocess.run(["nm", os.path.join(BUILD, path)], check=True, encoding="ascii",
                              stdout=subprocess.PIPE).stdout
        rows += [(int(a, 16), name) for a, name in re.findall(r"^(\S+) [tTwW] (\S+)$", text, re.M)]
    return sorted(rows)


def instructions_of(function, mnemonic):
    """Addresses of these instructions in that function of the kernel."""
    text = subprocess.run(["objdump", "-d", "--no-show-raw-insn", os.path.join(BUILD, "kernel.elf")],
                          check=True, stdout=subprocess.PIPE, encoding="ascii").stdout
    body = re.search(rf"(?ms)^\w+ <{function}>:$.*?^$", text).group()
    return [int(a, 16) for a in re.findall(rf"(?m)^(\w+):\s+{mnemonic}\b", body)]


def address_of(table, name):
    found = [a for a, n in table if n == name]
    if len(found) != 1:
        sys.exit(f"there is no function {name}, or more than one")
    return found[0]


def where(text):
    """Address of the instruction that the machine stands at."""
    found = AT.findall(text)
    return int(found[-1], 16) if found else None


class Traced:
    """A machine with one CPU that stands still whenever it is not told to go."""

    def __init__(self, name, memory_mib=1024, files=None, **machine):
        self.files = files or guests.files("bench")
        self.debugger = Debugger()
        self.machine = Bochs(name, IMAGE, cpus=1, memory_mib=memory_mib, flavour="debian13",
                             terminal=self.debugger.terminal, **machine)
        self.console = None
        self.breakpoints = self.deleted = 0

    def __enter__(self):
        self.machine.copy_image(os.path.join(LOGS, self.machine.name))
        put_files(self.machine.disk, self.files)
        try:
            self.machine.start()
            self.debugger.until_prompt()
            self.go()
            self.console = Console(self.machine, Verdicts(Report()), 900)
            self.console.prompt(self.machine.boot_seconds)
        except BaseException:
            self.machine.stop()
            raise
        return self

    def __exit__(self, *_):
        self.machine.stop()

    def go(self):
        self.debugger.send("c")

    def run_until(self, operation, address, **options):
        """Starts the bench guest with an operation and stops the machine at the instruction at
        `address`, the WARMth time that it comes there.  The breakpoint stays."""
        c = self.console
        guests.create(c, "bench", "bench", cpu=2 if operation in ("ipi", "switch") else 1,
                      cmdline=f'"{operation} 1024"', **options)
        guests.must(c, "vm start bench")
        guests.wait(c, "start of bench", lambda: "first" in guests.console(c, "bench"))
        self.stop()
        self.breakpoint(address)
        for _ in range(WARM):
            self.debugger.command("c")

    def stop(self):
        self.machine.process.send_signal(signal.SIGINT)
        self.debugger.until_prompt()

    def breakpoint(self, address):
        self.breakpoints += 1  # the debugger counts them likewise
        self.debugger.command(f"lb {address:#x}")

    def no_breakpoints(self):
        for number in range(self.deleted + 1, self.breakpoints + 1):
            self.debugger.command(f"d {number}")
        self.deleted = self.breakpoints

    def finish(self):
        """The guest goes on, without breakpoints, and is deleted."""
        self.no_breakpoints()
        self.go()
        guests.remove(self.console, "bench")
