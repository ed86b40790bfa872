"""QEMU from outside: its QMP socket, for cases that pull cables."""
import json
import os
import socket

MONITOR = ["-qmp", "unix:{folder}/qmp,server=on,wait=off"]


QTEST = ["-qtest", "unix:{folder}/qtest,server=on,wait=off"]


class Bus:
    """Reads and writes the machine's memory space from outside; it was started with QTEST."""

    def __init__(self, c):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(os.path.join(c.machine.folder, "qtest"))
        self.file = self.socket.makefile("rw")

    def do(self, line):
        self.file.write(line + "\n")
        self.file.flush()
        answer = self.file.readline().split()
        assert answer and answer[0] == "OK", answer
        return int(answer[1], 0) if len(answer) > 1 else None

    def read32(self, address):
        return self.do(f"readl {address:#x}")

    def write8(self, address, value):
        self.do(f"writeb {address:#x} {value:#x}")

    def write32(self, address, value):
        self.do(f"writel {address:#x} {value:#x}")


class Monitor:
    """QEMU's own control socket; the machine was started with MONITOR."""

    def __init__(self, c):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(os.path.join(c.machine.folder, "qmp"))
        self.file = self.socket.makefile("rw")
        self.file.readline()
        self.do("qmp_capabilities")

    def do(self, command, **arguments):
        self.file.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self.file.flush()
        while True:
            answer = json.loads(self.file.readline())
            if "return" in answer or "error" in answer:
                return answer

    def registers(self, bar, class_code=None, device=None):
        """Where that memory region lies, of the function with that class and subclass or that id."""
        for bus in self.do("query-pci")["return"]:
            for function in bus["devices"]:
                if function["class_info"]["class"] == class_code or device and function["qdev_id"] == device:
                    for region in function["regions"]:
                        if region["bar"] == bar and region["type"] == "memory":
                            return region["address"]
        raise AssertionError(f"no region {bar} of {class_code or device}")
