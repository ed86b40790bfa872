"""Physical disks behind each driver: written in the machine, verified from outside, and the reverse."""
from tests.emu.disks import listed, works
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
