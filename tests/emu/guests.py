"""Running test guests through the shell: shared by the case files of the Bochs tier and the bench."""
import os
import re
import sys
import time

from tests.emu.emulator import TOP
from tests.emu.session import PATIENCE, Timeout
from tests.emu.suite import guest_files

sys.path.insert(0, os.path.join(TOP, "tests", "guests"))
# pylint: disable=wrong-import-position
from cases import case  # noqa: E402

STOPPED = r"(?mi)^\s*(state|status)\s*:?\s+stopped"
# No guest but the test's own: the demo would only take time.
QUIET_CONFIG = "# a boot of the tests: no VM is defined\n"


def names():
    folder = os.path.join(TOP, "tests", "guests")
    return sorted(f.rsplit(".", 1)[0] for f in os.listdir(folder) if f.endswith((".c", ".S")))


def files(*wanted):
    """The `files` of a boot that needs these guests."""
    result = {path: elf for path, elf in guest_files().items()
              if os.path.basename(path)[:-4] in wanted}
    return result | {"bulkhead/bulkhead.conf": QUIET_CONFIG}


def must(c, line, timeout=30):
    """A command that has to succeed."""
    output = c.command(line, timeout)
    assert not re.search(r"^E_", output, re.M), f"`{line}` says: {output.strip()}"
    return output


def create(c, vm, guest, **options):
    wants = case(guest)
    settings = {"cpu": wants["cpus"], "mem": f"{wants['mem']}M", "apicv": "on"}
    settings |= wants["options"] | options
    if c.machine.emulates_svm:
        settings.setdefault("cmdline", "tcg")  # its CPU lets more pass: guest_is_tcg()
    text = " ".join(f"{key.replace('_', '.')}={value}" for key, value in settings.items())
    must(c, f"vm create {vm} kernel=guests/tests/{guest}.elf {text}")


def start(c, vm, guest, **options):
    create(c, vm, guest, **options)
    must(c, f"vm start {vm}")


def console(c, vm):
    """All that the guest has printed."""
    return c.command(f"vm console {vm} --dump")


def stopped(c, vm):
    return re.search(STOPPED, c.command(f"vm show {vm}"))


def wait(c, what, done, timeout=60):
    """Asks until done() gives something true, and returns that."""
    deadline = time.monotonic() + timeout * PATIENCE
    while True:
        result = done()
        if result:
            return result
        if time.monotonic() > deadline:
            raise Timeout(f"{what}: not within {timeout} s; last: {c.last_lines()}")
        c.pump(0.2)


def wait_verdict(c, vm, guest, timeout=60):
    """Fails unless the guest says that it passed."""
    def done():
        return re.search(r"VERDICT (pass|fail) (\S+)(.*)", console(c, vm)) or \
            (stopped(c, vm) and (re.search(r"VERDICT (pass|fail) (\S+)(.*)", console(c, vm)) or "end"))
    verdict = wait(c, f"verdict of {guest}", done, timeout)
    assert verdict != "end", f"stopped without a verdict: {c.command(f'vm log {vm}')}"
    assert verdict.group(1) == "pass", \
        verdict.group(0) + "\n" + "\n".join(c.command(f"vm log {vm}").splitlines()[-30:])


def remove(c, vm):
    c.command(f"vm stop {vm}")
    wait(c, f"{vm} stops", lambda: stopped(c, vm), 20)
    must(c, f"vm delete {vm} --yes")


def counter(c, vm):
    """The highest number that the counter guest has printed."""
    numbers = re.findall(r"count (\d+)", console(c, vm))
    return int(numbers[-1]) if numbers else 0


def run_ms(c, names):
    """{VM: milliseconds that it has run}, for VMs of one vCPU, all within one line of the shell."""
    text = must(c, "; ".join(f"vm stats {name} | grep ' ms '" for name in names))
    rows = re.findall(r"(?m)^0 +([\d.]+) ms +[\d.]+ ms ", text)
    assert len(rows) == len(names), f"`vm stats` of {names} shows: {text}"
    return dict(zip(names, map(float, rows)))


def exits(c, vm):
    """{class: exits} of a running VM."""
    return {name: int(count) for name, count in re.findall(
        r"(?m)^([a-z-]+) +(\d+) +[\d.]+ %", must(c, f"vm stats {vm} --exits"))}
