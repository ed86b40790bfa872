"""What a case file needs: @qemu and @bochs declare one boot and the checks made during it.

    @qemu("q35-usb", machine="q35", disk="usb", cpus=4)
    def q35_usb(c):
        with c.check("host info counts the CPUs"):
            assert re.search(r"CPUs +4", c.command("host info"))

A boot is expensive, a check is not: put checks together.  That the machine boots to the prompt is
a check of its own; where it fails, the others of that boot count as one failure more.
Keywords: limit (seconds for the whole boot), files ({path on the ESP: text, bytes, Path, a function
that gives bytes, or None to delete}), prompt=False for a boot that must not get so far, and those
of the emulator's class.
"""
import contextlib
import os
import pathlib
import subprocess
import threading
import time
import traceback

from tests.emu.emulator import BUILD, Bochs, EmulatorError, Qemu
from tests.emu.session import PATIENCE, Session, Timeout

IMAGE = os.path.join(BUILD, "bulkhead.img")
LOGS = os.path.join(BUILD, "logs")
ESP = "@@1M"  # where tools/mkimage.sh puts the system partition
TEST_GUESTS = os.path.join(BUILD, "test-guests")
BOOTS = []
NOT_RUN = []  # why, a line each part that this machine cannot run


def not_run(what, why):
    """Told at once, and counted before the tier's last line."""
    NOT_RUN.append(f"{what}: {why}")
    print(f"        not run: {what}: {why}", flush=True)


class Report:
    """Adds up the verdicts of boots, which run in parallel threads."""

    def __init__(self):
        self.passed = self.failed = 0
        self.crashes = []  # what was run once more, and why
        self.lock = threading.Lock()

    def add(self, verdicts):
        with self.lock:
            self.passed += verdicts.passed
            self.failed += verdicts.failed

    def crash(self, boot, signal_name, seconds):
        text = f"{boot}: the emulator itself crashed ({signal_name}); this boot is run once more"
        with self.lock:
            self.crashes.append(text)
            print(f"again  {seconds:6.1f} s  {text}", flush=True)


class Verdicts:
    """Counts and prints those of one run of one boot."""

    def __init__(self, report):
        self.passed = self.failed = 0
        self.report = report

    def verdict(self, name, error, seconds):
        with self.report.lock:
            if error is None:
                self.passed += 1
            else:
                self.failed += 1
            print(f"{'ok    ' if error is None else 'FAILED'} {seconds:6.1f} s  {name}", flush=True)
            if error:
                print(f"        {error}", flush=True)


class EndOfBoot(Exception):
    """A vital check failed."""


class EmulatorCrash(Exception):
    """The emulator was ended by a signal that only a fault of its own brings."""


class Console(Session):
    """The serial console of a machine that is being tested."""

    def __init__(self, machine, verdicts, limit, files=None):
        super().__init__(machine)
        self.verdicts, self.boot, self.files = verdicts, machine.name, files or {}
        self.limit = time.monotonic() + limit * PATIENCE

    def restart(self):
        """The emulator has ended: the same machine anew, up to its prompt.  Logs are lost."""
        self.machine.stop()
        self.close()
        self.machine.copy_image(self.machine.folder)
        put_files(self.machine.disk, self.files)
        self.machine.start()
        super().__init__(self.machine)
        self.prompt(self.machine.boot_seconds)

    @contextlib.contextmanager
    def check(self, name, vital=False):
        """One verdict.  A failing vital check ends the boot: the rest could only wait in vain."""
        began = time.monotonic()
        error = None
        try:
            if began > self.limit:
                raise Timeout("the time for this boot is used up")
            yield
        except (AssertionError, EmulatorError, OSError) as e:
            error = describe(e)
        except Exception as e:  # pylint: disable=broad-except
            error = describe(e) + "\n" + traceback.format_exc()
        if error and self.machine.crash():
            raise EmulatorCrash(self.machine.crash())
        self.verdicts.verdict(f"{self.boot}: {name}", error, time.monotonic() - began)
        if vital and error:
            raise EndOfBoot()


def describe(e):
    """One line or more for people; a bare assert names its own source line."""
    if str(e):
        return str(e)
    frame = traceback.extract_tb(e.__traceback__)[-1]
    return f"{os.path.basename(frame.filename)}:{frame.lineno}: {frame.line}"


class Boot:
    def __init__(self, tier, name, body, limit, files, image, prompt, build_machine):
        self.tier, self.name, self.body, self.limit = tier, name, body, limit
        self.files, self.image, self.build_machine = files, image, build_machine
        self.prompt = prompt

    def run(self, report):
        """The verdicts of a run in which the emulator itself crashed are void: it says nothing about
        Bulkhead.  A second crash counts as a failure, since then something of ours may lead to it."""
        began = time.monotonic()
        try:
            verdicts = self.once(report)
        except EmulatorCrash as e:
            report.crash(f"{self.tier}/{self.name}", str(e), time.monotonic() - began)
            try:
                verdicts = self.once(report)
            except EmulatorCrash as again:
                verdicts = Verdicts(report)
                verdicts.verdict(f"{self.tier}/{self.name}: its emulator goes on",
                                 f"crashed twice ({again})", time.monotonic() - began)
        report.add(verdicts)

    def once(self, report):
        machine = self.build_machine(f"{self.tier}/{self.name}", self.image)
        verdicts, console = Verdicts(report), None
        began = time.monotonic()
        try:
            machine.copy_image(os.path.join(LOGS, self.tier, self.name))
            put_files(machine.disk, self.files)
            machine.start()
            console = Console(machine, verdicts, self.limit, self.files)
            if self.prompt:
                with console.check("boots to the prompt", vital=True):
                    console.prompt(min(self.limit, machine.boot_seconds))
            self.body(console)
        except EndOfBoot:
            verdicts.verdict(f"{machine.name}: its other checks", "not run", 0)
        except EmulatorCrash:
            raise
        except Exception as e:  # pylint: disable=broad-except
            if machine.crash():
                raise EmulatorCrash(machine.crash()) from e
            verdicts.verdict(f"{machine.name}: runs", describe(e) + "\n" + traceback.format_exc(),
                             time.monotonic() - began)
        finally:
            machine.stop()
            if console:
                console.close()
        return verdicts


def put_files(disk, files):
    """Puts files onto the disk's system partition, replacing those that are there."""
    for target, content in files.items():
        if content is None:
            subprocess.run(["mdel", "-i", disk + ESP, "::/" + target], check=True)
            continue
        if callable(content):
            content = content()
        if isinstance(content, str):
            content = content.encode()
        given = content if isinstance(content, pathlib.Path) else "-"
        folder = os.path.dirname(target)
        subprocess.run(["mmd", "-D", "s", "-i", disk + ESP, "::/" + folder], check=False,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        subprocess.run(["mcopy", "-o", "-i", disk + ESP, str(given), "::/" + target], check=True,
                       input=None if given is content else content)


def guest_files():
    """All built test guests, for files=: bulkhead/guests/tests/NAME.elf, which a configuration or
    `vm create` names guests/tests/NAME.elf."""
    return {f"bulkhead/guests/tests/{path.name}": path
            for path in sorted(pathlib.Path(TEST_GUESTS).glob("*.elf"))}


def declare(tier, kind):
    def decorator(name, limit=300, files=None, image=IMAGE, prompt=True, **machine):
        def register(body):
            BOOTS.append(Boot(tier, name, body, limit, files or {}, image, prompt,
                              lambda n, i: kind(n, i, **machine)))
            return body
        return register
    return decorator


qemu = declare("qemu", Qemu)
bochs = declare("bochs", Bochs)
