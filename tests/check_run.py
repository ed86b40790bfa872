#!/usr/bin/python3
"""Which machine `make run` picks: tools/run.py's choose() on every kind of computer that it can meet."""
import contextlib
import io
import os
import sys
from unittest import mock

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [TOP, os.path.join(TOP, "tools")]
# pylint: disable=wrong-import-position
import run  # noqa: E402

# flags in /proc/cpuinfo, {file in /sys: content}, is there /dev/kvm, environment: kind of machine, words
INTEL, AMD = ("/sys/module/kvm_intel/parameters/nested", "/sys/module/kvm_amd/parameters/nested")
CASES = [
    ("vmx", {INTEL: "Y\n"}, True, {}, "kvm", "KVM: guests run on this machine's VT-x"),
    ("svm", {AMD: "1\n"}, True, {}, "kvm", "KVM: guests run on this machine's AMD-V"),
    ("vmx", {INTEL: "N\n"}, True, {}, "svm", "kvm_intel has nested=0"),
    ("svm", {AMD: "0\n"}, True, {}, "svm", "kvm_amd has nested=0"),
    ("svm", {}, True, {}, "svm", f"No such file or directory ({AMD})"),
    ("vmx", {INTEL: "Y\n"}, False, {}, "svm", "Permission denied (/dev/kvm)"),
    ("sse", {}, False, {}, "svm", "this machine's CPU offers neither VT-x nor AMD-V"),
    ("vmx", {INTEL: "Y\n"}, True, {"VTX": "1"}, "bochs", "VT-x in software"),
    ("sse", {}, False, {"VTX": "1"}, "bochs", "VT-x in software"),
    ("sse", {}, False, {"EMULATOR": "bochs"}, "bochs", "VT-x in software"),
    ("vmx", {INTEL: "Y\n"}, True, {"EMULATOR": "qemu"}, "svm", "EMULATOR=qemu"),
    ("sse", {}, False, {"EMULATOR": "kvm"}, "kvm", "KVM"),
]


def kind_of(machine):
    if isinstance(machine, run.Bochs):
        return "bochs"
    return "kvm" if machine.kvm else "svm" if machine.emulates_svm else "neither"


def pick(flags, files, kvm, environment):
    """(kind of machine, why) on such a computer."""
    def fake_open(path, *_):
        if path == "/proc/cpuinfo":
            return io.StringIO(f"flags\t\t: fpu {flags} nx\n")
        if path in files:
            return io.StringIO(files[path])
        raise FileNotFoundError(2, "No such file or directory", path)

    def fake_device(path, *_):
        if not kvm:
            raise PermissionError(13, "Permission denied", path)
        return os.dup(2)

    real_open = os.open
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(run, "open", fake_open, create=True))
        stack.enter_context(mock.patch.object(
            run.os, "open", lambda path, *a: fake_device(path) if path == "/dev/kvm" else real_open(path, *a)))
        stack.enter_context(mock.patch.dict(os.environ, environment))
        for name in {"EMULATOR", "VTX", "CPUS", "MEMORY"} - set(environment):
            os.environ.pop(name, None)
        machine, why = run.choose()
    return kind_of(machine), why


def main():
    failed = 0
    for flags, files, kvm, environment, kind, words in CASES:
        got, why = pick(flags, files, kvm, environment)
        if got != kind or words not in why:
            print(f"{flags} {files} kvm={kvm} {environment}: {got}, {why!r}; not {kind}, {words!r}")
            failed += 1
    print(f"{len(CASES)} machines")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
