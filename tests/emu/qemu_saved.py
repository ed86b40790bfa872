"""The configuration that survives: a torn write, a reset of the machine, a crash of the control
partition."""
import os
import pathlib
import re
import struct
import subprocess

from tests.emu import vdisk
from tests.emu.emulator import Qemu
from tests.emu.monitor import MONITOR, Monitor
from tests.emu.session import Session
from tests.emu.suite import ESP, IMAGE, put_files, qemu

SIZE = 262144


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


def copy(sequence, text, torn=False):
    """One of the two files, as storage/slots.c writes it."""
    rest = struct.pack("<QQ", sequence, len(text)) + bytes(32) + text.encode()
    head = b"BULKCONF" + struct.pack("<I", 1)
    whole = head + struct.pack("<I", crc32c(head + rest)) + rest
    if torn:
        whole = whole[:-3]
    return whole + bytes(SIZE - len(whole))


BEFORE = "vm set demo cpu=2\nnet auto off\nnet switch add old mtu=1500\nvm frobnicate x\n"

DISK = ["-device", "virtio-blk-pci,drive=d,disable-legacy=on"]
NET = [word for card in "nm" for word in ("-netdev", f"user,id={card},restrict=on", "-device",
                                          f"virtio-net-pci,netdev={card},romfile=")]
COUNTER = "kernel=guests/tests/counter.elf mem=16M nic0.switch=vsw0"


def kept(c):
    return c.command("host config show")


def reboot(c):
    c.send("host reboot --yes\r")
    c.expect("Type help for help", 120)
    c.prompt(60)


def address(c, vm):
    """Of a NIC whose VM says auto."""
    c.until("vm list", rf"{vm} +running", 60)
    return re.search(r"(?m)^address +(06:42:48(:[0-9a-f]{2}){3})$", c.command(f"net port show {vm}:0"))[1]


@qemu("saved", machine="q35", disk="ahci", cpu=Qemu.WITH_SVM, cpus=3, limit=300, extra=NET + DISK,
      data={"d": 40}, files=vdisk.test_guest("counter") | {
          "bulkhead/config.a": copy(5, BEFORE), "bulkhead/config.b": copy(6, BEFORE + "x" * 999, torn=True)})
def saved(c):
    with c.check("a write that was cut short: the last good configuration is used, and it says so"):
        assert re.search(r"E_CONFIG: a write .* cut short.*number 5", c.command("host log")), c.text
        assert re.search(r"(?m)^cpu +2$", c.command("vm show demo"))
        assert "old" in c.command("net switch list")
    with c.check("a line that fails is told and kept"):
        assert re.search(r"(?s)failed.*vm frobnicate x", kept(c)), kept(c)
        c.command("host config forget")
    with c.check("what is set is shown as the commands that make it again"):
        for line in ("net switch delete old", "net switch add vsw0 mtu=1500",
                     "net policy vsw0 promisc=accept forged=reject broadcast=1000",
                     "net switch set vsw0 snooping=off age=60s",
                     "net uplink add vsw0 nic1", "net uplink add vsw0 nic0",
                     "net team set vsw0 policy=lacp failback=no lacp=active timers=fast",
                     "net lldp vsw0 both", "net cdp vsw0 advertise",
                     "net port set nic0 vlans=7,20-29 native=20", "net port set nic1 native=none",
                     "net policy nic0 router=reject unknown=70",
                     "net shape nic0 avg=20mbit peak=40mbit burst=512k dir=in", "net kif add k0 switch=vsw0 vlan=7 mac=06:42:48:00:00:07 "
                     "ip=10.9.8.7/24 gw=10.9.8.1", "net route add 10.1.0.0/16 via=10.9.8.2",
                     "net dns set 10.9.8.3", "host cpu 1 mode=dedicated",
                     "vm create web kernel=guests/demo/vmlinuz mem=64M "
                     "'cmdline=console=ttyS0 a \"b\" c'", "vm set demo mem=128M cpu=1",
                     "net port set k0 isolate=on link=down", "vm set web nic0.switch=vsw0",
                     "net shape web:0 avg=10mbit peak=20mbit burst=256k",
                     "net policy web:0 macchange=accept", "net link web:0 delay=5ms loss=0.1%",
                     "net port set web:0 mode=trunk vlans=7,30-39 native=7",
                     f"vm create auto {COUNTER}", "vm start auto",
                     f"vm create early {COUNTER} autostart=on"):
            text = c.command(line)
            assert "E_" not in text, text
        text = kept(c)
        for line in ("net auto off", "net switch add vsw0 mtu=1500",
                     "net kif add k0 switch=vsw0 mac=06:42:48:00:00:07 ip=10.9.8.7/24 gw=10.9.8.1",
                     "net port set k0 mode=access vlan=7", "vm set demo mem=128M",
                     "net port set k0 link=down", "net shape web:0 avg=10mbit peak=20mbit burst=256k dir=out",
                     "net policy web:0 macchange=accept", "net link web:0 delay=5ms loss=0.1%",
                     "net switch set vsw0 snooping=off", "net switch set vsw0 age=60s",
                     "net team set vsw0 policy=lacp failback=no lacp=active timers=fast",
                     "net lldp vsw0 both", "net cdp vsw0 advertise",
                     "net port set nic0 mode=trunk vlans=7,20-29 native=20",
                     "net port set nic1 mode=trunk vlans=all native=none",
                     "net policy nic0 router=reject unknown=70",
                     "net shape nic0 avg=20000000 peak=40000000 burst=512000 dir=in",
                     "net port set web:0 mode=trunk vlans=7,30-39 native=7"):
            assert re.search("(?m)^" + re.escape(line) + "$", text), text
        assert text.index("net uplink add vsw0 nic1") < text.index("net uplink add vsw0 nic0"), text
    first = address(c, "auto")
    before = kept(c)
    with c.check("an address that a VM's NIC was given by itself is kept, also that of a VM that starts by itself"):
        assert f"nic0.mac={first}" in before, before
        number = int(re.search(r"(?m)^number +(\d+)", c.command("host config"))[1])
        reboot(c)
        c.until("host log", "autostart is done, VMs started: 1", 60)
        # Before any command that may change something, whose end would write too.
        assert re.search(rf"(?m)^number +{number + 1}$", c.command("host config")), c.text[-500:]
        early = address(c, "early")
        assert early != first
        now = kept(c)
        assert now.replace(f" nic0.mac={early}", "") == before, now + before
    before = now
    with c.check("after a reset of the machine all of it is there"):
        reboot(c)
        assert address(c, "early") == early
        assert "E_" not in c.command("vm start auto")
        assert address(c, "auto") == first
        assert kept(c) == before, kept(c) + before
        text = c.command("net team show vsw0")
        assert re.search(r"(?s)policy +lacp.*failback +no.*lacp +active, fast timers", text), text
        text = c.command("net port show nic0")
        assert re.search(r"(?s)vlan +trunk 7,20-29.*promisc +accept \(by the switch\).*forged +reject "
                         r"\(by the switch\).*router +reject\s", text), text
        assert re.search(r"(?m)^mem +128M$", c.command("vm show demo"))
        assert "a \"b\" c" in c.command("vm show web")
        assert re.search(r"k0 +vsw0 +10\.9\.8\.7/24 +10\.9\.8\.1 +static", c.command("net kif list"))
        assert re.search(r"(?m)^1 .*dedicated", c.command("host cpu"))
        assert re.search(r"(?m)^at start +read whole, \d+ lines, 0 failed", c.command("host config"))
    with c.check("after a crash of the control partition, too"):
        c.command("debug crash null", 60)
        assert kept(c) == before, kept(c) + before
        assert re.search(r"control restarts +1", c.command("host info"))
    with c.check("without autosave only `host config save` keeps a change"):
        c.command("host config autosave=off")
        c.command("vm set demo mem=64M")
        c.command("debug crash null", 60)
        assert re.search(r"(?m)^mem +128M$", c.command("vm show demo"))
        c.command("vm set demo mem=64M")
        assert "E_" not in c.command("host config save")
        c.command("debug crash null", 60)
        assert re.search(r"(?m)^mem +64M$", c.command("vm show demo"))
    with c.check("a VM gets a directory in a store"):
        assert "store ds1 on vd0" in c.command("store create ds1 vd0", 60)
        text = c.command("vm create found home=ds1:found kernel=guests/demo/vmlinuz mem=96M "
                         "nic0.switch=vsw0", 60)
        assert "E_" not in text, text
        assert "E_" not in c.command("vm start found", 60)
        found = address(c, "found")
        assert "E_" not in c.command("vm stop found", 60)
    with c.check("reset: the next start has nothing of it"):
        assert "E_" not in c.command("host config reset --yes")
        reboot(c)
        text = c.command("vm list")
        assert "web" not in text and "found" not in text, text
        assert kept(c).strip() == "", kept(c)
    with c.check("the store has it: what VMs there are is found again by looking"):
        c.until("disk list", "(?m)^vd0 ", 60)
        assert "store ds1" in c.command("store add vd0", 60)
        assert "ds1" in c.command("store list")
        text = c.command("store scan ds1", 60)
        assert "found" in text and "E_" not in text, text
        text = c.command("vm show found")
        assert re.search(r"(?m)^mem +96M", text) and found in text, text


# ---- its disk comes late, goes, and is another one -----------------------------------------------
LATE = ("vm set demo cpu=2 mem=80M\nnet auto off\nnet switch add old mtu=1500\n"
        "net kif add k0 switch=old mac=06:42:48:00:00:09 ip=10.9.8.7/24\nvm frobnicate x\n"
        "vm create web kernel=guests/demo/vmlinuz mem=64M\n")
OTHER = "vm create stranger kernel=guests/demo/vmlinuz mem=64M\n"


def files_of(text, number):
    return {"bulkhead/config.a": copy(number, text), "bulkhead/config.b": copy(number - 1, "vm list\n")}


def outside(c, disk):
    """Both copies, as they are on the medium."""
    return [subprocess.run(["mtype", "-i", c.machine.data_path(disk) + ESP, f"::/bulkhead/config.{which}"],
                           check=True, stdout=subprocess.PIPE).stdout for which in "ab"]


def count(c, pattern):
    return len(re.findall(pattern, c.command("host log")))


def plug(c, monitor, node, device):
    for _ in range(600):  # QEMU lets go of the file some time after the device is out
        answer = monitor.do("device_add", driver="usb-storage", drive=node, id=device, port="4")
        if "error" not in answer:
            return
        assert "lock" in str(answer) or "already" in str(answer) or "in use" in str(answer), answer
        c.pump(0.1)
    raise AssertionError(answer)


def pull(c, monitor, device, disk):
    monitor.do("device_del", id=device)
    c.until("host disk list", rf"(?m)^{disk} .* gone *$", 60)


def open_again(c, monitor, node):
    """The file of a stick that was pulled out, whose drive QEMU has forgotten."""
    answer = monitor.do("blockdev-add", **{"driver": "raw", "node-name": node, "file": {
        "driver": "file", "filename": c.machine.data_path("d")}})
    assert "error" not in answer, answer


def number(c):
    return int(re.search(r"(?m)^number +(\d+)", c.command("host config"))[1])


@qemu("saved-late", machine="q35", disk="usb", cpus=2, limit=300, extra=NET + MONITOR,
      data={"d": pathlib.Path(IMAGE)},
      files=vdisk.test_guest("counter") | {"bulkhead/config.a": None, "bulkhead/config.b": None})
def saved_late(c):
    put_files(c.machine.data_path("d"), files_of(LATE, 7))
    monitor = Monitor(c)
    with c.check("without a disk to keep it on, the first thing that is set says that it will be lost"):
        c.until("net kif list", r"k0 +vsw0", 60)
        assert count(c, "E_NO_HOME") == 0
        assert "E_" not in c.command("vm set demo mem=96M").replace("E_NO_HOME", "")
        c.command("vm create mine kernel=guests/demo/vmlinuz mem=32M")
        assert count(c, "E_NO_HOME: no disk has") == 1, c.text
        assert re.search(r"(?m)^kept on +nothing: .*lost at a reboot", c.command("host config"))
        assert "E_NO_HOME" in c.command("host config save")
    with c.check("a disk that comes late: what it keeps is run then, and it says so"):
        plug(c, monitor, "d", "late")
        c.until("host log", "came late: its 6 lines have been run now, 1 failed", 60)
        text = c.command("vm show demo")
        assert re.search(r"(?m)^cpu +2$", text) and re.search(r"(?m)^mem +96M$", text), text
        assert re.search(r"k0 +old +10\.9\.8\.7/24", c.command("net kif list")), c.text
        assert "vsw0" not in c.command("net switch list")
        assert count(c, "failed.*|frobnicate x`") >= 1
    with c.check("what was set meanwhile is kept beside it, and nothing that was kept is lost"):
        assert number(c) == 8
        text = outside(c, "d")
        assert text[0][64:].startswith(LATE.encode()), text[0][:300]
        for line in ("vm create mine", "vm create web", "vm set demo cpu=2 mem=96M", "vm frobnicate x",
                     "net kif add k0 switch=old mac=06:42:48:00:00:09 ip=10.9.8.7/24"):
            assert line.encode() in text[1], (line, text[1][:900])
    with c.check("it is pulled out: the next thing that is set says so"):
        pull(c, monitor, "late", "usb1")
        c.command("vm set demo mem=100M")
        assert count(c, "E_NO_HOME: disk usb1, .* is gone") == 1, c.text
        c.command("vm set demo mem=104M")
        assert count(c, "E_NO_HOME: disk usb1, .* is gone") == 1, c.text
        assert re.search(r"(?m)^kept on +nothing: the disk that keeps it is gone", c.command("host config"))
    with c.check("it is put back: it is found under its new name, and has what was set meanwhile"):
        open_again(c, monitor, "again")
        plug(c, monitor, "again", "late")
        c.until("host log", "configuration is kept on disk usb2 now", 60)
        c.until("host config", r"(?m)^kept on +usb2, .*\nnumber +9", 60)
        assert b"vm set demo cpu=2 mem=104M" in outside(c, "d")[0]
        assert "came late" not in c.command("host log").split("is kept on disk usb2 now")[1]
    with c.check("after a crash of the control partition it is read from there"):
        c.command("debug crash null", 60)
        assert re.search(r"(?m)^mem +104M$", c.command("vm show demo"))
        assert "web" in c.command("vm list") and "mine" in c.command("vm list")
    with c.check("another configuration in its place is neither run nor written over"):
        disk = re.search(r"(?m)^kept on +(usb\d)", c.command("host config"))[1]
        pull(c, monitor, "late", disk)
        put_files(c.machine.data_path("d"), files_of(OTHER, 50))
        before = outside(c, "d")
        open_again(c, monitor, "other")
        plug(c, monitor, "other", "late")
        c.until("host log", "keeps another configuration, number 50", 60)
        c.command("vm set demo mem=102M")
        assert outside(c, "d") == before
        assert "stranger" not in c.command("vm list")
    with c.check("unless it is told to"):
        assert "E_" not in c.command("host config save")
        assert number(c) == 51
        assert b"vm set demo cpu=2 mem=102M" in outside(c, "d")[1]


@qemu("saved-two", machine="q35", disk="ahci", cpus=1, limit=200, data={"d": pathlib.Path(IMAGE)},
      extra=["-device", "virtio-blk-pci,drive=d,disable-legacy=on"],
      files=files_of(OTHER.replace("stranger", "newer"), 9))
def saved_two(c):
    """The second disk is a boot medium, too, whose number is 0, and of which nothing is taken."""
    with c.check("of two disks with both files the higher number counts, and it says so"):
        assert re.search(r"more than one disk .*: (sd0 \(number 9\), vd0 \(number 0\)|vd0 \(number 0\), "
                         r"sd0 \(number 9\)); the highest number counts, that of sd0", c.command("host log")), c.text
        assert "newer" in c.command("vm list")
        assert re.search(r"(?m)^kept on +sd0, ", c.command("host config"))


def again_with(c, *devices):
    """The machine is switched off and on, with further devices: its disks hold what they held."""
    m = c.machine
    images = [m.disk, *(m.data_path(name) for name in m.data)]
    for image in images:
        os.link(image, image + ".kept")
    m.stop()
    c.close()
    for image in images:
        os.rename(image + ".kept", image)
    m.extra += [word for device in devices for word in ("-device", device)]
    m.start()
    Session.__init__(c, m)
    c.prompt(m.boot_seconds)


@qemu("saved-names", machine="pc", disk="ide", cpus=1, limit=300, data={"d": 40, "e": 8, "f": 8},
      extra=["-netdev", "user,id=n,restrict=on", "-netdev", "user,id=m,restrict=on", "-device",
             "virtio-net-pci,netdev=n,romfile=,mac=52:54:00:00:00:01,addr=0x8", "-device",
             "virtio-blk-pci,drive=d,disable-legacy=on,serial=MINE,addr=0x9"])
def saved_names(c):
    """Names of disks and cards go by the order in which they are found."""
    with c.check("a store is kept by its disk's serial number, an uplink with its card's address"):
        c.until("net kif list", r"k0 +vsw0", 60)
        for line in ("store create ds1 vd0", "net port set nic0 mode=trunk vlans=7 native=none"):
            text = c.command(line, 60)
            assert "E_" not in text, text
        text = kept(c)
        for line in ("store add serial:MINE", "net card nic0 mac=52:54:00:00:00:01", "net uplink add vsw0 nic0"):
            assert re.search("(?m)^" + line + "$", text), text
    with c.check("a card and disks are put in before them: the lines still mean what they meant"):
        again_with(c, "virtio-net-pci,netdev=m,romfile=,mac=52:54:00:00:00:02,addr=0x5",
                   "virtio-blk-pci,drive=e,disable-legacy=on,serial=TWICE,addr=0x6",
                   "virtio-blk-pci,drive=f,disable-legacy=on,serial=TWICE,addr=0x7")
        text = c.command("host disk list")
        assert re.search(r"(?m)^vd0 .* TWICE ", text) and re.search(r"(?m)^vd2 .* MINE ", text), text
        text = c.command("host nic list")
        assert re.search(r"(?m)^nic0 .* 52:54:00:00:00:01 ", text), text
        assert re.search(r"(?m)^nic1 .* 52:54:00:00:00:02 ", text), text
        assert "ds1" in c.command("store list")
        assert re.search(r"(?m)^at start +read whole, \d+ lines, 0 failed", c.command("host config"))
        assert re.search(r"(?s)vlan +trunk 7\s", c.command("net port show nic0")), c.text
    with c.check("what no disk or card has, or two have, is refused"):
        assert "E_NO_DISK: no disk has" in c.command("store add serial:OTHER")
        assert "E_NO_DISK: several disks" in c.command("store add serial:TWICE")
        assert "E_NO_NIC" in c.command("net card nic0 mac=52:54:00:00:00:09")
        assert "E_UPLINK_IN_USE" in c.command("net card nic0 mac=52:54:00:00:00:02")
        assert "E_INVALID" in c.command("net card eth0 mac=52:54:00:00:00:02")
        assert "E_" not in c.command("net card nic7 mac=52:54:00:00:00:02")
