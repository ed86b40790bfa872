"""The remote shell, with OpenSSH's client as the other side."""
import os
import random
import re
import socket
import subprocess
import time

from tests.emu.session import PATIENCE, Timeout
from tests.emu.suite import qemu

# QEMU picks the port on our side; listening() finds out which.
FORWARD = ["-netdev", "user,id=n,hostfwd=tcp:127.0.0.1:0-:22",
           "-device", "e1000,netdev=n,romfile="]
NOBODY = r"sessions +0 of 6\s+logging in +0 of 9"
PASSWORDS = {"anna": "eight888", "bob": "password", "olga": "operates8"}


def listening(pid):
    """The port at which a process listens: its sockets among those of /proc/net/tcp."""
    inodes = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            match = re.match(r"socket:\[(\d+)\]", os.readlink(f"/proc/{pid}/fd/{fd}"))
        except OSError:
            continue
        if match:
            inodes.add(match.group(1))
    with open(f"/proc/{pid}/net/tcp") as f:
        for line in f.readlines()[1:]:
            words = line.split()
            if words[3] == "0A" and words[9] in inodes:
                return int(words[1].split(":")[1], 16)
    raise AssertionError("QEMU listens at no port")


class Client:
    def __init__(self, c):
        self.folder = c.machine.folder
        self.port = listening(c.machine.process.pid)
        self.key = os.path.join(self.folder, "key")
        self.ask = os.path.join(self.folder, "ask")
        self.known = os.path.join(self.folder, "known")
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key], check=True)
        with open(self.ask, "w") as f:
            f.write("#!/bin/sh\nprintf '%s\\n' \"$ASKED_PASSWORD\"\n")
        os.chmod(self.ask, 0o755)

    def start(self, user, *words, password=None, options=(), **keywords):
        method = ["-o", "PreferredAuthentications=password", "-o", "NumberOfPasswordPrompts=1"] \
            if password else ["-i", self.key, "-o", "PreferredAuthentications=publickey"]
        environment = {**os.environ, "SSH_ASKPASS": self.ask, "SSH_ASKPASS_REQUIRE": "force",
                       "ASKED_PASSWORD": password or "", "DISPLAY": "none", "TERM": "vt100"}
        return subprocess.Popen(
            ["ssh", "-F", "/dev/null", "-o", "StrictHostKeyChecking=accept-new",
             "-o", f"UserKnownHostsFile={self.known}", "-o", "IdentitiesOnly=yes",
             "-o", "LogLevel=ERROR", *method, *options, "-p", str(self.port), f"{user}@127.0.0.1",
             *words], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, start_new_session=True, **keywords)

    def run(self, c, user, *words, text="", **keywords):
        """(exit status, output).  The machine's console is read meanwhile: its line is not full."""
        process = self.start(user, *words, **keywords)
        process.stdin.write(text.encode())
        process.stdin.close()
        process.stdin = None
        output = wait(c, process, 90)
        return process.returncode, output


def wait(c, process, seconds):
    os.set_blocking(process.stdout.fileno(), False)
    deadline, output = time.monotonic() + seconds * PATIENCE, b""
    while True:
        c.pump(0.05)
        output += process.stdout.read() or b""
        if process.poll() is not None:
            return (output + (process.stdout.read() or b"")).decode(errors="replace")
        if time.monotonic() > deadline:
            process.kill()
            process.wait()
            raise Timeout(f"the client did not end; it said:\n{output.decode(errors='replace')}")


def until(c, process, pattern, seconds=60, output=b""):
    os.set_blocking(process.stdout.fileno(), False)
    deadline = time.monotonic() + seconds * PATIENCE
    while not re.search(pattern, output):
        c.pump(0.05)
        output += process.stdout.read() or b""
        if time.monotonic() > deadline:
            raise Timeout(f"no {pattern} in {output}")
    return output


def add_user(c, name, role):
    c.command(f"host user add {name} role={role}")
    c.send(f"host user passwd {name}\r")
    for question in ("New password: ", "Again: "):
        c.expect(question, 60)
        c.send(PASSWORDS[name] + "\r")
    c.prompt(60)


def noise(client, seed):
    """Connects and says what no client says."""
    rng = random.Random(seed)
    with socket.create_connection(("127.0.0.1", client.port), 30) as s:
        try:
            if seed % 3:
                s.sendall(b"SSH-2.0-OpenSSH_9.2p1\r\n")
            if seed % 3 == 2:  # a packet's header that tells a length
                s.sendall(rng.choice([0, 1, 12, 35000, 2 ** 31 - 1, 2 ** 32 - 1]).to_bytes(4, "big"))
            s.sendall(rng.randbytes(rng.choice([0, 1, 100, 5000, 100000])))
        except OSError:
            pass


@qemu("ssh", machine="q35", disk="ahci", cpus=2, limit=400, extra=FORWARD)
def ssh(c):
    c.until("net kif list", r"k0 .*10\.0\.2\.15", 60)
    with c.check("off at first, and not to be had without a user"):
        assert re.search(r"(?m)^state +off", c.command("host ssh"))
        assert "E_NO_USER" in c.command("host ssh on")
    add_user(c, "anna", "admin")
    add_user(c, "bob", "auditor")
    client = Client(c)
    rsa = client.key + "-rsa"
    keygen = subprocess.Popen(["ssh-keygen", "-q", "-t", "rsa", "-b", "4096", "-N", "", "-f", rsa],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # takes its time
    with open(client.key + ".pub") as f:
        public = f.read().strip()
    c.command(f"host user key anna 'key={public}'")
    c.command("host ssh on")
    with c.check("a command by password, with its output and status", vital=True):
        status, text = client.run(c, "anna", "vm list", password="eight888")
        assert status == 0 and "demo" in text, (status, text)
        assert client.run(c, "anna", "vm start nobody", password="eight888")[0] != 0
    with c.check("by key"):
        status, text = client.run(c, "anna", "host info")
        assert status == 0 and "uptime" in text, (status, text)
        assert client.run(c, "bob", "host info")[0] == 255
    with c.check("by an RSA key of 4096 bits, typed as one line"):
        wait(c, keygen, 200)
        with open(rsa + ".pub") as f:
            assert "E_" not in c.command(f"host user key bob 'key={f.read().strip()}'")
        status, text = client.run(c, "bob", "host info", options=["-i", rsa, "-o", "PreferredAuthentications=publickey"])
        assert status == 0 and "uptime" in text, (status, text)
    with c.check("an auditor looks, and changes nothing"):
        status, text = client.run(c, "bob", "net switch list; vm set demo cpu=2", password="password")
        assert status != 0 and "vsw0" in text and "E_ROLE" in text, (status, text)
    with c.check("an operator makes switches, and no user"):
        add_user(c, "olga", "operator")
        status, text = client.run(c, "olga", "net switch add ops", password="operates8")
        assert status == 0 and "ops" in c.command("net switch list"), (status, text)
        status, text = client.run(c, "olga", "host user add eve role=admin", password="operates8")
        assert status != 0 and "E_ROLE" in text and "eve" not in c.command("host user list"), (status, text)
    with c.check("each login and each command that was refused is in the log"):
        log = c.command("host log level=notice", 60)
        for said in (r"user anna \(10\.0\.2\.2:\d+\) logged in by password", r"user anna \(\S+\) logged in by key",
                     r"user bob \(\S+\) was refused: vm set needs role admin",
                     r"user olga \(\S+\) was refused: host user needs role admin"):
            assert re.search(said, log), said + " is not in:\n" + log
    with c.check("a long answer comes whole"):
        status, text = client.run(c, "anna", "help reference")
        ours = c.command("help reference --no-more", 60)
        assert text.split() == ours.split(), (len(text), len(ours))
    with c.check("a card that is reset in the middle of it loses nothing of a connection"):
        one, pieces = c.command("help reference --no-more", 60).split(), 1
        while True:  # long enough that it is not over before the third reset
            process = client.start("anna", ";".join(["help reference"] * pieces))
            process.stdin.close()
            process.stdin = None
            output, resets = until(c, process, rb"\S"), 0
            while resets < 3 and process.poll() is None:
                text = c.command("host nic reset nic0")
                assert "E_" not in text or "is being reset" in text, text
                resets += "E_" not in text and process.poll() is None
            output += wait(c, process, 200).encode()
            assert process.returncode == 0 and output.decode().split() == one * pieces, \
                (process.returncode, output[-200:], pieces, resets)
            if resets == 3:
                break
            pieces *= 4
            assert pieces <= 64
        print(f"        {resets} resets during {len(output)} bytes")
    with c.check("a script on standard input"):
        status, text = client.run(c, "anna", text="".join(f"echo n{i}\r" for i in range(300)))
        assert all(re.search(rf"\nn{i}\r", text) for i in range(300)), text[-2000:]
    with c.check("four sessions at once, each with a terminal"):
        sessions = [client.start("anna", options=["-tt"]) for _ in range(4)]
        try:
            for s in sessions:
                until(c, s, rb"(?s)Addresses: k0 10\.0\.2\.15/24 by DHCP[^\n]*\r\n.*bulkhead> ")
            for i, s in enumerate(sessions):
                s.stdin.write(b"echo this is %d\r" % i)
                s.stdin.flush()
            for i, s in enumerate(sessions):
                until(c, s, rb"\nthis is %d\r" % i)
            c.until("host ssh", r"(?m)^sessions +4 of 6", 60)
            for s in sessions:
                s.stdin.write(b"exit\r")
                s.stdin.flush()
                wait(c, s, 60)
                assert s.returncode == 0
        finally:
            for s in sessions:
                if s.poll() is None:
                    s.kill()
                s.wait()
    with c.check("a client that goes away takes its session with it"):
        s = client.start("anna", options=["-tt"])
        until(c, s, rb"bulkhead> ")
        s.kill()
        s.wait()
        c.until("host ssh", NOBODY, 60)
    with c.check("a session in which nothing is typed or said comes to its end"):
        assert "E_VALUE" in c.command("host ssh idle=100000")
        c.command("host ssh idle=2")
        s = client.start("anna", options=["-tt"])
        assert "typed for too long" in wait(c, s, 90)
        assert "session of anna from" in c.command("host log level=notice | grep idle")
        assert "host ssh idle=2" in c.command("host config show")
        c.command("host ssh idle=900")
    with c.check("five wrong passwords lock a user, until he is unlocked"):
        for _ in range(5):
            assert client.run(c, "bob", "vm list", password="wrong")[0] == 255
        assert client.run(c, "bob", "vm list", password="password")[0] == 255
        assert re.search(r"bob .*locked for", c.command("host user list"))
        log = c.command("host log level=notice")
        assert re.search(r"login of bob from 10\.0\.2\.2:\d+ refused: wrong password", log), log
        assert "user bob is locked" in log
        c.command("host user unlock bob")
        assert client.run(c, "bob", "vm list", password="password")[0] == 0
    with c.check("keys that are refused are one event a connection, with name and address"):
        strange = []
        for i in range(2):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{client.key}-{i}"], check=True)
            strange += ["-i", f"{client.key}-{i}"]
        only = ["-o", "PreferredAuthentications=publickey"]
        assert client.run(c, "olga", "vm list", options=[*strange, *only])[0] == 255
        log = c.command("host log level=notice | grep olga")
        assert re.search(r"login of olga from 10\.0\.2\.2:\d+ refused: 3 keys not accepted, the last SHA256:", log), log
        assert re.search(r"olga .*1 failed logins", c.command("host user list")), log
    with c.check("a key is taken away by its fingerprint"):
        shown = subprocess.run(["ssh-keygen", "-lf", client.key + ".pub"], check=True, text=True,
                               capture_output=True).stdout.split()[1]
        c.command(f"host user key olga 'key={public}'")
        assert shown in c.command("host user show olga")
        assert client.run(c, "olga", "vm list")[0] == 0
        assert "E_" not in c.command(f"host user unkey olga key={shown}")
        assert shown not in c.command("host user show olga")
        assert client.run(c, "olga", "vm list")[0] == 255
        assert public.split()[1] in c.command("host config show | grep anna")
        assert "olga 'key" not in c.command("host config show | grep olga")
    with c.check("a role counts from the next command on, and who is removed or locked has to go"):
        s = [client.start(user, options=["-tt", *more], **how) for user, more, how in (
            ("olga", [], {"password": "operates8"}), ("olga", [], {"password": "operates8"}),
            ("bob", [], {"password": "password"}))]
        try:
            for one in s:
                until(c, one, rb"bulkhead> ")
            c.until("host user show olga", r"(?m)^sessions +2", 60)
            c.command("host user role olga role=auditor")
            for word, answer in ((b"net switch add later", rb"E_ROLE"), (b"echo fine", rb"\nfine\r")):
                s[0].stdin.write(word + b"\r")
                s[0].stdin.flush()
                until(c, s[0], answer)
            s[1].stdin.write(b"host log follow\r")
            s[1].stdin.flush()
            c.command("host user lock bob")
            assert "E_SESSION" in wait(c, s[2], 60)
            assert client.run(c, "bob", "vm list", password="password")[0] == 255
            c.command("host user unlock bob")
            c.command("host user remove olga")
            for one in s[:2]:
                assert "E_SESSION" in wait(c, one, 60)
        finally:
            for one in s:
                if one.poll() is None:
                    one.kill()
                one.wait()
        log = c.command("host log level=notice", 60)
        for name in ("bob", "olga"):
            assert re.search(rf"session of {name} from 10\.0\.2\.2:\d+ ends: the user was removed", log), log
    with c.check("what is no SSH hurts nobody"):
        for seed in range(60):
            noise(client, seed)
            c.pump(0.01)
        assert c.command("echo still here").strip() == "still here"
        c.until("host ssh", NOBODY, 120)
        assert client.run(c, "anna", "echo fine")[1].strip() == "fine"
    with c.check("a flood of it does not fill the log"):
        c.until("host log level=notice", r"\d+ more connections were refused; the last: connection of 10\.0\.2\.2", 90)
        assert c.command("host log level=notice").count("connection of 10.0.2.2") < 45
    with c.check("strangers of one address do not take all places"):
        strangers = [socket.create_connection(("127.0.0.1", client.port), 30) for _ in range(6)]
        try:
            c.until("host ssh", r"logging in +6 of 9", 60)
            with socket.create_connection(("127.0.0.1", client.port), 30) as one_more:
                assert one_more.recv(100) == b""
            assert "too many of that address" in c.command("host log level=notice")
        finally:
            for one in strangers:
                one.close()
        c.until("host ssh", NOBODY, 120)
    with c.check("a crash of the control partition unlocks nobody"):
        for _ in range(5):
            assert client.run(c, "bob", "vm list", password="wrong")[0] == 255
        assert re.search(r"host user lock bob until=\d+", c.command("host config show"))
    with c.check("after a crash of the control partition it is there again, with the same key"):
        before = re.search(r"SHA256:\S+", c.command("host ssh")).group()
        c.command("net switch delete ops")  # the network is the first boot's again
        c.command("debug crash null", 60)
        c.until("net kif list", r"k0 .*10\.0\.2\.15", 60)
        assert before in c.command("host ssh")
        status, text = client.run(c, "anna", "host info")
        assert status == 0 and re.search(r"control restarts +1", text), (status, text)
        assert "Bulkhead is at 10.0.2.15 (k0, by DHCP); `ssh USER@10.0.2.15` gives this shell" in c.text
        assert re.search(r"bob .*locked for \d+ s", c.command("host user list"))
        assert client.run(c, "bob", "vm list", password="password")[0] == 255
    with c.check("off again"):
        c.command("host ssh off")
        assert client.run(c, "anna", "host info")[0] == 255
