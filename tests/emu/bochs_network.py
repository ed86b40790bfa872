"""Debian's virtio network driver on a virtual switch, two guests that talk, on VT-x; qemu_svm.py
runs the same on AMD-V."""
import re

from tests.emu.bochs_demo import back_in_shell, config, guest_command, leave, section, start, \
    to_shell
from tests.emu.suite import bochs

NIC = "nic0: switch=vsw0\n"
FILES = config(section("one", 1) + NIC, section("two", 1) + NIC)


def address(c, vm, ip):
    """Boots a guest and gives its card an address; leaves its console."""
    start(c, vm)
    to_shell(c, vm, 1)
    guest_command(c, f"ip link set eth0 up; ip addr add {ip}/24 dev eth0")
    guest_command(c, "until grep -q up /sys/class/net/eth0/operstate; do sleep 1; done", 60)
    text = guest_command(c, "cat /sys/class/net/eth0/address")
    mac = re.search(r"06:42:48(:[0-9a-f]{2}){3}", text)
    assert mac, text
    leave(c)
    return mac[0]


def ping(c, vm, ip, count=3, size=56, wait=10):
    """How many of the echoes came back."""
    back_in_shell(c, vm)
    text = guest_command(c, f"ping -c {count} -W {wait} -s {size} {ip}", 120)
    leave(c)
    return int(re.search(r"(\d+) packets received", text)[1])


@bochs("network", cpus=1, limit=900, files=FILES)
def network(c):
    with c.check("a NIC on a switch that is not there is refused", vital=True):
        text = c.command("vm start one")
        assert "E_NOENT: nic0: there is no switch vsw0" in text, text
        c.command("net switch add vsw0")
    with c.check("two guests get cards with addresses of their own", vital=True):
        macs = {address(c, "one", "10.9.0.1"), address(c, "two", "10.9.0.2")}
        assert len(macs) == 2, macs
    with c.check("they reach each other, with small and with full frames"):
        assert ping(c, "one", "10.9.0.2") == 3
        assert ping(c, "two", "10.9.0.1", size=1472) == 3
    with c.check("TCP carries a file, whole"):
        back_in_shell(c, "two")
        guest_command(c, "nc -l -p 7 >/tmp/got & true")
        leave(c)
        back_in_shell(c, "one")
        guest_command(c, "seq 1 20000 >/tmp/sent; nc -w 30 10.9.0.2 7 </tmp/sent", 120)
        sent = guest_command(c, "md5sum </tmp/sent").split()[0]
        leave(c)
        back_in_shell(c, "two")
        assert guest_command(c, "md5sum </tmp/got").split()[0] == sent
        leave(c)
    with c.check("the switch knows both ports and their addresses"):
        text = c.command("net port list")
        assert "one:0" in text and "two:0" in text, text
        text = c.command("net mac list vsw0")
        assert all(mac in text for mac in macs), text
    with c.check("in another VLAN a guest is out of reach"):
        c.command("net port set two:0 vlan=20")
        assert ping(c, "one", "10.9.0.2", wait=1) == 0
        c.command("net port set two:0 vlan=0")
        assert ping(c, "one", "10.9.0.2") == 3
    with c.check("a stopped guest leaves no port behind"):
        c.command("vm stop one")
        c.command("vm stop two")
        c.until("vm list", r"two +stopped", 30)
        assert "one:0" not in c.command("net port list")
