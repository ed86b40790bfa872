#!/usr/bin/python3
"""`make bench`: what operations cost, on VT-x in Bochs and on AMD-V in QEMU, each with one CPU and
a TSC that counts instructions.

usage: bench.py [vtx] [polling] [nested] [host] [linux] [svm] [net] [images] [rates] [guests]      default: all

Prints a table each and writes build/bench.tsv (name, value, unit, target).  Ticks are the least of
1,024 runs less those of an empty one; exits an operation come from `vm stats`.  Two runs agree to
the tick.  Figures of KVM 6.1 and Xen 4.17 were measured in Bochs with the same method.
"""
import os
import re
import subprocess
import sys

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, TOP)
# pylint: disable=wrong-import-position
from tests import bench_boot, bench_host, bench_io, bench_linux, bench_net, bench_vmcs
from tests.emu import guests
from tests.emu.emulator import BUILD, Bochs, Qemu
from tests.emu.suite import IMAGE, LOGS, Console, Report, Verdicts, put_files

OPERATIONS = 1024
FEW = 24  # a second run, to tell the exits of an operation from those of start and end
MIB = 1 << 20
BESIDES = r"memory besides +(\d+) KiB"

# operation@setting of the VM: (row, target ticks or None, target exits or None, KVM, Xen)
COSTS = {
    "cpuid": ("exit.cpuid", 110, None, 1061, 883),
    "msr": ("exit.msr", 120, None, 1178, 781),
    "msr-unknown": ("exit.msr.unknown", 120, None, None, None),
    "hypercall": ("exit.hypercall", 80, None, 1047, 840),
    "port": ("exit.port.control", 600, None, 7293, None),
    "mmio": ("exit.mmio.control", None, None, 9761, None),
    "eoi": ("apic.eoi", None, 0, 1264, 3),
    "tpr": ("apic.tpr", None, 0, None, None),
    "self-ipi": ("apic.self_ipi", None, 0, 2282, 3),
    "deadline": ("timer.arm", None, None, 1236, 906),
    "timer": ("irq.timer", 800, None, None, None),
    "timer-halted": ("irq.timer.halted", 1100, None, None, None),
    "inject": ("irq.inject", 200, None, 3796, None),
    # Both vCPUs share the CPU: the sending exit, the switch, the delivery.
    "ipi": ("irq.ipi", 2600, None, None, None),
    "ipi@apicv=off": ("irq.ipi.noapicv", 2700, None, None, None),
    "switch": ("sched.switch", 1600, None, None, None),
    "doorbell@rng=yes": ("exit.doorbell", 400, None, 1367, None),
    "doorbell-memory@rng=yes": ("exit.doorbell.mmio", None, None, 9761, None),
}

SLOW = {"switch": 128}  # operations that take a slice of the scheduler's; as many of them
# Weights of a vCPU and of another that is always busy on the same CPU: percent that its share may be off.
SHARES = {"1:1": (100, 100), "2:1": (200, 100)}
SHARE_OFF = 1  # whole percents: where in a slice a run begins is no two runs' same

AMD = {"hypercall": "vmmcall"}  # what the same row runs there
# Not there: the clock of an idle QEMU follows the host's, and so does what waits for a disk.
IDLE = {"timer-halted", "switch", "boot.first_guest.ticks"}


# Started with the system: it tells how long that takes, and what a guest costs.  It only waits.
FIRST = {"bulkhead/bulkhead.conf":
         "[vm first]\nkernel: guests/tests/power_button.elf\nmem: 64M\nautostart: yes\n"}


class Row:
    def __init__(self, name, value, unit, target=None, exits=None, p99=None, kvm=None, xen=None, at_least=False):
        self.name, self.value, self.unit, self.target = name, value, unit, target
        self.exits, self.p99, self.kvm, self.xen = exits, p99, kvm, xen
        self.at_least = at_least  # the target is a floor

    def good(self):
        if self.target is None or self.value is None:
            return self.target is None
        return self.value >= self.target if self.at_least else self.value <= self.target


def run(c, operation, count=OPERATIONS):
    """(minimum, p99, exits of the whole run by class)"""
    vm = "bench"
    operation, _, setting = operation.partition("@")
    guests.create(c, vm, "bench", cpu=2 if operation in ("ipi", "switch") else 1,
                  cmdline=f'"{operation} {count}"', **dict([setting.split("=")] if setting else []))
    guests.must(c, f"vm start {vm}")
    # Not a character may go over the line while it measures: attach and wait.  It stays halted when
    # it is done, so that its counters can be read.
    c.send(f"vm console {vm}\r")
    c.expect(r"BENCH done|VERDICT", 120)
    c.send("\x1d.")
    c.prompt()
    text = guests.console(c, vm)
    exits = guests.exits(c, vm)
    guests.remove(c, vm)
    match = re.search(rf"BENCH {operation} min (\d+) p99 (\d+)", text)
    return (int(match.group(1)), int(match.group(2)), exits) if match else (None, None, exits)


def costs(c, amd=False):
    rows = []
    base = run(c, "inject-base")[0]
    for operation, (name, target, target_exits, kvm, xen) in COSTS.items():
        if amd and operation in IDLE:
            continue
        operation = AMD.get(operation, operation) if amd else operation
        most = SLOW.get(operation, OPERATIONS)
        least, p99, exits = run(c, operation, most)
        if least is None:
            print(f"no figure for {operation}", file=sys.stderr)
        if operation == "inject" and least is not None:
            least, p99 = least - base, p99 - base
        if operation in SLOW:  # it only waits for its turn: what else exits then is no part of it, nor
            # are turns that end otherwise, which are in the 99th percentile
            rows.append(Row(name + ".ticks", least, "ticks", target, None, None, kvm, xen))
            continue
        few = run(c, operation, FEW)[2]
        count = (sum(exits.values()) - sum(few.values())) / (OPERATIONS - FEW)
        rows.append(Row(name + ".ticks", least, "ticks", target, count, p99, kvm, xen))
        rows.append(Row(name + ".exits", round(count, 1), "exits/op", target_exits))
    return rows


def fairness(c):
    """How far its share is from what the weights give."""
    rows = []
    for name, (mine, others) in SHARES.items():
        guests.start(c, "other", "busy", cpu_weight=others)
        share, _, _ = run(c, f"share@cpu.weight={mine}", 1)
        guests.remove(c, "other")
        ideal = 10000 * mine / (mine + others)
        off = None if share is None else round(abs(share - ideal) / ideal * 100)
        rows.append(Row(f"sched.share.{name}", off, "% off", SHARE_OFF))
    return rows


def number(pattern, text):
    match = re.search(pattern, text)
    return int(match.group(1).replace(",", "")) if match else None


def boot_and_memory(c):
    info = c.command("host info")
    kernel, control = re.search(r"hypervisor memory +(\d+) KiB kernel, (\d+) KiB", info).groups()
    show = c.command("vm show first")
    besides = number(BESIDES, show)
    guests.start(c, "rng", "power_button", rng="yes")
    with_rng = number(BESIDES, c.command("vm show rng"))
    guests.remove(c, "rng")
    return [
        Row("boot.prompt.ticks", number(r"ready after +(\d+) ticks", info), "ticks"),
        Row("boot.first_guest.ticks", number(r"first guest after +(\d+) ticks", info), "ticks",
            20_000_000, kvm=1_700_000_000),
        Row("memory.hypervisor.bytes", (int(kernel) + int(control)) * 1024, "bytes", 32 * MIB),
        Row("memory.guest.bytes", besides * 1024, "bytes", 65536, kvm=5 * MIB),
        Row("memory.guest.rng.bytes", with_rng * 1024, "bytes", 65536, kvm=5 * MIB),
    ]


def sizes():
    def size(name):
        path = os.path.join(BUILD, name)
        return os.path.getsize(path) if os.path.exists(path) else None
    budget = subprocess.run(["tests/check_budget.sh"], cwd=TOP, stdout=subprocess.PIPE, check=False)
    lines = number(r"kernel: (\d+) lines", budget.stdout.decode())
    return [
        Row("image.kernel.bytes", size("image/kernel.elf"), "bytes", 256 * 1024, xen=2_562_652),
        Row("image.control.bytes", size("image/control.elf"), "bytes"),
        Row("image.loader.bytes", size("BOOTX64.EFI"), "bytes"),
        Row("kernel.lines", lines, "lines", 9999),
    ]


def show(rows):
    def text(value):
        return "-" if value is None else f"{value:,}"
    head = ("name", "value", "unit", "target", "exits/op", "p99", "KVM", "Xen", "")
    table = [head] + [
        (r.name, text(r.value), r.unit, "at least " * r.at_least + text(r.target),
         "-" if r.exits is None else f"{r.exits:.2f}", text(r.p99), text(r.kvm), text(r.xen),
         "" if r.good() else "MISSED")
        for r in rows if not r.name.endswith(".exits") or r.target is not None]
    widths = [max(len(line[i]) for line in table) for i in range(len(head))]
    for line in table:
        cells = [line[i].ljust(w) if i in (0, 2, 8) else line[i].rjust(w)
                 for i, w in enumerate(widths)]
        print("  ".join(cells).rstrip())
    if any(r.name.startswith(("net.guest", "disk.guest")) for r in rows):
        print("net.guest, disk.guest: not comparable with QEMU/KVM's user-space virtio, which has not been run in\n"
              "Bochs; TCP from guest to guest beside QEMU's, both in TCG: make bench TABLES=guests")


def measure(machine, body):
    """The rows that body(console) makes on a machine that boots for it."""
    machine.copy_image(os.path.join(LOGS, machine.name))
    put_files(machine.disk, guests.files("bench", "bench_io", "busy", "power_button") | FIRST)
    try:
        machine.start()
        c = Console(machine, Verdicts(Report()), 900)
        c.prompt(machine.boot_seconds)
        return body(c)
    finally:
        machine.stop()


def vtx():
    machine = Bochs("bench", IMAGE, cpus=1, memory_mib=1024)
    return measure(machine, lambda c: costs(c) + fairness(c) + boot_and_memory(c) +
                   table(bench_io.rows(c)) + sizes())


def polling():
    machine = Bochs("bench-polling", IMAGE, cpus=2, memory_mib=1024)
    return measure(machine, lambda c: table(bench_io.polling_rows(c)))


def svm():
    """The same rows without targets; there are no others to compare with."""
    machine = Qemu("bench-svm", IMAGE, cpu=Qemu.WITH_SVM, disk="ahci", cpus=1, memory_mib=1024,
                   extra=["-icount", "shift=0"])
    machine.boot_seconds = 300  # slower so
    return [Row("svm." + r.name, r.value, r.unit, exits=r.exits, p99=r.p99)
            for r in measure(machine, lambda c: costs(c, amd=True) + boot_and_memory(c))
            if r.name not in IDLE]


def table(rows):
    return [Row(*row) for row in rows]


def nested():
    return table(bench_vmcs.rows())


def host():
    return table(bench_host.rows())


def linux():
    return table(bench_boot.rows())


def net():
    return [Row(name, value, "Mpps") for name, value in bench_net.rows().items()]


# Of images: by the end of the name, (target, whether it is a floor).
IMAGE_TARGETS = {".vs_qemu": (1.0, True), "chain8.read.vs_1": (0.9, True), "cow.write": (50_000, False),
                 "clone.linked.100g": (200, False)}
VMDK_VS_QEMU = 5.0  # QEMU's driver is slow


def images():
    done = subprocess.run(["build/host/bench_images"], cwd=TOP, stdout=subprocess.PIPE, check=True)
    rows = []
    for line in done.stdout.decode().splitlines():
        name, value, unit = line.split("\t")
        target, floor = next((t for end, t in IMAGE_TARGETS.items() if name.endswith(end)), (None, False))
        if name.endswith(".vs_qemu") and ".vmdk." in name:
            target = VMDK_VS_QEMU
        rows.append(Row(name, float(value), unit, target, at_least=floor))
    return rows


def beside_linux(rows):
    return [Row(*row, at_least=True) for row in rows]


def rates():
    return beside_linux(bench_linux.host_rows())


def guest_rates():
    return beside_linux(bench_linux.guest_rows())


TABLES = {"vtx": vtx, "polling": polling, "nested": nested, "host": host, "linux": linux, "svm": svm, "net": net,
          "images": images, "rates": rates, "guests": guest_rates}


def main():
    rows = []
    for name in sys.argv[1:] or TABLES:
        part = TABLES[name]()
        show(part)
        print()
        rows += part
    with open(os.path.join(BUILD, "bench.tsv"), "w") as f:
        for r in rows:
            f.write(f"{r.name}\t{'' if r.value is None else r.value}\t{r.unit}\t"
                    f"{'' if r.target is None else r.target}\n")
    missed = [r.name for r in rows if not r.good()]
    print(f"{len(rows)} figures in build/bench.tsv, {len(missed)} beside their target")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
