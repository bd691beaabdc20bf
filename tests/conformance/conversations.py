#!/usr/bin/env python3
"""Recorded conversations with gearmand as text files, one each, in the folder conversations.

    B15_bg_then_fg (contract)                     its name, and whether it is about the contract, a quirk, a bug or v1.1
    background job first, foreground attaches     in words
    server arguments: -j 1                        if it is about a server with these
    a server of its own                           if no other may use that server, or it is to end

    w > CAN_DO {F1}                               the connection w, made now if it is not there yet, sends this packet
    c < JOB_CREATED {HANDLE1}                     c is sent exactly this packet next
    t > "status\\n"                                bytes as they are
    t < listing with "{F1}\\t0\\t" without {F2}     any bytes with these and without those, which end with a line of one dot
    w < nothing for 0.25                          seconds
    w < end                                       the server closes the connection
    w closes                                      also: connects, half-closes
    wait 0.06                                     seconds
    signal SIGTERM                                to the server
    server exits 0                                also: server refuses connections

A packet's arguments are words, or in quotes; "A"*1000 is a thousand of them.  Its size is that of its arguments, unless it
says size=N or size=any; its magic is \\0REQ where it is sent and \\0RES where it is expected, unless it says magic=...; +
joins packets that are sent at once.  {F1} is a new function, {U1} a new unique, {HANDLE1} the handle that the server tells
where it comes first, {EPOCH+2} the time in two seconds, {DIGITS} and {TEXT} some digits and some bytes of a line.

    conversations.py RECORDINGS.json     writes the files from recordings in JSON, as `Conversation` has them
"""
import collections
import itertools
import json
import os
import re
import struct
import sys

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "conversations")

NAMES = """CAN_DO CANT_DO RESET_ABILITIES PRE_SLEEP UNUSED NOOP SUBMIT_JOB JOB_CREATED GRAB_JOB NO_JOB JOB_ASSIGN WORK_STATUS
    WORK_COMPLETE WORK_FAIL GET_STATUS ECHO_REQ ECHO_RES SUBMIT_JOB_BG ERROR STATUS_RES SUBMIT_JOB_HIGH SET_CLIENT_ID
    CAN_DO_TIMEOUT ALL_YOURS WORK_EXCEPTION OPTION_REQ OPTION_RES WORK_DATA WORK_WARNING GRAB_JOB_UNIQ JOB_ASSIGN_UNIQ
    SUBMIT_JOB_HIGH_BG SUBMIT_JOB_LOW SUBMIT_JOB_LOW_BG SUBMIT_JOB_SCHED SUBMIT_JOB_EPOCH SUBMIT_REDUCE_JOB
    SUBMIT_REDUCE_JOB_BG GRAB_JOB_ALL JOB_ASSIGN_ALL GET_STATUS_UNIQUE STATUS_RES_UNIQUE""".split()
TYPES = {name: number for number, name in enumerate(NAMES, 1)}
ARGUMENTS = collections.defaultdict(lambda: 1, {  # where a last argument may have NULs in it
    name: count for count, names in (
        (2, "JOB_CREATED WORK_COMPLETE WORK_DATA WORK_WARNING WORK_EXCEPTION CAN_DO_TIMEOUT ERROR"),
        (3, "SUBMIT_JOB SUBMIT_JOB_BG SUBMIT_JOB_HIGH SUBMIT_JOB_HIGH_BG SUBMIT_JOB_LOW SUBMIT_JOB_LOW_BG WORK_STATUS "
            "JOB_ASSIGN"),
        (4, "SUBMIT_JOB_EPOCH SUBMIT_REDUCE_JOB SUBMIT_REDUCE_JOB_BG JOB_ASSIGN_UNIQ"), (5, "JOB_ASSIGN_ALL STATUS_RES"),
        (6, "STATUS_RES_UNIQUE"), (8, "SUBMIT_JOB_SCHED")) for name in names.split()})

# A template is the hexadecimal form of bytes, with these in it; {LEN} is the size, where it is not known beforehand.
PLACEHOLDER = re.compile(r"\{(?:F\d+|U\d+|HANDLE\d+|LEN|EPOCH\+-?\d+|DIGITS|TEXT)\}")
LENGTHS = {"F": 16, "U": 12, "E": 10}
PATTERNS = {"{DIGITS}": "(?:3[0-9])+", "{TEXT}": "(?:(?!0a)[0-9a-f]{2})+"}  # what stands for these in the recordings
ANY_SIZE, ANY_BYTES, LAST_LINE = "[0-9a-f]{8}", "(?:[0-9a-f]{2})*", "2e0a"
LISTING = re.compile(r"((?:\(\?[=!]%s[^()]*\))*)%s%s" % ((re.escape(ANY_BYTES),) * 2 + (LAST_LINE,)))
PART = re.compile(r"\(\?([=!])%s([^()]*)\)" % re.escape(ANY_BYTES))
PACKET = re.compile(r"([0-9a-f]{8})([0-9a-f]{8})(%s|\{LEN\}|[0-9a-f]{8})(.*)" % re.escape(ANY_SIZE), re.DOTALL)

WORD = r'(?:[A-Za-z0-9_.:-]|\{[^}]*\}|"(?:[^"\\]|\\.)*"(?:\*\d+)?)+'
PIECE = re.compile(r'(\{[^}]*\})|"((?:[^"\\]|\\.)*)"(?:\*(\d+))?|([A-Za-z0-9_.:-]+)')
ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\0": "\\0", "\\": "\\\\", '"': '\\"'}
UNESCAPES = {text: character for character, text in ESCAPES.items()}
MANY = 32  # equal letters that are counted instead of written


class Conversation:
    """One recorded conversation; what its steps send and expect is in templates."""

    FIELDS = ("name", "class", "about", "server_args", "own_server", "steps")

    def __init__(self, recording):
        unknown = set(recording) - set(self.FIELDS)
        assert not unknown, unknown
        self.name = recording["name"]
        self.kind = recording["class"]
        self.about = recording["about"]
        self.server_arguments = recording["server_args"]
        self.own_server = recording.get("own_server", False)
        self.steps = recording["steps"]

    def recording(self):
        """As in the recordings."""
        own = {"own_server": True} if self.own_server else {}
        return dict(own, **{"name": self.name, "class": self.kind, "about": self.about, "server_args": self.server_arguments,
                            "steps": self.steps})

    def text(self):
        """As in the file."""
        lines = ["%s (%s)" % (self.name, self.kind), self.about]
        if self.server_arguments:
            lines.append("server arguments: %s" % " ".join(self.server_arguments))
        if self.own_server:
            lines.append("a server of its own")
        return "\n".join(lines + [""] + [step_text(step) for step in self.steps] + [""])

    @classmethod
    def parse(cls, text):
        head, _, body = text.partition("\n\n")
        first, about, *more = head.split("\n")
        recording = {"about": about, "server_args": [], "steps": [parse_step(line) for line in body.splitlines() if line]}
        recording["name"], recording["class"] = re.match(r"(\S+) \((\S+)\)\Z", first).groups()
        for line in more:
            if line == "a server of its own":
                recording["own_server"] = True
            else:
                recording["server_args"] = re.match("server arguments: (.*)", line).group(1).split()
        return cls(recording)


def load():
    """All conversations, in the order of their names."""
    conversations = []
    for name in sorted(os.listdir(FOLDER)):
        with open(os.path.join(FOLDER, name), encoding="ascii") as file:
            conversations.append(Conversation.parse(file.read()))
        assert conversations[-1].name + ".txt" == name
    return conversations


# --- steps

ACTS = {"close": "closes", "open": "connects", "half_close": "half-closes"}  # of a connection
PLAIN = [("sleep", "wait %s", float), ("signal", "signal %s", str), ("expect_exit", "server exits %s", int)]


def step_text(step):
    for key, form, _ in PLAIN:
        if key in step:
            return form % step[key]
    if "expect_refused" in step:
        return "server refuses connections"
    name = step["conn"]
    for key, word in ACTS.items():
        if key in step:
            return "%s %s" % (name, word)
    if "send" in step:
        return "%s > %s" % (name, " + ".join(data_text(template, b"\0REQ".hex()) for template in step["send"].split(" ")))
    if "expect_nothing_for" in step:
        return "%s < nothing for %s" % (name, step["expect_nothing_for"])
    if "expect_closed" in step:
        return "%s < end" % name
    return "%s < %s" % (name, data_text(step["expect"], b"\0RES".hex()))


def parse_step(line):
    if line == "server refuses connections":
        return {"expect_refused": True}
    for key, form, kind in PLAIN:
        if line.startswith(form % ""):
            return {key: kind(line[len(form % ""):])}
    name, what, *rest = line.split(" ", 2)
    for key, word in ACTS.items():
        if what == word:
            return {"conn": name, key: True}
    rest = rest[0]
    if what == ">":
        return {"conn": name, "send": " ".join(parse_data(rest, b"\0REQ".hex()))}
    assert what == "<", line
    if rest == "end":
        return {"conn": name, "expect_closed": True}
    if rest.startswith("nothing for "):
        return {"conn": name, "expect_nothing_for": float(rest[len("nothing for "):])}
    template, = parse_data(rest, b"\0RES".hex())
    return {"conn": name, "expect": template}


# --- bytes

def data_text(template, magic):
    """A template as it is written."""
    listing = LISTING.fullmatch(template)
    if listing:
        return "listing" + "".join(" %s %s" % ("with" if sign == "=" else "without", word_text(items(part)))
                                   for sign, part in PART.findall(listing.group(1)))
    for placeholder, pattern in PATTERNS.items():
        template = template.replace(pattern, placeholder)
    packet = PACKET.fullmatch(template)
    number = packet and int(packet.group(2), 16)
    if not packet or not bytes.fromhex(packet.group(1))[1:] in (b"REQ", b"RES"):
        return word_text(items(template), quoted=True)
    words = [NAMES[number - 1] if 0 < number <= len(NAMES) else "TYPE_%d" % number]
    given, size, body = packet.group(1, 3, 4)
    if given != magic:
        words.append("magic=%s" % bytes.fromhex(given).decode().replace("\0", "\\0"))
    if size == ANY_SIZE:
        words.append("size=any")
    elif size != size_of(body):
        assert size != "{LEN}"
        words.append("size=%d" % int(size, 16))
    if body:
        rest = items(body)
        for _ in range(ARGUMENTS[words[0]] - 1):
            if "00" in rest:
                place = rest.index("00")
                words.append(word_text(rest[:place]))
                rest = rest[place + 1:]
        words.append(word_text(rest))
    return " ".join(words)


def parse_data(text, magic):
    """The templates of what is written, one for each packet."""
    if text.startswith("listing"):
        parts = re.findall(" (with|without) (%s)" % WORD, text)
        return ["".join("(?%s%s%s)" % ("=" if sign == "with" else "!", ANY_BYTES, parse_word(word)) for sign, word in parts)
                + ANY_BYTES + LAST_LINE]
    templates, words = [], []
    for word in re.findall(r'\+|(?:%s|=|\\)+' % WORD, text) + ["+"]:
        if word != "+":
            words.append(word)
            continue
        if words[0].startswith('"'):
            templates.append("".join(map(parse_word, words)))
        else:
            templates.append(parse_packet(words, magic))
        words = []
    for placeholder, pattern in PATTERNS.items():
        templates = [template.replace(placeholder, pattern) for template in templates]
    return templates


def parse_packet(words, magic):
    name, *words = words
    number = int(name[5:]) if name.startswith("TYPE_") else TYPES[name]
    size = None
    while words and re.match("(?:magic|size)=", words[0]):
        key, _, value = words.pop(0).partition("=")
        if key == "magic":
            magic = value.replace("\\0", "\0").encode().hex()
        else:
            size = ANY_SIZE if value == "any" else "%08x" % int(value)
    body = "00".join(map(parse_word, words))
    return magic + "%08x" % number + (size or size_of(body)) + body


def size_of(body):
    """The size of a packet, as in a template; where a handle is in it, it is not known beforehand."""
    if "{" not in body:
        return "%08x" % (len(body) // 2)
    count = 0
    for item in items(body):
        if item.startswith("{HANDLE") or item in PATTERNS:
            return "{LEN}"
        count += LENGTHS[item[1]] if item.startswith("{") else 1
    return struct.pack(">I", count).hex()


def items(template):
    """The bytes and placeholders of a template, one after the other."""
    return re.findall("%s|[0-9a-f]{2}" % PLACEHOLDER.pattern, template)


def word_text(all_items, quoted=False):
    """Bytes and placeholders as a word."""
    pieces, plain = [], []
    for item, run in itertools.groupby(all_items):
        count = len(list(run))
        if count < MANY:
            plain += [item] * count
        else:
            pieces += [plain_text(plain, quoted), '"%s"*%d' % (letter(item), count)]
            plain = []
    return "".join(pieces + [plain_text(plain, quoted)]) or '""'


def plain_text(all_items, quoted):
    text = "".join(map(letter, all_items))
    if quoted or not re.fullmatch(r"(?:[A-Za-z0-9_.:-]|\{[^}]*\})*", text):
        return '"%s"' % text if text else ""
    return text


def letter(item):
    if item.startswith("{"):
        return item
    character = chr(int(item, 16))
    return ESCAPES.get(character) or (character if " " <= character <= "~" and character not in "{}" else "\\x" + item)


def parse_word(word):
    """The template of a word."""
    template = ""
    for placeholder, quoted, count, bare in PIECE.findall(word):
        if placeholder:
            template += placeholder
        elif bare:
            template += bare.encode().hex()
        else:
            letters = re.findall(r"\{[^}]*\}|\\x..|\\.|.", quoted)
            template += "".join(map(parse_letter, letters)) * int(count or 1)
    return template


def parse_letter(text):
    if text.startswith("{"):
        return text
    if text.startswith("\\x"):
        return text[2:]
    return "%02x" % ord(UNESCAPES.get(text, text))


def main(path):
    with open(path) as file:
        recordings = json.load(file)
    for recording in recordings:
        text = Conversation(recording).text()
        assert Conversation.parse(text).recording() == recording, text
        with open(os.path.join(FOLDER, recording["name"] + ".txt"), "w", encoding="ascii") as file:
            file.write(text)


if __name__ == "__main__":
    main(*sys.argv[1:])
