"""The devices that Bochs has: IDE disks on both channels, behind the bus master; an Intel card, whose
other end is nowhere."""
from tests.emu.disks import MIB, listed, outside, pattern, run_test, works
from tests.emu.suite import bochs


CARD = ["pci: enabled=1, chipset=i440fx, slot2=e1000",
        "e1000: enabled=1, mac=52:54:00:12:34:56, ethmod=null, ethdev=eth0"]


@bochs("disk-ide", cpus=1, data={"d": 64, "e": 8, "f": 8}, lines=CARD)
def disk_ide(c):
    with c.check("an Intel card that does not take its address from its EEPROM gets it from there"):
        c.until("host nic list", r"(?m)^nic0 +Intel 82540EM +52:54:00:12:34:56 +1000 Mbit/s ", 60)
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
