"""A datastore on a physical disk: made, filled, read again after a reboot, and from outside."""
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
