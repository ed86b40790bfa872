"""The image as a guest of Linux's KVM with nested VT-x, as under Proxmox: the host's own view, the
demo guest, and test guests of what KVM has to pass on.  Not part of `make test`: make test-nested."""
import re

from tests.emu import guests
from tests.emu.bochs_demo import guest_command, section, start, state, to_shell
from tests.emu.bochs_guests import ONE_CPU
from tests.emu.suite import nested

GUESTS = [g for g in ONE_CPU if not g.startswith("avx")]


@nested("kvm", limit=3600, files=guests.files(*GUESTS) | {"bulkhead/bulkhead.conf": section("demo", 1)})
def kvm(c):
    with c.check("host info says who is outside, and what it lets us use"):
        text = c.command("host info", 120)
        assert re.search(r"VT-x on 1 of 1 CPUs, nested in KVM", text), text
        for feature in ("EPT", "VPID", "unrestricted guest", "virtual-interrupt delivery"):
            assert re.search(rf"(?m)^{feature} +active", text), feature
    with c.check("Debian's kernel gets to its shell", vital=True):
        start(c, "demo")
        to_shell(c, "demo", 1)
        assert guest_command(c, "echo $((6 * 7))").strip() == "42"
    with c.check("and powers off"):
        c.send("poweroff -f\r")
        c.prompt(120)
        assert state(c, "demo") == "stopped"
    for guest in GUESTS:
        with c.check(guest):
            guests.start(c, guest, guest)
            guests.wait_verdict(c, guest, guest, guests.case(guest)["seconds"] * 10)
            guests.remove(c, guest)
