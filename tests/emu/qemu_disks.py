"""Physical disks behind each driver: written in the machine, verified from outside, and the reverse."""
import re

from tests.emu.disks import (DISCARDS, FAILS_ALWAYS, FAILS_ONCE, KIB, MIB, counters, fails_always, fails_once, forgets,
                             hangs, listed, media_change, outside, pattern, reads_only, run_test, works)
from tests.emu.monitor import QTEST, Bus, Monitor
from tests.emu.suite import qemu


def no_dma_blocked(c):
    with c.check("no DMA was blocked"):
        log = c.command("host log | grep IOMMU")
        assert not log, log


@qemu("disk-virtio", machine="q35", cpus=2, data={"d": 64}, drives={"d": DISCARDS},
      extra=["-device", "virtio-blk-pci,drive=d,serial=NUMBER7,disable-legacy=on"])
def disk_virtio(c):
    listed(c, "vd0", "virtio", "MSI-X x1", "virtio_blk")
    with c.check("its serial number"):
        assert "NUMBER7" in c.command("host disk list")
    works(c, "vd0", "d")
    forgets(c, "vd0", "d", zeroes=True)


def eject(monitor, slot):
    """Takes a function off bus 0 of a PC at once, as its firmware's _EJ0 does: no driver is asked."""
    for port, value in ((0xae10, 0), (0xae08, 1 << slot)):
        monitor.do("human-monitor-command", **{"command-line": f"o/w {port:#x} {value:#x}"})


PULLED_OUT = "nvme0", "virtio_blk1", "e10000", "ahci0", "virtio_net0", "xhci0"


def functions_pulled_out(c):
    """An NVMe controller in the midst of a write, then an idle disk, network cards, AHCI with its disk, and
    USB with the boot stick."""
    monitor = Monitor(c)
    usb = re.search(r"(?m)^00:(\w\w)\.0 .* xhci0 ", c.command("host pci list"))
    with c.check("a controller is pulled out while it is written to: the write ends with an error"):
        limits = {"bps": 0, "bps_rd": 0, "bps_wr": 0, "iops": 0, "iops_rd": 0}
        answer = monitor.do("block_set_io_throttle", device="e", iops_wr=20, **limits)
        assert "error" not in answer, answer
        c.send("host disk test nvme0 mode=write block=4K depth=4 seed=12 --yes\r")
        c.expect(r"--yes\s*\n", 30)
        eject(monitor, 0x10)
        c.expect(r"E_DISK", 120)
        c.prompt(60)
    with c.check("idle functions are missed, too"):
        eject(monitor, 0x11)
        for slot in (0x12, 0x13, 0x14):
            eject(monitor, slot)
        eject(monitor, int(usb[1], 16))
        for driver in PULLED_OUT:
            c.until("host pci list", rf"(?m) {driver} .* it was pulled out *$", 60)
        c.until("host disk list", r"(?m)^vd1 .* gone *$", 60)
        c.until("host disk list", r"(?m)^nvme0 .* gone *$", 60)
        c.until("host disk list", r"(?m)^usb0 .* gone *$", 60)
        c.until("host disk list", r"(?m)^sd0 .* gone *$", 60)
        c.until("host nic list", r"(?m)^nic0 .* gone ", 60)
        c.until("host nic list", r"(?m)^nic1 .* gone ", 60)
    with c.check("it is in the log, once each"):
        lines = c.command("host log level=error | grep out")
        for driver in PULLED_OUT:
            assert len(re.findall(rf"\d {driver}: it was pulled out", lines)) == 1, lines
    with c.check("what is asked of them fails, and the disk beside them works"):
        for disk in ("nvme0", "vd1", "sd0", "usb0"):
            assert "E_DISK" in c.command(f"host disk test {disk} size=64K", 60)
        # It may be told meanwhile that the configuration's disk is gone, by an E_NO_HOME.
        output = c.command("host disk test vd0 mode=write size=1M block=64K seed=15 --yes", 120)
        assert "E_DISK" not in output and "requests a second" in output, output
        assert outside(c, "d", 0, MIB) == pattern(15, 0, MIB)


@qemu("disk-virtio-line", machine="pc", cpus=1, data={"d": 64, "e": 64, "f": 8, "g": 8},
      extra=["-device", "virtio-blk-pci,drive=d,vectors=0,indirect_desc=off,event_idx=off,addr=0x0f",
             "-device", "nvme,drive=e,serial=NUMBER15,addr=0x10", "-device",
             "virtio-blk-pci,drive=f,addr=0x11", "-device", "e1000,addr=0x12,romfile=",
             "-device", "ahci,id=sata,addr=0x13", "-device", "ide-hd,drive=g,bus=sata.0",
             "-device", "virtio-net-pci,addr=0x14,romfile=",
             "-qmp", "unix:{folder}/qmp,server=on,wait=off"])
def disk_virtio_line(c):
    listed(c, "vd0", "virtio", "line", "virtio_blk")
    works(c, "vd0", "d")
    works(c, "nvme0", "e")
    functions_pulled_out(c)


@qemu("disk-virtio-vtd", machine="q35", cpus=2, data={"d": 64},
      extra=["-device", "intel-iommu,intremap=on",
             "-device", "virtio-blk-pci,drive=d,iommu_platform=on,disable-legacy=on"])
def disk_virtio_vtd(c):
    listed(c, "vd0", "virtio", "MSI-X x1", "virtio_blk")
    works(c, "vd0", "d")
    no_dma_blocked(c)


NVME = ["-device", "nvme,drive=d,serial=NUMBER8"]


@qemu("disk-nvme", machine="q35", cpus=2, data={"d": 64}, drives={"d": DISCARDS}, extra=NVME)
def disk_nvme(c):
    listed(c, "nvme0", "NVMe", "MSI-X x4", "nvme")
    with c.check("four pairs of queues"):
        assert "nvme0: 4 pairs of queues" in c.command("host log | grep queues")
    with c.check("its serial number and health"):
        output = c.command("host disk list")
        assert "NUMBER8" in output and "QEMU NVMe Ctrl" in output and "good, 50 C" in output, output
    works(c, "nvme0", "d")
    forgets(c, "nvme0", "d", zeroes=True)


@qemu("disk-nvme-vtd", machine="q35", cpus=2, data={"d": 64},
      extra=["-device", "intel-iommu,intremap=on,caching-mode=on",
             "-device", "nvme,drive=d,serial=NUMBER8,max_ioqpairs=2,msix_qsize=2"])
def disk_nvme_vtd(c):
    listed(c, "nvme0", "NVMe", "MSI-X x2", "nvme")
    with c.check("two pairs of queues, since the controller grants no more"):
        assert "nvme0: 2 pairs of queues" in c.command("host log | grep queues")
    works(c, "nvme0", "d")
    no_dma_blocked(c)


def log_on_second_line(c):
    """All that `host log` shows goes to a file behind the PCI serial port, too."""
    with c.check("the log goes to the PCI serial port"):
        assert re.search(r"(?m)^\S+ +1b36:0002 +serial port +serial0 ", c.command("host pci list"))
        want = re.findall(r"(?m)^\[ *[\d.]+\] cpu\d+ +\w+ +(.*?)\s*$", c.command("host log"))
        assert any(text.startswith("Bulkhead") for text in want), want
        missing, looks = want, 0
        while missing and looks < 120:
            with open(c.machine.folder + "/second.txt", errors="replace") as f:
                said = {m[1] for m in re.finditer(r"\[ *[\d.]+\] \w+ +(.*?)\s*\n", f.read())}
            missing, looks = [text for text in want if text not in said], looks + 1
            c.pump(0.5)
        assert not missing, missing


def sata_plugged_in(c, monitor, image, new):
    """QEMU 7.2 takes no disk away from an AHCI port, and gives one only if another object than the
    port's bus, which knows nothing of it, lets it."""
    with c.check("a disk is put into an empty port"):
        children = monitor.do("qom-list", path="/machine/unattached")["return"]
        ahci = next(child["name"] for child in children if child["type"] == "child<ich9-ahci>")
        answers = [monitor.do("qom-set", path=f"/machine/unattached/{ahci}/ide.1",
                              property="hotplug-handler", value="/machine"),
                   monitor.do("device_add", driver="ide-hd", bus="ide.1", drive=image, serial="NUMBER16")]
        assert not any("error" in answer for answer in answers), answers
        c.until("host disk list", rf"(?m)^{new} +SATA +8 MiB .* NUMBER16 ", 60)
        run_test(c, new, "mode=write size=1M block=64K seed=16 --yes")
        assert outside(c, image, 0, MIB) == pattern(16, 0, MIB)


@qemu("disk-ahci", machine="q35", cpus=2, data={"d": 64, "e": 8, "f": 8, "g": 8, "h": 12},
      drives={"d": DISCARDS}, extra=["-device", "ide-hd,drive=d,bus=ide.2,serial=NUMBER9", "-device",
             "ide-hd,drive=e,bus=ide.3", "-device", "ide-cd,drive=f,bus=ide.4,serial=NUMBER14,id=cd",
             "-device", "ide-cd,bus=ide.5,id=empty", "-chardev", "file,id=second,path={folder}/second.txt",
             "-device", "pci-serial,chardev=second", "-qmp",
             "unix:{folder}/qmp,server=on,wait=off"])
def disk_ahci(c):
    log_on_second_line(c)
    listed(c, "sd0", "SATA", "MSI", "ahci")
    with c.check("both disks, a serial number"):
        output = c.command("host disk list")
        assert "NUMBER9" in output and "sd1" in output and "QEMU HARDDISK" in output, output
    with c.check("its health, by SMART"):
        assert re.search(r"(?m)^sd0 .* good, \d+ C", output), output
    with c.check("a CD, its serial number; a drive without one"):
        assert re.search(r"(?m)^cd0 +SATA +8 MiB +2048/2048 +QEMU QEMU DVD-ROM +NUMBER14 ", output), output
        assert re.search(r"(?m)^cd1 +SATA +0 MiB +2048/2048 +QEMU QEMU DVD-ROM .* no medium *$", output), output
    works(c, "sd0", "d")
    forgets(c, "sd0", "d")
    reads_only(c, "cd0", "f")
    monitor = Monitor(c)
    sata_plugged_in(c, monitor, "g", "sd2")
    with c.check("the CD is taken out: an error, and the disk beside it works"):
        assert "error" not in monitor.do("eject", id="cd", force=True)
        output = c.command("host disk test cd0 size=64K", 120)
        assert "E_DISK" in output or "E_MEDIUM" in output, output
        run_test(c, "sd0", "mode=verify size=4M block=64K seed=5")
    media_change(c, monitor, "cd", "cd0", "h", 12)
    media_change(c, monitor, "empty", "cd1", "f", 8)


@qemu("disk-ahci-vtd", machine="q35", cpus=1, data={"d": 64, "f": 8, "g": 64},
      extra=["-device", "intel-iommu,intremap=on", "-device", "ide-hd,drive=d,bus=ide.2",
             "-device", "ide-cd,drive=f,bus=ide.3", "-device", "piix3-ide,id=old", "-device",
             "ide-hd,drive=g,bus=old.0,unit=0"])
def disk_ahci_vtd(c):
    listed(c, "sd0", "SATA", "MSI", "ahci")
    works(c, "sd0", "d")
    reads_only(c, "cd0", "f")
    listed(c, "hd0", "IDE", "line", "ide")
    works(c, "hd0", "g")
    no_dma_blocked(c)


@qemu("disk-ide", machine="pc", cpus=1, data={"d": 64, "e": 64, "f": 8, "g": 64, "h": 12},
      drives={"d": DISCARDS, "e": FAILS_ALWAYS, "f": FAILS_ONCE},
      extra=["-device", "ide-hd,drive=d,bus=ide.0,unit=0,serial=NUMBER10", "-device",
             "ide-hd,drive=e,bus=ide.0,unit=1", "-device", "ide-hd,drive=f,bus=ide.1,unit=1",
             "-device", "ide-cd,bus=ide.1,unit=0,id=cd",
             "-device", "nec-usb-xhci,id=nec", "-device", "usb-storage,drive=g,bus=nec.0",
             "-qmp", "unix:{folder}/qmp,server=on,wait=off"])
def disk_ide(c):
    listed(c, "hd0", "IDE", "line", "ide")
    with c.check("all three disks, a serial number"):
        output = c.command("host disk list")
        assert "NUMBER10" in output and "hd2" in output and "QEMU HARDDISK" in output, output
    with c.check("its health, by SMART"):
        assert re.search(r"(?m)^hd0 .* good, \d+ C", output), output
    works(c, "hd0", "d")
    forgets(c, "hd0", "d")
    works(c, "hd1", "e")
    fails_always(c, "hd1", "e")
    fails_once(c, "hd2", "f")
    with c.check("the other channel"):
        run_test(c, "hd2", "mode=write size=1M block=64K seed=11 --yes")
        assert outside(c, "f", 0, MIB) == pattern(11, 0, MIB)
    monitor = Monitor(c)
    media_change(c, monitor, "cd", "cd0", "h", 12)
    with c.check("the disk beside the CD"):
        run_test(c, "hd2", "mode=verify size=1M block=64K seed=11")
    hangs(c, monitor, "hd1", "e", 4 * KIB)  # one request at a time, of 16 seconds


def pulled_out(c, monitor, disk, device, attach, new):
    """A disk goes in the midst of a write, is told of, and works again when it comes back."""
    with c.check("pulled out while it is written to"):
        c.send(f"host disk test {disk} mode=write block=4K depth=4 seed=12 --yes\r")
        c.expect(r"--yes\s*\n", 30)
        monitor.do("device_del", id=device)
        c.prompt(60)
        c.until("host disk list", rf"(?m)^{disk} .* gone *$", 30)
        output = c.command(f"host disk test {disk} mode=write size=64K --yes", 60)
        assert "E_DISK" in output, output
    with c.check("it is in the log, and the shell lives"):
        assert "pulled out" in c.command("host log | grep pulled")
    with c.check("plugged in again, it works"):
        answer = monitor.do("blockdev-add", **{"driver": "raw", "node-name": "again", "file": {
            "driver": "file", "filename": c.machine.data_path("d")}})
        assert "error" not in answer, answer
        # QEMU lets go of the file some time after the device is out.
        for _ in range(600):
            answer = monitor.do("device_add", drive="again", **attach)
            if '"write" lock' not in str(answer):
                break
            c.pump(0.1)
        assert "error" not in answer, answer
        c.until("host disk list", rf"(?m)^{new} ", 30)
        run_test(c, new, "mode=write size=1M block=64K seed=13 --yes")
        assert outside(c, "d", 0, MIB) == pattern(13, 0, MIB)


def two_units(c, monitor):
    """Plugged in late, since OVMF hangs with it."""
    with c.check("both units of one device"):
        answers = [monitor.do("device_add", driver="usb-bot", id="bot", port="4")]
        answers += [monitor.do("device_add", driver="scsi-hd", drive=image, bus="bot.0", lun=lun)
                    for lun, image in enumerate("fg")]
        answers.append(monitor.do("qom-set", path="bot", property="attached", value=True))
        assert not any("error" in answer for answer in answers), answers
        for disk, size in ("usb3", 16), ("usb4", 24):
            c.until("host disk list", rf"(?m)^{disk} +USB +{size} MiB ", 60)
        for disk, image, seed in ("usb3", "f", 17), ("usb4", "g", 18), ("usb3", "f", 19):
            run_test(c, disk, f"mode=write size=1M block=64K seed={seed} --yes")
            assert outside(c, image, 0, MIB) == pattern(seed, 0, MIB)


def controller_fails(c, monitor, disk, image, others):
    """An xHCI that is reset behind its driver's back, in the midst of a write."""
    with c.check("a controller that fails is reset, its disks come back, and no write is lost"):
        before, names = counters(c, disk), re.findall(r"(?m)^usb\d", c.command("host disk list"))
        limits = {"bps": 0, "bps_rd": 0, "bps_wr": 0, "iops": 0, "iops_rd": 0}
        monitor.do("block_set_io_throttle", device=image, iops_wr=8, **limits)
        c.send(f"host disk test {disk} mode=write block=64K size=4M depth=4 seed=31 --yes\r")
        c.expect(r"--yes\s*\n", 30)
        first, looks = pattern(31, 0, 64 * KIB), 0
        while outside(c, image, 0, 64 * KIB) != first and looks < 600:
            looks += 1
            c.pump(0.1)
        bus, registers = Bus(c), monitor.registers(0, class_code=0xc03)
        bus.write32(registers + (bus.read32(registers) & 0xff), 2)  # USBCMD.HCRST
        c.expect(r"xhci0: was reset", 120)
        monitor.do("block_set_io_throttle", device=image, iops_wr=0, **limits)
        c.expect(r"requests a second", 120)
        c.prompt(60)
        assert outside(c, image, 0, 4 * MIB) == pattern(31, 0, 4 * MIB)
        after, text = counters(c, disk), c.command("host disk list")
        assert after[0] == before[0] and after[1] > before[1], (before, after)
        assert re.findall(r"(?m)^usb\d", text) == names and "gone" not in text, text
    with c.check("so do those that did nothing meanwhile, the boot stick and one behind a hub too"):
        for other in others:
            run_test(c, other, "mode=read size=1M block=64K")


@qemu("disk-usb", machine="q35", cpus=2, data={"d": 64, "e": 8, "f": 16, "g": 24},
      drives={"e": FAILS_ALWAYS},
      extra=["-device", "intel-iommu,intremap=on", "-qmp", "unix:{folder}/qmp,server=on,wait=off", *QTEST,
             "-device", "usb-storage,drive=d,serial=NUMBER11,id=stick,port=2", "-device",
             "usb-hub,id=hub,port=3", "-device", "usb-storage,drive=e,port=3.1"])
def disk_usb(c):
    with c.check("the boot stick and both disks"):
        output = c.command("host disk list", 60)
        assert len(re.findall(r"(?m)^usb\d +USB ", output)) == 3 and "NUMBER11" in output, output
    disks = {size: name for name, size in
             re.findall(r"(?m)^(usb\d) +USB +(\d+) MiB", c.command("host disk list"))}
    listed(c, disks["64"], "USB", "MSI-X x1", "xhci")
    works(c, disks["64"], "d")
    with c.check("behind a hub"):
        run_test(c, disks["8"], "mode=write size=1M block=64K seed=11 --yes")
        assert outside(c, "e", 0, MIB) == pattern(11, 0, MIB)
    fails_always(c, disks["8"], "e")
    monitor = Monitor(c)
    two_units(c, monitor)
    controller_fails(c, monitor, disks["64"], "d", ["usb0", disks["8"], "usb3", "usb4"])
    pulled_out(c, monitor, disks["64"], "stick",
               {"driver": "usb-storage", "id": "stick", "port": "2"},
               "usb5")
    no_dma_blocked(c)


@qemu("disk-scsi", machine="q35", cpus=2, data={"d": 64, "e": 8, "f": 8, "g": 12},
      drives={"d": DISCARDS, "e": FAILS_ALWAYS},
      extra=["-device", "intel-iommu,intremap=on", "-qmp", "unix:{folder}/qmp,server=on,wait=off",
             "-device", "virtio-scsi-pci,id=s,iommu_platform=on,disable-legacy=on", "-device",
             "scsi-hd,drive=d,bus=s.0,scsi-id=1,serial=NUMBER12,id=stick", "-device",
             "scsi-hd,drive=e,bus=s.0,scsi-id=7,lun=3", "-device", "scsi-cd,drive=f,bus=s.0,scsi-id=9,id=cd"])
def disk_scsi(c):
    listed(c, "sd0", "SCSI", "MSI-X x1", "virtio_scsi")
    with c.check("both disks, the CD, a serial number"):
        output = c.command("host disk list")
        assert "NUMBER12" in output and re.search(r"(?m)^sd1 +SCSI +8 MiB", output), output
        assert re.search(r"(?m)^cd0 +SCSI +8 MiB +2048/2048 +QEMU QEMU CD-ROM", output), output
    works(c, "sd0", "d")
    forgets(c, "sd0", "d")
    with c.check("another unit of another target"):
        run_test(c, "sd1", "mode=write size=1M block=64K seed=11 --yes")
        assert outside(c, "e", 0, MIB) == pattern(11, 0, MIB)
    fails_always(c, "sd1", "e")
    reads_only(c, "cd0", "f")
    monitor = Monitor(c)
    media_change(c, monitor, "cd", "cd0", "g", 12)
    hangs(c, monitor, "sd0", "d")
    pulled_out(c, monitor, "sd0", "stick",
               {"driver": "scsi-hd", "id": "stick", "bus": "s.0", "scsi-id": 1}, "sd2")
    no_dma_blocked(c)
