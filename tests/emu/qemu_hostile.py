"""QEMU tier: hostile system calls, on a machine without virtualisation and on AMD-V."""
from tests.emu import hostile_control
from tests.emu.suite import qemu


@qemu("sysfuzz", prompt=False, limit=400, machine="q35", cpus=2, files=hostile_control.FILES)
def sysfuzz(c):
    hostile_control.sysfuzz(c)


@qemu("svm-sysfuzz", prompt=False, limit=400, cpu="max,+svm,+npt", disk="ahci", cpus=2,
      files=hostile_control.FILES)
def svm_sysfuzz(c):
    hostile_control.sysfuzz(c)
