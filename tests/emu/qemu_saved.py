"""The configuration that survives: a torn write, a reset of the machine, a crash of the control
partition."""
import re
import struct

from tests.emu import vdisk
from tests.emu.emulator import Qemu
from tests.emu.suite import qemu

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
