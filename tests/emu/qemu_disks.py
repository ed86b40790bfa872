"""Physical disks behind each driver: written in the machine, verified from outside, and the reverse."""
from tests.emu.disks import MIB, listed, outside, pattern, run_test, works
from tests.emu.suite import qemu


def no_dma_blocked(c):
    with c.check("no DMA was blocked"):
        log = c.command("host log | grep IOMMU")
        assert not log, log


@qemu("disk-virtio", machine="q35", cpus=2, data={"d": 64},
      extra=["-device", "virtio-blk-pci,drive=d,serial=NUMBER7,disable-legacy=on"])
def disk_virtio(c):
    listed(c, "vd0", "virtio", "MSI-X x1", "virtio_blk")
    with c.check("its serial number"):
        assert "NUMBER7" in c.command("host disk list")
    works(c, "vd0", "d")


@qemu("disk-virtio-line", machine="pc", cpus=1, data={"d": 64},
      extra=["-device", "virtio-blk-pci,drive=d,vectors=0,indirect_desc=off,event_idx=off"])
def disk_virtio_line(c):
    listed(c, "vd0", "virtio", "line", "virtio_blk")
    works(c, "vd0", "d")


@qemu("disk-virtio-vtd", machine="q35", cpus=2, data={"d": 64},
      extra=["-device", "intel-iommu,intremap=on",
             "-device", "virtio-blk-pci,drive=d,iommu_platform=on,disable-legacy=on"])
def disk_virtio_vtd(c):
    listed(c, "vd0", "virtio", "MSI-X x1", "virtio_blk")
    works(c, "vd0", "d")
    no_dma_blocked(c)


NVME = ["-device", "nvme,drive=d,serial=NUMBER8"]


@qemu("disk-nvme", machine="q35", cpus=2, data={"d": 64}, extra=NVME)
def disk_nvme(c):
    listed(c, "nvme0", "NVMe", "MSI-X x1", "nvme")
    with c.check("its serial number and health"):
        output = c.command("host disk list")
        assert "NUMBER8" in output and "QEMU NVMe Ctrl" in output and "good, 50 C" in output, output
    works(c, "nvme0", "d")


@qemu("disk-nvme-vtd", machine="q35", cpus=2, data={"d": 64},
      extra=["-device", "intel-iommu,intremap=on,caching-mode=on"] + NVME)
def disk_nvme_vtd(c):
    listed(c, "nvme0", "NVMe", "MSI-X x1", "nvme")
    works(c, "nvme0", "d")
    no_dma_blocked(c)


@qemu("disk-ahci", machine="q35", cpus=2, data={"d": 64, "e": 8},
      extra=["-device", "ide-hd,drive=d,bus=ide.2,serial=NUMBER9", "-device",
             "ide-hd,drive=e,bus=ide.3"])
def disk_ahci(c):
    listed(c, "sd0", "SATA", "MSI", "ahci")
    with c.check("both disks, a serial number"):
        output = c.command("host disk list")
        assert "NUMBER9" in output and "sd1" in output and "QEMU HARDDISK" in output, output
    works(c, "sd0", "d")


@qemu("disk-ahci-vtd", machine="q35", cpus=1, data={"d": 64},
      extra=["-device", "intel-iommu,intremap=on", "-device", "ide-hd,drive=d,bus=ide.2"])
def disk_ahci_vtd(c):
    listed(c, "sd0", "SATA", "MSI", "ahci")
    works(c, "sd0", "d")
    no_dma_blocked(c)


@qemu("disk-ide", machine="pc", cpus=1, data={"d": 64, "e": 64, "f": 8},
      extra=["-device", "ide-hd,drive=d,bus=ide.0,unit=0,serial=NUMBER10", "-device",
             "ide-hd,drive=e,bus=ide.0,unit=1", "-device", "ide-hd,drive=f,bus=ide.1,unit=1"])
def disk_ide(c):
    listed(c, "hd0", "IDE", "line", "ide")
    with c.check("all three disks, a serial number"):
        output = c.command("host disk list")
        assert "NUMBER10" in output and "hd2" in output and "QEMU HARDDISK" in output, output
    works(c, "hd0", "d")
    works(c, "hd1", "e")
    with c.check("the other channel"):
        run_test(c, "hd2", "mode=write size=1M block=64K seed=11 --yes")
        assert outside(c, "f", 0, MIB) == pattern(11, 0, MIB)
