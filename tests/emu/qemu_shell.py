"""The shell on a machine without virtualisation: editing, help, errors, and what it says about that."""
import re

from tests.emu.session import PROMPT
from tests.emu.suite import qemu

TRY = r"\. Try: "


@qemu("shell", machine="q35", disk="virtio", cpus=2, cpu="max,-svm")
def shell(c):
    with c.check("the banner names the program and its version"):
        assert re.search(r"Bulkhead \S*\d", c.text), c.text[-2000:]
    with c.check("help lists the nouns"):
        text = c.command("help")
        assert "vm" in text and "host" in text, text
    with c.check("help of a noun and of a command"):
        assert "create" in c.command("help vm")
        assert re.search(r"(?i)usage|vm start", c.command("help vm start"))
    with c.check("? explains what may come next"):
        assert "start" in c.command("vm ?")
    with c.check("tab completes a noun and a verb"):
        c.send("ho\tinf\t\r")
        assert re.search(r"(?i)uptime", c.rest())
    with c.check("tab completes a VM's name"):
        c.send("vm show de\t\r")
        assert "demo" in c.rest()
    with c.check("history: the up arrow brings the last line back"):
        c.command("echo one-two-three")
        c.send("\x1b[A\r")
        assert "one-two-three" in c.rest()
    with c.check("editing: Ctrl-A, Ctrl-E, Ctrl-W, Ctrl-U, backspace, arrows"):
        assert c.command("rubbish\x15ho one\x17two\x01ec\x05\x7f\x7f\x7fx\x1b[Dy").strip() == "yx"
    with c.check("Ctrl-C abandons a line"):
        c.send("vm stop dem\x03")
        c.prompt()
        assert c.command("echo clean").strip() == "clean"
    with c.check("an unknown command, verb and argument are named, with a hint"):
        for line, word in [("frobnicate", "frobnicate"), ("vm frobnicate", "frobnicate"),
                           ("vm start demo colour=red", "colour")]:
            text = c.command(line)
            assert re.search(r"E_[A-Z_]+: .*" + word + r".*" + TRY, text), text
    with c.check("destroy is refused with a hint"):
        text = c.command("vm destroy demo")
        assert re.search(r"E_[A-Z]+: .*" + TRY + r".*delete", text), text
    with c.check("a line of 5000 bytes hurts nobody"):
        c.command("x" * 5000)
        assert c.command("echo fine").strip() == "fine"
    with c.check("every byte value typed hurts nobody"):
        c.send("".join(chr(b) for b in range(256) if b not in (0x0d, 0x0a)) + "\x1b[\x03")
        c.send("\x03\recho still fine\r")
        c.expect(r"\nstill fine(?=\n)", 30)
        c.prompt()
    with c.check("filters: grep, exclude, count, json"):
        assert re.search(r"(?m)^1$", c.command("vm list | grep demo | count"))
        assert "demo" not in c.command("vm list | exclude demo")
        assert re.search(r'(?i)"name": ?"demo"', c.command("vm list | json"))
    with c.check("host info: version, uptime, CPUs, memory, boot"):
        text = c.command("host info")
        for what in ("version", "uptime", "cpu", "memory", "boot", "virtualisation"):
            assert re.search(f"(?i){what}", text), what + " is not in:\n" + text
    with c.check("host info names the missing piece of an AMD CPU and the fix"):
        assert re.search(r"virtualisation +none: the CPU \(AuthenticAMD\) offers no AMD-V "
                         r"\(CPUID 8000_0001H.*" + TRY + r".*\+svm,\+npt", text), text
    with c.check("host mem: by subsystem, host top: by handler and fiber with its stack"):
        text = c.command("host mem")
        for row in ("shell and runtime", "virtual machines", "drivers", "fibers' stacks"):
            assert re.search(rf"(?m)^{row} +[1-9]\d* +\d+ +[1-9]", text), row + " is not in:\n" + text
        text = c.command("host top")
        assert re.search(r"(?m)^host +idle +\d+\.\d ", text), text
        assert re.search(r"(?m)^loop +timers +\d+\.\d +[1-9]\d* times, longest ever \d+ us", text), text
        assert re.search(r"(?m)^fiber +shell +\d+\.\d +[1-9]\d* runs, .*stack [1-9]\d* of 64 KiB",
                         text), text
    with c.check("host log tells of the start"):
        assert re.search(r"(?i)boot", c.command("host log"))
    with c.check("the demo VM is defined"):
        assert re.search(r"(?m)^100 +demo +.*", c.command("vm list"))
    with c.check("vm start answers E_NO_VTX and what to try"):
        text = c.command("vm start demo")
        assert re.search("E_NO_VTX: .*" + TRY, text), text
    with c.check("vm start of nothing"):
        text = c.command("vm start nobody")
        assert re.search("E_[A-Z_]+: .*nobody.*" + TRY, text), text
    with c.check("vm console of a VM that is off"):
        text = c.command("vm console demo")
        assert re.search("E_[A-Z_]+: .*" + TRY, text), text
    with c.check("vm create, set, show, delete"):
        text = c.command("vm create second kernel=guests/demo/vmlinuz mem=64M cpu=2")
        assert not re.search("E_[A-Z_]+:", text), text
        assert not re.search("E_[A-Z_]+:", c.command("vm set second cpu.weight=50"))
        text = c.command("vm show second")
        assert re.search("64M", text) and re.search(r"weight\W+50", text), text
        assert "second" in c.command("vm list")
        c.send("vm delete second\r")
        if c.expect(r"\[y/N\]|" + PROMPT, 30).group().startswith("["):
            c.send("y")
            c.prompt()
        assert "second" not in c.command("vm list")


@qemu("shell-off", machine="q35", disk="virtio", cpus=2)
def shell_off(c):
    with c.check("host poweroff turns the machine off"):
        c.send("host poweroff\r")  # nothing runs, so it does not ask
        c.ended(30)


@qemu("shell-reboot", machine="pc", disk="virtio", cpus=2)
def shell_reboot(c):
    with c.check("host reboot leads to the prompt again"):
        c.send("host reboot\r")
        c.expect("Bulkhead loader", 60)
        c.prompt(60)


@qemu("shell-no-npt", machine="q35", disk="virtio", cpus=2, cpu="max,+svm,-npt")
def shell_no_npt(c):
    with c.check("AMD-V without nested paging: the banner, host info and vm start say so, and the fix"):
        says = "AMD-V lacks: Nested paging" + TRY + r".*\+npt"
        for text in (c.text, c.command("host info"), c.command("vm start demo")):
            assert re.search(says, text), text
        assert re.search("Nested paging +MISSING", c.command("host info"))
    with c.check("host cpu: no CPU is for guests"):
        assert re.search(r"(?m)^0 +\d+ +no\b", c.command("host cpu")), c.command("host cpu")
