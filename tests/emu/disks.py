"""Checks of a physical disk behind its driver, for cases of any tier."""
import os
import re
import struct
import subprocess

MASK = (1 << 64) - 1
KIB, MIB = 1 << 10, 1 << 20
# Options of a drive whose first write fails.
FAILS_ONCE = ("driver=raw,file.driver=blkdebug,file.image.driver=file,file.image.filename={file},"
              "file.inject-error.0.event=write_aio,file.inject-error.0.errno=5,"
              "file.inject-error.0.once=on")
# Options of a drive that gives room back.
DISCARDS = "format=raw,file={file},discard=unmap"
# Options of a drive that fails every write of one sector, at 6 MiB, and no other.
FAILS_ALWAYS = ("driver=raw,file.driver=blkdebug,file.image.driver=file,file.image.filename={file},"
                "file.inject-error.0.event=write_aio,file.inject-error.0.iotype=write,"
                "file.inject-error.0.errno=5,file.inject-error.0.sector=12288")


def pattern(seed, start, size):
    """What `host disk test` writes: a word that depends on its place."""
    return b"".join(struct.pack("<Q", ((at ^ seed) * 0x9e3779b97f4a7c15) & MASK)
                    for at in range(start, start + size, 8))


def outside(c, name, start, size):
    with open(c.machine.data_path(name), "rb") as f:
        f.seek(start)
        return f.read(size)


def run_test(c, disk, words, seconds=120):
    """One `host disk test`; its output, which tells of no error."""
    output = c.command(f"host disk test {disk} {words}", seconds)
    assert "E_" not in output and "requests a second" in output, output
    return output


def listed(c, disk, kind, irq=None, driver=None):
    with c.check(f"host disk list shows {disk}"):
        output = c.command("host disk list", 60)
        assert re.search(rf"(?m)^{disk} +{kind} ", output), output
    if irq:
        with c.check(f"{driver} has interrupts by {irq}"):
            output = c.command("host pci list")
            assert re.search(rf"(?m) {driver}0 +{irq} ", output), output


def works(c, disk, image, last_kib=65536):
    """Writes, reads and compares on a disk of 64 MiB, on both sides."""
    with c.check("a pattern is written"):
        run_test(c, disk, "mode=write size=4M block=64K seed=5 --yes")
    with c.check("and is in the file"):
        assert outside(c, image, 0, 4 * MIB) == pattern(5, 0, 4 * MIB)
    with c.check("blocks of 4 KiB, in no order, deep"):
        run_test(c, disk, "mode=write from=8M size=64K block=4K depth=64 seed=6 --random --yes")
        assert outside(c, image, 8 * MIB, 64 << 10) == pattern(6, 8 * MIB, 64 << 10)
    with c.check("what lies beside it is untouched"):
        assert outside(c, image, 8 * MIB - 4096, 4096) == bytes(4096)
        assert outside(c, image, 8 * MIB + (64 << 10), 4096) == bytes(4096)
    with c.check("what was written outside is read"):
        with open(c.machine.data_path(image), "r+b") as f:
            f.seek(16 * MIB)
            f.write(pattern(7, 16 * MIB, MIB))
        run_test(c, disk, "mode=verify from=16M size=1M block=128K seed=7")
    with c.check("a difference is found"):
        output = c.command(f"host disk test {disk} mode=verify from=16M size=1M seed=8", 60)
        assert "E_DATA" in output, output
    with c.check("the disk's end"):
        end = last_kib << 10
        run_test(c, disk, f"mode=write from={last_kib - 4}K size=4K block=4K seed=9 --yes")
        assert outside(c, image, end - 4096, 4096) == pattern(9, end - 4096, 4096)
        output = c.command(f"host disk test {disk} from={last_kib}K size=4K block=4K")
        assert "E_RANGE" in output, output
    with c.check("figures"):
        fast = run_test(c, disk, "mode=read size=32M block=128K depth=16")
        small = run_test(c, disk, "mode=read size=4M block=4K depth=32 --random")
        print("        " + ", ".join(re.search(r"(?m)^rate +(.*)", fast).groups() +
                                     re.search(r"(?m)^requests a second +(.*)", small).groups()))
    with c.check("nothing in the log is an error"):
        log = c.command("host log | grep ERROR")
        assert not log, log


def punches_holes(folder):
    """Whether the file system that the images are on gives room of a file back."""
    path = os.path.join(folder, "hole")
    with open(path, "wb") as f:
        f.write(bytes([1]) * MIB)
    done = subprocess.run(["fallocate", "-p", "-o", "0", "-l", str(MIB), path], check=False,
                          stderr=subprocess.DEVNULL).returncode == 0
    os.remove(path)
    return done


def forgets(c, disk, image, zeroes=False):
    """On a drive of DISCARDS: a range is given back, another one zeroed by the device, their neighbours
    are as they were."""
    with c.check(f"{disk}: discarded ranges" + (" and zeroed ones" if zeroes else "")):
        run_test(c, disk, "mode=write from=20M size=4M block=64K seed=25 --yes")
        run_test(c, disk, "mode=discard from=21M size=1M block=64K --yes")
        if punches_holes(c.machine.folder):
            assert outside(c, image, 21 * MIB, MIB) == bytes(MIB)
        if zeroes:
            run_test(c, disk, "mode=zero from=23M size=512K block=64K depth=4 --yes")
            assert outside(c, image, 23 * MIB, MIB // 2) == bytes(MIB // 2)
        else:
            assert "E_NOSYS" in c.command(f"host disk test {disk} mode=zero size=64K --yes")
        for start, size in ((20 * MIB, MIB), (22 * MIB, MIB), (24 * MIB - MIB // 2, MIB // 2)):
            assert outside(c, image, start, size) == pattern(25, start, size)


def counters(c, disk):
    """Errors and resets of a disk, as `host disk list` tells."""
    text = c.command("host disk list", 60)
    row = re.search(rf"(?m)^{disk} .* (\d+) +(\d+) +(?:good|unknown|FAILING).*$", text)
    assert row, text
    return int(row[1]), int(row[2])


def fails_once(c, disk, image):
    """On a drive of FAILS_ONCE."""
    with c.check(f"{disk}: a write that fails is told of or repeated, the next ones work"):
        words = "mode=write size=512K block=64K seed=21 --yes"
        output = c.command(f"host disk test {disk} {words}", 120)
        errors, resets = counters(c, disk)
        assert ("E_DISK" in output) == (errors > 0), output
        run_test(c, disk, words)
        assert outside(c, image, 0, MIB // 2) == pattern(21, 0, MIB // 2)
        print(f"        {disk}: {errors} errors told, {resets} resets")


def fails_always(c, disk, image):
    """On a drive of FAILS_ALWAYS: tries end, the error is told, and what does not fail goes on."""
    with c.check(f"{disk}: a write that fails however often it is tried is given up"):
        before = counters(c, disk)
        output = c.command(f"host disk test {disk} mode=write from=6M size=4K block=4K seed=23 --yes", 300)
        assert "E_DISK" in output, output
        after = counters(c, disk)
        assert after[0] == before[0] + 1, (before, after)
        run_test(c, disk, "mode=write size=512K block=64K seed=24 --yes")
        assert outside(c, image, 0, MIB // 2) == pattern(24, 0, MIB // 2)
        assert outside(c, image, 6 * MIB, 4096) == bytes(4096)
        run_test(c, disk, "mode=read from=6M size=64K")
        print(f"        {disk}: {after[1] - before[1]} resets")


def hangs(c, monitor, disk, image, rate=32 * KIB):
    """32 KiB a second: the last of twelve requests would wait for 24 seconds."""
    with c.check(f"{disk}: what hangs is sent again after a reset, and none is lost"):
        limits = {"bps": 0, "bps_rd": 0, "iops": 0, "iops_rd": 0, "iops_wr": 0}
        before = counters(c, disk)
        monitor.do("block_set_io_throttle", device=image, bps_wr=rate, **limits)
        c.send(f"host disk test {disk} mode=write block=64K size=768K depth=12 seed=22 --yes\r")
        c.expect(r"is sent again|are sent again", 120)
        monitor.do("block_set_io_throttle", device=image, bps_wr=0, **limits)
        c.expect(r"requests a second", 120)
        c.prompt(60)
        after = counters(c, disk)
        assert after[0] == before[0] and after[1] > before[1], (before, after)
        assert outside(c, image, 0, 768 * KIB) == pattern(22, 0, 768 * KIB)


def reads_only(c, cd, image):
    """A CD reads what is in its file; a write to it is refused."""
    with c.check(f"{cd} is read and cannot be written"):
        with open(c.machine.data_path(image), "r+b") as f:
            f.write(pattern(14, 0, MIB))
        run_test(c, cd, "mode=verify size=1M block=64K seed=14")
        run_test(c, cd, "mode=verify size=256K block=2K depth=16 seed=14 --random")
        assert "E_DISK" in c.command(f"host disk test {cd} mode=write size=64K --yes", 60)


def media_change(c, monitor, device, cd, image, mib):
    """A drive with or without a CD gets that image of so many MiB, loses it, and gets it again."""
    with c.check(f"{cd}: a CD is put in, and has its own size"):
        answer = monitor.do("blockdev-change-medium", id=device, filename=c.machine.data_path(image),
                            format="raw", **{"read-only-mode": "read-only"})
        assert "error" not in answer, answer
        c.until("host disk list", rf"(?m)^{cd} +\S+ +{mib} MiB +2048/2048 ", 60)
    reads_only(c, cd, image)
    with c.check(f"{cd}: it is taken out, and the drive is empty"):
        assert "error" not in monitor.do("eject", id=device, force=True)
        c.until("host disk list", rf"(?m)^{cd} +\S+ +0 MiB .* no medium *$", 60)
        assert "E_MEDIUM" in c.command(f"host disk test {cd} size=64K")
