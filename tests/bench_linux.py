"""`make bench-linux`: disks and TCP of the control partition beside Debian's Linux, each on the same
emulated QEMU machine with the same devices: rates, their ratio, and what issue 5 wants of it.

Disks: reads of 128 KiB in order, 16 at a time, and of 4 KiB in no order, 32 at a time, past all
caches (O_DIRECT there).  TCP: to and from a program in a network namespace, by a TAP interface
without offloads.  Each rate is the best of five; they depend on this machine and on what else it does.
"""
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from tests.emu import emulator  # pylint: disable=wrong-import-position
from tests.emu.netlab import HERE, NetLab, Transfers  # pylint: disable=wrong-import-position
from tests.emu.session import PROMPT, Session  # pylint: disable=wrong-import-position

RUNS = 5
MIB = 1 << 20
DISK_MIB, TCP_MIB = 256, 64
DEVICES = ["-device", "virtio-blk-pci,drive=d,disable-legacy=on", "-device", "nvme,drive=e,serial=1",
           "-device", "virtio-net-pci,netdev=n,disable-legacy=on,romfile="]
# name, disk of Bulkhead, device of Linux
DISKS = [("virtio-blk", "vd0", "/dev/vda"), ("nvme", "nvme0", "/dev/nvme0n1")]
# name, block, depth, bytes, random
LOADS = [("sequential", 128 << 10, 16, DISK_MIB * MIB, 0), ("random4k", 4096, 32, 64 * MIB, 1)]


def machine(name, lab, linux):
    extra = ["-netdev", f"tap,id=n,fd={lab.tap}"] + DEVICES
    if linux:
        extra += ["-kernel", "build/guests/demo/vmlinuz", "-initrd", "build/bench/rate.img",
                  "-append", "console=ttyS0 quiet"]
    m = emulator.Qemu("bench", os.path.join(emulator.BUILD, "bulkhead.img"), cpus=2,
                      data={"d": DISK_MIB, "e": DISK_MIB}, extra=extra)
    m.pass_fds = (lab.tap,)
    m.copy_image(os.path.join(emulator.BUILD, "logs", "bench", name))
    for disk in m.data:  # not sparse: reads are reads
        with open(m.data_path(disk), "wb") as f:
            for _ in range(DISK_MIB):
                f.write(os.urandom(MIB))
    m.start()
    return m


def best(measure):
    return max(measure() for _ in range(RUNS))


def ours(lab):
    m, rates = machine("bulkhead", lab, False), {}
    try:
        s = Session(m)
        s.prompt(120)
        s.until("net kif list", r"k0 +vsw0 ", 60)
        s.command(f"net kif set k0 ip=10.9.0.100/24 gw={HERE}")
        for name, disk, _ in DISKS:
            for load, block, depth, size, scattered in LOADS:
                line = f"host disk test {disk} mode=read size={size} block={block} depth={depth}"
                line += " --random" if scattered else ""
                rates[f"{name}.{load}"] = best(lambda line=line: float(
                    re.search(r"requests a second +(\d+)", s.command(line, 300))[1]))

        def tcp(words):
            return float(re.search(r"rate +([\d.]+) Mbit", s.command("net perf " + words, 300))[1])
        rates["tcp.send"] = best(lambda: tcp(f"{HERE} port=5001 size={TCP_MIB}M"))
        rates["tcp.receive"] = best(lambda: tcp(f"{HERE} port=5002 mode=receive"))
    finally:
        m.stop()
    return rates


def linux(lab):
    m, rates = machine("linux", lab, True), {}
    try:
        s = Session(m)
        s.expect("rate> ", 120)

        def ask(line):
            s.send(line + "\n")
            return float(s.expect(r"RATE ([\d.]+)", 300)[1])
        for name, _, device in DISKS:
            for load, block, depth, size, scattered in LOADS:
                line = f"disk {device} {block} {depth} {size} {scattered}"
                rates[f"{name}.{load}"] = best(lambda line=line: ask(line))
        rates["tcp.send"] = best(lambda: ask(f"send {HERE} 5001 {TCP_MIB * MIB}") * 8 / 1e6)
        rates["tcp.receive"] = best(lambda: ask(f"receive {HERE} 5002") * 8 / 1e6)
    finally:
        m.stop()
    return rates


def main():
    with NetLab() as lab:
        transfers = Transfers(lab, TCP_MIB * MIB)
        try:
            mine, theirs = ours(lab), linux(lab)
        finally:
            transfers.close()
    print(f"{'on the same QEMU machine':28}{'Bulkhead':>12}{'Linux':>12}{'ratio':>8}{'wanted':>8}")
    with open(os.path.join(emulator.BUILD, "bench-linux.tsv"), "w") as f:
        for name, rate in mine.items():
            unit, wanted = ("Mbit/s", 0.8) if name.startswith("tcp") else ("requests/s", 0.9)
            ratio = rate / theirs[name] if theirs[name] else 0
            print(f"{name:28}{rate:12.0f}{theirs[name]:12.0f}{ratio:8.2f}{wanted:8.1f}  {unit}")
            f.write(f"linux.{name}\t{ratio:.3f}\tratio\t{wanted}\n")


if __name__ == "__main__":
    main()
