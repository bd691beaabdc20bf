#!/usr/bin/env python3
"""Say what a Gearman server, in any language, does right, and what it does not yet do right.

    python3 tests/stages/judge.py 127.0.0.1:4730                               a server that runs, all stages but the last
    python3 tests/stages/judge.py --stage 3 127.0.0.1:4730                     one stage; 1-9 and 1,2,5-7 are several
    python3 tests/stages/judge.py -- python3 tests/stages/mini.py {port}       it starts the server itself, on a free port
    python3 tests/stages/judge.py --stage 12 -- myserver --port {port}         the last stage, which kills the server

README.md beside this file lists the stages.  Each stage has a page in Markdown, which says what it asks for and why, and a file
of conversations, which this program plays; both are text, and worth reading first.  A conversation is a sentence and its steps:

    A connection that says nothing holds nobody up.
        idle connects                              idle is a connection
        c > ECHO_REQ hello                         the connection c, made now if it is new, sends this packet
        c < ECHO_RES hello                         and gets exactly this one, within two seconds

An argument is a word, or text in quotes, with \\n, \\t, \\0 and \\xff as in Python; "x"*1000 means it a thousand times; * means
anything.  If {f} is first sent, it is a new name.  If it first comes from the server, it is what the server has chosen, such as
a handle, and must differ from all other {names} so far.  Further steps:

    c > byte by byte: ECHO_REQ hello               each byte in a send of its own, with time in between
    c > ECHO_REQ one + ECHO_REQ two                several packets in one send
    c > first 15 bytes of ECHO_REQ hello           and later: c > the rest
    c > "status\\n"                                 bytes as they are
    c < NO_JOB or JOB_ASSIGN {job} {f} data        one of these: the protocol leaves it open
    c < perhaps NOOP                               this, or not: the protocol leaves it open
    c < nothing                                    nothing has come; an echo that is sent now shows it
    c < line "OK *"                                a line of text
    c < list with "{f}\\t1\\t0\\t0" without "{g}"     lines of text up to a dot; one is the first, none is the second
    c < end                                        the server closes the connection
    c closes
    the server is killed and started again
    c submits background jobs of {f} until the server is killed and started again
    w is given all jobs of {f} that c was told of

What comes without being expected is wrong, too; this is checked at the end of a conversation at the latest.
"""
import argparse
import collections
import os
import random
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import time

FOLDER = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(os.path.dirname(FOLDER)))  # the package's folder: its table of packets is used here
from gearman_std.wire.protocol import PACKETS, REQUEST_MAGIC, RESPONSE_MAGIC  # noqa: E402

NAMES = {number: name for number, (name, _, _) in PACKETS.items()}
NUMBERS = {name: number for number, name in NAMES.items()}
ARGUMENTS = {name: arguments for name, _, arguments in PACKETS.values()}
HEADER = struct.Struct(">4sII")
WORD = re.compile(r'(?:"(?:[^"\\]|\\.)*"(?:\*\d+)?|\{\w+\}|[^\s"{}])+')
PIECE = re.compile(r'"((?:[^"\\]|\\.)*)"(?:\*(\d+))?|\{(\w+)\}|(\*)|([^\s"{}*]+)')
ESCAPE = re.compile(r"\\x(..)|\\(.)|\{(\w+)\}")
LAST = 12   # the number of the last stage, the one that kills the server
LARGEST = 1 << 24  # bytes of a packet, a line, or what comes while something is sent; no conversation has so many
MANY = 400  # background jobs that are under way when the server is killed


class Wrong(Exception):
    """The server did not do what the conversation says."""


class NoServer(Exception):
    """There is no server to judge."""


# --- Words and bytes

def show(data, limit=60):
    """Bytes for people."""
    text = re.sub(r"[^ -~]|[\\\"]", lambda match: {"\n": "\\n", "\t": "\\t", "\0": "\\0"}.get(
        match.group(), "\\" + match.group() if match.group() in '\\"' else "\\x%02x" % ord(match.group())),
        data[:limit].decode("latin-1"))
    text = text if re.match(r"[^\s\"\\]+\Z", text) else '"%s"' % text
    return text + (" (the beginning of %d bytes)" % len(data) if len(data) > limit else "")


Line = collections.namedtuple("Line", "data")
Packet = collections.namedtuple("Packet", "name arguments")
End = collections.namedtuple("End", "")


def show_unit(unit):
    """A unit that has come, for people."""
    if isinstance(unit, Packet):
        return " ".join([unit.name] + [show(argument) for argument in unit.arguments])
    return "the end of the connection" if isinstance(unit, End) else "the line %s" % show(unit.data)


class Words:
    """What the {names} of one conversation stand for.

    Owner: the conversation.
    """

    def __init__(self):
        self._values = {}
        self._mark = "".join(random.choice("bcdfghjkmnpqrstvwxz") for _ in range(8))

    def fill(self, word):
        """The bytes to send for a word of a conversation."""
        data = b""
        for quoted, count, name, star, bare in PIECE.findall(word):
            if name:
                data += self.value(name)
            elif bare or star:
                data += (bare or star).encode()
            else:
                data += ESCAPE.sub(self._unescape, quoted).encode("latin-1") * int(count or 1)
        return data

    def value(self, name):
        return self._values.setdefault(name, ("%s-%s" % (name, self._mark)).encode())

    def _unescape(self, match):
        code, letter, name = match.groups()
        if name:
            return self.value(name).decode("latin-1")
        return chr(int(code, 16)) if code else {"n": "\n", "t": "\t", "0": "\0"}.get(letter, letter)

    def match(self, word, data):
        """Whether bytes from the server fit a word of a conversation; remembers what a new name stands for."""
        if "*" not in PIECE.sub(r"\1\4", word) and set(re.findall(r"\{(\w+)\}", word)) <= set(self._values):
            return data == self.fill(word)
        pattern, new = b"", None
        for piece in PIECE.finditer(word):
            quoted, _, name, star, _ = piece.groups()
            if star:
                pattern += b".*"
            elif name and name not in self._values:
                new, pattern = name, pattern + rb"([^\0\n]{1,63})"
            elif quoted:
                pattern += b".*".join(re.escape(self.fill('"%s"' % part)) for part in quoted.split("*"))
            else:
                pattern += re.escape(self.fill(piece.group()))
        found = re.match(b"(?:%s)\\Z" % pattern, data, re.DOTALL)
        if found and new:
            for name, value in self._values.items():
                if value == found.group(1):
                    raise Wrong("expected a {%s} of its own; got %s, which is that of {%s} already" % (new, show(value), name))
            self._values[new] = found.group(1)
        return bool(found)

    def meant(self, text):
        """The words of a step, with the values of its names, for people."""
        new = [name for name in re.findall(r"\{(\w+)\}", text) if name not in self._values]
        filled = re.sub(r"\{(\w+)\}", lambda match: match.group() if match.group(1) in new
                        else show(self._values[match.group(1)]), text)
        return filled + "".join(" (where {%s} is any that is new)" % name for name in new)


def packet(name, arguments):
    """The bytes of a request."""
    body = b"\0".join(arguments)
    return HEADER.pack(REQUEST_MAGIC, NUMBERS[name], len(body)) + body


def pack(words, text):
    """The bytes of packets, as they are written in a conversation."""
    data = b""
    for part in re.split(r" \+ ", text):
        name, *arguments = WORD.findall(part)
        if name.startswith('"'):
            data += words.fill(name)
            continue
        assert len(arguments) == len(ARGUMENTS[name]), part
        data += packet(name, [words.fill(argument) for argument in arguments])
    return data


# --- Connections

class Connection:
    """One connection to the server, and what has come on it that no step has looked at.

    Owner: the conversation.
    """

    def __init__(self, address, patience):
        self._patience = patience
        self._buffer = bytearray()
        self._echoes = 0
        self._at_end = False
        self.inbox = collections.deque()
        self.rest = b""
        try:
            self._socket = socket.create_connection(address, patience)
        except OSError as error:
            raise Wrong("cannot connect to %s:%d: %s" % (address[0], address[1], error))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setblocking(False)

    def close(self):
        self._socket.close()

    def send(self, data):
        """Send all, and receive meanwhile, because a server may stop reading while nobody reads its answers."""
        deadline = time.monotonic() + 5 * self._patience
        view = memoryview(data)
        while view:
            readable, writable, _ = select.select([] if self._at_end else [self._socket], [self._socket], [],
                                                  max(0, deadline - time.monotonic()))
            if not readable and not writable:
                raise Wrong("the server has taken no more bytes for %g s; %d of %d are sent"
                            % (5 * self._patience, len(data) - len(view), len(data)))
            if readable:
                self._receive()
                if len(self._buffer) > 4 * LARGEST:
                    raise Wrong("the server has sent %d bytes without an end, and does not read what is sent to it"
                                % len(self._buffer))
            if writable:
                try:
                    view = view[self._socket.send(view[:65536]):]
                except OSError as error:
                    raise Wrong("the server closed the connection: %s" % error)

    def _receive(self):
        try:
            data = self._socket.recv(262144)
        except OSError:
            data = b""  # a reset is an end, too
        self._buffer += data
        self._at_end = not data

    def receive(self, deadline=None):
        """The next unit that no step has looked at, or None if none comes in time."""
        return self.inbox.popleft() if self.inbox else self._next(deadline)

    def _next(self, deadline):
        deadline = deadline or time.monotonic() + self._patience
        while True:
            unit = self._unit()
            if unit is not None or self._at_end:
                return End() if unit is None else unit
            left = deadline - time.monotonic()
            if left < 0 or not select.select([self._socket], [], [], left)[0]:
                return None
            self._receive()

    def _unit(self):
        """Take the packet or line at the begin of the buffer; None if it is not whole yet."""
        data = self._buffer
        if not data:
            return None
        if data[0]:
            end = data.find(b"\n")
            if end < 0:
                if len(data) > LARGEST:
                    raise Wrong("got %d bytes of a line without an end: %s" % (len(data), show(bytes(data[:60]))))
                return None
            line = bytes(data[:end])
            del data[:end + 1]
            return Line(line)
        if not RESPONSE_MAGIC.startswith(bytes(data[:4])):
            raise Wrong("expected a packet, which begins with \\0RES; got %s" % show(bytes(data)))
        if len(data) < HEADER.size:
            return None
        _, number, size = HEADER.unpack_from(data)
        if number not in NAMES:
            raise Wrong("got a packet of type %d, which does not exist; its header is %s"
                        % (number, " ".join("%02x" % byte for byte in data[:HEADER.size])))
        if size > LARGEST:
            raise Wrong("got %s with a size of %d bytes in its header, which is %s; nothing here is as large"
                        % (NAMES[number], size, " ".join("%02x" % byte for byte in data[:HEADER.size])))
        if len(data) < HEADER.size + size:
            return None
        body = bytes(data[HEADER.size:HEADER.size + size])
        del data[:HEADER.size + size]
        return self._packet(NAMES[number], body)

    @staticmethod
    def _packet(name, body):
        count = len(ARGUMENTS[name])
        arguments = body.split(b"\0", count - 1) if count else []
        if len(arguments) != count or (body and not count):
            raise Wrong("got %s with %s; it has %s, with a NUL between them and none at the end" % (
                name, "the arguments %s" % show(body) if body else "no arguments", ", ".join(ARGUMENTS[name]) or "none"))
        return Packet(name, arguments)

    def half_done(self):
        """What has come of a unit that is not whole."""
        return bytes(self._buffer)

    def settle(self):
        """Wait for an echo; what the server has said before it is then in `inbox`."""
        self._echoes += 1
        mark = b"judge %d" % self._echoes
        self.send(packet("ECHO_REQ", [mark]))
        deadline = time.monotonic() + self._patience
        while True:
            unit = self._next(deadline)
            if unit == Packet("ECHO_RES", [mark]):
                return
            if unit is None or time.monotonic() > deadline:
                raise Wrong("expected the ECHO_RES of an ECHO_REQ within %g s; %s" % (
                    self._patience, "nothing came" if unit is None else "%d others came, the last of them %s" % (
                        len(self.inbox) + 1, show_unit(unit))))
            self.inbox.append(unit)
            if isinstance(unit, End):
                return


# --- Servers

class Running:
    """A server that somebody else started.

    Owner: the judge.
    """

    def __init__(self, address):
        self.address = address
        try:
            socket.create_connection(address, 5).close()
        except OSError as error:
            raise NoServer("cannot connect to %s:%d: %s" % (address[0], address[1], error))

    def restart(self):
        raise NoServer("this stage kills the server, so the judge has to start it: judge.py --stage 12 -- COMMAND {port}")

    def end(self):
        """Leave it alone."""


class Started:
    """A server that the judge starts, with a command that has {port} in it.

    Owner: the judge.
    """

    PATIENCE = 10.0

    def __init__(self, command):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = probe.getsockname()
        self._command = [word.replace("{port}", str(self.address[1])) for word in command]
        self._process = None
        self._start()

    def _start(self):
        try:
            self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, start_new_session=True)
        except OSError as error:
            raise NoServer("cannot start %s: %s" % (self._command[0], error))
        deadline = time.monotonic() + self.PATIENCE
        while True:
            try:
                return socket.create_connection(self.address, 1).close()
            except OSError:
                if self._process.poll() is not None:
                    raise NoServer("the server ended with status %d before it listened on port %d: %s" % (
                        self._process.returncode, self.address[1], " ".join(self._command)))
                if time.monotonic() > deadline:
                    self.end()
                    raise NoServer("the server does not listen on port %d after %g s: %s" % (
                        self.address[1], self.PATIENCE, " ".join(self._command)))
                select.select([], [], [], 0.01)

    def _signal(self, number):
        try:
            os.killpg(self._process.pid, number)  # also all processes that it has started
        except OSError:
            pass  # it has ended

    def restart(self):
        self._signal(signal.SIGKILL)
        self._process.wait()
        try:
            self._start()
        except NoServer as error:
            raise Wrong("expected the server to start again after it was killed; %s" % error)

    def end(self):
        self._signal(signal.SIGTERM)
        try:
            self._process.wait(self.PATIENCE)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self._process.wait()


# --- Conversations

class Conversation:
    """A sentence that is true of a server or not, and the steps that show it."""

    def __init__(self, about, steps):
        self.about = about
        self.steps = steps  # pairs of a line's number and its text


class Play:
    """A conversation while it is played.

    Owner: whoever plays it.
    """

    def __init__(self, server, patience):
        self._server = server
        self._patience = patience
        self._words = Words()
        self._connections = {}
        self._told = collections.defaultdict(list)  # by connection, the workloads of the jobs that the server has acknowledged
        self.where = None

    def run(self, conversation):
        """Play it.  Raises Wrong if the server does something else."""
        try:
            for self.where in conversation.steps:
                self._step(self.where[1])
            self.where = None
            for name in sorted(self._connections):
                self._nothing(name, "at the end of the conversation")
        finally:
            self._close_all()

    def _close_all(self):
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()

    def _connection(self, name):
        if name not in self._connections:
            self._connections[name] = Connection(self._server.address, self._patience)
        return self._connections[name]

    def _step(self, text):
        if text == "the server is killed and started again":
            self._restart()
            return
        name, verb, *rest = text.split(" ", 2)
        what = rest[0] if rest else ""
        if verb == ">":
            self._send(self._connection(name), what)
        elif verb == "<":
            self._expect(name, what)
        elif text == "%s connects" % name:
            self._connection(name)
        elif text == "%s closes" % name:
            self._connections.pop(name).close()
        elif verb == "submits":
            self._submit_until_killed(name, re.search(r"\{(\w+)\}", what).group(1))
        elif verb == "is":
            self._take_all(name, *re.match(r"given all jobs of \{(\w+)\} that (\w+) was told of\Z", what).groups())
        else:
            raise AssertionError("a conversation has no such step: %s" % text)

    def _restart(self):
        self._close_all()
        self._server.restart()

    def _send(self, connection, what):
        piece = re.match(r"first (\d+) bytes of (.*)", what)
        if what.startswith("byte by byte: "):
            for byte in pack(self._words, what[len("byte by byte: "):]):
                connection.send(bytes([byte]))
                self._connection("another").settle()  # so the server has had time to read this byte
        elif piece:
            data = pack(self._words, piece.group(2))
            connection.send(data[:int(piece.group(1))])
            connection.rest = data[int(piece.group(1)):]
        elif what == "the rest":
            connection.send(connection.rest)
        else:
            connection.send(pack(self._words, what))

    def _expect(self, name, what):
        connection = self._connection(name)
        if what == "nothing":
            self._nothing(name, "here")
        elif what.partition(" ")[0] == "list":
            self._expect_list(connection, re.findall(r" (with|without) (%s)" % WORD.pattern, what[len("list"):]))
        elif what.startswith("perhaps "):
            connection.settle()
            if connection.inbox and self._is_one_of(connection.inbox[0], what[len("perhaps "):]):
                connection.inbox.popleft()
        else:
            self._must_be(connection, connection.receive(), what)

    def _must_be(self, connection, unit, what):
        if unit is None:
            half = connection.half_done()
            came = "only %s came, which is not all of it" % show(half) if half else "nothing came"
            raise Wrong("expected %s within %g s; %s" % (self._words.meant(what), self._patience, came))
        meant = self._words.meant(what)
        if not self._is_one_of(unit, what):
            raise Wrong("expected %s; got %s" % (meant, show_unit(unit)))

    def _is_one_of(self, unit, what):
        return any(self._is(unit, one) for one in what.split(" or "))

    def _is(self, unit, what):
        first, *arguments = WORD.findall(what)
        if first == "end":
            return isinstance(unit, End)
        if first == "line":
            return isinstance(unit, Line) and self._words.match(arguments[0], unit.data.rstrip(b"\r"))
        assert len(arguments) == len(ARGUMENTS[first]), what
        return (isinstance(unit, Packet) and unit.name == first
                and all(self._words.match(word, data) for word, data in zip(arguments, unit.arguments)))

    def _expect_list(self, connection, parts):
        lines, deadline = [], time.monotonic() + self._patience
        while True:
            unit = connection.receive(deadline)
            if unit is None or not isinstance(unit, Line):
                raise Wrong("expected lines of text up to a dot within %g s; %d lines came, and then %s"
                            % (self._patience, len(lines), show_unit(unit) if unit else "nothing"))
            if unit.data.rstrip(b"\r") == b".":
                break
            lines.append(unit.data.rstrip(b"\r"))
        for sign, word in parts:
            found = [line for line in lines if self._words.match(word, line)]
            if bool(found) != (sign == "with"):
                raise Wrong("expected a list %s a line %s; got %s" % (sign, self._words.meant(word), ", ".join(
                    map(show, lines)) or "one without lines"))

    def _nothing(self, name, when):
        """Check that the server has nothing more to say to this connection, whatever was said to it before."""
        for other in sorted(self._connections, key=lambda other: (other == name, other)):
            connection = self._connections[other]
            if not connection.inbox or not isinstance(connection.inbox[-1], End):
                connection.settle()
        inbox = self._connection(name).inbox
        if inbox:
            raise Wrong("expected nothing for %s %s; got %s" % (name, when, show_unit(inbox[0])))

    # The last stage.

    def _submit_until_killed(self, name, function):
        """Send many jobs at once; kill the server when it has acknowledged a quarter of them, none of which may be lost."""
        connection = self._connection(name)
        words = ["job-%d" % number for number in range(MANY)]
        connection.send(b"".join(pack(self._words, "SUBMIT_JOB_BG {%s} %s %s" % (function, word, word)) for word in words))
        told = self._told[name]
        while len(told) < MANY // 4:
            self._must_be(connection, connection.receive(), "JOB_CREATED *")
            told.append(words[len(told)].encode())
        self._server.restart()
        while isinstance(connection.receive(), Packet):  # what the server had sent before it was killed
            told.append(words[len(told)].encode())
        self._close_all()

    def _take_all(self, name, function, submitter):
        connection = self._connection(name)
        told, given = self._told[submitter], set()
        connection.send(pack(self._words, "CAN_DO {%s}" % function))
        while True:
            connection.send(pack(self._words, "GRAB_JOB"))
            unit = connection.receive()
            if unit == Packet("NO_JOB", []):
                break
            self._must_be(connection, unit, "JOB_ASSIGN * {%s} *" % function)
            given.add(unit.arguments[2])
            connection.send(packet("WORK_COMPLETE", [unit.arguments[0], b""]))
        lost = [workload for workload in told if workload not in given]
        if lost:
            raise Wrong("expected all %d jobs that were acknowledged with JOB_CREATED before the server was killed; %d of them "
                        "are lost; the first one is %s" % (len(told), len(lost), show(lost[0])))


# --- Stages

class Stage:
    """One stage: its page and its conversations."""

    def __init__(self, name):
        self.number = int(name[:2])
        self.page = os.path.join(FOLDER, name + ".md")
        self.file = os.path.join(FOLDER, name + ".txt")
        with open(self.page, encoding="utf-8") as file:
            self.title = re.match(r"# Stage \d+: (.*)\n", file.read()).group(1)
        self.conversations = []
        with open(self.file, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.startswith(" "):
                    self.conversations[-1].steps.append((number, line.strip()))
                elif line.strip():
                    self.conversations.append(Conversation(line.strip(), []))

    def judge(self, server, patience):
        """Play all conversations; return a list of what is wrong, in words."""
        wrong = []
        for conversation in self.conversations:
            play = Play(server, patience)
            try:
                play.run(conversation)
            except Wrong as error:
                wrong.append(self._tell(conversation, play.where, str(error)))
        return wrong

    def _tell(self, conversation, where, error):
        last, _ = where or conversation.steps[-1]
        lines = [conversation.about]
        for number, text in conversation.steps:
            if number <= last:
                lines.append("%s %s" % (">>" if where and number == last else "  ", text))
        lines.append("%s:%d: %s." % (os.path.basename(self.file), last, error))
        return "\n".join("    " + line for line in lines)


def load_stages():
    """All stages, in their order."""
    return [Stage(name[:-3]) for name in sorted(os.listdir(FOLDER)) if re.match(r"\d\d_.*\.md\Z", name)]


def parse_stages(text):
    """The numbers in a list like 3, 1-9 or 1,2,5-7."""
    numbers = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        if not (first + (last or first)).isdigit():
            raise argparse.ArgumentTypeError("%r is not a stage, or several such as 1-9 or 1,2,5-7" % part)
        numbers.update(range(int(first), int(last or first) + 1))
    if not numbers or not numbers <= set(range(1, LAST + 1)):
        raise argparse.ArgumentTypeError("there are the stages 1 to %d" % LAST)
    return numbers


def parse_address(text):
    """The host and the port in HOST:PORT, or in PORT alone."""
    host, _, port = text.rpartition(":")
    if not port.isdigit():
        raise argparse.ArgumentTypeError("%r has no port at its end" % text)
    if not 0 < int(port) < 65536:
        raise argparse.ArgumentTypeError("ports are from 1 to 65535: %r" % text)
    return host.strip("[]") or "127.0.0.1", int(port)


def judge(server, numbers, patience, keep_going, say=print):
    """Play these stages; return whether the server passes all of them."""
    kept = True
    for stage in load_stages():
        if stage.number not in numbers or not (kept or keep_going):
            continue
        wrong = stage.judge(server, patience)
        kept = kept and not wrong
        say("stage %d, %s: %s" % (stage.number, stage.title, "%d of its %d conversations go otherwise" % (
            len(wrong), len(stage.conversations)) if wrong else "kept"))
        for text in wrong:
            say(text + "\n")
        if wrong:
            say("    The stage's page says what it is about: %s" % os.path.relpath(stage.page))
    return kept


def main(arguments):
    """Judge a server; returns the exit status."""
    command = []
    if "--" in arguments:
        place = arguments.index("--")
        arguments, command = arguments[:place], arguments[place + 1:]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="judge.py [--stage N] [--keep-going] [--patience S] HOST:PORT | -- COMMAND... {port}",
        epilog="Ends with status 0 if all stages are kept that were asked for, 1 if not, 2 if there is no server to judge.")
    parser.add_argument("--stage", metavar="N", type=parse_stages,
                        help="which: 3, or 1-9, or 1,2,5-7; all that apply, if it is not said")
    parser.add_argument("--keep-going", action="store_true", help="go on after a stage that is not kept")
    parser.add_argument("--patience", metavar="S", type=float, default=2.0,
                        help="how many seconds an answer may take (default: 2)")
    parser.add_argument("address", metavar="HOST:PORT", nargs="?", type=parse_address, help="a server that runs")
    options = parser.parse_args(arguments)
    if bool(command) == bool(options.address):
        parser.error("either HOST:PORT of a server that runs, or -- and the command that starts one")
    if command and not any("{port}" in word for word in command):
        parser.error("the command has no {port} in it, where the port goes")
    numbers = options.stage or set(range(1, LAST + 1 if command else LAST))
    server = None
    try:
        server = Started(command) if command else Running(options.address)
        return 0 if judge(server, numbers, options.patience, options.keep_going) else 1
    except NoServer as error:
        print("judge.py: %s" % error, file=sys.stderr)
        return 2
    finally:
        if server is not None:
            server.end()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
