"""Disks that fail: errors of the medium, and requests that hang until the driver resets the device.
What was acknowledged is on the disk."""
from tests.emu.disks import FAILS_ONCE, fails_once, hangs
from tests.emu.monitor import Monitor
from tests.emu.suite import qemu

DISKS = {"vd0": "v", "nvme0": "n", "sd0": "a"}
# A busy QEMU makes one request of those that came together: all could pass the brake at once.
DEVICES = ["-device", "virtio-blk-pci,drive=v,disable-legacy=on,request-merging=off",
           "-device", "nvme,drive=n,serial=NUMBER13", "-device", "ide-hd,drive=a,bus=ide.2"]


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
