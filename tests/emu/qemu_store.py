"""A datastore on a physical disk: made, filled, read again after a reboot, and from outside."""
import os
import pathlib
import re
import subprocess

from tests.emu.suite import qemu

DISK = ["-device", "virtio-blk-pci,drive=d,disable-legacy=on"]


@qemu("store-virtio", machine="q35", cpus=2, data={"d": 256}, extra=DISK, limit=240)
def store_virtio(c):
    with c.check("the disk is there", vital=True):
        c.until("disk list", "vd0", 60)
    with c.check("a store is made on it", vital=True):
        output = c.command("store create ds1 vd0", 60)
        assert "store ds1 on vd0" in output, output
    with c.check("an image of each format is made, checked and converted"):
        for name in ("qcow2", "vhd", "vhdx", "vmdk", "vdi"):
            output = c.command(f"disk create ds1:d.{name} size=16M format={name}", 60)
            assert "E_" not in output, output
            output = c.command(f"disk check ds1:d.{name} format={name}", 60)
            assert "0 problems" in output, output
        output = c.command("disk convert ds1:d.vhdx ds1:e.qcow2 format=vhdx to-format=qcow2", 60)
        assert "E_" not in output, output
        output = c.command("disk info ds1:e.qcow2 format=qcow2", 60)
        assert "16M" in output, output
    with c.check("a copy shares, directories hold, errors name themselves"):
        assert "E_" not in c.command("store mkdir ds1:web1", 60)
        assert "E_" not in c.command("store cp ds1:e.qcow2 ds1:web1/f.qcow2", 60)
        output = c.command("store ls ds1:web1", 60)
        assert "f.qcow2" in output, output
        assert "E_EXISTS" in c.command("store mkdir ds1:web1", 60)
        assert "E_NO_STORE" in c.command("store ls ds9", 60)
        assert "E_CORRUPT" in c.command("disk info ds1:d.vdi format=qcow2", 60)
    with c.check("thick disks have their room at once, and an alarm is logged when it gets tight"):
        assert "E_" not in c.command("store set ds1 warn=20", 60)
        assert "E_" not in c.command("disk create ds1:lazy.raw size=60M prov=lazy", 60)
        assert "E_" not in c.command("disk create ds1:eager.raw size=8M prov=eager", 60)
        output = c.command("store ls ds1", 60)
        assert re.search(r"lazy.raw +60M +60M +0 +lazy", output), output
        assert re.search(r"eager.raw +8M +8M +0 +eager", output), output
        assert re.search(r"ds1 .* warning", c.command("store df ds1", 60))
        assert "its alarm is at 20 %" in c.command("host log", 60)
        assert "E_NOSPACE" in c.command("disk create ds1:more.raw size=4G prov=lazy", 60)
    with c.check("partitions are disks; a file of the ESP comes into the store, a disk goes out"):
        boot = c.until("disk list", r"(?m)^((?!vd0)[a-z]+\d+) ", 120)[1]
        assert "EFI system" in c.command(f"disk scan {boot}", 60)
        assert "E_" not in c.command(f"store import {boot}:bulkhead/kernel.elf ds1:k.elf", 120)
        assert "E_BUSY" in c.command("disk import vd0 ds1:x.qcow2", 60)
        assert "E_" not in c.command("disk ram r0 size=64M", 60)
        assert "E_" not in c.command("disk export ds1:lazy.raw r0", 120)
        assert "E_" not in c.command("store rm ds1:lazy.raw", 60)
        assert "E_" not in c.command("store create ds2 r0 --force", 60)
        assert "E_" not in c.command("store export ds1:k.elf ds2:k.elf", 60)
        assert "k.elf" in c.command("store ls ds2", 60)
    with c.check("it is the same after it was released and added again"):
        assert "E_" not in c.command("store release ds1", 60)
        assert "store ds1" in c.command("store add vd0", 60)
        assert "f.qcow2" in c.command("store ls ds1:web1", 60)
        output = c.command("store check ds1", 60)
        assert "0 problems" in output, output
    with c.check("the host's tool reads it from outside"):
        done = subprocess.run(["tools/store-inspect", c.machine.data_path("d"), "ls"], check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
        text = done.stdout.decode()
        assert done.returncode == 0 and "web1/f.qcow2" in text, text
        out = os.path.join(c.machine.folder, "k.elf")
        subprocess.run(["tools/store-inspect", c.machine.data_path("d"), "get", "k.elf", out],
                       check=True, timeout=60)
        whole, part = pathlib.Path(out).read_bytes(), \
            pathlib.Path("build/image/kernel.elf").read_bytes()
        assert whole == part + bytes(-len(part) % 512)
