"""The devices that Bochs has: IDE disks on both channels, behind the bus master."""
from tests.emu.disks import MIB, listed, outside, pattern, run_test, works
from tests.emu.suite import bochs


@bochs("disk-ide", cpus=1, data={"d": 64, "e": 8, "f": 8})
def disk_ide(c):
    listed(c, "hd1", "IDE", "line", "ide")
    works(c, "hd1", "d")
    with c.check("both disks of the other channel"):
        for disk, image in (("hd2", "e"), ("hd3", "f")):
            run_test(c, disk, "mode=write size=1M block=64K seed=11 --yes")
            assert outside(c, image, 0, MIB) == pattern(11, 0, MIB)
    with c.check("no interrupt was lost"):
        for word in ("answered", "reset"):
            log = c.command(f"host log | grep {word}")
            assert not log, log
