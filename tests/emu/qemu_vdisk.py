"""Guests' virtio disks on AMD-V: Debian under load on each format, and what can go wrong."""
import re

from tests.emu import bochs_hot_disk, vdisk
from tests.emu.bochs_demo import guest_command, start, state, to_shell
from tests.emu.disks import FAILS_ONCE
from tests.emu.emulator import Qemu
from tests.emu.guests import must, wait
from tests.emu.suite import qemu

DISKS = [line for n, form in enumerate(vdisk.FORMATS)
         for line in (f"disk{n}: file=ds1:/d.{form},format={form}",)]
PROVISION = {"raw": "prov=lazy", "qcow2": "prov=eager"}  # thick ones beside thin ones
OPTIONS = {"cpu": Qemu.WITH_SVM, "disk": "ahci",
           "extra": ["-device", "virtio-blk-pci,drive=d,disable-legacy=on"]}


def on_each(c, what, seed, operations):
    """One run of blkload after the other, on the disk of each format."""
    text = guest_command(c, "for d in a b c d e f; do "
                         f"blkload {what} /dev/vd$d {seed} {operations} 2; done", 300)
    assert text.count(f"blkload: ok, {operations * 2} operations") == 6, text


def begin(c, seed):
    """Runs of blkload on the disks of all formats, in the background."""
    guest_command(c, "for d in a b c d e f; do "
                  f"blkload run /dev/vd$d {seed} 60 2 >/tmp/load-$d 2>&1 & done")


def ended(c):
    vdisk.enter(c, "disks")
    text = guest_command(c, "wait; cat /tmp/load-*", 300)
    assert text.count("blkload: ok, 120 operations") == 6, text


def on_and_off(c, name, yes):
    """Take, list, revert and delete, in whatever state the VM is."""
    must(c, f"vm snapshot take disks {name}", 120)
    listed = c.command("vm snapshot list disks", 60)
    assert f"  {name} " in listed, listed
    assert f"disks-{name}.nvram" in c.command("store ls ds1:disks", 60)
    if yes:
        assert "E_STATE" in c.command(f"vm snapshot revert disks {name}", 60)
    must(c, f"vm snapshot revert disks {name}{yes}", 120)
    must(c, f"vm snapshot delete disks {name}", 300)


@qemu("svm-disks", limit=400, cpus=1, data={"d": 512}, **OPTIONS,
      files=vdisk.files(vdisk.section("disks", 2, *DISKS, "disk6: device=ram0,serial=S1")))
def disks(c):
    with c.check("a store and an image of each format are made", vital=True):
        vdisk.make_store(c, "vd0")
        for form in vdisk.FORMATS:
            vdisk.make_disk(c, f"ds1:d.{form}", form, more=PROVISION.get(form, ""))
        text = c.command("store ls ds1", 60)
        assert re.search("d.raw .* lazy", text) and re.search("d.qcow2 .* eager", text), text
        must(c, "disk ram ram0 size=8M")
        must(c, "vm set disks home=ds1:disks")
    with c.check("Debian boots with seven virtio disks", vital=True):
        start(c, "disks")
        assert "disks.lock" in c.command("store ls ds1:disks", 60)
        to_shell(c, "disks", 2)
    with c.check("it sees their sizes and serial numbers"):
        text = guest_command(c, "cat /sys/block/vd*/size")
        assert text.split() == ["65536"] * 6 + ["16384"], text
        text = guest_command(c, "for d in /sys/block/vd*; do echo $(cat $d/serial); done")
        assert text.split() == [f"vm100-disk{n}" for n in range(6)] + ["S1"], text
        assert guest_command(c, "ls /sys/block/vda/mq").split() == ["0", "1"]
    with c.check("each format holds what it is given"):
        on_each(c, "run", 1, 100)
        vdisk.load(c, "run", "vdg", 7, 400)
        assert "cmos: 5a" in guest_command(c, "cmos 40 5a")
    with c.check("snapshots are taken and merged while it writes to every format"):
        vdisk.leave(c)
        must(c, "vm snapshot take disks s1 description=first", 120)
        vdisk.enter(c, "disks")
        begin(c, 22)
        vdisk.leave(c)
        must(c, "vm snapshot take disks s2", 120)
        listed = c.command("vm snapshot list disks", 60)
        assert "first" in listed and "  s2 " in listed, listed
        assert c.command("vm snapshot delete disks s1", 300).count("E_") == 0
        assert c.command("vm snapshot delete disks s2", 300).count("E_") == 0
        assert "s1" not in c.command("vm snapshot list disks", 60)
        ended(c)
    with c.check("and hold what was written"):
        on_each(c, "check", 22, 60)
    with c.check("what is written after a snapshot is gone when the running VM is reverted to it"):
        vdisk.leave(c)
        must(c, "vm snapshot take disks r1", 120)
        vdisk.enter(c, "disks")
        begin(c, 33)
        vdisk.leave(c)
        must(c, "vm snapshot take disks r2", 120)
        ended(c)
        assert "cmos: a5" in guest_command(c, "cmos 40 a5")
        vdisk.leave(c)
        assert "E_STATE" in c.command("vm snapshot revert disks r1", 60)
        assert "E_NOENT" in c.command("vm snapshot revert disks r3 --yes", 60)
        assert state(c, "disks") == "running"
        must(c, "vm snapshot revert disks r1 --yes", 120)
        assert "r2" in c.command("vm snapshot list disks", 60)
        to_shell(c, "disks", 2)
        on_each(c, "check", 22, 60)
    with c.check("and so is what its CMOS memory had meanwhile"):
        assert "cmos: 5a" in guest_command(c, "cmos 40")
        vdisk.leave(c)
    with c.check("snapshots of a paused VM"):
        must(c, "vm pause disks", 60)
        on_and_off(c, "p1", " --yes")
        assert state(c, "disks") == "stopped"
    with c.check("snapshots of a VM that is off"):
        on_and_off(c, "o1", "")
    with c.check("a VM that another host runs does not start here"):
        assert "disks.lock" not in c.command("store ls ds1:disks", 60)
        must(c, "store cp ds1:disks/disks.conf ds1:disks/disks.lock", 60)
        text = c.command("vm start disks", 60)
        assert "E_LOCKED: VM disks is running on host '" in text, text
        must(c, "store rm ds1:disks/disks.lock", 60)
    with c.check("a clone and a package have the CMOS memory, too"):
        must(c, "vm clone disks twin --linked from=r1", 120)
        assert "twin.nvram" in c.command("store ls ds1:twin", 60)
        for n in range(1, 7):
            must(c, f"vm set twin disk{n}.{'device' if n == 6 else 'file'}=")
        must(c, "vm export twin ds1:twin.ova", 120)
        assert "VM third has number" in c.command("vm import ds1:twin.ova third", 120)
        assert "third.nvram" in c.command("store ls ds1:third", 60)
        for vm in ("twin", "third"):
            must(c, f"vm delete {vm} --yes", 60)
        must(c, "vm snapshot delete disks r1", 300)
    with c.check("logs and the store are as they should be"):
        listed = c.command("store ls ds1:disks", 60)
        for name in ("disks.log", "disks.1.log", "disks.nvram"):
            assert name in listed, listed
        assert "disks-r1.nvram" not in listed, listed
        assert "0 problems" in c.command("store check ds1", 120)


qemu("svm-hot-disk", limit=400, cpus=1, data=bochs_hot_disk.DATA, files=bochs_hot_disk.FILES,
     **OPTIONS)(bochs_hot_disk.hot_disk)


JUNK = 6  # images of one unit each, in a store of 27 units


OPTIONS_OF_FULL = OPTIONS | {
    "extra": OPTIONS["extra"] + ["-device", "virtio-blk-pci,drive=e,disable-legacy=on"]}


@qemu("svm-disk-full", limit=400, cpus=2, **OPTIONS_OF_FULL, data={"d": 36, "e": 8},
      drives={"e": FAILS_ONCE},
      files=vdisk.files(vdisk.section("full", 1, "disk0: file=ds1:e.raw", "disk1: device=ram0",
                                      "disk2: device=vd1,error=retry")))
def disk_full(c):
    with c.check("a small store", vital=True):
        vdisk.make_store(c, "vd0")
        vdisk.make_disk(c, "ds1:e.raw", "raw", "24M")
        for n in range(JUNK):
            vdisk.make_disk(c, f"ds1:j{n}", "qcow2", "1M")
        must(c, "disk ram ram0 size=8M")
    with c.check("a guest fills it", vital=True):
        start(c, "full")
        to_shell(c, "full", 1)
        guest_command(c, "dd if=/dev/urandom of=/tmp/r bs=1M count=24", 120)
        guest_command(c, "(dd if=/tmp/r of=/dev/vda bs=1M oflag=direct; echo all >/tmp/w) &")
        vdisk.leave(c)
    with c.check("a full store pauses the VM and says why"):
        c.until("vm list", r"full +paused .*E_NOSPACE: disk0, ds1:e.raw: the store is full", 120)
        c.command("vm resume full")
        c.until("vm list", r"full +paused", 60)
    with c.check("with space again it goes on, and nothing is lost"):
        for n in range(JUNK):
            must(c, f"store rm ds1:j{n}", 60)
        must(c, "vm resume full")
        vdisk.enter(c, "full")
        wait(c, "dd", lambda: "all" in guest_command(c, "cat /tmp/w"), 120)
        assert "same" in guest_command(c, "cmp /tmp/r /dev/vda && echo sa''me", 120)
    with c.check("a disk that fails once is tried again, and the guest does not notice"):
        guest_command(c, "dd if=/tmp/r of=/dev/vdc bs=64k count=1 oflag=direct conv=fsync", 120)
        assert "same" in guest_command(c, "cmp -n 65536 /tmp/r /dev/vdc && echo sa''me", 120)
        vdisk.leave(c)
        text = c.command("disk stats full:disk2")
        assert re.search(r"(?m)^tried again +[1-9]", text) and "retry, then" in text, text
        assert re.search(r"(?m)^\d+ (us|ms|s) +\d+ +[1-9]\d* +\d+", text), text
        vdisk.enter(c, "full")
    with c.check("limits of a running VM's disk"):
        vdisk.leave(c)
        must(c, "vm set full disk1.iops=50")
        vdisk.enter(c, "full")
        begin = int(guest_command(c, "cut -d. -f1 /proc/uptime"))
        vdisk.load(c, "run", "vdb", 7, 100, 2)
        assert int(guest_command(c, "cut -d. -f1 /proc/uptime")) - begin >= 2
        vdisk.leave(c)
    with c.check("what cannot be opened is named"):
        must(c, "vm stop full", 120)
        must(c, "vm set full disk0.format=qcow2")
        output = c.command("vm start full", 60)
        assert "E_INVALID: disk0, ds1:e.raw: e.raw: the store knows it as raw." in output, output
        must(c, "vm set full disk0.file=ds9:x")
        assert "E_NO_STORE" in c.command("vm start full", 60)
