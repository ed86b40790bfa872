"""Broken frames for a machine's card: truncated, oversized, with bad checksums, of random bytes."""
import random
import struct

from tests.emu.netlab import sums

ME, MY_IP, IP = bytes.fromhex("020000000077"), bytes([10, 9, 0, 77]), bytes([10, 9, 0, 100])


def ip4(protocol, payload):
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), 1, 0, 64, protocol, 0) + MY_IP + IP
    return head[:10] + sums(head).to_bytes(2, "big") + head[12:] + payload


def ip6(following, payload):
    return (struct.pack(">IHBB", 6 << 28, len(payload), following, 255) + bytes.fromhex("fe80") + bytes(13) +
            b"\x77" + bytes.fromhex("ff02") + bytes(13) + b"\1" + payload)


def seeds(mac):
    """Frames that are sound, as far as their checksums go, one of each protocol."""
    tcp = struct.pack(">HHIIBBHHH", 4711, 22, 1, 0, 0x60, 2, 8192, 0, 0) + bytes([2, 4, 5, 0xb4])
    dhcp = bytes([2, 1, 6, 0]) + bytes(232) + bytes([99, 130, 83, 99, 53, 1, 5, 255])
    dns = struct.pack(">HHHHHH", 1, 0x8180, 1, 1, 0, 0) + b"\3www\4test\0\0\1\0\1\xc0\x0c\0\1\0\1"
    kinds = [b"\x08\x06\0\1\x08\0\6\4\0\1" + ME + MY_IP + bytes(6) + IP]
    for protocol, payload in [(1, b"\x08\0\0\0\0\1\0\1" + bytes(32)), (6, tcp), (2, b"\x11\x64\0\0" + IP)] + \
            [(17, struct.pack(">HHHH", a, b, 8 + len(d), 0) + d)
             for a, b, d in ((67, 68, dhcp), (53, 4711, dns), (123, 123, bytes(48)))]:
        kinds.append(b"\x08\0" + ip4(protocol, payload))
    kinds += [b"\x86\xdd" + ip6(58, bytes([kind, 0, 0, 0]) + bytes(28)) for kind in (128, 134, 135, 136)]
    kinds.append(b"\x81\0\0\x0a" + kinds[1])
    return [mac + ME + k for k in kinds]


def broken(mac, count, seed):
    """That many frames, the same ones for the same seed."""
    r, whole = random.Random(seed), seeds(mac)
    noise = r.randbytes(16384)
    for number in range(count):
        frame, kind = bytearray(r.choice(whole)), number % 4
        if kind == 0:
            del frame[r.randrange(1, len(frame)):]
        elif kind == 1:
            frame += noise[:r.randrange(1, 16000 if number % 64 == 1 else 1600)]
        elif kind == 2:
            for _ in range(r.randrange(1, 6)):
                frame[r.randrange(len(frame))] = r.randrange(256)
        else:
            start = r.randrange(8000)
            frame[r.choice((0, 12, 14, 34)):] = noise[start:start + r.randrange(1500)]
        yield bytes(frame) or b"\0"  # QEMU takes an empty datagram for the wire's end
