"""Talks to a machine over its serial port: waits for text, types commands, never sleeps."""
import os
import re
import select
import socket
import time

# Terminal control sequences and carriage returns: nothing that a test looks at.
CONTROL = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[()][A-Z0-9]|[=>78cM])|\r|\x07|\x00")
PARTIAL_CONTROL = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|[()])?$")
# A new prompt ends so (control/line_edit.h); one that a notice made the shell draw again does not.
FRESH, FRESH_MARK = "\x1b[J", "\x02"
PROMPT = rf"(?:^|\n)bulkhead> {FRESH_MARK}"
ECHO_SECONDS = 60
PANIC = r"PANIC on cpu .*|Bulkhead has stopped.*"
# A quiet machine needs a fraction of each limit below; a loaded one gets that many times as long.
PATIENCE = float(os.environ.get("PATIENCE", "5"))


class Timeout(AssertionError):
    """The awaited text did not come in time."""


class Session:
    def __init__(self, machine):
        self.machine, self.socket = machine, machine.serial
        self.log = open(os.path.join(machine.folder, "serial.txt"), "wb")
        self.text = ""      # all that came, cleaned
        self.position = 0   # how far expect() has read
        self.tail = ""      # a control sequence that has not come whole
        self.closed = False

    def close(self):
        self.log.close()

    def pump(self, seconds):
        """Waits at most that long for bytes and takes them; False when there is no more."""
        if self.closed or not select.select([self.socket], [], [], seconds)[0]:
            return not self.closed
        try:
            data = self.socket.recv(65536)
        except ConnectionError:
            data = b""
        if not data:
            self.closed = True
            return False
        self.log.write(data)
        self.log.flush()
        new = self.tail + data.decode("latin-1")
        partial = PARTIAL_CONTROL.search(new)
        self.tail = partial.group() if partial else ""
        new = new[:len(new) - len(self.tail)].replace(FRESH, FRESH_MARK)
        self.text += CONTROL.sub("", new)
        return True

    def send(self, text):
        self.socket.sendall(text.encode("latin-1"))

    def expect(self, pattern, timeout, fail=PANIC):
        """Waits for the regular expression after what was read so far, and reads up to its end.

        A `fail` expression that comes first ends the wait at once: a panic, unless told else.
        Returns the match."""
        wanted, unwanted = re.compile(pattern), re.compile(fail) if fail else None
        deadline = time.monotonic() + timeout * PATIENCE
        while True:
            match = wanted.search(self.text, self.position)
            bad = unwanted.search(self.text, self.position) if unwanted else None
            if bad and (not match or bad.start() < match.start()):
                self.pump_rest()
                raise Timeout(f"came {bad.group()!r} instead of {pattern!r}: {self.last_lines(12)}")
            if match:
                self.position = match.end()
                return match
            left = deadline - time.monotonic()
            if left <= 0:
                raise Timeout(f"no {pattern!r} within {timeout} s; last: {self.last_lines()}")
            if not self.pump(min(left, 1)) and not self.tail_flush():
                raise Timeout(f"{self.machine.kind} ended while waiting for {pattern!r}; "
                              f"last: {self.last_lines()}")

    def pump_rest(self):
        """Takes what still comes, until three seconds' silence: the end of a panic, for the log."""
        before = -1
        while before != self.log.tell():  # not the text: a control sequence adds nothing to it
            before = self.log.tell()
            self.pump(3)

    def tail_flush(self):
        """After the end of the stream: give out what was held back, once."""
        held, self.tail = self.tail, ""
        self.text += held
        return bool(held)

    def last_lines(self, count=6):
        text = self.text[-4000:].replace(FRESH_MARK, "")
        lines = [line[:200] for line in text.split("\n") if line.strip()]
        return "\n        | " + "\n        | ".join(lines[-count:])

    def prompt(self, timeout=30):
        return self.expect(PROMPT, timeout)

    def rest(self, timeout=30):
        """What came between what was read so far, to its line's end, and the next prompt."""
        start = self.expect(r"\n", min(timeout, ECHO_SECONDS)).end()
        self.position = start - 1  # the prompt's newline may be that of the echo
        match = self.prompt(timeout)
        return self.text[start:max(start, match.start())]

    def command(self, line, timeout=30):
        """Types one shell command; returns what it printed, without echo and prompt."""
        self.position = len(self.text)
        self.send(line + "\r")
        # A notice of the shell redraws prompt and line: only the echo's end tells where output starts.
        echo = re.escape(line[-8:]) + r"[^\n]*\n" if line.isprintable() else r"\n"
        start = self.expect(echo, min(timeout, ECHO_SECONDS)).end()
        self.position = start - 1  # the prompt's newline may be that of the echo
        match = self.prompt(timeout)
        return self.text[start:max(start, match.start())]

    def until(self, line, pattern, timeout):
        """Repeats a command until its output matches; returns the match."""
        deadline = time.monotonic() + timeout * PATIENCE
        while True:
            output = self.command(line)
            match = re.search(pattern, output)
            if match:
                return match
            if time.monotonic() > deadline:
                raise Timeout(f"`{line}` never showed {pattern!r}; its last output:\n{output}")

    def ended(self, timeout):
        """Waits until the machine has ended by itself."""
        deadline = time.monotonic() + timeout * PATIENCE
        while time.monotonic() < deadline:
            if not self.pump(0.2):
                return
        raise Timeout(f"{self.machine.kind} still runs after {timeout} s")
