#!/usr/bin/python3
"""`make run` and `make debug`: starts the image and joins its serial port to the terminal.

usage: run.py [--gdb | --bochs-debug | --console]

Ctrl-A x ends the emulator, Ctrl-A Ctrl-A sends one Ctrl-A.  Input from a pipe is typed line by
line, from the first prompt on, each line when the machine has nothing more to say; it ends with
the machine, or half a minute after the last line's output.
The machine is the best that there is: KVM with nested VT-x or AMD-V, else QEMU's software AMD-V; with
VTX=1 Bochs, whose VT-x is software.  Environment: EMULATOR=kvm|bochs|qemu names one; CPUS and MEMORY
(MiB) size it.
"""
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
import tty

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, TOP)
# pylint: disable=wrong-import-position
from tests.emu.emulator import BUILD, Bochs, EmulatorError, Qemu

IMAGE = os.path.join(BUILD, "bulkhead.img")
CTRL_A = 1
PROMPT = b"bulkhead> "
QUIET_SECONDS = 0.5      # a piped line is typed when the output has paused for so long
LINGER_SECONDS = 30      # after the last piped line's output
GDB_ADDRESS = "127.0.0.1:1234"


# CPUID flag in /proc/cpuinfo: what it is called, the module whose parameter says whether KVM nests it.
VENDORS = {"vmx": ("VT-x", "kvm_intel"), "svm": ("AMD-V", "kvm_amd")}


def nested():
    """(what KVM lets guests nest or None, why not)."""
    with open("/proc/cpuinfo") as f:
        flags = set(re.findall(r"\b(vmx|svm)\b", f.read()))
    if not flags:
        return None, "this machine's CPU offers neither VT-x nor AMD-V"
    name, module = VENDORS[flags.pop()]
    try:
        with open(f"/sys/module/{module}/parameters/nested") as f:
            if f.read().strip() not in ("Y", "1"):
                return None, f"{module} has nested=0"
        os.close(os.open("/dev/kvm", os.O_RDWR))
    except OSError as e:
        return None, f"KVM: {e.strerror} ({e.filename})"
    return name, None


def machine_size(cpus):
    return {"cpus": int(os.environ.get("CPUS", cpus)),
            "memory_mib": int(os.environ.get("MEMORY", 2048))}


def choose():
    """The machine to run, and a line that says why it is that one."""
    size, (name, why_not) = machine_size(2), nested()
    wanted = os.environ.get("EMULATOR") or ("bochs" if os.environ.get("VTX") else "")
    if wanted == "kvm" or (not wanted and name):
        return (Qemu("run", IMAGE, kvm=True, **size),
                f"QEMU with KVM: guests run on this machine's {name or 'CPU'}, nested")
    if wanted == "bochs":
        # One CPU unless asked for more: docs/testing.md says what Bochs with several does to guests.
        machine = Bochs("run", IMAGE, clock="sync=slowdown, time0=utc", **machine_size(1))
        return machine, "Bochs: guests run on VT-x in software"
    return (Qemu("run", IMAGE, cpu=Qemu.WITH_SVM, **size),
            f"QEMU: guests run on AMD-V in software ({why_not or 'EMULATOR=' + wanted})\n"
            "== make run VTX=1 is Bochs, with VT-x in software")


class Terminal:
    """Standard input and output as a raw serial terminal, or as a pipe."""

    def __init__(self):
        self.is_tty = sys.stdin.isatty()
        self.saved = termios.tcgetattr(0) if self.is_tty else None
        self.escaped = False     # Ctrl-A was typed
        self.pending = b""       # piped input that waits for its turn
        self.at_end = False      # of the pipe
        self.seen = b""
        self.last_output = time.monotonic()

    def __enter__(self):
        if self.is_tty:
            tty.setraw(0)
        return self

    def __exit__(self, *_):
        if self.is_tty:
            termios.tcsetattr(0, termios.TCSADRAIN, self.saved)

    def typed(self, data):
        """What of typed bytes goes to the machine; None: the user wants to leave."""
        out = bytearray()
        for byte in data:
            if self.escaped:
                self.escaped = False
                if byte in b"xX":
                    return None
                if byte not in (CTRL_A, ord("a")):
                    continue
                out.append(CTRL_A)
            elif byte == CTRL_A:
                self.escaped = True
            else:
                out.append(byte)
        return bytes(out)

    def next_line(self):
        """The next piped line once the machine is ready for it; None: all is said."""
        quiet = time.monotonic() - self.last_output
        if PROMPT not in self.seen or quiet < QUIET_SECONDS:
            return b""
        line, newline, rest = self.pending.partition(b"\n")
        if newline or (self.at_end and line):
            self.pending = rest
            self.last_output = time.monotonic()
            return line + b"\r"
        return None if self.at_end and quiet > LINGER_SECONDS else b""

    def show(self, data):
        os.write(1, data)
        self.last_output = time.monotonic()
        if PROMPT not in self.seen:
            self.seen = (self.seen + data)[-4096:]


def relay(serial):
    """Joins the terminal to a serial port until either side ends; returns why."""
    with Terminal() as terminal:
        while True:
            inputs = [serial] + ([] if terminal.at_end else [0])
            ready = select.select(inputs, [], [], None if terminal.is_tty else 0.1)[0]
            if serial in ready:
                data = receive(serial)
                if not data:
                    return "the machine has ended"
                terminal.show(data)
            if 0 in ready:
                data = os.read(0, 4096)
                terminal.at_end = not data
                if not terminal.is_tty:
                    terminal.pending += data
                else:
                    data = terminal.typed(data) if data else None
                    if data is None:
                        return "left"
                    serial.sendall(data)
            if not terminal.is_tty:
                line = terminal.next_line()
                if line is None:
                    return "the input has ended"
                serial.sendall(line)


def receive(serial):
    try:
        return serial.recv(65536)
    except OSError:  # the machine has ended, or its socket is closed already
        return b""


def run():
    machine, why = choose()
    print(f"== {why}\n== {machine.cpus} CPUs, {machine.memory_mib} MiB\n"
          "== the firmware needs some 10 seconds; Ctrl-A x ends the emulator", flush=True)
    folder = os.path.join(BUILD, f"run.{os.getpid()}")
    try:
        machine.copy_image(folder)
        machine.start()
        print(f"\n== {relay(machine.serial)}")
    finally:
        machine.stop()
        shutil.rmtree(folder, ignore_errors=True)
    return 0


class ConsoleServer(threading.Thread):
    """Keeps a debugged machine's serial output in a file, and serves it to `make console`."""

    PATH = os.path.join(BUILD, "debug.console")

    def __init__(self, serial, log):
        super().__init__(daemon=True)
        self.serial, self.log, self.client = serial, open(log, "wb", buffering=0), None
        if os.path.exists(self.PATH):
            os.remove(self.PATH)
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(os.path.relpath(self.PATH))
        self.server.listen(1)

    def run(self):
        while True:
            inputs = [self.serial, self.client or self.server]
            for ready in select.select(inputs, [], [])[0]:
                if ready is self.server:
                    self.client = self.server.accept()[0]
                elif ready is self.client:
                    data = receive(self.client)
                    self.serial.sendall(data)
                    self.client = self.client if data else None
                else:
                    data = receive(self.serial)
                    if not data:
                        return
                    self.log.write(data)
                    if self.client:
                        self.client.sendall(data)


def debug_machine(bochs):
    size = machine_size(1)
    if bochs:
        return Bochs("debug", IMAGE, flavour="debian13", terminal=True, **size)
    return Qemu("debug", IMAGE, extra=["-gdb", "tcp:" + GDB_ADDRESS, "-S"], **size)


def debugger_files(folder):
    """Symbols of both images for either debugger."""
    with open(os.path.join(folder, "gdbinit"), "w") as f:
        f.write(f"set confirm off\nfile {BUILD}/kernel.elf\nadd-symbol-file {BUILD}/control.elf\n"
                f"target remote {GDB_ADDRESS}\nhbreak kernel_entry\n"
                "echo Type c to run to kernel_entry.  The console: make console.\\n\n")
    symbols = os.path.join(folder, "symbols")
    with open(symbols, "w") as out:
        for image in ("kernel", "control"):
            with open(os.path.join(BUILD, image + ".sym")) as f:
                for line in f:
                    address, _, name = line.split(maxsplit=2)
                    out.write(f"{address} {name}")
    with open(os.path.join(folder, "machine.bxrc.rc"), "w") as f:
        f.write(f'ldsym global "{symbols}"\n')


def debug(bochs):
    machine = debug_machine(bochs)
    folder = os.path.join(BUILD, "debug")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the debugger's
    try:
        machine.copy_image(folder)
        debugger_files(folder)
        print("== serial console: `make console` in another terminal, and build/debug/serial.txt")
        machine.start()
        ConsoleServer(machine.serial, os.path.join(folder, "serial.txt")).start()
        if bochs:
            machine.process.wait()
        else:
            subprocess.run(["gdb", "-q", "-x", os.path.join(folder, "gdbinit")], check=False,
                           preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    finally:
        machine.stop()
        if os.path.exists(ConsoleServer.PATH):
            os.remove(ConsoleServer.PATH)
    return 0


def console():
    with socket.socket(socket.AF_UNIX) as serial:
        try:
            serial.connect(os.path.relpath(ConsoleServer.PATH))
        except OSError:
            print("error: no machine is being debugged. Try: make debug in another terminal.")
            return 1
        print("== Ctrl-A x leaves; the machine goes on")
        print(f"\n== {relay(serial)}")
    return 0


def main():
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))  # so that nothing is left behind
    os.chdir(TOP)
    try:
        if "--console" in sys.argv:
            return console()
        if "--gdb" in sys.argv or "--bochs-debug" in sys.argv:
            return debug("--bochs-debug" in sys.argv)
        return run()
    except EmulatorError as e:
        print(f"error: {e}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
