#!/usr/bin/python3
"""What the kernel can reach, by the call graph of build/kernel.elf: its disassembly, and for indirect
calls the source line in which they stand.

1. From a VM exit to the next entry, whatever the exit, a core waits for nothing but the lock of one
   vCPU or of one core's run queue: there is no global lock.  A wait is a loop with PAUSE, as in
   kernel/spinlock.h.  COLD is what is left out.
2. After the start only system calls allocate, and each that may is a row of
   tests/unit/test_syscall_memory.c, where its allocations fail in turn.
"""
import glob
import os
import re
import subprocess
import sys

os.chdir(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
IMAGE = "build/kernel.elf"
TEST = "tests/unit/test_syscall_memory.c"
THUNK = "__x86_indirect_thunk_"
EXITS = ("vmx_exit_entry", "speculation_exit_guarded", "svm_loop")
INTERRUPTS = ("idt_handle", "control_wait")  # what else runs after the start, beside system calls
# The end; system calls; and what SYS_EXIT does, where ring 3 has crashed.
NO_CALL = ("panic", "syscall_main", "restart")
# Calls that speculation.c patches in.
PATCHED = {"vmx_guard_fast": ["speculation_enter"], "vmx_guard_slow": ["speculation_enter"]}
# branches.S; the first one's address has another name, too.
JUMPS = {"branches_hvm": "run", "hvm_run": "run", "hvm_to_user": "to_user",
         "hvm_fill_page": "fill_page", "hvm_take_page": "take_page", "hvm_take_events": "take_events"}
# Not on the way of an exit that a guest makes at its will in any number.
COLD = {
    "panic": "the end",
    "log_write": "says what went wrong, by the lock of the log",
    "ioapic_mask": "a level-triggered line of a device of the host",
    "vtd_fault": "a device of the host reached what it must not",
    "serve_call": "a core was asked to run a function: start and end of VMs",
    "tick": "once a second",
}
MAY_WAIT = {
    "spin_lock(&v->lock);": "a vCPU's",
    "spin_lock(&c->runq_lock);": "a core's",
    "cpu_relax();@apic_send": "the core's own local APIC takes an IPI",
}


class Code:
    """A function, or what lies behind a label of assembly."""

    def __init__(self, address, name):
        self.address, self.name = address, name
        self.calls, self.thunks, self.pauses = [], [], []
        self.last = ""


INSTRUCTION = re.compile(r"^ *([0-9a-f]+):\t(\S+)(?: +(\S+)(?: +<([^>+]+)(?:\+0x[0-9a-f]+)?>)?)?")
BRANCH = re.compile(r"^(call|j[a-z]+)$")


def output(*command, **more):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, encoding="ascii", **more).stdout


def source(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def disassemble():
    """[Code], by address; calls are addresses, of jumps to other functions as well."""
    found = []
    for line in output("objdump", "-d", "--no-show-raw-insn", IMAGE).splitlines():
        head = re.match(r"^([0-9a-f]+) <(.*)>:$", line)
        if head:
            found.append(Code(int(head[1], 16), head[2]))
            continue
        i = INSTRUCTION.match(line)
        if not i or i[2].startswith("nop") or i[2] in ("cs", "data16", "xchg"):
            continue
        at, code = int(i[1], 16), found[-1]
        code.last = i[2]
        if i[2] == "pause":
            code.pauses.append(at)
        elif BRANCH.match(i[2]) and i[4]:
            if i[4].startswith(THUNK):
                code.thunks.append(at)
            else:
                code.calls.append(int(i[3], 16))
    return found


def lines_of(addresses):
    """{address: [(function, file, line)], innermost inlined function first}"""
    text = output("addr2line", "-e", IMAGE, "-a", "-i", "-f", input="\n".join(map(hex, addresses)))
    result, at = {}, None
    rows = text.splitlines()
    while rows:
        row = rows.pop(0)
        if row.startswith("0x"):
            at = result.setdefault(int(row, 16), [])
            continue
        path, _, line = rows.pop(0).partition(":")
        line = re.match(r"\d*", line)[0]
        at.append((row, "kernel/" + path.rpartition("/kernel/")[2], int(line or 0)))
    return result


class Graph:
    def __init__(self):
        self.codes = [c for c in disassemble() if not c.name.startswith(THUNK)]
        self.by_name, self.places = {}, lines_of([c.address for c in self.codes])
        for c in self.codes:
            self.by_name.setdefault(c.name, []).append(c)
        self.thunks = lines_of([t for c in self.codes for t in c.thunks])
        self.texts = {p: source(p) for p in glob.glob("kernel/*.c")}
        self.operations = self.rows(r"(?s)const struct hvm_ops hvm_\w+ = \{(.*?)\};", r"\.(\w+) = (\w+),")
        self.edges = {}
        for c, after in zip(self.codes, self.codes[1:] + [None]):
            self.edges[c] = self.targets(c, after)

    def function(self, name, path=None):
        """The function of that name; of one file, where several have one."""
        found = self.by_name.get(name, [])
        if len(found) > 1:
            found = [c for c in found if self.places[c.address][-1][1] == path]
        if len(found) != 1:
            sys.exit(f"{path or IMAGE}: there is no function {name}, or more than one")
        return found[0]

    def rows(self, table, row):
        """[(what a row is called, function)] of tables in the source."""
        return [(r[0], self.function(r[-1], path))
                for path, text in self.texts.items() for body in re.findall(table, text)
                for r in (m.groups() for m in re.finditer(row, body)) if r[-1] in self.by_name]

    def indirect(self, at):
        """Functions that the indirect call there may mean."""
        _, path, line = self.thunks[at][0]
        text = self.texts[path].splitlines()[line - 1]
        ops = re.findall(r"hvm->(\w+)\(", text)
        if ops:
            found = [f for name, f in self.operations if name in ops]
        elif "->fire(" in text:
            found = [f for _, f in self.rows(r"(?s)(.*)", r"(fire) = (\w+);")]
        elif "call.fn(" in text:
            found = [f for _, f in self.rows(r"(?s)(.*)", r"(cpu_call_others)\((\w+),")]
        elif "handlers[" in text or "->fn(" in text or "h->" in text:
            found = [f for _, f in Graph.handlers(self, path)]
        elif "table[number](" in text:
            found = [f for _, f in self.system_calls()]
        else:
            sys.exit(f"{path}:{line}: an indirect call that tests/check_calls.py does not know: {text}")
        if not found:
            sys.exit(f"{path}:{line}: no function for {text}")
        return found

    def handlers(self, path):
        text = re.search(r"(?s)handlers\[[^]]*\] = \{(.*?)\n\};", self.texts[path])[1]
        return [(n, self.function(n, path)) for n in set(re.findall(r"\b[a-z]\w+\b", text))
                if n in self.by_name]

    def system_calls(self):
        return self.rows(r"(?s)table\[SYS_COUNT\] = \{(.*?)\};", r"\[(SYS_\w+)\] = (\w+),")

    def at(self, address):
        low, high = 0, len(self.codes)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.codes[middle].address <= address else (low, middle)
        return self.codes[low]

    def targets(self, c, after):
        if c.name in JUMPS:
            return {f for name, f in self.operations if name == JUMPS[c.name]}
        found = {self.at(a) for a in c.calls} | {f for t in c.thunks for f in self.indirect(t)}
        found |= {self.function(n) for n in PATCHED.get(c.name, [])}
        if after and not re.match(r"(call|jmp|ret|iretq|ud2|hlt)$", c.last):
            found.add(after)
        return found - {c}

    def reach(self, roots, without=()):
        """{function: who calls it}"""
        found, todo = {r: None for r in roots}, list(roots)
        while todo:
            c = todo.pop()
            for target in self.edges[c]:
                if target not in found and target.name not in without:
                    found[target] = c
                    todo.append(target)
        return found

    def way(self, found, c):
        names = []
        while c:
            names.append(c.name)
            c = found[c]
        return " <- ".join(names)


def main():
    g, bad = Graph(), []
    exits = g.reach([g.function(n) for n in EXITS], COLD)
    waits = lines_of([p for c in exits for p in c.pauses]) if exits else {}
    for c in exits:
        for p in c.pauses:
            inner, outer = waits[p][0], waits[p][min(1, len(waits[p]) - 1)]
            text = g.texts.get(outer[1], "").splitlines()[outer[2] - 1].strip() if outer[2] else ""
            if text not in MAY_WAIT and f"{inner[0]}();@{outer[0]}" not in MAY_WAIT:
                bad.append(f"an exit waits in {outer[1]}:{outer[2]}: {text} ({g.way(exits, c)})")
    allocator = g.function("mem_alloc")
    calls = g.system_calls()
    others = g.reach([g.function(n) for n in EXITS + INTERRUPTS], NO_CALL)
    if allocator in others:
        bad.append(f"allocates outside of a system call: {g.way(others, allocator)}")
    tested = set(re.findall(r"\{(SYS_\w+), \{", source(TEST)))
    may = {name for name, f in calls if allocator in g.reach([f], ("panic", "sched_run"))}
    for name in sorted(may ^ tested):
        bad.append(f"{TEST}: {name} " + ("may allocate and has no row" if name in may else
                                         "has a row and does not allocate"))
    if bad or len(exits) < 100 or not may:
        print("\n".join(bad) or "that is no kernel")
        return 1
    print(f"{len(exits)} functions between exit and entry without a global lock; "
          f"{len(may)} of {len(calls)} system calls may allocate")
    return 0


if __name__ == "__main__":
    sys.exit(main())
