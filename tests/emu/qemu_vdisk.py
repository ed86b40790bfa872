"""Guests' virtio disks on AMD-V: Debian under load on each format, and what can go wrong."""
from tests.emu import vdisk
from tests.emu.bochs_demo import guest_command, start, state, to_shell
from tests.emu.emulator import Qemu
from tests.emu.guests import must
from tests.emu.suite import qemu

DISKS = [line for n, form in enumerate(vdisk.FORMATS)
         for line in (f"disk{n}: file=ds1:/d.{form},format={form}",)]
OPTIONS = {"cpu": Qemu.WITH_SVM, "disk": "ahci",
           "extra": ["-device", "virtio-blk-pci,drive=d,disable-legacy=on"]}


@qemu("svm-disks", limit=400, cpus=2, data={"d": 512}, **OPTIONS,
      files=vdisk.files(vdisk.section("disks", 2, *DISKS, "disk6: device=ram0,serial=S1")))
def disks(c):
    with c.check("a store and an image of each format are made", vital=True):
        vdisk.make_store(c, "vd0")
        for form in vdisk.FORMATS:
            vdisk.make_disk(c, f"ds1:d.{form}", form)
        must(c, "disk ram ram0 size=8M")
    with c.check("Debian boots with seven virtio disks", vital=True):
        start(c, "disks")
        to_shell(c, "disks", 2)
    with c.check("it sees their sizes and serial numbers"):
        text = guest_command(c, "cat /sys/block/vd*/size")
        assert text.split() == ["65536"] * 6 + ["16384"], text
        text = guest_command(c, "for d in /sys/block/vd*; do echo $(cat $d/serial); done")
        assert text.split() == [f"vm100-disk{n}" for n in range(6)] + ["S1"], text
        assert guest_command(c, "ls /sys/block/vda/mq").split() == ["0", "1"]
    with c.check("each format holds what it is given"):
        for n, _ in enumerate(vdisk.FORMATS):
            vdisk.load(c, "run", "vd" + "abcdef"[n], n + 1, 200)
        vdisk.load(c, "run", "vdg", 7, 400)
