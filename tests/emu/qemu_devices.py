"""Devices granted to ring 3: what the kernel refuses, DMA through VT-d, interrupts."""
import pathlib
import re

from tests.emu.emulator import BUILD
from tests.emu.suite import qemu

SECONDS = 120
EDU = ["-device", "edu,dma_mask=0xffffffff"]
INSTEAD = {"bulkhead/control.elf": pathlib.Path(BUILD, "test-control", "dma.elf")}


def verdicts(c, count, iommu):
    with c.check("the attack comes to its end", vital=True):
        c.expect(r"VERDICT \w+", SECONDS)
    cases = re.findall(r"CASE (.*?): (passed|FAILED.*)", c.text)
    with c.check(f"with all {count} cases"):
        assert len(cases) == count, f"{len(cases)} came"
    with c.check("IOMMU " + ("on" if iommu else "off")):
        assert ("IOMMU on" if iommu else "IOMMU off") in c.text
    for name, verdict in cases:
        with c.check(name):
            assert verdict == "passed", verdict


@qemu("dma-plain", prompt=False, machine="q35", cpus=2, files=INSTEAD, extra=EDU)
def dma_plain(c):
    verdicts(c, 38, False)


@qemu("dma-pc", prompt=False, machine="pc", cpus=1, files=INSTEAD, extra=EDU)
def dma_pc(c):
    verdicts(c, 38, False)


@qemu("dma-vtd", prompt=False, machine="q35", cpus=2, files=INSTEAD,
      extra=["-device", "intel-iommu,intremap=off"] + EDU)
def dma_vtd(c):
    verdicts(c, 43, True)


@qemu("dma-vtd-intremap", prompt=False, machine="q35", cpus=2, files=INSTEAD,
      extra=["-device", "intel-iommu,intremap=on,caching-mode=on,aw-bits=48"] + EDU)
def dma_vtd_intremap(c):
    verdicts(c, 44, True)
