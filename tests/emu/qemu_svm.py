"""Guests on AMD-V, which QEMU emulates: the cases of the Bochs tier, run again on the other vendor."""
import re

from tests.emu import bochs_demo, bochs_firmware, bochs_guests, bochs_hostile, bochs_images, \
    bochs_network, bochs_virtio, guests, vdisk
from tests.emu.emulator import Qemu
from tests.emu.qemu_nics import wire
from tests.emu.suite import qemu

SVM = {"cpu": Qemu.WITH_SVM, "disk": "ahci"}


def again(name, body, **options):
    qemu(f"svm-{name}", **SVM, **options)(body)


def both(*bodies):
    """Several bodies of the Bochs tier in one boot."""
    def body(c):
        for each in bodies:
            each(c)
    return body


again("guests-1", both(bochs_guests.guests_1, bochs_guests.secrets), limit=300, cpus=1,
      files=bochs_guests.FILES_1)
def guests_2(c):
    with c.check("QEMU's first CPU is spared, and a VM cannot be pinned to it"):
        assert re.search(r"(?m)^0 +0 +spared ", c.command("host cpu")), c.command("host cpu")
        assert "E_NOENT" in c.command("vm create nowhere kernel=guests/tests/busy.elf mem=16M cpu.pin=0") + \
            c.command("vm start nowhere"), c.text[-500:]
        c.command("vm delete nowhere --yes")
    bochs_guests.guests_2(c, other=2)


again("guests-2", guests_2, limit=300, cpus=3,
      files=guests.files(*bochs_guests.GUESTS_2))
again("guests-smp", both(bochs_guests.guests_smp, bochs_guests.ipi_flood), limit=400, cpus=4,
      files=guests.files(*bochs_guests.SMP, "ipi_flood"))
again("guests-traced", bochs_guests.guests_traced, limit=300, cpus=1,
      files=guests.files(*bochs_guests.TRACED, "counter"))
again("guest-power", bochs_guests.guest_power, limit=300, cpus=1,
      files=guests.files("power_button", "reboot", "counter"))
again("containment", bochs_guests.containment, limit=300, cpus=1,
      files=guests.files("counter", *bochs_guests.CONTAINED))
again("survival", both(bochs_guests.survival, bochs_hostile.crash_points), limit=900, cpus=2,
      files=guests.files("counter", *bochs_hostile.CRASH_GUESTS))
again("dirty-log", bochs_guests.dirty_log, limit=300, cpus=2, files=guests.files("dirty"))


def work(c):
    with c.check("a guest counts what it does in windows of its own clock"):
        guests.start(c, "w", "work")
        assert bochs_guests.work_rate(c, "w", 2) > 0
        guests.remove(c, "w")


again("scheduler", both(bochs_guests.scheduler, work), limit=300, cpus=1,
      files=guests.files("busy", "work"))
again("demo", bochs_demo.demo, limit=300, cpus=2)
again("demo-two", bochs_demo.demo_two, limit=300, cpus=3,
      files=bochs_demo.config(bochs_demo.section("one", 1), bochs_demo.section("two", 2)))
again("demo-2cpu-1host", bochs_demo.demo_two_on_one, limit=300, cpus=1,
      files=bochs_demo.PAIR)
again("virtio", bochs_virtio.virtio, limit=400, cpus=2, files=vdisk.with_agent(bochs_virtio.FILES),
      data=bochs_virtio.DATA, extra=["-device", "virtio-blk-pci,drive=d,disable-legacy=on"])
again("firmware", bochs_firmware.to_shell, limit=400, cpus=3, files=bochs_firmware.FILES_4M,
      data={"d": bochs_firmware.UEFI / "ipxe.img"},
      extra=["-device", "virtio-blk-pci,drive=d,disable-legacy=on"] + bochs_firmware.SERVED)
again("network", bochs_network.network, limit=400, cpus=2, files=bochs_network.FILES_2,
      extra=wire() + ["-device", "virtio-net-pci,netdev=n,host_mtu=9000,romfile="])
# Here a CPU's clock counts its instructions, 4 ns each: a loaded machine does not show.
again("shape", bochs_network.shape, limit=400, cpus=1, files=bochs_network.FILES,
      extra=["-icount", "shift=2"])


@qemu("svm-images", **SVM, limit=400, cpus=2, files=bochs_images.FILES, image=bochs_images.IMAGE)
def images(c):
    bochs_images.images(c)
    bochs_images.pvh(c)


@qemu("svm-demo-4cpu", **SVM, limit=300, cpus=4, files=bochs_demo.config(bochs_demo.section("four", 4)))
def demo_four(c):
    with c.check("the banner says whose AMD-V it is"):
        assert re.search(r"Guests +AMD-V on 3 of 4 CPUs, nested in QEMU \(TCG\)", c.text), c.text[-2000:]
    with c.check("four vCPUs on three CPUs reach the shell", vital=True):
        bochs_demo.start(c, "four")
        bochs_demo.to_shell(c, "four", 4)
    with c.check("each of them does work"):
        text = bochs_demo.guest_command(
            c, "for c in 1 2 4 8; do taskset $c sh -c 'echo ran $(cut -d\" \" -f39 /proc/self/stat)'; done")
        assert re.findall(r"ran (\d)", text) == ["0", "1", "2", "3"], text
    with c.check("Linux has the rate of its TSC and the time from us, on every vCPU, and an x2APIC"):
        text = bochs_demo.guest_command(
            c, "cat /sys/devices/system/clocksource/clocksource0/current_clocksource; date +year-%Y; "
               "dmesg | grep -c 'x2apic enabled' | sed s/^/x2apic-/")
        assert "kvm-clock" in text and "x2apic-1" in text, text
        assert int(re.search(r"year-(\d+)", text)[1]) >= 2020, text
    with c.check("poweroff stops the VM"):
        c.send("poweroff -f\r")
        c.prompt(60)
        assert bochs_demo.state(c, "four") == "stopped"
