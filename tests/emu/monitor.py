"""QEMU from outside: its QMP socket, for cases that pull cables."""
import json
import os
import socket

MONITOR = ["-qmp", "unix:{folder}/qmp,server=on,wait=off"]


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
