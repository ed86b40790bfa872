"""Disks that are put into a running Debian and taken out of it, on VT-x; qemu_vdisk.py runs the same on
AMD-V."""
import os
import pathlib
import re
import subprocess

from tests.emu import vdisk
from tests.emu.bochs_demo import guest_command, start, state, to_shell
from tests.emu.bochs_network import tell
from tests.emu.guests import must, wait
from tests.emu.suite import bochs

FILES = vdisk.files(vdisk.section("hot", 1, "disk0: file=ds1:/boot.raw", "nic0: switch=vsw0"))
DATA = {"d": 96}


def block_devices(c):
    return tell(c, "hot", "ls /sys/block | grep vd; true").split()


def appears(c, name="vdb"):
    tell(c, "hot", f"until [ -b /dev/{name} ]; do sleep 1; done", 120)


def load(c, what, seed, name="vdb"):
    vdisk.enter(c, "hot")
    vdisk.load(c, what, name, seed, 60, 2)
    vdisk.leave(c)


def besides(c):
    return re.search(r"memory besides +(\d+) KiB", c.command("vm show hot"))[1]


def conf(c):
    """What the VM's home has of its settings."""
    path = os.path.join(c.machine.folder, "hot.conf")
    subprocess.run(["tools/store-inspect", c.machine.data_path("d"), "get", "hot/hot.conf", path],
                   check=True, timeout=120)
    return pathlib.Path(path).read_text(encoding="ascii")


def put_in(c, file="ds1:more.qcow2"):
    must(c, f"vm set hot disk1.file={file} disk1.format=qcow2 disk1.serial=EXTRA", 60)
    appears(c)


def file_now(c):
    """Of disk1: snapshots give it others."""
    return re.search(r"(?m)^disk1.file +(\S+)", c.command("vm show hot"))[1]


def refused(c):
    with c.check("what cannot be is refused before the guest sees anything"):
        assert "E_INVALID: disk1 is not on store ds1" in c.command("vm set hot disk1.file=ds2:x", 60)
        assert "E_NOENT" in c.command("vm set hot disk1.file=ds1:absent", 60)
        assert "E_INVALID" in c.command("vm set hot disk1.file=ds1:more.qcow2 disk1.format=raw", 60)
        assert "E_STATE" in c.command("vm set hot disk0.file=", 60)
        assert "E_STATE" in c.command("vm set hot disk0.file=ds1:more.qcow2", 60)
        assert "disk1" not in c.command("vm show hot")
        assert block_devices(c) == ["vda"]


def comes_and_goes(c):
    with c.check("a disk is put into a running guest, and holds what it is given"):
        before = besides(c)
        put_in(c)
        assert "EXTRA" in tell(c, "hot", "cat /sys/block/vdb/serial")
        load(c, "run", 5)
        assert besides(c) == before
        assert re.search(r"(?m)^write +[1-9]", c.command("disk stats hot:disk1"))
    with c.check("the guest gives it back when it is asked: it is flushed and closed"):
        must(c, "vm set hot disk1.file=", 120)
        assert block_devices(c) == ["vda"]
        assert "disk1" not in c.command("vm show hot")
        assert "hot:disk1" not in c.command("disk list")
        assert "boot.raw" in conf(c) and "more.qcow2" not in conf(c), conf(c)
        assert "0 problems" in c.command("disk check ds1:more.qcow2 format=qcow2", 120)
    with c.check("another VM may have it then; here it is put in again with all that is on it"):
        put_in(c)
        load(c, "check", 5)
        assert "more.qcow2" in conf(c), conf(c)


def lives_on(c):
    with c.check("it grows, and a snapshot has it"):
        must(c, "vm grow hot disk1 size=24M", 60)
        tell(c, "hot", "until grep 49152 /sys/block/vdb/size; do sleep 1; done", 120)
        must(c, "vm snapshot take hot s1", 120)
        load(c, "run", 6)
        assert c.command("vm snapshot delete hot s1", 300).count("E_") == 0
        load(c, "check", 6)
    with c.check("it survives a crash of the control partition"):
        c.send("debug crash null\r")
        c.expect(r"started again", 60)
        c.prompt(60)
        load(c, "check", 6)
    with c.check("and a reset of the guest"):
        vdisk.enter(c, "hot")
        c.send("reboot -f\r")
        assert c.expect(r"demo: Debian kernel \S+, 1 CPUs", 200)
        c.expect(r"demo:\S* ?# $", 60)
        vdisk.leave(c)
        assert block_devices(c) == ["vda", "vdb"]
        load(c, "check", 6)


def given_up(c):
    with c.check("a guest lets one go by itself: that is told, and its settings stay"):
        slots = tell(c, "hot", "ls /sys/bus/pci/slots").split()
        assert "9" in slots and "8" not in slots, slots  # not the disk it boots from
        tell(c, "hot", "echo 0 >/sys/bus/pci/slots/9/power")
        c.until("disk list", r"hot:disk0(?!.*hot:disk1)", 60)
        assert "its guest has let disk1 go" in c.command("host log")
        shown = c.command("vm show hot")
        assert "disk1.file" in shown and re.search("let go by the guest +disk1", shown), shown
    with c.check("snapshots and a crash of the control partition do not bring it back"):
        must(c, "vm snapshot take hot s2", 120)
        assert c.command("vm snapshot delete hot s2", 300).count("E_") == 0
        c.send("debug crash null\r")
        c.expect(r"started again", 60)
        c.prompt(60)
        assert block_devices(c) == ["vda"]
        assert "E_" in c.command("vm grow hot disk1 size=28M", 60)
    with c.check("a command takes it out for good, and puts it in again"):
        file = file_now(c)
        must(c, "vm set hot disk1.file=", 60)
        assert "disk1" not in c.command("vm show hot")
        put_in(c, file)
        load(c, "check", 6)


def patience(c):
    with c.check("a guest that does not answer keeps its disk, and lets it go when it can"):
        must(c, "vm pause hot", 60)
        assert "E_TIMEOUT: the guest has not let disk1 go" in c.command("vm set hot disk1.file=", 120)
        assert "disk1.file" in c.command("vm show hot")
        assert "hot:disk1" in c.command("disk list")
        file = file_now(c)
        must(c, "vm resume hot", 60)
        must(c, "vm set hot disk1.file=", 120)
        assert block_devices(c) == ["vda"]
        put_in(c, file)
        load(c, "check", 6)


@bochs("hot-disk", cpus=1, limit=900, files=FILES, data=DATA)
def hot_disk(c):
    with c.check("a guest with a disk and a home, and another store", vital=True):
        disk = wait(c, "the second disk", lambda: re.search(r"(?m)^(\w+) +96M ", c.command("disk list")), 120)
        vdisk.make_store(c, disk[1])
        vdisk.make_disk(c, "ds1:boot.raw", "raw", "4M")
        vdisk.make_disk(c, "ds1:more.qcow2", "qcow2", "16M")
        must(c, "disk ram ram0 size=64M")
        vdisk.make_disk(c, "ds1:third.raw", "raw", "2M")
        assert "store ds2 on ram0" in c.command("store create ds2 ram0", 120)
        vdisk.make_disk(c, "ds2:x", "raw", "1M")
        must(c, "net switch add vsw0")
        must(c, "vm set hot home=ds1:hot", 60)
        start(c, "hot")
        to_shell(c, "hot", 1)
        guest_command(c, "true")
        vdisk.leave(c)
    refused(c)
    comes_and_goes(c)
    lives_on(c)
    given_up(c)
    if c.machine.emulates_svm:  # half a minute, of which Bochs makes more
        patience(c)
    vdisk.make_disk(c, "ds1:fourth.raw", "raw", "1M")
    with c.check("as many as there is room for: one more is refused"):
        must(c, "vm set hot disk2.file=ds1:third.raw", 60)
        appears(c, "vdc")
        must(c, "vm set hot nic1.switch=vsw0", 60)
        assert "E_STATE: VM hot has room for 5 devices" in c.command("vm set hot nic2.switch=vsw0", 60)
        assert "E_STATE: VM hot has room for 5 devices" in c.command(
            "vm set hot cpu.weight=300 disk3.file=ds1:fourth.raw", 60)
        assert re.search(r"(?m)^cpu.weight +300", c.command("vm show hot"))
    with c.check("it stops, with all its images sound, and has them all at its next start"):
        must(c, "vm stop hot", 120)
        assert state(c, "hot") == "stopped"
        assert "0 problems" in c.command(f"disk check {file_now(c)} format=qcow2", 120)
        start(c, "hot")
        to_shell(c, "hot", 1)
        vdisk.leave(c)
        assert block_devices(c) == ["vda", "vdb", "vdc"]
        load(c, "check", 6)
        must(c, "vm stop hot", 120)
        assert "0 problems" in c.command("store check ds1", 120)
