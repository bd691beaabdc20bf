"""Conversations with the server's core, played without a socket, and shown as text for documents.

A scene is written as the conversations in tests/conformance are, but it has only what the peers do; when it is played, the core
adds what the server says.  A scene may also have these lines:

    server: wakeup=0 policy.retries=2 limits.jobs=1           settings of the core, in the first line
    rights: submit                                            rights of the connections that are made after it
    --                                                        what comes after it is shown as bytes
    http > POST /reverse "X-Gearman-Priority: low" hello      a request: its headers, each with a colon, and its body
    the disk has it                                           what was to be stored is on disk; or: the disk is full

The connection `http` submits jobs by HTTP, and `web` asks for the page and the API; all others speak Gearman.  The core gives
the jobs the handles H:host:1, H:host:2 and so on.
"""
import ast
import collections
import functools
import os
import shlex
import struct
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FOLDERS = [ROOT, os.path.join(ROOT, "tests"), os.path.join(ROOT, "tests", "conformance")]
sys.path[:0] = FOLDERS
try:
    import conversations
    from core_world import World
    from gearman_std.core.jobs import FunctionPolicy
    from gearman_std.core.limits import Limits
    from gearman_std.core.peers import ASLEEP, AWAKE, WOKEN
    from gearman_std.core.rights import ALL_RIGHTS
    from gearman_std.server.entrance import _ask_for_result
    from gearman_std.web.session import WebSession
    from gearman_std.web.sharing import SharedAnswers
    from gearman_std.wire.http_jobs import JobSession
    from gearman_std.wire.protocol import HEADER_SIZE, PACKETS, REQUEST_MAGIC, RESPONSE_MAGIC
finally:
    del sys.path[:len(FOLDERS)]

HOST = "queue.example"
SLEEP = {AWAKE: "awake", ASLEEP: "asleep", WOKEN: "woken"}
HTTP_METHODS = ("GET", "POST", "PUT", "HEAD")
NOTES_FROM = 52       # the column in which notes begin, if there is room
ROW = 12              # bytes in a row of hex
MEANING_FROM = 3 * ROW + 5

# One thing that happened.  `who`: the connection.  `way`: ">" for what was said to the server, "<" for what the server said, ""
# for something else.  `data`: the bytes that were said, or a text.  `notes`: what it has changed.  `in_hex`: show it as bytes.
Event = collections.namedtuple("Event", "who way data notes in_hex")


def settings_of(text):
    """The keywords of a World, from the first line of a scene."""
    keywords, parts = {}, {"policy": {}, "limits": {}}
    for word in text.split():
        name, _, value = word.partition("=")
        part, dot, rest = name.rpartition(".")
        (parts[part] if dot else keywords)[rest] = ast.literal_eval(value)
    for part, kind in (("policy", FunctionPolicy), ("limits", Limits)):
        if parts[part]:
            keywords[part] = kind(**parts[part])
    return keywords


def request_of(text):
    """The bytes of a request of HTTP."""
    method, path, *rest = shlex.split(text)
    headers = [word for word in rest if ": " in word]
    body = "".join(word for word in rest if ": " not in word)
    lines = ["%s %s HTTP/1.1" % (method, path), "Host: " + HOST] + headers
    if body:
        lines.append("Content-Length: %d" % len(body))
    return "\r\n".join(lines + ["", body]).encode()


@functools.lru_cache(maxsize=None)
def play(text):
    """The Scene of a text, played once."""
    return Scene(text)


class Scene:
    """A scene that was played: its `events` in their order."""

    def __init__(self, text):
        lines = [line.strip() for line in text.split("\n") if line.strip()]
        settings = settings_of(lines.pop(0)[8:]) if lines[0].startswith("server: ") else {}
        self.world = World(handle_prefix=b"H:host", **settings)
        self.events = []
        self._talkers = collections.OrderedDict()
        self._rights = ALL_RIGHTS
        self._in_hex = False
        self._jobs, self._sleep = {}, {}
        for line in lines:
            self._play(line)

    def _play(self, line):
        if line == "--":
            self._in_hex = True
            return
        if line.startswith("rights: "):
            self._rights = frozenset(line[8:].split())
            return
        if line in ("the disk has it", "the disk is full"):
            (self.world.stores if line == "the disk has it" else self.world.refuses_to_store)()
            return self._add("", "", line)
        name, _, rest = line.partition(" > ")
        if rest.partition(" ")[0] in HTTP_METHODS:
            return self._say(name, [request_of(rest)])
        try:
            step = conversations.parse_step(line)
        except (AssertionError, IndexError, KeyError, ValueError):
            raise ValueError("a scene has no such line: %s" % line) from None
        if "sleep" in step:
            self.world.passes(step["sleep"])
            return self._add("", "", "%g seconds pass" % step["sleep"])
        if "send" in step:
            return self._say(step["conn"], [bytes.fromhex(data) for data in step["send"].split(" ")])
        if "close" not in step:
            raise ValueError("a scene has no such line: %s" % line)
        self._talkers.pop(step["conn"]).leaves()
        return self._add(step["conn"], "", "closes")

    def _talker(self, name):
        if name not in self._talkers:
            talker = self._talkers[name] = self.world.connects(self._rights)
            if name == "http":
                talker.reader = JobSession(1 << 20, self._keeps, _ask_for_result)
            elif name == "web":
                talker.reader = WebSession(frozenset((HOST,)), SharedAnswers())
        return self._talkers[name]

    def _keeps(self, function):
        """Whether the server keeps how background jobs of a function end."""
        return bool(self.world.core.registry.policy_of(function).keep)

    def _say(self, name, pieces):
        talker = self._talker(name)
        talker.sends(b"".join(pieces))
        for piece in pieces[:-1]:
            self.events.append(Event(name, ">", piece, [], self._in_hex))
        self._add(name, ">", pieces[-1])

    def _add(self, who, way, data):
        """Something was done or said: add it, and then what the server says, in the order in which it began to say it."""
        self.events.append(Event(who, way, data, self._changes(), self._in_hex))
        if self.world.core.ledger.promises:
            return  # the answers come after the disk has what was promised
        names = {talker.peer: (name, talker) for name, talker in self._talkers.items()}
        for peer in list(self.world.core.unsent):
            name, talker = names[peer]
            pieces = list(peer.outgoing)
            said = talker.takes()
            if name in ("http", "web"):
                said = b"".join(map(bytes, talker.reader.respond(pieces)))
                units = [said] if said else []
            else:
                units = units_of(said)
            for unit in units:
                self.events.append(Event(name, "<", unit, [], self._in_hex))
        for name, talker in list(self._talkers.items()):
            if talker.peer.closing:
                del self._talkers[name]
                talker.leaves()
                self.events.append(Event(name, "", "is closed by the server", [], self._in_hex))

    def _changes(self):
        """What has changed since the last call, in words."""
        core, notes = self.world.core, []
        jobs = {job.handle.decode(): job.state for job in list(core.jobs.values()) + list(core.aside.values())}
        for handle in sorted(set(self._jobs) | set(jobs)):
            before, now = self._jobs.get(handle, "(new)"), jobs.get(handle, "gone")
            if before != now:
                notes.append("%s: %s → %s" % (handle, before, now))
        sleep = {name: SLEEP[talker.peer.sleep] for name, talker in self._talkers.items()}
        for name in sleep:
            if sleep[name] != self._sleep.get(name, "awake"):
                notes.append("%s: %s → %s" % (name, self._sleep.get(name, "awake"), sleep[name]))
        self._jobs, self._sleep = jobs, sleep
        return notes

    def text(self):
        """The scene as a document shows it.  Headers of HTTP that the server has sent before are left out."""
        lines, headers = [], set()
        for event in self.events:
            if event.way == "<" and event.who in ("http", "web"):
                lines += without(headers, lines_of(event))
            elif event.in_hex and event.way and event.data[:1] == b"\0":
                lines += rows_of(event)
            else:
                lines += lines_of(event)
        return "\n".join(lines)


def without(headers, lines):
    """The lines of a response without those headers that are in `headers`; the others are added to `headers`."""
    left = []
    end = next((place for place, line in enumerate(lines) if line.endswith(" <")), len(lines))
    for line in lines[:end]:
        if line not in headers:
            left.append(line)
        elif not left[-1].endswith("< …"):
            left.append(line.partition("<")[0] + "< …")
    headers.update(lines[1:end])
    return left + lines[end:]


def units_of(said):
    """What a server said, cut into packets and lines of text."""
    units = []
    while said:
        if said.startswith(b"\0"):
            size = HEADER_SIZE + struct.unpack_from(">I", said, HEADER_SIZE - 4)[0]
        else:
            size = said.find(b"\n") + 1 or len(said)
        units.append(said[:size])
        said = said[size:]
    return units


def lines_of(event):
    """An event in the language of the conversations, with its notes."""
    if not event.way:
        texts = [("%s %s" % (event.who, event.data)).strip()]
    elif event.who in ("http", "web"):
        texts = [("%s %s %s" % (event.who, event.way, line)).rstrip() for line in event.data.decode("latin-1").split("\n")]
        while texts[-1] == "%s %s" % (event.who, event.way):
            del texts[-1]
    else:
        magic = REQUEST_MAGIC if event.way == ">" else RESPONSE_MAGIC
        texts = ["%s %s %s" % (event.who, event.way, words_of(event.data, magic))]
    if event.notes:
        texts[0] = "%-*s  # %s" % (NOTES_FROM, texts[0], "; ".join(event.notes))
    return texts


def words_of(data, magic):
    """A packet or a line of text in the language of the conversations."""
    if not data.startswith(b"\0"):
        text = conversations.word_text(conversations.items(data.hex()), quoted=True)
        return text.replace("\\x7b", "{").replace("\\x7d", "}")  # only recordings need these escapes
    names = PACKETS[number_of(data)][2] if number_of(data) in PACKETS else ()
    arguments = data[HEADER_SIZE:].split(b"\0", len(names) - 1)
    if len(names) < 2 or len(arguments) != len(names) or data[:4] != magic:
        return conversations.data_text(data.hex(), magic.hex())
    return " ".join([conversations.NAMES[number_of(data) - 1]] + [
        conversations.word_text(conversations.items(argument.hex())) for argument in arguments])


def number_of(packet):
    """The type of a packet; 0 if it is not a packet."""
    return int.from_bytes(packet[4:8], "big") if packet[:1] == b"\0" else 0


def rows_of(event):
    """An event as bytes, with what each row means, and with its notes."""
    first = "%s %s %s" % (event.who, event.way, name_of(event.data))
    if event.notes:
        first = "%-*s  # %s" % (NOTES_FROM, first, "; ".join(event.notes))
    return [first] + packet_rows(event.data)


def name_of(packet):
    number = number_of(packet)
    return PACKETS[number][0] if number in PACKETS else "TYPE_%d" % number


def packet_rows(packet):
    """A packet as bytes: each part in rows of its own, with what it means."""
    number, size = struct.unpack_from(">II", packet, 4)
    rows = [(packet[:HEADER_SIZE], '"\\0%s", a %s; type %d; %d byte%s follow%s' % (
        packet[1:4].decode(), "request" if packet[:4] == REQUEST_MAGIC else "response", number, size,
        "s" * (size != 1), "s" * (size == 1)))]
    body = packet[HEADER_SIZE:]
    names = PACKETS[number][2] if number in PACKETS else ()
    for place, (name, value) in enumerate(zip(names, body.split(b"\0", max(0, len(names) - 1)))):
        ends = place < len(names) - 1 and b"\0" in body
        text = conversations.word_text(conversations.items(value.hex()), quoted=True)
        rows.append((value + b"\0" * ends, "%s %s%s" % (name, text, ", and a NUL" if ends else "")))
        body = body[len(value) + 1:]
    lines = []
    for data, meaning in rows:
        if not data:
            lines.append("%*s%s" % (MEANING_FROM, "", meaning))
        for start in range(0, len(data), ROW):
            row = " ".join("%02x" % byte for byte in data[start:start + ROW])
            lines.append(("    %-*s%s" % (MEANING_FROM - 4, row, meaning if not start else "")).rstrip())
    return lines
