"""A control partition that crashes: the kernel says where, starts it again, and loses nothing."""
import re

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
