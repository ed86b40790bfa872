"""Disks that fail: errors of the medium, and requests that hang until the driver resets the device.
What was acknowledged is on the disk."""
from tests.emu.disks import FAILS_ONCE, counters, fails_once, outside, pattern
from tests.emu.qemu_net import Monitor
from tests.emu.suite import qemu

KIB = 1 << 10
DISKS = {"vd0": "v", "nvme0": "n", "sd0": "a"}
DEVICES = ["-device", "virtio-blk-pci,drive=v,disable-legacy=on", "-device", "nvme,drive=n,serial=NUMBER13",
           "-device", "ide-hd,drive=a,bus=ide.2"]


def hangs(c, monitor, disk, image):
    """32 KiB a second: the last of twelve requests would wait for 24 seconds."""
    with c.check(f"{disk}: what hangs is sent again after a reset, and none is lost"):
        limits = {"bps": 0, "bps_rd": 0, "iops": 0, "iops_rd": 0, "iops_wr": 0}
        before = counters(c, disk)
        monitor.do("block_set_io_throttle", device=image, bps_wr=32 * KIB, **limits)
        c.send(f"host disk test {disk} mode=write block=64K size=768K depth=12 seed=22 --yes\r")
        c.expect(r"is sent again|are sent again", 120)
        monitor.do("block_set_io_throttle", device=image, bps_wr=0, **limits)
        c.expect(r"requests a second", 120)
        c.prompt(60)
        after = counters(c, disk)
        assert after[0] == before[0] and after[1] > before[1], (before, after)
        assert outside(c, image, 0, 768 * KIB) == pattern(22, 0, 768 * KIB)


@qemu("disk-errors", machine="q35", cpus=2, data=dict.fromkeys(DISKS.values(), 8),
      drives=dict.fromkeys(DISKS.values(), FAILS_ONCE),
      extra=["-qmp", "unix:{folder}/qmp,server=on,wait=off"] + DEVICES)
def disk_errors(c):
    c.until("host disk list", r"(?m)^usb0 ", 60)
    for disk, image in DISKS.items():
        fails_once(c, disk, image)
    monitor = Monitor(c)
    for disk in ("vd0", "nvme0", "sd0"):
        hangs(c, monitor, disk, DISKS[disk])
