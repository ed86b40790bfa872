"""What the loader makes of a bad disk: it refuses by name, or leaves the bad part out."""
import os
import struct

from tests.emu.emulator import BUILD
from tests.emu.monitor import MONITOR, Monitor
from tests.emu.suite import qemu

SECONDS = 60


def image(name):
    with open(os.path.join(BUILD, "image", name), "rb") as f:
        return bytearray(f.read())


def first_segment_writable_and_executable():
    data = image("kernel.elf")
    headers, size = struct.unpack_from("<Q", data, 32)[0], struct.unpack_from("<H", data, 54)[0]
    for at in range(headers, headers + 4 * size, size):
        kind, flags = struct.unpack_from("<II", data, at)
        if kind == 1 and flags == 5:
            struct.pack_into("<I", data, at + 4, 7)
            return bytes(data)
    raise AssertionError("kernel.elf has no executable segment")


@qemu("loader-wx", prompt=False, files={"bulkhead/kernel.elf": first_segment_writable_and_executable})
def loader_wx(c):
    with c.check("refuses a writable and executable segment by the file's name"):
        c.expect(r"E_BAD_IMAGE: \\bulkhead\\kernel.elf is refused: a segment is both writable and "
                 r"executable. Try: ", SECONDS)


@qemu("loader-short", prompt=False,
      files={"bulkhead/control.elf": lambda: bytes(image("control.elf")[:5000])})
def loader_short(c):
    with c.check("refuses a truncated control image by its name"):
        c.expect(r"E_BAD_IMAGE: \\bulkhead\\control.elf is refused: .* outside the file. Try: ",
                 SECONDS)


@qemu("loader-no-kernel", prompt=False, files={"bulkhead/kernel.elf": None})
def loader_no_kernel(c):
    with c.check("names the kernel when it is missing"):
        c.expect(r"E_BAD_IMAGE: \\bulkhead\\kernel.elf is refused: there is no such file", SECONDS)


@qemu("loader-no-config", machine="q35", disk="virtio", files={"bulkhead/bulkhead.conf": None})
def loader_no_config(c):
    with c.check("said that there is no configuration"):
        assert r"no \bulkhead\bulkhead.conf, going on without" in c.text, c.last_lines()


@qemu("loader-many-files", machine="pc", disk="virtio",
      files={f"bulkhead/guests/many/{n}": str(n) for n in range(70)})
def loader_many_files(c):
    with c.check("names what it left out"):
        assert "E_TOO_MANY_FILES: " in c.text, c.last_lines()
        assert "64 modules" in c.text, c.last_lines()


@qemu("loader-map-grows", machine="pc", disk="ide", cpus=1, limit=200, data={"d": 40, "e": 8, "f": 8},
      extra=[*MONITOR, "-netdev", "user,id=n,restrict=on", "-netdev", "user,id=m,restrict=on", "-device",
             "virtio-net-pci,netdev=n,romfile=,addr=0x8", "-device", "virtio-blk-pci,drive=d,addr=0x9"])
def loader_map_grows(c):
    """What is in the ROM of a card that is put in works for the firmware's network, which lets go of
    memory in many pieces while the loader ends the firmware's services."""
    with c.check("a memory map that grows at the end does not keep it from booting"):
        monitor = Monitor(c)
        for driver, place in (("virtio-net-pci", {"netdev": "m", "addr": "0x5"}),
                              ("virtio-blk-pci", {"drive": "e", "addr": "0x6"}),
                              ("virtio-blk-pci", {"drive": "f", "addr": "0x7"})):
            answer = monitor.do("device_add", driver=driver, **place)
            assert "error" not in answer, answer
        c.send("host reboot --yes\r")
        assert c.expect(r"Type help for help|E_FIRMWARE: [^\n]*", 120)[0].startswith("Type"), c.text[-300:]
