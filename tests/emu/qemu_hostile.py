"""QEMU tier: hostile system calls, on a machine without virtualisation and on AMD-V; a guest that
attacks, on AMD-V."""
from tests.emu import guests, hostile_control
from tests.emu.emulator import Qemu
from tests.emu.fuzz_guest import fuzz
from tests.emu.suite import qemu

ACTIONS = 40_000  # half a minute; Bochs makes a million


@qemu("sysfuzz", prompt=False, limit=400, machine="q35", cpus=2, files=hostile_control.FILES)
def sysfuzz(c):
    hostile_control.sysfuzz(c)


@qemu("svm-sysfuzz", prompt=False, limit=400, cpu="max,+svm,+npt", disk="ahci", cpus=2,
      files=hostile_control.FILES)
def svm_sysfuzz(c):
    hostile_control.sysfuzz(c)


@qemu("svm-fuzz", limit=900, cpu=Qemu.WITH_SVM, disk="ahci", cpus=1, files=guests.files("watch", "fuzz"))
def svm_fuzz(c):
    fuzz(c, ACTIONS)
