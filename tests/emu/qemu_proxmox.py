"""Machines as Proxmox VE makes them: its slots and bridges (`qm showcmd`), on QEMU's own machine types,
which Proxmox gives names of its own.  Data disks are written inside and verified from outside, and the
card gets an address."""
import re

from tests.emu.disks import KIB, MIB, outside, pattern, run_test
from tests.emu.monitor import MONITOR, Monitor
from tests.emu.qemu_disks import eject, no_dma_blocked
from tests.emu.suite import qemu

# What every machine of type i440fx has there, below bus 0.
PC = ["-nodefaults", "-device", "pci-bridge,id=pci.1,chassis_nr=1,bus=pci.0,addr=0x1e",
      "-device", "pci-bridge,id=pci.2,chassis_nr=2,bus=pci.0,addr=0x1f",
      "-device", "piix3-usb-uhci,id=uhci,bus=pci.0,addr=0x1.0x2",
      "-device", "usb-tablet,id=tablet,bus=uhci.0,port=1",
      "-device", "VGA,id=vga,bus=pci.0,addr=0x2,edid=off"]
# pci.3 is there with "VirtIO SCSI single" alone: a controller a disk.
SINGLE = ["-device", "pci-bridge,id=pci.3,chassis_nr=3,bus=pci.0,addr=0x5"]
# Type q35: root ports for what is passed through, and everything else behind two bridges in a row.
Q35 = ["-nodefaults",
       *(word for n, at in enumerate(("1d.7", "1a.7")) for word in
         ("-device", f"ich9-usb-ehci{n + 1},id=ehci{n},multifunction=on,bus=pcie.0,addr={at}")),
       *(word for n in range(6) for word in
         ("-device", f"ich9-usb-uhci{n + 1},id=uhci-{n + 1},multifunction=on,bus=pcie.0,"
          f"addr={('1d', '1a')[n // 3]}.{n % 3},masterbus=ehci{n // 3}.0,firstport={n % 3 * 2}")),
       *(word for n in range(4) for word in
         ("-device", f"pcie-root-port,id=ich9-pcie-port-{n + 1},x-speed=16,x-width=32,multifunction=on,"
          f"bus=pcie.0,addr=1c.{n},port={n + 1},chassis={n + 1}")),
       "-device", "i82801b11-bridge,id=pcidmi,bus=pcie.0,addr=1e.0",
       *(word for n in range(4) for word in
         ("-device", f"pci-bridge,id=pci.{n},bus=pcidmi,addr={n + 1}.0,chassis_nr={n + 1}")),
       "-device", "usb-tablet,id=tablet,bus=ehci0.0,port=1", "-device", "VGA,id=vga,bus=pcie.0,addr=0x1,edid=off"]
ALL = ["-device", "vmgenid,guid=6a8b1f0e-3f0d-4a5e-9f6c-6f7e1d2c3b4a",
       "-device", "virtio-balloon-pci,id=balloon0,bus=pci.0,addr=0x3,free-page-reporting=on",
       "-device", "virtio-serial,id=qga0,bus=pci.0,addr=0x8",
       "-chardev", "null,id=qga0c", "-device", "virtserialport,chardev=qga0c,name=org.qemu.guest_agent.0",
       "-boot", "menu=on,strict=on"]


def single(n, drive, more=""):
    """A disk of "VirtIO SCSI single" with a thread of its own; the first one is started from."""
    return ["-object", f"iothread,id=iothread-virtioscsi{n}", "-device",
            f"virtio-scsi-pci,id=virtioscsi{n},bus=pci.3,addr={n + 1:#x},iothread=iothread-virtioscsi{n}{more}",
            "-device", f"scsi-hd,bus=virtioscsi{n}.0,channel=0,scsi-id=0,lun={n},drive={drive},id=scsi{n},"
            f"rotation_rate=1,bootindex={100 + n}"]


def net(model):
    return ["-netdev", "user,id=net0", "-device",
            f"{model},mac=BC:24:11:12:34:56,netdev=net0,bus=pci.0,addr=0x12,id=net0,romfile="]


VIRTIO_NET = "virtio-net-pci,rx_queue_size=1024,tx_queue_size=256"
CD = ["-device", "ide-cd,bus=ide.1,unit=0,id=ide2"]


def holds(c, disk, image, seed, kind):
    """A disk of 8 MiB is listed, written in and out of order, and read as changed from outside."""
    with c.check(f"{disk} is written, and read"):
        c.until("host disk list", rf"(?m)^{disk} +{kind} +8 MiB ", 60)
        run_test(c, disk, f"mode=write size=1M block=64K depth=8 seed={seed} --yes")
        assert outside(c, image, 0, MIB) == pattern(seed, 0, MIB)
        run_test(c, disk, f"mode=write from=2M size=64K block=4K depth=16 seed={seed + 1} --random --yes")
        assert outside(c, image, 2 * MIB, 64 * KIB) == pattern(seed + 1, 2 * MIB, 64 * KIB)
        with open(c.machine.data_path(image), "r+b") as f:
            f.seek(4 * MIB)
            f.write(pattern(seed + 2, 4 * MIB, 256 * KIB))
        run_test(c, disk, f"mode=verify from=4M size=256K block=32K seed={seed + 2}")


def ends_well(c, driver, irq):
    with c.check("the card has an address by DHCP, and echoes come back"):
        c.until("net kif list", r"k0 +vsw0 +10\.0\.2\.15/24 +10\.0\.2\.2 +dhcp", 60)
        text = c.command("net ping 10.0.2.2 count=20 size=1400 interval=20ms", 60)
        assert "20 sent, 20 answered" in text, text
        assert re.search(rf"(?m) {driver}0 +{irq} ", c.command("host pci list"))
    with c.check("the configuration is kept on the disk that it was started from"):
        assert "E_" not in c.command("host config save")
    with c.check("no function with a driver is left alone, and nothing in the log is an error"):
        text = c.command("host pci list")
        assert "refuses" not in text and "polled" not in text, text
        log = c.command("host log | grep ERROR")
        assert not log, log


@qemu("proxmox-pc", machine="pc", disk="own", cpus=2, data={"d": 8, "e": 8},
      extra=[*PC, *SINGLE, *ALL, *CD, *single(0, "disk"), *single(1, "d"), *net(VIRTIO_NET),
             "-device", "qemu-xhci,p2=15,p3=15,id=xhci,bus=pci.1,addr=0x1b",
             "-device", "usb-storage,bus=xhci.0,port=1,id=usb0,drive=e"])
def proxmox_pc(c):
    holds(c, "sd1", "d", 41, "SCSI")
    holds(c, "usb0", "e", 44, "USB")
    ends_well(c, "virtio_net", "MSI-X x2")


@qemu("proxmox-pc-old", machine="pc", disk="own", cpus=2, data={"d": 8, "e": 8, "f": 8, "g": 8},
      extra=[*PC, *ALL, *CD, "-device", "ide-hd,bus=ide.0,unit=0,drive=disk,id=ide0,bootindex=100",
             "-device", "ide-hd,bus=ide.0,unit=1,drive=d,id=ide1",
             "-device", "ahci,id=ahci0,multifunction=on,bus=pci.0,addr=0x7",
             "-device", "ide-hd,bus=ahci0.0,drive=e,id=sata0",
             "-device", "virtio-blk-pci,drive=f,id=virtio0,bus=pci.0,addr=0xa", *net("e1000"),
             "-device", "virtio-scsi-pci,id=scsihw0,bus=pci.0,addr=0x5",
             "-device", "scsi-hd,bus=scsihw0.0,channel=0,scsi-id=0,lun=0,drive=g,id=scsi0", *MONITOR])
def proxmox_pc_old(c):
    holds(c, "hd1", "d", 51, "IDE")
    holds(c, "sd0", "g", 60, "SCSI")
    holds(c, "sd1", "e", 54, "SATA")
    holds(c, "vd0", "f", 57, "virtio")
    ends_well(c, "e1000", "line")
    with c.check("the SCSI controller is pulled out: told of, and the disks beside it work"):
        eject(Monitor(c), 5)
        c.until("host pci list", r"(?m) virtio_scsi0 .* it was pulled out *$", 60)
        c.until("host disk list", r"(?m)^sd0 .* gone *$", 60)
        assert "virtio_scsi0: it was pulled out" in c.command("host log level=error")
        assert "E_DISK" in c.command("host disk test sd0 size=64K", 60)
        run_test(c, "sd1", "mode=verify size=1M block=64K seed=54")


@qemu("proxmox-q35", machine="q35", disk="own", cpus=2, data={"d": 8, "e": 8},
      extra=[*Q35, *ALL, "-device", "ahci,id=ahci0,multifunction=on,bus=pci.0,addr=0x7",
             "-device", "ide-hd,bus=ahci0.0,drive=disk,id=sata0,bootindex=100",
             "-device", "ide-hd,bus=ahci0.1,drive=d,id=sata1", "-device", "ide-cd,bus=ide.1,unit=0,id=ide2",
             "-object", "iothread,id=iothread-virtio0", "-device",
             "virtio-blk-pci,drive=e,id=virtio0,bus=pci.0,addr=0xa,iothread=iothread-virtio0",
             *net("e1000e")])
def proxmox_q35(c):
    holds(c, "sd1", "d", 61, "SATA")
    holds(c, "vd0", "e", 64, "virtio")
    ends_well(c, "e1000", "MSI-X x1")


# The IOMMU sees all of it as the outermost bridge.
@qemu("proxmox-q35-viommu", machine="q35", disk="own", cpus=2, data={"d": 8, "e": 8},
      extra=["-device", "intel-iommu,intremap=on,caching-mode=on", *Q35, *ALL,
             *net(VIRTIO_NET + ",disable-legacy=on,iommu_platform=on"), *single(0, "disk"),
             *single(1, "d", ",disable-legacy=on,iommu_platform=on"),
             "-device", "qemu-xhci,p2=15,p3=15,id=xhci,bus=pci.1,addr=0x1b",
             "-device", "usb-storage,bus=xhci.0,port=1,id=usb0,drive=e"])
def proxmox_q35_viommu(c):
    holds(c, "sd1", "d", 71, "SCSI")
    holds(c, "usb0", "e", 74, "USB")
    ends_well(c, "virtio_net", "MSI-X x2")
    no_dma_blocked(c)
