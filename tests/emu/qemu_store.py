"""A datastore on a physical disk: made, filled, read again after a reboot, and from outside."""
import hashlib
import io
import os
import pathlib
import re
import subprocess
import tarfile
import tempfile

from tests.emu.suite import qemu

DISK = ["-device", "virtio-blk-pci,drive=d,disable-legacy=on",
        "-device", "virtio-blk-pci,drive=k,disable-legacy=on,logical_block_size=4096,"
        "physical_block_size=4096"]


DISK_BYTES = bytes((n * n >> 7) & 0xff for n in range(1 << 18)) + bytes(1 << 18) + b"end" * 512
DISK_BYTES += bytes(-len(DISK_BYTES) % 512)
OVF = """<?xml version="1.0"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1"
 xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xmlns:rasd="r">
<References><File ovf:href="app-disk1.vmdk" ovf:id="file1" ovf:size="%u"/></References>
<DiskSection><Info/><Disk ovf:capacity="%u" ovf:diskId="vmdisk1" ovf:fileRef="file1"
 ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/>
</DiskSection><VirtualSystem ovf:id="app"><Info/><Name>app</Name><VirtualHardwareSection><Info/>
<Item><rasd:ElementName>2 CPUs</rasd:ElementName><rasd:ResourceType>3</rasd:ResourceType>
<rasd:VirtualQuantity>2</rasd:VirtualQuantity></Item>
<Item><rasd:AllocationUnits>byte * 2^20</rasd:AllocationUnits><rasd:ElementName>mem
</rasd:ElementName><rasd:ResourceType>4</rasd:ResourceType><rasd:VirtualQuantity>64
</rasd:VirtualQuantity></Item>
<Item><rasd:ElementName>ide</rasd:ElementName><rasd:ResourceType>5</rasd:ResourceType></Item>
<Item><rasd:ElementName>disk 1</rasd:ElementName><rasd:HostResource>ovf:/disk/vmdisk1
</rasd:HostResource><rasd:ResourceType>17</rasd:ResourceType></Item>
<Item><rasd:ElementName>CD 1</rasd:ElementName><rasd:ResourceType>15</rasd:ResourceType></Item>
</VirtualHardwareSection></VirtualSystem></Envelope>
"""


def package(algorithm, damage=False):
    """An OVA with a disk that qemu-img made."""
    with tempfile.TemporaryDirectory() as folder:
        raw, vmdk = os.path.join(folder, "raw"), os.path.join(folder, "app-disk1.vmdk")
        pathlib.Path(raw).write_bytes(DISK_BYTES)
        subprocess.run(["qemu-img", "convert", "-O", "vmdk", "-o", "subformat=streamOptimized",
                        raw, vmdk], check=True, timeout=60)
        disk = pathlib.Path(vmdk).read_bytes()
    text = (OVF % (len(disk), len(DISK_BYTES))).encode()
    lines = "".join(f"{algorithm.upper()}({name})= {hashlib.new(algorithm, data).hexdigest()}\n"
                    for name, data in (("app.ovf", text), ("app-disk1.vmdk", disk))).encode()
    if damage:
        disk = disk[:5000] + bytes([disk[5000] ^ 1]) + disk[5001:]
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in (("app.ovf", text), ("app.mf", lines), ("app-disk1.vmdk", disk)):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


def raw_of(folder, path, form):
    out = os.path.join(folder, "compare.raw")
    subprocess.run(["qemu-img", "convert", "-f", form, "-O", "raw", path, out], check=True,
                   timeout=60)
    return pathlib.Path(out).read_bytes()


@qemu("store-virtio", machine="q35", cpus=2, data={"d": 256, "k": 96}, extra=DISK, limit=300,
      files={"bulkhead/sha256.ova": lambda: package("sha256"),
             "bulkhead/sha1.ova": lambda: package("sha1"),
             "bulkhead/bad.ova": lambda: package("sha256", True)})
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
        for name in ("qcow2", "vhd", "vhdx", "vmdk", "vdi"):
            output = c.command(f"disk resize ds1:d.{name} size=24M", 60)
            assert "E_" not in output, output
            assert re.search(r"(?m)^size +24M", c.command(f"disk info ds1:d.{name}", 60))
            assert "0 problems" in c.command(f"disk check ds1:d.{name}", 60)
        output = c.command("disk create ds1:flat.vmdk size=4M format=vmdk kind=flat prov=lazy", 60)
        assert "E_" not in output, output
        assert re.search(r"flat-flat.vmdk +4M +4M +0 +lazy", c.command("store ls ds1", 60))
        output = c.command("disk convert ds1:d.vhdx ds1:e.qcow2 format=vhdx to-format=qcow2", 60)
        assert "E_" not in output, output
        output = c.command("disk info ds1:e.qcow2 format=qcow2", 60)
        assert "24M" in output, output
    with c.check("a copy shares, directories hold, errors name themselves"):
        assert "E_" not in c.command("store mkdir ds1:web1", 60)
        assert "E_" not in c.command("store cp ds1:e.qcow2 ds1:web1/f.qcow2", 60)
        output = c.command("store ls ds1:web1", 60)
        assert "f.qcow2" in output, output
        assert "E_" not in c.command("store mv ds1:web1/f.qcow2 ds1:g.qcow2", 60)
        assert "f.qcow2" not in c.command("store ls ds1:web1", 60)
        assert "E_" not in c.command("store mv ds1:g.qcow2 ds1:web1/f.qcow2", 60)
        assert "E_EXISTS" in c.command("store mkdir ds1:web1", 60)
        assert "E_NO_STORE" in c.command("store ls ds9", 60)
        assert "E_CORRUPT" in c.command("disk info ds1:d.vdi format=qcow2", 60)
    with c.check("thick disks have their room at once, and an alarm is logged when it gets tight"):
        assert "E_" not in c.command("store set ds1 warn=20", 60)
        assert "E_" not in c.command("disk create ds1:lazy.raw size=60M prov=lazy", 60)
        assert "E_" not in c.command("disk create ds1:eager.raw size=8M prov=eager", 60)
        output = c.command("store ls ds1", 60)
        assert re.search(r"lazy.raw +60M +60M +0 +lazy", output), output
        output = c.command("disk create ds1:thick.qcow2 size=6M format=qcow2 prov=eager", 60)
        assert "E_" not in output, output
        output = c.command("disk info ds1:thick.qcow2", 60)
        assert "thick, eagerly zeroed" in output, output
        output = c.command("store ls ds1", 60)
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
    with c.check("packages of other programs become VMs, if their hashes are right"):
        for name in ("sha256", "sha1", "bad"):
            assert "E_" not in c.command(f"store import {boot}:bulkhead/{name}.ova ds1:{name}.ova", 60)
        assert "E_CHECKSUM: app-disk1.vmdk" in c.command("vm import ds1:bad.ova bad kernel=x", 60)
        assert "bad/" not in c.command("store ls ds1", 60)
        output = c.command("vm import ds1:sha256.ova app kernel=x", 60)
        assert "VM app has number" in output and "Left out: CD 1: CD drive" in output, output
        assert "VM two has number" in c.command("vm import ds1:sha1.ova two kernel=x", 60)
        output = c.command("vm show app", 60)
        assert re.search(r"(?m)^cpu +2\s*$", output) and re.search(r"(?m)^mem +64M", output), output
    with c.check("a VM becomes a package"):
        assert "E_" not in c.command(f"disk import {boot}:bulkhead/kernel.elf ds1:kd.qcow2", 60)
        assert "E_" not in c.command("vm create p kernel=x mem=64M disk0.file=ds1:kd.qcow2 "
                                     "disk0.format=qcow2", 60)
        assert "E_" not in c.command("vm export p ds1:p.ova", 60)
        assert "VM q has number" in c.command("vm import ds1:p.ova q", 60)
    with c.check("packages come and go on a disk with blocks of 4 KiB, too"):
        assert "store ds4 on vd1" in c.command("store create ds4 vd1", 60)
        output = c.command(f"store import {boot}:bulkhead/sha256.ova ds4:a.ova", 60)
        assert "E_" not in output, output
        output = c.command("vm import ds4:a.ova four kernel=x", 60)
        assert "VM four has number" in output, output
        output = c.command("vm export four ds4:four.ova", 60)
        assert "E_" not in output, output
        assert "VM five has number" in c.command("vm import ds4:four.ova five", 60)
        assert "0 problems" in c.command("store check ds4", 60)
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
        folder = c.machine.folder
        for path in ("app/app-disk0.qcow2", "two/two-disk0.qcow2", "p.ova", "q/q-disk0.qcow2"):
            subprocess.run(["tools/store-inspect", c.machine.data_path("d"), "get", path,
                            os.path.join(folder, os.path.basename(path))], check=True, timeout=60)
        for name in ("app", "two"):
            assert raw_of(folder, os.path.join(folder, name + "-disk0.qcow2"), "qcow2") == DISK_BYTES
        for path in ("four/four-disk0.qcow2", "five/five-disk0.qcow2", "four.ova"):
            out4 = os.path.join(folder, os.path.basename(path))
            subprocess.run(["tools/store-inspect", c.machine.data_path("k"), "get", path, out4],
                           check=True, timeout=60)
            if path.endswith("qcow2"):
                assert raw_of(folder, out4, "qcow2") == DISK_BYTES
            else:
                with tarfile.open(out4) as archive:
                    assert archive.getnames() == ["four.ovf", "four.mf", "four-disk0.vmdk"]
        whole, part = pathlib.Path(out).read_bytes(), \
            pathlib.Path("build/image/kernel.elf").read_bytes()
        assert whole == part + bytes(-len(part) % 512)
        with tarfile.open(os.path.join(folder, "p.ova")) as archive:
            names = archive.getnames()
            assert names == ["p.ovf", "p.mf", "p-disk0.vmdk"], names
            archive.extractall(folder)
        for line in pathlib.Path(folder, "p.mf").read_text().splitlines():
            name, digest = re.fullmatch(r"SHA256\((.*)\)= (\w+)", line).groups()
            assert hashlib.sha256(pathlib.Path(folder, name).read_bytes()).hexdigest() == digest
        assert raw_of(folder, os.path.join(folder, "p-disk0.vmdk"), "vmdk") == whole
        assert raw_of(folder, os.path.join(folder, "q-disk0.qcow2"), "qcow2") == whole
