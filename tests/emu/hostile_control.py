"""The control partition itself attacks: tests/control/sysfuzz.c in its place, on both tiers."""
import re

from tests.emu.fuzz_guest import SEED
from tests.emu.qemu_isolation import instead

INSTANCES, CALLS = 40, 2500
FILES = instead("sysfuzz") | {"bulkhead/bulkhead.conf": f"# seed={SEED}\n"}


def sysfuzz(c):
    with c.check(f"{INSTANCES} instances of {CALLS} hostile system calls, from seed {SEED}",
                 vital=True):
        c.expect(r"VERDICT \w+.*\n", 400)
        verdict = re.search(r"VERDICT .*", c.text).group()
        assert verdict == "VERDICT passed", verdict
    with c.check("each one's end was reported, and none was the kernel's"):
        reports = re.findall(r"control partition: .*", c.text)
        assert len(reports) >= INSTANCES, f"{len(reports)} reports"
    with c.check("no frame changed its owner unnoticed"):
        counts = re.findall(r"instance \d+ seed \d+ frames ([0-9a-f]+)", c.text)
        assert len(counts) == INSTANCES + 1 and len(set(counts)) == 1, sorted(set(counts))
