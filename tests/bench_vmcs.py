"""`make bench`: what an operation costs a hypervisor that is itself a guest: each VMREAD and VMWRITE
of a field that the outer one does not shadow, VMPTRLD, VMCLEAR, INVEPT and INVVPID is an exit to it.

Bochs' debugger traces one operation of tests/guests/bench.c, with registers, from each VM exit until
the guest goes on; nothing is estimated.  Needs Debian 13's Bochs.
"""
import re

from tests.emu.debugger import Traced, address_of, symbols, where

# Encodings of the fields that KVM shadows (arch/x86/kvm/vmx/vmcs_shadow_fields.h of Linux; numbers
# by SDM 3D appendix B).  A VMWRITE of the others among these exits.
WRITABLE = {
    0x0810, 0x0812, 0x0c08, 0x0c0a,                                  # interrupt status, PML, FS, GS
    0x4002, 0x4004, 0x4016, 0x4018, 0x401a, 0x401c, 0x4824, 0x482e,  # controls, event, timer
    0x6000, 0x6004, 0x6006, 0x6800, 0x6802, 0x6804, 0x681c, 0x681e, 0x6820,
    0x6c06, 0x6c08,
}
READABLE = WRITABLE | {
    0x2400, 0x2401, 0x4402, 0x4404, 0x4406, 0x4408, 0x440a, 0x440c, 0x4816, 0x4818, 0x6400, 0x640a,
}
OTHERS = ("vmptrld", "vmclear", "invept", "invvpid")

# operation@setting: (name of its rows, whether it may touch no other field)
PATHS = {
    "cpuid": ("cpuid", True),
    "timer-halted": ("hlt", True),  # arms the timer, halts, is woken: both exits and what lies between
    "timer": ("timer", True),
    "doorbell@rng=yes": ("doorbell", True),  # with the control partition's look at the queue
    "port": ("port", False),
    "ipi": ("ipi", False),          # the other vCPU, on the same CPU, and back
}

GUEST_END = 0x400000  # kernel and control partition lie above
STEPS = 2000
REGISTER = re.compile(r"(?m)^(r\w+) *: ([0-9a-f]{8})_([0-9a-f]{8})")
STEP = re.compile(r"\(0\)\.\[\d+\] \[0x[0-9a-f]+\] [0-9a-f]{4}:([0-9a-f]{16}) \([^)]*\): "
                  r"(vmread|vmwrite|vmptrld|vmclear|invept|invvpid)\b *(.*?) +;")


def accesses(text):
    """[(instruction, field or None)] of a trace with registers, in order."""
    result, at = [], 0
    for m in STEP.finditer(text):
        kind, operands = m.group(2), [o.strip() for o in m.group(3).split(",")]
        field = None
        if kind in ("vmread", "vmwrite"):
            registers = REGISTER.findall(text, text.rfind("CPU0:", at, m.start()), m.start())
            values = {name: int(high + low, 16) for name, high, low in registers}
            field = values[operands[-1] if kind == "vmread" else operands[0]]
        result.append((kind, field))
        at = m.start()
    return result


def one_operation(machine, exit_entry, operation):
    """(accesses, exits) from here to the next arrival at `operation`."""
    d, found, exits = machine.debugger, [], 0
    at = where(d.command("c"))
    while at != operation:
        d.command("trace-reg on")
        d.command("trace on")
        while at != operation and (at is None or at >= GUEST_END):
            exits += at == exit_entry
            text = d.command(f"s {STEPS}")
            found += accesses(text)
            at = where(text)
        d.command("trace off")
        d.command("trace-reg off")
        if at != operation:
            at = where(d.command("c"))
    return found, exits


def unshadowed(found):
    return [(kind, field) for kind, field in found
            if kind in OTHERS or field not in (READABLE if kind == "vmread" else WRITABLE)]


def rows(verbose=False):
    """[(name, value, unit, target or None)]"""
    table = symbols()
    exit_entry = address_of(table, "vmx_exit_entry")
    result = []
    with Traced("bench-vmcs") as machine:
        for path, (name, strict) in PATHS.items():
            operation, _, setting = path.partition("@")
            address = address_of(table, "op_" + operation.replace("-", "_"))
            machine.run_until(operation, address, **dict([setting.split("=")] if setting else []))
            machine.breakpoint(exit_entry)
            found, exits = one_operation(machine, exit_entry, address)
            machine.finish()
            count = {kind: sum(k == kind for k, _ in found)
                     for kind in ("vmread", "vmwrite", *OTHERS)}
            outside = unshadowed(found)
            if verbose:
                print(name, exits, count, [(k, hex(f or 0)) for k, f in outside])
            result.append((f"nested.{name}.exits", exits, "exits/op", None))
            result += [(f"nested.{name}.{k}", count[k], "per op", None)
                       for k in ("vmread", "vmwrite", "vmptrld", "invept")]
            result.append((f"nested.{name}.unshadowed", len(outside), "per op", 0 if strict else None))
    return result


if __name__ == "__main__":
    for row in rows(verbose=True):
        print(*row, sep="\t")
