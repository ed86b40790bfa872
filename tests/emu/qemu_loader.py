"""What the loader makes of a bad disk: it refuses by name, or leaves the bad part out."""
import os
import struct

from tests.emu.emulator import BUILD
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
