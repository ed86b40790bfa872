"""Bochs tier: the test guests of tests/guests, one verdict each; several in one boot."""
import os
import re

from tests.emu import bochs_virtio, guests
from tests.emu.guests import case
from tests.emu.suite import bochs

VERDICTS = [g for g in guests.names() if case(g)["ends"] == "verdict" and g != "bench"]
ONE_CPU = [g for g in VERDICTS if case(g)["cpus"] == 1]
MORE_CPUS = [g for g in VERDICTS if case(g)["cpus"] == 2]


def run_guests(c, wanted):
    only = os.environ.get("GUESTS", "").split()
    for guest in [g for g in wanted if not only or g in only]:
        with c.check(guest):
            guests.start(c, guest, guest)
            guests.wait_verdict(c, guest, guest, case(guest)["seconds"] * 3)
            guests.remove(c, guest)


# A module of a kernel, and a file that is no kernel.
FILES_1 = guests.files(*ONE_CPU) | {"bulkhead/guests/tests/module": "MOD!"}


def mitigation(c, name):
    found = re.search(rf"(?m)^{name} +(\S+) *(.*)$", c.command("host info"))
    return found[1] if found else None


@bochs("guests-1", limit=600, cpus=1, files=FILES_1)
def guests_1(c):
    with c.check("a CPU without enhanced IBRS has retpolines"):
        assert mitigation(c, "retpolines") == "active"
    run_guests(c, [g for g in ONE_CPU if not g.startswith("avx")])
    for protocol in ("pvh", "multiboot", "multiboot2"):
        with c.check(f"one kernel by {protocol}, with a module"):
            guests.start(c, protocol, "multiboot", protocol=protocol, initrd="guests/tests/module",
                         cmdline=f'"{protocol} module"')
            guests.wait_verdict(c, protocol, "multiboot")
            assert f'booted by {protocol}: "{protocol} module"' in guests.console(c, protocol)
            guests.remove(c, protocol)
    with c.check("what is no kernel is refused by name"):
        for protocol, why in (("auto", "neither a Linux bzImage nor an ELF nor a multiboot file"),
                              ("multiboot", "the file has no multiboot header"),
                              ("pvh", "it is not an ELF file")):
            guests.must(c, f"vm create bad mem=16M kernel=guests/tests/module protocol={protocol}")
            text = c.command("vm start bad")
            assert "E_IMAGE" in text and why in text, text
            guests.must(c, "vm delete bad --yes")


GUESTS_2 = [*MORE_CPUS, "avx_a", "avx_none", "hlt_timer", "busy", "bench_io", "hostile_blk", "hostile_net"]


def done(c, vm):
    """Waits until bench_io has said its figures; its exits by I/O then."""
    guests.wait(c, f"{vm} is done", lambda: "BENCH" in guests.console(c, vm) and
                re.search(r"BENCH \w+ least .* of \d+|VERDICT", guests.console(c, vm)), 120)
    assert "VERDICT" not in guests.console(c, vm), guests.console(c, vm)
    counts = guests.exits(c, vm)
    return counts.get("io", 0) + counts.get("mmio", 0)


def sent(c, bursts, switch="polled", while_running=None):
    """Bursts of frames from guest to guest; the sender's exits by I/O, doorbells among them."""
    guests.start(c, "rx", "bench_io", nic0=f"switch={switch}", cmdline='"receive 64 32"')
    guests.wait(c, "the receiver", lambda: "ready" in guests.console(c, "rx"))
    guests.start(c, "tx", "bench_io", nic0=f"switch={switch}", cmdline=f'"send 64 32 {bursts}"')
    if while_running:
        while_running()
    exits = done(c, "tx")
    guests.remove(c, "tx")
    guests.remove(c, "rx")
    return exits


def read(c, requests):
    guests.start(c, "io", "bench_io", disk0="device=polled", cmdline=f'"disk 4 {requests}"')
    exits = done(c, "io")
    guests.remove(c, "io")
    return exits


def mode(c, cpu):
    return re.search(rf"(?m)^{cpu} .* (\w+)\s*$", c.command("host cpu"))[1]


def polling(c, other):
    """A control partition that polls on CPU 1; `other` is for guests."""
    with c.check("a polling control partition: what may not be is refused"):
        assert "E_NOENT" in c.command("host cpu 7 mode=polling")
        guests.start(c, "pinned", "busy", cpu_pin="1")
        assert "E_STATE: cpu.pin of VM pinned" in c.command("host cpu 1 mode=polling")
        guests.must(c, "vm stop pinned")
        guests.start(c, "x", "busy")
        guests.must(c, "host cpu 1 mode=polling")
        assert mode(c, other) == "shared" and mode(c, 1) == "polling"
        assert "E_STATE: cpu.pin of VM pinned" in c.command("vm start pinned")
        assert "E_STATE" in c.command(f"host cpu {other} mode=dedicated")
        guests.must(c, "vm delete pinned --yes")
    with c.check("a guest that ran on that CPU goes on on the other"):
        before = guests.run_ms(c, ["x"])["x"]
        guests.wait(c, "it runs", lambda: guests.run_ms(c, ["x"])["x"] > before + 100)
        guests.remove(c, "x")
    guests.must(c, "net switch add polled")
    guests.must(c, "disk ram polled size=1M")
    with c.check("no driver rings a doorbell for what it sends, however much that is"):
        exits = [sent(c, bursts) for bursts in (30, 90)]
        assert exits[0] == exits[1], exits
    with c.check("nor for requests to a disk"):
        reads = [read(c, requests) for requests in (32, 96)]
        assert reads[0] == reads[1], reads
    with c.check("after a crash it polls again, and a guest goes on"):
        guests.start(c, "x", "busy")
        before = guests.run_ms(c, ["x"])["x"]
        c.command("debug crash null")
        guests.wait(c, "it is back", lambda: re.search("control restarts +1", c.command("host info")))
        assert mode(c, 1) == "polling"
        guests.wait(c, "it runs", lambda: guests.run_ms(c, ["x"])["x"] > before + 100)
        guests.remove(c, "x")
        guests.must(c, "net switch add again")  # what nobody keeps is gone
    with c.check("switched off and on and off while guests send, it serves them on"):
        def switch():
            for wanted in ("shared", "polling", "shared"):
                guests.must(c, f"host cpu 1 mode={wanted}")
                assert mode(c, 1) == wanted
        sent(c, 200, "again", switch)
        now = sent(c, 30, "again")
        assert now > exits[0], (now, exits)  # doorbells
        guests.must(c, "net switch delete again")


@bochs("guests-2", limit=600, cpus=2, files=guests.files(*GUESTS_2))
def guests_2(c, other=0):
    """CPU 1 and `other` are for guests."""
    run_guests(c, MORE_CPUS)
    bochs_virtio.hostile(c)  # here rings change while they are read
    # On one CPU the two states take turns in the same registers.
    for cpus in (f"{other}", f"{min(1, other)}-{max(1, other)}"):
        with c.check(f"a guest with AVX beside one without, on CPU {cpus}"):
            for guest in ("avx_a", "avx_none"):
                guests.start(c, guest, guest, cpu_pin=cpus)
            for guest in ("avx_a", "avx_none"):
                guests.wait_verdict(c, guest, guest, 90)
                guests.remove(c, guest)
    with c.check("a dedicated CPU is for VMs that name it"):
        assert "E_STATE" not in c.command("host cpu 1 mode=dedicated")
        assert "E_STATE" in c.command(f"host cpu {other} mode=dedicated")
        assert "E_NOENT" in c.command("host cpu 7 mode=dedicated")
        for name in ("x", "y"):
            guests.start(c, name, "busy")
        guests.start(c, "own", "busy", cpu_pin="1")
        got = shares(c, ["x", "y", "own"], 4)
        # On two CPUs x and y would have twice what `own` has; one CPU is all they have.
        assert (got["x"] + got["y"]) / got["own"] <= 1.3, got
        guests.must(c, "host cpu 1 mode=shared")
        guests.remove(c, "own")
        got = shares(c, ["x", "y"], 4)
        assert 0.6 <= got["x"] / got["y"] <= 1.6, got  # one of them shares with the control partition
        for name in ("x", "y"):
            guests.remove(c, name)
    polling(c, other)
    with c.check("a guest may have more vCPUs than the host has CPUs"):
        guests.start(c, "four", "pause_spin", cpu=4)
        guests.wait_verdict(c, "four", "pause_spin", 120)
        guests.remove(c, "four")


SECRETS = ["secret", "seeker"]


@bochs("secrets", limit=300, cpus=1, files=guests.files(*SECRETS))
def secrets(c):
    with c.check("memory of a deleted guest is zero when another gets it"):
        for guest in ("secret", "seeker", "secret", "secret", "seeker"):
            guests.start(c, guest, guest)
            guests.wait_verdict(c, guest, guest, 60)
            guests.remove(c, guest)


@bochs("speculation", limit=300, cpus=2, model="corei7_icelake_u", files=guests.files("speculation"))
def speculation(c):
    with c.check("what the CPU needs and offers is in use"):
        assert mitigation(c, "retpolines") == "unused"  # it has enhanced IBRS
        for name in ("IBRS in the host", "IBPB between VMs", "return stack filled at exit",
                     "IBRS, STIBP, SSBD for guests"):
            assert mitigation(c, name) == "active", name
    with c.check("a guest has IA32_SPEC_CTRL and IA32_PRED_CMD"):
        for name in ("one", "two"):
            guests.start(c, name, "speculation")
        for name in ("one", "two"):
            guests.wait_verdict(c, name, "speculation", 60)
            assert "not offered" not in guests.console(c, name)
            guests.remove(c, name)


@bochs("speculation-off", limit=300, cpus=1, model="corei7_icelake_u",
       files=guests.files("speculation") | {"bulkhead/bulkhead.conf": "mitigations: off\n"})
def speculation_off(c):
    with c.check("mitigations: off switches them off"):
        for name in ("retpolines", "IBRS in the host"):
            assert mitigation(c, name) == "unused", name
    with c.check("a guest is offered none of it"):
        guests.start(c, "one", "speculation")
        guests.wait_verdict(c, "one", "speculation", 60)
        assert "not offered" in guests.console(c, "one")
        guests.remove(c, "one")


# With CET that model panics in the firmware on Bochs 3.0 as Debian has it.
@bochs("speculation-all", limit=300, cpus=1, model='tigerlake, exclude_features="cet"',
       files=guests.files("speculation", "cpuid") | {"bulkhead/bulkhead.conf": "mitigations: all\n"})
def speculation_all(c):
    with c.check("mitigations: all uses what the CPU has, needed or not"):
        for name in ("retpolines", "IBRS in the host", "return stack filled at exit",
                     "L1D flush before entry", "VERW before entry"):
            assert mitigation(c, name) == "active", name
    for guest in ("speculation", "cpuid"):
        with c.check(f"{guest} runs with all of it"):
            guests.start(c, guest, guest)
            guests.wait_verdict(c, guest, guest, 60)
            guests.remove(c, guest)


def storm(c, guest, thousands, seconds, **options):
    guests.start(c, "storm", guest, cmdline=str(thousands), **options)
    guests.wait_verdict(c, "storm", guest, seconds)
    said = re.search(r"(\d+) interrupts in (\d+) ms", guests.console(c, "storm"))
    assert int(said[1]) >= thousands * 1000, said[0]
    print("        " + said[0], flush=True)
    guests.remove(c, "storm")


SMP = ["ipi_storm", "shootdown", "destinations"]


@bochs("guests-smp", limit=600, cpus=2, files=guests.files(*SMP))
def guests_smp(c):
    for guest in ("shootdown", "destinations"):
        with c.check(f"{guest}: four vCPUs on two CPUs"):
            guests.start(c, guest, guest, apicv="off")
            guests.wait_verdict(c, guest, guest, 180)
            guests.remove(c, guest)
    thousands = 10 if c.machine.emulates_svm else 100
    with c.check(f"{thousands} thousand interrupts between CPUs, none lost, none twice"):
        storm(c, "ipi_storm", thousands, 300, apicv="off")


@bochs("ipi-flood", limit=900, cpus=1, files=guests.files("ipi_flood"))
def ipi_flood(c):
    thousands = 20 if c.machine.emulates_svm else 10_000
    with c.check(f"{thousands} thousand interrupts between two vCPUs, none lost, none twice"):
        storm(c, "ipi_flood", thousands, 600)


TRACED = ["events", "nested", "debug", "realmode", "paging32", "permissions", "cr", "xsave", "nmi",
          "every_privileged", "triple_fault"]


@bochs("guests-traced", limit=600, cpus=1, files=guests.files(*TRACED, "counter"))
def guests_traced(c):
    """Exceptions that exit and go on must not be told from others."""
    for guest in TRACED[:-1]:
        with c.check(f"{guest} with trace.exceptions"):
            # docs/testing.md: virtual interrupts that meet an exception
            guests.start(c, guest, guest, trace_exceptions="on",
                         apicv="off" if guest == "nested" else "on")
            guests.wait_verdict(c, guest, guest, case(guest)["seconds"] * 3)
            guests.remove(c, guest)
    with c.check("a triple fault is one, and the log has what led to it"):
        guests.start(c, "three", "triple_fault", trace_exceptions="on")
        guests.wait(c, "it is stopped", lambda: guests.stopped(c, "three"), 30)
        log = c.command("vm log three")
        assert re.search("(?i)triple fault", log) and re.search(r"last: +exception \d+", log), log
        guests.remove(c, "three")
    with c.check("trace.exceptions while it runs"):
        guests.start(c, "on", "counter")
        guests.wait(c, "it counts", lambda: guests.counter(c, "on") > 0)
        assert "none noted" in guests.must(c, "vm stats on --exceptions")
        guests.must(c, "vm set on trace.exceptions=on")
        before = guests.counter(c, "on")
        guests.wait(c, "it counts on", lambda: guests.counter(c, "on") > before + 2)
        guests.must(c, "vm set on trace.exceptions=off")
        guests.remove(c, "on")


@bochs("guest-power", limit=300, cpus=1, files=guests.files("power_button", "reboot", "counter"))
def guest_power(c):
    with c.check("vm shutdown presses the power button"):
        guests.start(c, "button", "power_button")
        guests.wait(c, "it waits", lambda: "waiting" in guests.console(c, "button"))
        guests.must(c, "vm shutdown button")
        guests.wait_verdict(c, "button", "power_button")
        guests.wait(c, "it powers off", lambda: guests.stopped(c, "button"))
        guests.remove(c, "button")
    for how in ("cf9", "acpi", "keyboard"):
        with c.check(f"a guest resets itself by {how}"):
            guests.start(c, how, "reboot", cmdline=how)
            guests.wait(c, "third start", lambda: len(
                re.findall(f"reset by {how}", guests.console(c, how))) >= 3)
            guests.remove(c, how)
    with c.check("vm reset starts a guest anew"):
        guests.start(c, "again", "counter")
        guests.wait(c, "it counts", lambda: guests.counter(c, "again") > 2)
        guests.must(c, "vm reset again")
        guests.wait(c, "it counts anew", lambda: len(
            re.findall(r"count 1\b", guests.console(c, "again"))) == 2)
    with c.check("vm pause holds a guest, vm resume lets it go on"):
        guests.must(c, "vm pause again")
        before = guests.counter(c, "again")
        c.pump(3)
        assert guests.counter(c, "again") == before, "it counts while paused"
        guests.must(c, "vm resume again")
        guests.wait(c, "it counts on", lambda: guests.counter(c, "again") > before + 2)
        guests.remove(c, "again")


CONTAINED = {
    # guest: what `vm log` must say, None: it goes on until it is stopped
    "triple_fault": r"(?i)triple fault",
    "jump_nowhere": r"(?i)d0000000",
    "every_privileged": r"",
    "write_unmapped": r"unclaimed page c0000000",
    "entry_state": r"",
    "flood_uart": None,
    "spin_cli": None,
}


def goes_on(c, before):
    """The neighbour counts further than it had."""
    guests.wait(c, "the neighbour counts on", lambda: guests.counter(c, "neighbour") > before + 3, 30)


@bochs("containment", limit=600, cpus=1, files=guests.files("counter", *CONTAINED))
def containment(c):
    with c.check("the neighbour counts"):
        guests.start(c, "neighbour", "counter")
        guests.wait(c, "first count", lambda: guests.counter(c, "neighbour") > 0, 30)
    for guest, says in CONTAINED.items():
        with c.check(f"{guest} hurts nobody"):
            before = guests.counter(c, "neighbour")
            guests.start(c, guest, guest)
            if case(guest)["ends"] == "stop":
                guests.wait(c, f"{guest} is stopped", lambda: guests.stopped(c, guest), 30)
                log = c.command(f"vm log {guest}")
                assert re.search(says, log), f"`vm log` does not say {says!r}: {log}"
                assert re.search(r"5ca1ab1e", log), f"`vm log` has no register RBX: {log}"
                assert re.search(r"(?i)rip", log), f"`vm log` has no RIP: {log}"
            elif says is None:
                goes_on(c, before)
                assert not guests.stopped(c, guest), "it was stopped"
                before = guests.counter(c, "neighbour")
            else:
                guests.wait_verdict(c, guest, guest, 90)
                assert re.search(says, c.command(f"vm log {guest}")), f"`vm log` lacks {says}"
            goes_on(c, before)
            guests.remove(c, guest)
    with c.check("the host is as it was"):
        assert not re.search(r"(?i)panic|\berror\b", c.command("host log")), c.command("host log")
        assert re.search(r"neighbour +.*running", c.command("vm list"))


STARTS = 1000


@bochs("survival", limit=900, cpus=1, files=guests.files("counter", "flood_uart"))
def survival(c):
    """The control partition dies; the guests do not notice more than a pause."""
    with c.check("two guests run: one counts, one keeps the control partition busy"):
        guests.start(c, "neighbour", "counter")
        guests.start(c, "flood", "flood_uart")
        goes_on(c, guests.counter(c, "neighbour"))
    for count, kind in enumerate(("null", "assert", "write-kernel", "stack", "null"), 1):
        with c.check(f"debug crash {kind}: both guests go on"):
            before = guests.counter(c, "neighbour")
            text = c.command(f"debug crash {kind}")
            assert re.search(rf"control restarts +{count}\b", c.command("host info")), text
            goes_on(c, before)
            listed = c.command("vm list")
            assert len(re.findall(r"(neighbour|flood) +running", listed)) == 2, listed
    with c.check("and can be stopped and deleted; no memory is lost"):
        for name in ("neighbour", "flood"):
            guests.remove(c, name)
        assert re.search(r"(?i)guests +0|0 in guests", c.command("host info"))
    with c.check(f"{STARTS} starts and stops of a guest leave as many frames free as there were"):
        guests.create(c, "short", "counter")
        said = guests.must(c, f"debug cycle short count={STARTS}", 600)
        assert f"{STARTS} starts and stops" in said and ", 0 bytes fewer are free" in said, said
        print("        " + said.strip(), flush=True)
        guests.must(c, "vm delete short --yes")


DIRTY_FIELD = 16 << 20  # tests/guests/dirty.c
DIRTY_PAGES = (0, 3, 5, 511, 514, 1022, 700, 1500)


def written(c):
    """The pages that `debug written` names, by number."""
    text = guests.must(c, "debug written d")
    runs = re.findall(r"(?m)^([0-9a-f]+) +(\d+)\s*$", text)
    got = {int(at, 16) // 4096 + n for at, count in runs for n in range(int(count))}
    assert f"{len(got)} pages written" in text, text
    return got


def in_field(pages):
    return sorted(p - DIRTY_FIELD // 4096 for p in pages if p >= DIRTY_FIELD // 4096)


def press_key(c, says):
    c.send("vm console d\r")
    c.expect("Connected to", 30)
    c.send("x")
    c.expect(says, 30)
    c.send("\x1d.")
    c.prompt()


@bochs("dirty-log", limit=300, cpus=2, files=guests.files("dirty"))
def dirty_log(c):
    with c.check("the first look says: all of its memory"):
        guests.start(c, "d", "dirty")
        guests.wait(c, "it waits for a key", lambda: "round 0 is done" in guests.console(c, "d"))
        assert written(c) == set(range(32 << 8))
    with c.check("a guest that waits writes nothing of note"):
        written(c)
        got = written(c)
        assert len(got) < 16 and not in_field(got), sorted(got)
    for turn in (1, 2, 3):
        with c.check(f"round {turn}: the pages that both vCPUs wrote, and no others"):
            press_key(c, f"round {turn} is done")
            got = in_field(written(c))
            assert got == sorted(p + (1 - turn % 2) for p in DIRTY_PAGES), got
    with c.check("reset, written again, deleted: no memory is lost"):
        guests.must(c, "vm reset d")
        guests.wait(c, "it waits again", lambda: guests.console(c, "d").count("round 0 is done") == 2)
        assert len(written(c)) > 8
        guests.remove(c, "d")
        assert re.search(r"(?i)guests +0|0 in guests", c.command("host info"))


@bochs("dirty-log-none", limit=300, cpus=1, model="corei7_sandy_bridge_2600k", files=guests.files("dirty"))
def dirty_log_none(c):
    with c.check("without dirty bits every page counts as written, each time"):
        assert re.search("EPT accessed and dirty bits +absent", c.command("host info"))
        guests.start(c, "d", "dirty")
        guests.wait(c, "it waits for a key", lambda: "round 0 is done" in guests.console(c, "d"))
        for _ in range(2):
            assert written(c) == set(range(32 << 8))
        guests.remove(c, "d")


def shares(c, names, seconds):
    """Run time of each VM while together they ran for some seconds, in milliseconds."""
    before = guests.run_ms(c, names)

    def ran():
        now = guests.run_ms(c, names)
        got = {name: now[name] - before[name] for name in names}
        return got if sum(got.values()) >= seconds * 1000 else None
    return guests.wait(c, "the guests run", ran, 60)


def uptime(c):
    """Emulated seconds since boot."""
    days, hours, minutes, seconds = re.search(r"uptime +(\d+)d (\d+):(\d+):([\d.]+)",
                                              c.command("host info")).groups()
    return ((int(days) * 24 + int(hours)) * 60 + int(minutes)) * 60 + float(seconds)


FIFO = 16  # bytes that a 16550 takes at once
IDLE = 0.1  # seconds after which the emulator's idle UART looks for input


def output_time(c, times):
    """Emulated seconds for each time that the shell had to get its turn to fill the UART's FIFO."""
    began, at = uptime(c), len(c.text)
    c.send("host info\r" * times)
    for _ in range(times):
        c.prompt()
    fills = (len(c.text) - at) / FIFO
    return (uptime(c) - began - 2 * IDLE) / fills


def work_rate(c, vm, more):
    """Loops a tick of the guest's own clock, in the last of so many windows from now on."""
    def windows():
        return re.findall(r"(?m)^work (\d+) of (\d+) in window (\d+)\s*$", guests.console(c, vm))
    seen = windows()
    last = int(seen[-1][2]) if seen else 0
    loops, ticks, _ = guests.wait(c, f"{more} windows of {vm}", lambda: next(
        (w for w in windows() if int(w[2]) == last + more), None), 120)
    return int(loops) / int(ticks)


@bochs("cpu-shares", limit=600, cpus=2, files=guests.files("busy", "work"))
def cpu_shares(c):
    with c.check("cpu.cap=25 leaves a quarter by the guest's own count"):
        guests.start(c, "w", "work")
        free = work_rate(c, "w", 2)
        guests.must(c, "vm set w cpu.cap=25")
        capped = work_rate(c, "w", 3)
        assert 0.21 <= capped / free <= 0.29, (free, capped)
        guests.must(c, "vm set w cpu.cap=0")
        assert work_rate(c, "w", 2) / free >= 0.9
        guests.remove(c, "w")
    with c.check("cpu.reserve: refused when it does not fit, shown by host cpu"):
        assert "E_CONFIG" in c.command("vm create x kernel=guests/tests/busy.elf mem=16M cpu.reserve=91")
        guests.must(c, "host cpu 1 mode=dedicated")
        guests.start(c, "r", "busy", cpu_reserve=60)
        guests.create(c, "s", "busy", cpu_reserve=40)
        assert "E_FULL" in c.command("vm start s")
        assert "E_FULL" not in c.command("vm set s cpu.reserve=30")
        guests.must(c, "vm start s")
        assert "E_FULL" in c.command("vm set s cpu.reserve=31")
        assert "E_FULL" in c.command("vm set r cpu.pin=0 cpu.reserve=61")
        assert re.search(r"(?m)^0 .* 90 +shared", c.command("host cpu")), c.command("host cpu")
        assert re.search(r"(?m)^1 .* 0 +dedicated", c.command("host cpu")), c.command("host cpu")
    with c.check("each gets what is reserved, whatever the others' weight is"):
        for name in ("x", "y", "z"):
            guests.start(c, name, "busy", cpu_weight=400)
        got = shares(c, ["r", "s", "x", "y", "z"], 6)
        whole = sum(got.values())
        assert got["r"] / whole >= 0.57 and got["s"] / whole >= 0.28, got
        assert min(got["x"], got["y"], got["z"]) > 0, got
    with c.check("reservations and dedicated CPUs outlive the control partition"):
        c.command("debug crash null")
        guests.wait(c, "it is back", lambda: re.search("control restarts +1", c.command("host info")))
        text = c.command("host cpu")
        assert re.search(r"(?m)^0 .* 90 +shared", text) and re.search(r"(?m)^1 .* dedicated", text), text
        assert "E_FULL" in c.command("vm set s cpu.reserve=31")
        got = shares(c, ["r", "s", "x", "y", "z"], 6)
        assert got["r"] / sum(got.values()) >= 0.57, got
    with c.check("shared again, another CPU has room"):
        guests.must(c, "host cpu 1 mode=shared")
        guests.must(c, "vm set s cpu.reserve=80")
        text = c.command("host cpu")
        assert sorted(re.findall(r"(?m)^[01] .* (\d+) +shared", text)) == ["60", "80"], text
        assert "E_FULL" in c.command("host cpu 1 mode=dedicated")
        for name in ("r", "s", "x", "y", "z"):
            guests.remove(c, name)


@bochs("scheduler", limit=600, cpus=1, files=guests.files("busy"))
def scheduler(c):
    # QEMU's clock is this machine's: what it takes from QEMU is charged to whoever runs there.
    wide = 1.2 if c.machine.emulates_svm else 1.0
    with c.check("two busy guests of equal weight get the same time within 5 %"):
        guests.start(c, "a", "busy")
        guests.start(c, "b", "busy")
        got = shares(c, ["a", "b"], 3)
        assert 0.95 / wide <= got["a"] / got["b"] <= 1.05 * wide, got
    with c.check("2:1 within 10 %, changed while they run"):
        guests.must(c, "vm set a cpu.weight=200")
        got = shares(c, ["a", "b"], 3)
        assert 1.8 / wide <= got["a"] / got["b"] <= 2.2 * wide, got
    with c.check("a paused guest gets nothing"):
        guests.must(c, "vm pause b")
        got = shares(c, ["a", "b"], 0.5)
        assert got["b"] == 0 < got["a"], got
        guests.must(c, "vm resume b")
    with c.check("the shell gets its turn within 50 ms under four busy guests"):
        for name in ("c", "d"):
            guests.start(c, name, "busy")
        each = output_time(c, 10)
        assert each <= 0.050 * wide, f"{each * 1000:.1f} ms for each {FIFO} bytes"
    for name in "abcd":
        with c.check(f"{name} stops"):
            guests.remove(c, name)
