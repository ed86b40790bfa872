"""Tables `rates` and `guests` of `make bench`: disks and TCP of the control partition beside Debian's Linux, each on
the same emulated QEMU machine with the same devices: rates, their ratio, and what is wanted of it.

Disks: reads and writes of 128 KiB in order, 16 at a time, and of 4 KiB in no order, 32 at a time, past all
caches (O_DIRECT there); buffers are filled with a pattern once, and what is written is flushed at the end.  AHCI and e1000e
are beside Debian's stock kernel, since the cloud one has no drivers of them.  TCP: to and from a program in a network
namespace, by a TAP interface without offloads, with a virtio card and an e1000e.  Each rate is the best of five; they
depend on this machine and on what else it does.

`guest.tcp`: from one Linux guest of a vCPU to another, by a switch of Bulkhead on AMD-V; beside it two QEMU machines
of a CPU whose user-space virtio-net cards are joined by a stream.  Kernel, initramfs and program are the
same.  Bulkhead, its switch and its guests all run in emulated CPUs, nested paging and VM exits too; there only
the guests do, while cards and stream run on this machine's.  `guest.tcp.noerms`: beside QEMU with `-cpu max,-erms`.
"""
import os
import re
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from tests.emu import emulator  # pylint: disable=wrong-import-position
from tests.emu.netlab import HERE, NetLab, Transfers  # pylint: disable=wrong-import-position
from tests.emu.session import PROMPT, Session  # pylint: disable=wrong-import-position
from tests.emu.suite import put_files  # pylint: disable=wrong-import-position

RUNS = 5
MIB = 1 << 20
DISK_MIB, TCP_MIB = 256, 64
DEVICES = ["-device", "virtio-blk-pci,drive=d,disable-legacy=on", "-device", "nvme,drive=e,serial=1",
           "-device", "virtio-net-pci,netdev=n,disable-legacy=on,romfile="]
AHCI = ["-device", "ich9-ahci,id=a", "-device", "ide-hd,drive=f,bus=a.0", "-device", "e1000e,netdev=n,romfile="]
# name, drive of QEMU, disk of Bulkhead, device of Linux
DISKS = [("virtio-blk", "d", "vd0", "/dev/vda"), ("nvme", "e", "nvme0", "/dev/nvme0n1")]
AHCI_DISKS = [("ahci", "f", "sd0", "/dev/sda")]
KERNEL, STOCK_KERNEL = "build/guests/demo/vmlinuz", "build/bench/vmlinuz-stock"
INITRD, STOCK_INITRD = "build/bench/rate.img", "build/bench/rate-stock.img"
# name, devices, disks, card, kernel and initramfs of Linux
MACHINES = [("ahci", AHCI, AHCI_DISKS, "e1000e.tcp", (STOCK_KERNEL, STOCK_INITRD)),
            ("virtio", DEVICES, DISKS, "tcp", (KERNEL, INITRD))]
# name, block, depth, bytes, random, write
LOADS = [("sequential", 128 << 10, 16, DISK_MIB * MIB, 0, 0), ("random4k", 4096, 32, 64 * MIB, 1, 0),
         ("sequential.write", 128 << 10, 16, DISK_MIB * MIB, 0, 1), ("random4k.write", 4096, 32, 64 * MIB, 1, 1)]


def machine(name, devices, data, lab=None, boot=None):
    """lab: of its card; boot: (kernel, initramfs) in Bulkhead's place."""
    extra = list(devices)
    if lab:
        extra = ["-netdev", f"tap,id=n,fd={lab.tap}"] + extra
    if boot:
        extra += ["-kernel", boot[0], "-initrd", boot[1], "-append", "console=ttyS0 quiet"]
    m = emulator.Qemu("bench", os.path.join(emulator.BUILD, "bulkhead.img"), cpus=2,
                      data={name: DISK_MIB for name in data}, extra=extra)
    m.pass_fds = (lab.tap,) if lab else ()
    m.copy_image(os.path.join(emulator.BUILD, "logs", "bench", name))
    for disk in m.data:  # not sparse: reads are reads
        with open(m.data_path(disk), "wb") as f:
            for _ in range(DISK_MIB):
                f.write(os.urandom(MIB))
    m.start()
    return m


def best(measure):
    return max(measure() for _ in range(RUNS))


def our_disks(s, disks):
    rates = {}
    for name, _, disk, _ in disks:
        for load, block, depth, size, scattered, write in LOADS:
            line = f"host disk test {disk} mode={'write' if write else 'read'} size={size} block={block} depth={depth}"
            line += " --yes --same" + " --random" * scattered
            rates[f"{name}.{load}"] = best(lambda line=line: float(
                re.search(r"requests a second +(\d+)", s.command(line, 300))[1]))
    return rates


def ours(lab, name, devices, disks, card):
    m = machine("bulkhead-" + name, devices, [drive for _, drive, _, _ in disks], lab)
    try:
        s = Session(m)
        s.prompt(120)
        s.until("net kif list", r"k0 +vsw0 ", 60)
        s.command(f"net kif set k0 ip=10.9.0.100/24 gw={HERE}")
        rates = our_disks(s, disks)

        def tcp(words):
            return float(re.search(r"rate +([\d.]+) Mbit", s.command("net perf " + words, 300))[1])
        rates[f"{card}.send"] = best(lambda: tcp(f"{HERE} port=5001 size={TCP_MIB}M"))
        rates[f"{card}.receive"] = best(lambda: tcp(f"{HERE} port=5002 mode=receive"))
    finally:
        m.stop()
    return rates


class Linux(Session):
    def __init__(self, m):
        super().__init__(m)
        self.expect("rate> ", 120)

    def ask(self, line):
        self.send(line + "\n")
        return float(self.expect(r"RATE ([\d.]+)\n", 300)[1])

    def disks(self, disks):
        rates = {}
        for name, _, _, device in disks:
            for load, block, depth, size, scattered, write in LOADS:
                line = f"disk {device} {block} {depth} {size} {scattered} {write}"
                rates[f"{name}.{load}"] = best(lambda line=line: self.ask(line))
        return rates


def linux(lab, name, devices, disks, card, boot):
    m = machine("linux-" + name, devices, [drive for _, drive, _, _ in disks], lab, boot)
    try:
        s = Linux(m)
        rates = s.disks(disks)
        rates[f"{card}.send"] = best(lambda: s.ask(f"send {HERE} 5001 {TCP_MIB * MIB}") * 8 / 1e6)
        rates[f"{card}.receive"] = best(lambda: s.ask(f"receive {HERE} 5002") * 8 / 1e6)
    finally:
        m.stop()
    return rates


# ---- TCP from guest to guest -----------------------------------------------------------------------

GUESTS = {"one": "10.9.0.101", "two": "10.9.0.102"}
GUEST_LINE = "console=ttyS0 quiet no_timer_check cryptomgr.notests"
GUEST_MIB = 128


def answered(s, line, answer):
    """How long it took; by this machine's clock, since a guest's own may be wrong (docs/status.md)."""
    began = time.monotonic()
    s.send(line + "\n")
    s.expect(answer, 300)
    return time.monotonic() - began


def guest_tcp(ask):
    """ask(guest, line, answer): types a line to rate.c there.  Mbit/s, until the receiver has read all."""
    for guest, address in GUESTS.items():
        ask(guest, f"address {address}", "rate> ")
    line = f"send {GUESTS['two']} 5001 {GUEST_MIB * MIB}"

    def once():
        ask("two", "serve 5001", "serving\n")
        return GUEST_MIB * MIB * 8 / 1e6 / ask("one", line, r"RATE [1-9][\d.]*\n")
    rates = [once() for _ in range(RUNS)]
    print("guest.tcp:", *(f"{rate:.1f}" for rate in rates), "Mbit/s", flush=True)
    return max(rates)


def our_guests():
    """Three CPUs: QEMU's first takes no guests."""
    section = (f"[vm {{}}]\nmem: 256M\nkernel: guests/demo/vmlinuz\ninitrd: guests/rate.img\n"
               f"cmdline: {GUEST_LINE}\nnic0: switch=vsw0\n")
    m = emulator.Qemu("bench", os.path.join(emulator.BUILD, "bulkhead.img"), cpus=3, disk="ahci",
                      cpu=emulator.Qemu.WITH_SVM)
    m.copy_image(os.path.join(emulator.BUILD, "logs", "bench", "guests"))
    with open(INITRD, "rb") as f:
        put_files(m.disk, {"bulkhead/guests/rate.img": f.read(),
                           "bulkhead/bulkhead.conf": "".join(map(section.format, GUESTS))})
    m.start()
    try:
        s = Session(m)
        s.prompt(120)
        s.command("net switch add vsw0")
        asked = 0

        def at_console(guest, do):
            s.send(f"vm console {guest}\r")
            s.expect("Leave with", 60)
            result = do()
            s.send("\x1d.")
            s.prompt()
            return result

        def ask(guest, line, answer):
            nonlocal asked
            asked += 1
            # The console shows first what was said before; rate.c ignores the mark.  Its prompt may come amid the echo.
            mark = f"#{asked}#"
            seen = r"(?:\s*rate> )?".join(mark)
            return at_console(guest, lambda: answered(s, f"{line} {mark}", rf"{seen}[^\0]*?{answer}"))
        for guest in GUESTS:
            s.command(f"vm start {guest}")
        for guest in GUESTS:
            at_console(guest, lambda: s.expect("rate> ", 300))
        return guest_tcp(ask)
    finally:
        m.stop()


def qemu_guests(cpu="max"):
    path = os.path.join(emulator.BUILD, "logs", "bench", "stream")
    machines, sessions = [], {}
    try:
        for guest, server in zip(GUESTS, ("on", "off")):
            card = f"virtio-net-pci,netdev=n,disable-legacy=on,romfile=,mac=52:54:00:00:00:0{len(machines)}"
            m = emulator.Qemu("bench", os.path.join(emulator.BUILD, "bulkhead.img"), memory_mib=256, cpu=cpu, extra=[
                "-netdev", f"stream,id=n,server={server},addr.type=unix,addr.path={path}", "-device", card,
                "-kernel", KERNEL, "-initrd", INITRD, "-append", GUEST_LINE])
            m.copy_image(os.path.join(emulator.BUILD, "logs", "bench", "qemu-" + guest))
            machines.append(m)
            m.start()
            sessions[guest] = Session(m)
            sessions[guest].expect("rate> ", 300)

        def ask(guest, line, answer):
            sessions[guest].position = len(sessions[guest].text)
            return answered(sessions[guest], line, answer)
        return guest_tcp(ask)
    finally:
        for m in machines:
            m.stop()


def wanted_of(name):
    if name.startswith("guest.tcp"):
        return 2.0 if name == "guest.tcp" else None
    return 0.8 if "tcp" in name else 0.9


def rows(mine, theirs):
    """(name, ratio, unit, wanted) of each; the rates themselves are printed."""
    result = []
    print(f"{'on the same QEMU machine':28}{'Bulkhead':>12}{'other':>12}")
    for name, rate in mine.items():
        print(f"{name:28}{rate:12.0f}{theirs[name]:12.0f}  {'Mbit/s' if 'tcp' in name else 'requests/s'}")
        ratio = round(rate / theirs[name], 2) if theirs[name] else None
        result.append((f"linux.{name}", ratio, "times", wanted_of(name)))
    return result


def host_rows():
    """Disks and TCP of the control partition."""
    mine, theirs = {}, {}
    with NetLab() as lab:
        transfers = Transfers(lab, TCP_MIB * MIB)
        try:
            for *one, boot in MACHINES:
                mine.update(ours(lab, *one))
                theirs.update(linux(lab, *one, boot))
        finally:
            transfers.close()
    return rows(mine, theirs)


def guest_rows():
    """TCP from guest to guest; beside QEMU's also with the fast strings hidden that guests of ours never see there."""
    mine = our_guests()
    return rows({"guest.tcp": mine, "guest.tcp.noerms": mine},
                {"guest.tcp": qemu_guests(), "guest.tcp.noerms": qemu_guests("max,-erms")})
