"""`make bench`: what a frame from guest to guest and a disk request of a guest cost, on Bochs with one
CPU: all instructions of both guests, kernel and control partition, and VM exits of both guests.

tests/guests/bench_io.c is the guest.  The peer's figures do not exist: QEMU's user-space virtio-net
under KVM has not been run in Bochs.
"""
import re
import sys

from tests.emu import guests

# The same number of digits each, since every character that the guest prints is an exit.
BURSTS, FEW_BURSTS = 300, 100
REQUESTS, FEW_REQUESTS = 960, 160

# name: (frame size, frames a burst, target ticks a frame, target doorbells a frame)
FRAMES = {
    "net.guest.64": (64, 32, 600, 1),
    "net.guest.1500": (1514, 32, None, 1),
    "net.guest.64.single": (64, 1, None, 1),  # and its answer: all but the doorbells is for two frames
}
# name: (requests in flight, target ticks a request, target doorbells a request)
REQUESTS_AT_A_TIME = {"disk.guest.ram": (16, 1000, 1), "disk.guest.ram.single": (1, None, 1)}
DOORBELLS = ("io", "mmio")  # classes of exits, of the guest that sends


def doorbells(exits):
    return sum(exits.get(kind, 0) for kind in DOORBELLS)


def wait_done(c, vm):
    """Attached, so that nothing is typed while it measures; (least ticks of a burst, worst, its size)."""
    c.send(f"vm console {vm}\r")
    c.expect(r"BENCH \w+ least \d+ worst \d+ of \d+|VERDICT", 300)
    c.send("\x1d.")
    c.prompt()
    text = guests.console(c, vm)
    match = re.search(r"BENCH \w+ least (\d+) worst (\d+) of (\d+)", text)
    assert match, text
    return tuple(map(int, match.groups()))


def frames(c, size, burst, count):
    """(least ticks a frame, worst, frames, doorbells of the sender, exits of both guests)"""
    guests.start(c, "rx", "bench_io", nic0="switch=bench", cmdline=f'"receive {size} {burst}"')
    guests.wait(c, "the receiver", lambda: "ready" in guests.console(c, "rx"))
    guests.start(c, "tx", "bench_io", nic0="switch=bench", cmdline=f'"send {size} {burst} {count}"')
    least, worst, _ = wait_done(c, "tx")
    mine, others = guests.exits(c, "tx"), guests.exits(c, "rx")
    guests.remove(c, "tx")
    guests.remove(c, "rx")
    return least / burst, worst / burst, count * burst, doorbells(mine), \
        sum(mine.values()) + sum(others.values())


def requests(c, depth, count):
    guests.must(c, "disk ram bench size=1M")
    guests.start(c, "io", "bench_io", disk0="device=bench", cmdline=f'"disk {depth} {count}"')
    least, worst, _ = wait_done(c, "io")
    exits = guests.exits(c, "io")
    guests.remove(c, "io")
    guests.must(c, "disk drop bench")
    return least / depth, worst / depth, count, doorbells(exits), sum(exits.values())


def per_one(many, few):
    """(least ticks, worst, doorbells, exits) of each, the latter without those of start and end."""
    each = many[2] - few[2]
    return many[0], many[1], (many[3] - few[3]) / each, (many[4] - few[4]) / each


def add(result, name, each, ticks, bells):
    result.append((name + ".ticks", round(each[0]), "ticks", ticks))
    print(f"{name}: worst {each[1]:.0f}", file=sys.stderr)
    result.append((name + ".doorbells", round(each[2], 2), "exits/op", bells))
    result.append((name + ".exits", round(each[3], 2), "exits/op", None))


def rows(c):
    """[(name, value, unit, target or None)]"""
    result = []
    guests.must(c, "net switch add bench")
    for name, (size, burst, ticks, bells) in FRAMES.items():
        add(result, name, per_one(frames(c, size, burst, BURSTS), frames(c, size, burst, FEW_BURSTS)),
            ticks, bells)
    for name, (depth, ticks, bells) in REQUESTS_AT_A_TIME.items():
        add(result, name, per_one(requests(c, depth, REQUESTS), requests(c, depth, FEW_REQUESTS)),
            ticks, bells)
    return result


# CPU 1's mode: (suffix, target doorbells).  Guests are on CPU 0 either way.
MODES = {"dedicated": ("2cpu", 1), "polling": ("polling", 0)}


def polling_rows(c):
    """On two CPUs: doorbells and exits of a control partition that polls, beside one that does not."""
    result = []
    guests.must(c, "net switch add bench")
    for mode, (suffix, bells) in MODES.items():
        guests.must(c, f"host cpu 1 mode={mode}")
        for name in ("net.guest.64", "net.guest.64.single"):
            size, burst, _, _ = FRAMES[name]
            add(result, f"{name}.{suffix}", per_one(frames(c, size, burst, BURSTS),
                                                    frames(c, size, burst, FEW_BURSTS)), None, bells)
        for name, (depth, _, _) in REQUESTS_AT_A_TIME.items():
            add(result, f"{name}.{suffix}", per_one(requests(c, depth, REQUESTS),
                                                    requests(c, depth, FEW_REQUESTS)), None, bells)
    return result
