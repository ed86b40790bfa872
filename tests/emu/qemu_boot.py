"""The image boots to the shell on every machine it must boot on."""
from tests.emu.suite import qemu


@qemu("q35-usb", machine="q35", disk="usb", cpus=4)
def q35_usb(c):
    with c.check("x"):
        print(c.command("help"))
