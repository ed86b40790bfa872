"""Starts and ends emulators: one class for QEMU, one for Bochs, the same interface.

A machine gets a fresh copy of the disk image, its own folder for logs, and a socket in place of
its first serial port.  It is ended by its own process id, whatever happens.  The order of calls is
copy_image(), start(), stop().
"""
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(TOP, "build")
OVMF_CODE = "/usr/share/OVMF/OVMF_CODE.fd"
OVMF_VARS = "/usr/share/OVMF/OVMF_VARS.fd"
# What tools/fetch-qemu.sh has made, where it could.
NEWER_QEMU = os.path.join(os.environ.get("BULKHEAD_CACHE", os.path.join(TOP, ".cache")),
                          "qemu/usr/bin/qemu-system-x86_64")
CONNECT_SECONDS = 120
# What a program's own fault ends it with: a wild pointer, an assertion.  Killing it is none of them.
CRASHES = {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE}
CRASH_SECONDS = 5  # from the end of its sockets to that of the process, whose core may be written

LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1  # prctl(2)


def die_with_parent():
    """In the child, before exec: no emulator outlives a test runner that was killed."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class EmulatorError(Exception):
    """The emulator did not start or ended by itself."""


class Machine:
    """One emulated machine; after start() `serial` is a connected socket.

    data: {name: MiB of an empty one, or an image to copy} of raw disks beside the boot disk: NAME.img in
    the log folder."""

    kind = None
    boot_seconds = 120  # until the prompt, with a core to itself
    terminal = False    # the emulator itself gets the terminal, for its debugger: True, or a pty
    pass_fds = ()         # descriptors that it inherits
    emulates_svm = False  # its guests run on QEMU's idea of AMD-V

    def __init__(self, name, image, cpus=1, memory_mib=1024, data=None):
        self.name, self.image, self.data = name, image, data or {}
        self.cpus, self.memory_mib = cpus, memory_mib
        self.process = self.serial = self.folder = self.disk = None

    def prepare(self, folder):
        """Writes what the emulator needs into the log folder; returns (command, environment)."""
        raise NotImplementedError

    def copy_image(self, folder):
        """Makes the folder, empty but for the machine's own copy of the image."""
        self.folder, self.disk = folder, os.path.join(folder, "disk.img")
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        subprocess.run(["cp", "--sparse=always", "--reflink=auto", self.image, self.disk],
                       check=True)
        for name, size in self.data.items():
            if isinstance(size, os.PathLike):
                subprocess.run(["cp", "--sparse=always", "--reflink=auto", size, self.data_path(name)],
                               check=True)
                continue
            with open(self.data_path(name), "wb") as f:
                f.truncate(size << 20)

    def data_path(self, name):
        return os.path.join(self.folder, name + ".img")

    def start(self):
        folder = self.folder
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = listener.getsockname()[1]
            command, environment = self.prepare(folder)
            with open(os.path.join(folder, "command"), "w") as f:
                f.write(" ".join(command) + "\n")
            environment = {**os.environ, **environment}
            if self.terminal:
                end = None if self.terminal is True else self.terminal
                self.process = subprocess.Popen(command, env=environment, stdin=end, stdout=end,
                                                stderr=end, preexec_fn=die_with_parent)
            else:
                with open(os.path.join(folder, "emulator.out"), "wb") as output:
                    self.process = subprocess.Popen(
                        command, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                        env=environment, start_new_session=True, pass_fds=self.pass_fds,
                        preexec_fn=die_with_parent)
            try:
                self.serial = self.accept(listener)
            except BaseException:
                self.stop()
                raise

    def accept(self, listener):
        deadline = time.monotonic() + CONNECT_SECONDS
        listener.settimeout(0.1)
        while time.monotonic() < deadline:
            try:
                return listener.accept()[0]
            except socket.timeout:
                if self.process.poll() is not None:
                    break
        raise EmulatorError(f"{self.kind} did not start: {self.last_words()}")

    def last_words(self):
        """The end of what the emulator itself printed."""
        text = ""
        for name in ("emulator.out", "machine.bxrc.out", "bochs.log"):
            path = os.path.join(self.folder, name)
            if os.path.exists(path):
                with open(path, errors="replace") as f:
                    text += f.read()[-600:]
        return text.strip()[-800:] or "(it printed nothing)"

    def running(self):
        return self.process is not None and self.process.poll() is None

    def crash(self):
        """The name of the signal that the emulator died of by its own fault, or None."""
        if not self.process or not self.hung_up():
            return None
        try:
            code = self.process.wait(CRASH_SECONDS)
        except subprocess.TimeoutExpired:
            return None
        return signal.Signals(-code).name if -code in CRASHES else None

    def hung_up(self):
        """Whether the emulator has closed its end of the serial line."""
        if self.process.poll() is not None or not self.serial:
            return True
        try:
            return not self.serial.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def stop(self):
        if self.serial:
            self.serial.close()
            self.serial = None
        if self.process:
            if self.running():
                self.process.kill()
            self.process.wait()
            self.process = None
        images = [name + suffix for name in self.data for suffix in (".img", ".img.lock")]
        for leftover in ("disk.img", "disk.img.lock", "vars.fd", *images):
            path = os.path.join(self.folder, leftover)
            if os.path.exists(path):
                os.remove(path)


class Qemu(Machine):
    """QEMU with OVMF.

    machine: q35, pc, or those with options ("pc,max-ram-below-4g=1G").
    disk: how the image is attached: usb (xHCI), ahci, virtio, ide; own: `extra` has a device for drive `disk`.
    kvm: use the host's KVM with -cpu host; else TCG, which has no VT-x but, as WITH_SVM, AMD-V.
    serial: what the console is: isa, or pci, with no other serial port there.
    extra: further words of the command; {folder} becomes the log folder.
    newer: NEWER_QEMU, without the devices whose modules are the installed QEMU's.
    drives: {name: options of -drive, with {file}} where a data disk is not plainly raw; in `extra`
    its drive is NAME.
    """

    kind = "QEMU"
    WITH_SVM = "max,+svm,+npt"
    DISKS = {
        "usb": ["-device", "qemu-xhci", "-device", "usb-storage,drive=disk"],
        "ahci": ["-device", "ich9-ahci,id=sata", "-device", "ide-hd,drive=disk,bus=sata.0"],
        "virtio": ["-device", "virtio-blk-pci,drive=disk"],
        "ide": ["-device", "ide-hd,drive=disk,bus=ide.0"],
        "own": [],
    }

    CONSOLES = {
        "isa": ["-serial", "chardev:com1"],
        "pci": ["-serial", "none", "-device", "pci-serial,chardev=com1"],
    }

    def __init__(self, name, image, machine="q35", disk="usb", cpu="max", kvm=False, extra=(),
                 drives=None, newer=False, serial="isa", **keywords):
        super().__init__(name, image, **keywords)
        self.program = [NEWER_QEMU, "-nodefaults", "-audio", "none"] if newer else ["qemu-system-x86_64"]
        self.machine, self.disk_bus, self.cpu = machine, disk, cpu
        self.drives, self.console = drives or {}, self.CONSOLES[serial]
        self.kvm, self.extra = kvm, list(extra)
        self.emulates_svm = not kvm and "+svm" in cpu

    def prepare(self, folder):
        variables = os.path.join(folder, "vars.fd")
        shutil.copyfile(OVMF_VARS, variables)
        accel = ["-accel", "kvm", "-cpu", "host"] if self.kvm else ["-accel", "tcg", "-cpu", self.cpu]
        command = [*self.program, "-machine", self.machine, *accel,
                   "-smp", str(self.cpus), "-m", str(self.memory_mib),
                   "-net", "none", "-display", "none", "-monitor", "none",
                   "-drive", f"if=pflash,format=raw,readonly=on,file={OVMF_CODE}",
                   "-drive", f"if=pflash,format=raw,file={variables}",
                   "-chardev", f"socket,id=com1,host=127.0.0.1,port={self.port},nodelay=on",
                   *self.console]
        command += ["-drive", f"file={self.disk},format=raw,if=none,id=disk",
                    *self.DISKS[self.disk_bus]]
        for name in self.data:
            options = self.drives.get(name, "format=raw,file={file}")
            command += ["-drive", options.format(file=self.data_path(name)) + f",if=none,id={name}"]
        return command + [word.replace("{folder}", folder) for word in self.extra], {}


class Bochs(Machine):
    """Bochs with OVMF, through tools/bochs-run, which knows which Bochs there is.

    model: a CPU model of Bochs; corei7_skylake_x has all that VT-x offers there but the monitor
    trap flag, which icelake_u and tigerlake have.
    ips: emulated instructions a second of the emulated clock; with one CPU the TSC counts them.
    flavour: which Bochs (tools/bochs-run); clock: by default the same instructions in every run.
    data: up to three disks: slave of the boot disk, master and slave of the second channel.
    lines: further lines of the configuration.
    debugger: a class whose `terminal` Bochs' own debugger gets (tests/emu/debugger.py); the machine stands
    still until it is told to go.
    """

    kind = "Bochs"
    boot_seconds = 240
    CONFIG = """\
memory: guest={memory}, host={memory}
boot: disk
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=disk, path="disk.img", mode=flat, cylinders=0
pci: enabled=1, chipset=i440fx
cpu: model={model}, count={cpus}, ips={ips}, reset_on_triple_fault=0, ignore_bad_msrs=1
com1: enabled=1, mode=socket-client, dev=127.0.0.1:{port}
clock: {clock}
log: bochs.log
panic: action=report
error: action=report
info: action=ignore
debug: action=ignore
"""

    def __init__(self, name, image, model="corei7_skylake_x", ips=100_000_000, flavour=None,
                 clock="sync=none, time0=946681200", terminal=False, memory_mib=2048, lines=(),
                 debugger=None, **keywords):
        super().__init__(name, image, memory_mib=memory_mib, **keywords)
        self.model, self.ips, self.flavour, self.clock = model, ips, flavour, clock
        self.terminal, self.lines = terminal, list(lines)
        if debugger:
            self.debugger = debugger()
            self.terminal = self.debugger.terminal

    def data_lines(self):
        lines = ["ata1: enabled=1, ioaddr1=0x170, ioaddr2=0x370, irq=15"] if self.data else []
        for place, name in zip(("ata0-slave", "ata1-master", "ata1-slave"), self.data):
            lines.append(f'{place}: type=disk, path="{self.data_path(name)}", mode=flat, cylinders=0')
        return lines

    def prepare(self, folder):
        config = os.path.join(folder, "machine.bxrc")
        with open(config, "w") as f:
            f.write(self.CONFIG.format(memory=self.memory_mib, model=self.model, cpus=self.cpus,
                                       ips=self.ips, clock=self.clock, port=self.port))
            f.writelines(line + "\n" for line in self.data_lines() + self.lines)
        environment = {}
        if self.flavour:
            environment["BOCHS_FLAVOUR"] = self.flavour
        if self.terminal:
            environment["BOCHS_PROMPT"] = "1"
        return [os.path.join(TOP, "tools", "bochs-run"), config], environment
