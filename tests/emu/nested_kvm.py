"""The image as a guest of Linux's KVM with nested VT-x, as under Proxmox: the host's own view, the
demo guest, and the test guests of one CPU.  Not part of `make test`: make test-nested."""
import re

from tests.emu import guests
from tests.emu.bochs_demo import guest_command, section, start, state, to_shell
from tests.emu.bochs_guests import ONE_CPU, run_guests
from tests.emu.suite import nested

# Not of KVM under Bochs: `features`, since KVM makes what is written to SYSENTER_ESP and _EIP canonical,
# where a processor answers #GP (arch/x86/kvm/x86.c, __kvm_set_msr()); and `doorbell`, which spins with
# IF=0 for what a timer brings: KVM has nested preemption timers by an interrupt of its own, and that
# does not exit in Bochs from a guest with IF=0 (docs/testing.md).
NOT_THERE = ("features", "doorbell")
GUESTS = [g for g in ONE_CPU if not g.startswith("avx") and g not in NOT_THERE]
FILES = guests.files(*GUESTS) | {"bulkhead/bulkhead.conf": section("demo", 1)}


@nested("kvm", limit=3600, files=FILES)
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
    run_guests(c, GUESTS)
