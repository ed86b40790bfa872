"""A control partition that crashes: the kernel says where, starts it again, and loses nothing."""
import os
import re
import socket

from tests.emu import bochs_panic
from tests.emu.suite import qemu

KINDS = ["null", "read-kernel", "write-kernel", "write-code", "write-host-info", "run-data",
         "port", "privileged", "msr", "divide", "assert", "stack"]


@qemu("crash", machine="q35", disk="virtio", cpus=2, limit=240)
def crash(c):
    for count, kind in enumerate(KINDS, 1):
        with c.check(f"debug crash {kind}: reported with a backtrace, and the shell is back"):
            text = c.command(f"debug crash {kind}")
            assert "E_CONTAINMENT" not in text, text
            assert re.search(r"crash_|run_crash|run_line|log_assert_failed|dig", text), text
            assert re.search(rf"control restarts +{count}\b", c.command("host info")), text
    with c.check("host log still has what the crashed instances wrote"):
        assert "does not hold" in c.command("host log level=error")
    with c.check("the VMs of the configuration are there again"):
        assert "demo" in c.command("vm list")


@qemu("panic", machine="q35", disk="virtio", cpus=2, limit=400, files=bochs_panic.FILES,
      extra=["-chardev", "socket,id=monitor,path={folder}/monitor,server=on,wait=off",
             "-mon", "chardev=monitor"])
def panic(c):
    bochs_panic.panic(c)
    with c.check("a CPU that stays in the kernel is found, and says where it is", vital=True):
        bochs_panic.stop(c, "debug stop hang", r"cpu \d is stuck in the kernel, for \d+ s now", 300)
        assert re.search(r"[0-9a-f]{16} panic_call\+0x", bochs_panic.record(c))
    bochs_panic.cleared(c)

    def inject(words):
        """A machine check: CPU, bank, status of the bank, global status, address."""
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.settimeout(60)
            monitor.connect(os.path.join(c.machine.folder, "monitor"))
            for line in ("", f"mce {words} 0\n"):
                monitor.sendall(line.encode())
                said = b""
                while not said.endswith(b"\n(qemu) "):
                    got = monitor.recv(4096)
                    assert got, said
                    said += got

    with c.check("a machine check that the machine can go on after is logged"):
        inject("1 3 0xbd000000000000c0 5 0x12345000")
        c.until("host log level=error", r"machine check: cpu 1 bank 3 status bd000000000000c0 address "
                "12345000: not corrected", 60)
    with c.check("an error that was corrected is found"):
        inject("0 2 0x9400000000000151 0 0x777000")
        c.until("host log level=error", r"machine check: cpu 0 bank 2 .* address 777000: corrected", 60)
    with c.check("another one is a panic, whose record has it"):
        c.position = len(c.text)
        inject("0 1 0xb600000000000800 5 0xabc000")
        c.expect(r"PANIC on cpu 0: machine check: bank 1 status b600000000000800 address abc000", 60,
                 fail=None)
        c.expect("The machine was reset after a panic", 240, fail=None)
        c.prompt(60)
        assert "status b600000000000800 address abc000" in bochs_panic.record(c)
