"""Debian's own virtio drivers on the devices of vmm/virtio_dev_*.c, on VT-x; qemu_svm.py runs the same
on AMD-V."""
import re

import os
import pathlib
import re
import subprocess

from tests.emu import guests, vdisk
from tests.emu.bochs_demo import back_in_shell, check_pasting, check_typing, guest_command, leave, \
    start, state, to_shell
from tests.emu.suite import bochs

FILES = vdisk.files(vdisk.section("vio", 1, "rng: yes", "balloon: yes",
                                  "console: virtio,ports=2,agent=yes",
                                  "disk0: file=ds1:/v.qcow2,format=qcow2",
                                  "disk1: file=ds1:/fs.raw")) | \
    vdisk.test_guest("hostile_blk") | vdisk.test_guest("hostile_net")
DATA = {"d": 64}


def bytes_of_entropy(c):
    """Two reads of the entropy device, as hex."""
    return [guest_command(c, "head -c 16 /dev/hwrng | hexdump -e '16/1 \"%02x\"'; echo").strip()
            for _ in range(2)]


def hostile(c):
    """A guest whose driver breaks the rules, with a disk in memory."""
    with c.check("a driver that breaks the rules gets its device reset, and no further"):
        guests.must(c, "disk ram ram0 size=1M")
        guests.start(c, "bad", "hostile_blk", disk0="device=ram0")
        guests.wait_verdict(c, "bad", "hostile_blk", 300)
        assert "disk0: the driver is wrong" in c.command("vm log bad")
        log = c.command("host log | grep 'VM bad'")
        assert log.count("the driver of disk0 is wrong") == 1, log  # though it was often
        c.until("vm list", r"bad +stopped", 60)
        guests.must(c, "disk drop ram0")
        log = c.command("host log | grep ERROR")
        assert not log, log
    with c.check("so does one of a network card, and what it sends is dropped and counted"):
        guests.must(c, "net switch add hostile")
        guests.start(c, "badnet", "hostile_net", nic0="switch=hostile", nic1="switch=hostile")
        guests.wait_verdict(c, "badnet", "hostile_net", 300)
        assert "nic0: the driver is wrong" in c.command("vm log badnet")
        c.until("vm list", r"badnet +stopped", 60)
        text = c.command("net switch show hostile")
        for why in ("bad-offload", "runt", "oversize"):
            assert re.search(rf"dropped +[1-9]\d* {why}", text), text
        guests.must(c, "net switch delete hostile")
        log = c.command("host log | grep ERROR")
        assert not log, log


BALLOON = 48 << 10  # KiB


def of_guests(c):
    return int(re.search(r"(?m)^guests +(\d+) KiB", c.command("host mem"))[1])


def balloon(c):
    """At the host's shell, the guest running."""
    with c.check("a balloon gives memory of the guest to the host"):
        before = of_guests(c)
        text = c.command(f"vm set vio mem.balloon={1 << 40}")
        assert "E_" in text, text
        guests.must(c, f"vm set vio mem.balloon={BALLOON}K")
        c.until("vm stats vio", rf"balloon +{BALLOON} KiB taken of {BALLOON} wanted", 120)
        assert before - of_guests(c) > BALLOON - 4096, (before, of_guests(c))  # but for page tables


def balloon_back(c):
    with c.check("the balloon gives it back"):
        before = of_guests(c)
        guests.must(c, "vm set vio mem.balloon=0")
        c.until("vm stats vio", "balloon +0 KiB taken of 0 wanted", 120)
        assert of_guests(c) - before > BALLOON - 4096, (before, of_guests(c))
        guests.must(c, f"vm set vio mem.balloon={BALLOON}K")  # for the reset that follows
        c.until("vm stats vio", rf"balloon +{BALLOON} KiB taken", 120)


def second_port(c):
    with c.check("a second port of the console is a line of its own, both ways"):
        guest_command(c, "port=$(ls /dev/vport*p1); cat /sys/class/virtio-ports/vport*p1/name; "
                      "echo from the guest >$port; (head -n1 <$port >/tmp/line &)")
        leave(c)
        c.until("vm console vio port=1 --dump", "from the guest", 60)
        c.send("vm console vio port=1\r")
        c.expect("from the guest", 60)
        c.send("from the host\n")
        leave(c)
        assert "E_NOENT" in c.command("vm console vio port=2")
        back_in_shell(c, "vio")
        text = guest_command(c, "until grep -q . /tmp/line; do sleep 1; done; cat /tmp/line", 120)
        assert text.strip().endswith("from the host"), text


def writes(c):
    return int(re.search(r"(?m)^vio:disk0 +\S+ +\d+ +\d+ +\d+ +(\d+)", c.command("disk list"))[1])


def crash_in_load(c, seed, written):
    """The control partition ends when the guest has written so much of a load.  New clusters are
    written in it, so tables of the image are not all on the disk yet."""
    leave(c)
    before = writes(c)
    back_in_shell(c, "vio")
    # In a shell of its own, so that this one says nothing when it ends.
    guest_command(c, f"(blkload run /dev/vda {seed} 300 2 >/tmp/load 2>&1 &)")
    leave(c)
    guests.wait(c, "writes", lambda: writes(c) >= before + written, 120)
    c.send("debug crash null\r")
    c.expect(r"started again", 60)
    c.prompt(60)
    assert state(c, "vio") == "running"
    back_in_shell(c, "vio")
    assert guest_command(c, "echo alive").strip() == "alive"
    vdisk.loaded(c, "/tmp/load", 600)


MARKER = "written-and-never-synced"


def debians_agent(c):
    """Debian's qemu-guest-agent, until it has its port open."""
    guest_command(c, "for p in /sys/class/virtio-ports/*; do "
                  "grep -q guest_agent $p/name && port=/dev/${p##*/}; done; "
                  "(/agent/ld-linux-x86-64.so.2 --library-path /agent /agent/qemu-ga -v -t /tmp "
                  "-m virtio-serial -p $port >/tmp/agent 2>&1 &)")
    text = guest_command(c, "until ls -l /proc/[0-9]*/fd 2>&1 | grep $port; do sleep 1; done", 120)
    assert "vport" in text, text


def quiesced(c):
    """A snapshot with the file system of vdb at rest, from outside of the guest's console."""
    output = c.command("vm snapshot take vio s1 --quiesce", 120)
    assert "E_NO_AGENT" in output, output
    back_in_shell(c, "vio")
    guest_command(c, "mkdir /tmp/m; mke2fs -F /dev/vdb >/dev/null; mount -t ext4 /dev/vdb /tmp/m")
    guest_command(c, f"echo {MARKER} >/tmp/m/f")
    debians = guest_command(c, "ls -d /agent/qemu-ga").startswith("/agent/qemu-ga\n")
    if debians:
        debians_agent(c)
    else:
        guest_command(c, "(agent /tmp/m >/tmp/agent 2>&1 &)")
        text = guest_command(c, "until grep agent: /tmp/agent; do sleep 1; done", 120)
        assert "agent: ready" in text, text
    leave(c)
    output = c.command("vm snapshot take vio s1 --quiesce", 300)
    assert "1 file systems of the guest were at rest" in output, output
    back_in_shell(c, "vio")
    # Debian's has most of its commands disabled as long as file systems are frozen.
    text = guest_command(c, "echo more >/tmp/m/g; sync; grep -E 'agent:|abling.*guest-shutdown' /tmp/agent")
    if debians:
        assert re.findall(r"(dis|en)abling", text) == ["dis", "en"], text
    else:
        assert re.findall(r"agent: (\w+ \d)", text) == ["frozen 1", "thawed 1"], text
    leave(c)


def found_in_base(c):
    """What the guest had only in memory is in the image that the snapshot keeps."""
    path = os.path.join(c.machine.folder, "fs.raw")
    subprocess.run(["tools/store-inspect", c.machine.data_path("d"), "get", "fs.raw", path],
                   check=True, timeout=120)
    assert MARKER.encode() in pathlib.Path(path).read_bytes()


@bochs("virtio", cpus=1, limit=900, files=FILES, data=DATA)
def virtio(c):
    with c.check("a store and an image are made on the second disk", vital=True):
        vdisk.make_store(c, vdisk.data_disk(c))
        vdisk.make_disk(c, "ds1:v.qcow2", "qcow2", "16M")
        vdisk.make_disk(c, "ds1:fs.raw", "raw", "4M")
        guests.must(c, "vm set vio home=ds1:vio", 60)
    hostile(c)
    with c.check("a virtio console leads to the guest's shell", vital=True):
        start(c, "vio")
        to_shell(c, "vio", 1)
        assert "hvc0" in guest_command(c, "tty")
    check_typing(c)
    check_pasting(c)
    with c.check("the guest's PCI bus shows the devices, and nothing complains"):
        text = guest_command(c, "cat /sys/bus/pci/devices/*/device")
        assert text.split() == ["0x0008", "0x1043", "0x1044", "0x1042", "0x1042", "0x1045"], text
    with c.check("its drivers use packed rings with event indices, its disk indirect descriptors as well"):
        devices = guest_command(c, "cat /sys/bus/virtio/devices/*/features").split()
        assert len(devices) == 5 and all(d[29] + d[32] + d[34] == "111" for d in devices), devices
        disk = guest_command(c, "cat /sys/block/vda/device/features").strip()
        assert disk[28] == "1" and disk in devices, disk  # virtio 1.2, chapter 6
    with c.check("interrupts come by MSI-X"):
        assert "PCI-MSI" in guest_command(c, "grep virtio /proc/interrupts")
    with c.check("the entropy device gives bytes, other ones each time"):
        first, second = bytes_of_entropy(c)
        assert len(first) == len(second) == 32 and first != second, (first, second)
    second_port(c)
    with c.check("its disk holds what it is given"):
        vdisk.load(c, "run", "vda", 1, 100, 2)
        leave(c)
    balloon(c)
    back_in_shell(c, "vio")
    for crash, written in enumerate((0, 16, 100)):
        with c.check(f"a crash of the control partition, {written} writes into a load, costs the "
                     "guest nothing"):
            crash_in_load(c, crash + 2, written)
    with c.check("after that its entropy device goes on too"):
        first, second = bytes_of_entropy(c)
        assert len(first) == 32 and first != second, (first, second)
        leave(c)
    balloon_back(c)
    back_in_shell(c, "vio")
    with c.check("a reset of the guest, pages of which are missing, resets them"):
        c.send("reboot -f\r")
        assert c.expect(r"demo: Debian kernel \S+, 1 CPUs.*virtio console", 200)
        c.expect(r"demo:\S* ?# $", 60)
        assert "hvc0" in guest_command(c, "tty")
    with c.check("the disk has what was written before"):
        vdisk.load(c, "check", "vda", 4, 300, 2)
        leave(c)
    with c.check("a snapshot is taken while it runs, and the disk goes on"):
        quiesced(c)
        back_in_shell(c, "vio")
        vdisk.load(c, "check", "vda", 4, 300, 2)
        vdisk.load(c, "run", "vda", 3, 50, 2)
        leave(c)
        assert "s1" in c.command("vm snapshot list vio", 60)
        found_in_base(c)
    with c.check("a disk with a snapshot grows while the guest uses it"):
        assert "E_HAS_SNAPSHOTS" in c.command("disk resize ds1:v.qcow2 size=24M", 60)
        assert "E_INVALID" in c.command("vm grow vio disk0 size=1M", 60)
        assert "E_NOENT" in c.command("vm grow vio disk5 size=24M", 60)
        guests.must(c, "vm grow vio disk0 size=24M", 60)
        back_in_shell(c, "vio")
        text = guest_command(c, "until grep 49152 /sys/block/vda/size; do sleep 1; done", 120)
        assert text.split()[-1] == "49152", text
        vdisk.load(c, "check", "vda", 3, 50, 2)
        leave(c)
    with c.check("it stops, and its image is sound"):
        c.command("vm stop vio", 120)
        c.until("vm list", r"vio +stopped", 30)
        output = c.command("disk check ds1:v.qcow2 format=qcow2", 120)
        assert "0 problems" in output, output
