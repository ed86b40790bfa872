"""A network namespace of a test's own, and a card of the machine in it.

A thread enters a fresh namespace and keeps it; sockets and programs that it makes are in there.
Frames go between a TAP interface there and the datagram sockets of a card (qemu_nics.wire()), so
QEMU itself stays outside.  Without the right to make one, `NetLab.possible()` is False.
"""
import concurrent.futures
import ctypes
import fcntl
import os
import queue
import re
import shutil
import socket
import struct
import subprocess
import threading
import time

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000  # unshare(2): of this thread alone
TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454ca, 2, 0x1000  # linux/if_tun.h
IFF_MULTI_QUEUE, IFF_VNET_HDR = 0x100, 0x4000
HERE = "10.9.0.1"
NO_LAB = "no right to make a network namespace"
HERE6, FAR6 = "2001:db8:9::1", "2001:db8:aa::1"  # FAR6 is at no network of the machine's


def enter(address, queues):
    """In the lab's thread: a namespace with a TAP interface t0; descriptors of its queues."""
    if LIBC.unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "no namespace")
    # Several are for QEMU itself, which leaves sums and segments to the kernel by that header.
    flags = IFF_TAP | IFF_NO_PI | (IFF_MULTI_QUEUE | IFF_VNET_HDR if queues > 1 else 0)
    taps = []
    for _ in range(queues):
        taps.append(os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC))
        fcntl.ioctl(taps[-1], TUNSETIFF, struct.pack("16sH22x", b"t0", flags))
    for line in ("link set lo up", f"address add {address}/24 dev t0", "link set t0 txqueuelen 10000 up"):
        subprocess.run(["ip", *line.split()], check=True, stderr=subprocess.DEVNULL)
    return taps


class NetLab:
    def __init__(self, address=HERE, queues=1):
        self.pool = concurrent.futures.ThreadPoolExecutor(1)
        self.taps = self.inside(enter, address, queues)
        self.tap = self.taps[0]
        self.programs, self.card = [], None
        self.has_ipv6 = False

    @staticmethod
    def possible():
        try:
            with NetLab():
                return True
        except (OSError, subprocess.CalledProcessError):
            return False

    def add_ipv6(self):
        """HERE6 and FAR6 beside the address, if the kernel has IPv6."""
        self.has_ipv6 = all(self.inside(subprocess.run, ["ip", "address", "add", address, "dev", device, "nodad"],
                                        check=False, stderr=subprocess.DEVNULL).returncode == 0
                            for address, device in ((HERE6 + "/64", "t0"), (FAR6 + "/128", "lo")))

    def inside(self, function, *arguments, **keywords):
        """Calls it in the namespace, and waits."""
        return self.pool.submit(function, *arguments, **keywords).result(120)

    def attach(self, c, name="n"):
        """Frames between the TAP and the card `name` of the machine, from now on."""
        self.card = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.card.bind(os.path.join(c.machine.folder, name + ".peer"))
        self.card.settimeout(100)
        self.card.connect(os.path.join(c.machine.folder, name + ".qemu"))
        for relay in (self.to_card, self.from_card):
            threading.Thread(target=relay, daemon=True).start()

    def to_card(self):
        try:
            while True:
                self.card.send(os.read(self.tap, 65536))
        except OSError:
            pass  # the lab or the machine has ended

    def from_card(self):
        while True:
            try:
                frame = self.card.recv(65536)
                if frame:
                    os.write(self.tap, frame)
            except OSError:
                return

    def start(self, command, **keywords):
        self.programs.append(self.inside(subprocess.Popen, command, stdin=subprocess.DEVNULL,
                                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                         **keywords))

    def socket(self, *kind):
        return self.inside(socket.socket, *kind)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for program in self.programs:
            program.kill()
            program.wait()
        if self.card:
            self.card.shutdown(socket.SHUT_RDWR)
            self.card.close()
        self.inside(subprocess.run, ["ip", "link", "delete", "t0"], check=False,
                    stderr=subprocess.DEVNULL)
        for tap in self.taps:
            os.close(tap)
        self.pool.shutdown()


def dnsmasq(lab, folder):
    """A DHCP and name server there: 10.9.0.100 for all that ask; False: there is no dnsmasq."""
    program = shutil.which("dnsmasq", path=os.environ["PATH"] + ":/usr/sbin")
    if not program:
        return False
    lab.start([program, "--keep-in-foreground", "--conf-file=/dev/null", "--interface=t0", "--bind-interfaces",
               "--user=root", "--no-resolv", "--no-hosts", "--no-ping", "--address=/peer.test/" + HERE,
               "--address=/other.test/10.9.0.77",
               "--dhcp-range=10.9.0.100,10.9.0.100,1h", f"--dhcp-leasefile={folder}/leases",
               f"--pid-file={folder}/dnsmasq.pid", "--dhcp-option=option:ntp-server," + HERE])
    return True


def sums(data):
    s = sum(struct.unpack(f">{len(data) // 2}H", data))
    s = (s & 0xffff) + (s >> 16)
    return ~((s & 0xffff) + (s >> 16)) & 0xffff


def reach(lab, address, seconds=300):
    """Echoes until one is answered, each after a new question for the address: what was sent before is then
    done with, and both sides know each other again.  True when one was."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        lab.inside(subprocess.run, ["ip", "neighbour", "flush", "dev", "t0"], check=False)
        if flood(lab, address, 1, patience=2) == 1:
            return True
    return False


def flood(lab, address, count, window=32, size=64, patience=60):
    """That many echo requests, some at a time; how many were answered."""
    answered, sent = set(), 0
    with lab.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as s:
        s.settimeout(patience)
        while len(answered) < count:
            while sent < count and sent - len(answered) < window:
                body = struct.pack(">HI", 0x4248, sent).ljust(size, b"\x5a")
                head = struct.pack(">BBH", 8, 0, 0)
                s.sendto(head[:2] + sums(head + body).to_bytes(2, "big") + body, (address, 0))
                sent += 1
            try:
                got = s.recv(2048)[20:]
            except TimeoutError:
                break
            if got[0] == 0 and got[4:6] == b"BH" and len(got) == size + 4:
                answered.add(struct.unpack(">I", got[6:10])[0])
    return len(answered)


def frames_sent(c, card):
    return int(re.search(rf"(?m)^{card} .*? (?:Mbit/s|up) +\d+ +\d+ +(\d+) ", c.command("host nic list"))[1])


def cut_by_card(c, lab, card, size=8 << 20):
    """TCP: all of it comes, though the host's own frames are far fewer than the wire's, and their
    checksums are left to the card."""
    with c.check("TCP, summed and cut by the card"), \
            lab.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind((HERE, 5006))
        listener.listen()
        listener.settimeout(120)
        before, got = frames_sent(c, card), 0
        c.send(f"net perf {HERE} port=5006 size={size}\r")
        with listener.accept()[0] as connection:
            connection.settimeout(120)
            while piece := connection.recv(1 << 20):
                assert not any(piece), "not what was sent"
                got += len(piece)
        c.expect(f"{size} bytes in", 60)
        c.prompt(60)
        assert got == size, got
        frames = frames_sent(c, card) - before
        assert frames < size / 1448 / 2, f"{frames} frames"


class Transfers:
    """TCP there: a port whose connections are read to their end, one that sends `size` bytes."""

    def __init__(self, lab, size):
        self.got = queue.Queue()  # bytes of each connection that was read to its end
        self.listeners = [lab.socket(socket.AF_INET, socket.SOCK_STREAM) for _ in range(2)]
        for listener, serve, port in zip(self.listeners, (self.sink, self.source), (5001, 5002)):
            listener.bind((HERE, port))
            listener.listen()
            threading.Thread(target=self.accept, args=(listener, serve, size), daemon=True).start()

    def accept(self, listener, serve, size):
        while True:
            try:
                serve(listener.accept()[0], size)
            except OSError:
                return

    def sink(self, connection, _):
        got, buffer = 0, bytearray(1 << 20)
        with connection:
            while n := connection.recv_into(buffer):
                got += n
        self.got.put(got)

    def source(self, connection, size):
        piece = bytes(1 << 20)
        with connection:
            for at in range(0, size, len(piece)):
                connection.sendall(piece[:size - at])

    def close(self):
        for listener in self.listeners:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
