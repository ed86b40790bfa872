"""`make bench`: instructions that a disk request of 4 KiB and a frame of 1,500 bytes take in kernel and
control partition, and interrupts each; and those of mapping 1 GiB for a guest.  No guest runs: IDE
and an Intel 82540 of Bochs, traced by its debugger.
"""
import os
import re
import socket
import subprocess

from tests.emu import guests
from tests.emu.debugger import LINE, TIME, Traced, address_of, symbols, where
from tests.emu.emulator import BUILD

KERNEL = 1 << 63
STEPS = 5000
WARM = 8
MAC = "52:54:00:12:34:56"
HEADER = bytes.fromhex(MAC.replace(":", "") + "525400aa0001" + "88b5")
BODY = 1500
TRIES = 50        # frames, until one is seen
ARRIVALS = 200    # interrupts, in which a frame that was sent should come
PATIENCE = 10     # seconds for a frame, on a loaded machine
GIB, STEP = 1024, 64  # MiB: what is given, and by one system call


class Cost:
    """Instructions and interrupts of a piece of a trace."""

    def __init__(self, addresses, interrupt):
        self.kernel = sum(a >= KERNEL for a in addresses)
        self.control = len(addresses) - self.kernel
        self.interrupts = addresses.count(interrupt)

    def rows(self, name, kernel, control):
        """With the most that kernel and control partition should take."""
        return [(f"{name}.kernel", self.kernel, "instructions", kernel),
                (f"{name}.control", self.control, "instructions", control),
                (f"{name}.interrupts", self.interrupts, "per op", 1)]


def steps(machine, end):
    """The trace from here until end(all of it so far) is true: [(address, instruction)]."""
    d, found, text = machine.debugger, [], ""
    d.command("trace on")
    while not end(found, text):
        text = d.command(f"s {STEPS}")
        found += [(int(a, 16), i) for a, i in LINE.findall(text)]
    d.command("trace off")
    return found


def addresses(found):
    return [a for a, _ in found]


def disk_request(machine, table):
    """From one request at the block layer's door to the next, one at a time."""
    d, door = machine.debugger, address_of(table, "block_submit")
    machine.stop()
    machine.breakpoint(door)
    machine.go()
    machine.console.send("host disk test hd1 mode=read size=1M block=4K depth=1\r")
    d.until_prompt()
    for _ in range(WARM):
        d.command("c")
    found = min((steps(machine, lambda _, text: where(text) == door) for _ in range(3)), key=len)
    machine.no_breakpoints()
    machine.go()
    machine.console.prompt(120)
    return Cost(addresses(found), address_of(table, "irq_dispatch"))


def wire():
    """(a socket, the port that Bochs takes frames at): it sends to the port above its own."""
    while True:
        peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        peer.bind(("127.0.0.1", 0))
        port = peer.getsockname()[1] - 1
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        peer.settimeout(PATIENCE)
        return peer, port


def send(peer, port, number):
    peer.sendto(HEADER + number.to_bytes(4, "big") + bytes(BODY - 4), ("127.0.0.1", port))


def echo(peer, port, number):
    """Sends a frame; True: it came back, and so none is under way any more."""
    send(peer, port, number)
    try:
        while peer.recv(65536)[len(HEADER):len(HEADER) + 4] != number.to_bytes(4, "big"):
            pass
    except TimeoutError:
        return False
    return True


def echoed_frame(machine, table, peer, port):
    """A frame comes, goes back, and is out: from its interrupt until the host is idle again."""
    c, d = machine.console, machine.debugger
    c.until("net uplink list", "nic0 +vsw0", 60)  # the first boot's network has the card
    c.command("net kif remove k0")
    c.command("net uplink remove nic0")
    c.send("host nic echo nic0 seconds=1000\r")
    entry, received = address_of(symbols("kernel.elf"), "common"), address_of(table, "nic_received")
    number, found = 0, []
    while not found and number < TRIES:
        for _ in range(WARM):  # until those of before are through, too
            echo(peer, port, number)
            number += 1
        machine.stop()
        send(peer, port, number)
        number += 1
        found = arrival(machine, entry, received)
        machine.go()
    c.send("\x03")
    c.prompt(60)
    assert found, "a frame did not come"
    return Cost(found, address_of(table, "irq_dispatch"))


def arrival(machine, entry, received):
    """Addresses of what runs at the interrupt at which `received` runs, until the host idles again; [] if
    none of the next ones is it.  A step over HLT goes on with the next interrupt, so that what is traced
    at once has several."""
    piece, found, seen = [], [], 0
    machine.debugger.command("trace on")
    while seen < ARRIVALS and not found:
        for a, instruction in LINE.findall(machine.debugger.command(f"s {STEPS}")):
            piece.append(int(a, 16))
            if not instruction.startswith("hlt"):
                continue
            seen += 1
            if received in piece and not found:
                found = piece[piece.index(entry):]
            piece = []
    machine.debugger.command("trace off")
    return found


def calls_of(function, called):
    """Return addresses of the calls of `called` in the kernel's `function` (None: anywhere)."""
    text = subprocess.run(["objdump", "-d", "--no-show-raw-insn", os.path.join(BUILD, "kernel.elf")],
                          check=True, stdout=subprocess.PIPE, encoding="ascii").stdout
    if function:
        text = re.search(rf"(?ms)^\w+ <{function}>:$.*?^$", text).group()
    return [int(a, 16) for a in
            re.findall(rf"call +\w+ <{called}>\n(?:\n\w+ <.*>:\n)? *(\w+):", text)]


def time_of(text):
    return int(TIME.findall(text)[-1])


def map_memory(machine):
    """Ticks of the kernel's part of giving a guest 1 GiB that is zeroed already."""
    d, c, total = machine.debugger, machine.console, 0
    guests.create(c, "big", "busy", mem=f"{GIB}M")
    starts, ends = calls_of("vm_add_ram", "pgtab_alloc"), calls_of(None, "vm_add_ram")
    machine.stop()
    for address in starts + ends:
        machine.breakpoint(address)
    machine.go()
    c.send("vm start big\r")
    text = d.until_prompt()
    for _ in range(GIB // STEP):
        began, text = time_of(text), d.command("c")
        total += time_of(text) - began
        if _ < GIB // STEP - 1:
            text = d.command("c")
    machine.no_breakpoints()
    machine.go()
    c.prompt(60)
    guests.remove(c, "big")
    return total


def rows():
    """[(name, value, unit, target or None)]"""
    table = symbols()
    peer, port = wire()
    card = ["pci: enabled=1, chipset=i440fx, slot2=e1000",
            f"e1000: enabled=1, mac={MAC}, ethmod=socket, ethdev={port}"]
    with peer, Traced("bench-host", memory_mib=2048, data={"d": 8}, lines=card,
                      files=guests.files("busy")) as machine:
        result = [("ept.map.1GiB.ticks", map_memory(machine), "ticks", 200_000)]
        result += disk_request(machine, table).rows("host.disk.ide", 500, 1280)
        result += echoed_frame(machine, table, peer, port).rows(
            "host.frame.echo.e1000", 650, 720)
    return result


if __name__ == "__main__":
    for row in rows():
        print(*row, sep="\t")
