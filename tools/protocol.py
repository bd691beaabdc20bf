#!/usr/bin/env python3
"""Make gearman_std/docs/PROTOCOL.md and its pictures:  python3 tools/protocol.py [--check]

The page is tools/protocol.md, with everything between {{ and }} replaced: by tables made from those of packets, meanings and
states, and by conversations that are played with the server's core (see scenes.py), so that the page shows its real answers.
An error in tools/protocol.md, such as a packet without a section, or a test that does not exist, is printed, and nothing is
written.  The result is the same on every Python.  With --check nothing is written; the exit status is 1 if the files differ.
"""
import argparse
import collections
import functools
import glob
import importlib
import inspect
import os
import re
import sys

import diagrams
import scenes
import states
from scenes import FOLDERS, ROOT, conversations, number_of, play

sys.path[:0] = FOLDERS
try:
    from gearman_std.core.rights import ALL_RIGHTS
    from gearman_std.core.text import _TEXT_COMMANDS
    from gearman_std.wire import meanings, protocol
    from gearman_std.wire.meanings import ERROR_MEANINGS, GENERAL_ERRORS, MEANINGS, TEXT_MEANINGS
    from gearman_std.wire.protocol import ERROR, PACKETS, REQUEST_MAGIC, RESPONSE_MAGIC
    from replay import differences
finally:
    del sys.path[:len(FOLDERS)]

DOCS = os.path.join(ROOT, "gearman_std", "docs")
SOURCE = os.path.join(ROOT, "tools", "protocol.md")
PAGE = "PROTOCOL.md"
COMMAND = "python3 tools/protocol.py"
NOTICE = "<!-- Made by `%s` from tools/protocol.md and the code; change these. -->\n\n" % COMMAND
MOST_RECORDINGS = 4  # recordings that are named with a packet

# The pictures: what has these states, and how they are laid out.
PICTURES = collections.OrderedDict([
    ("job", diagrams.JOB), ("connection", diagrams.CONNECTION), ("worker", diagrams.WORKER), ("client", diagrams.CLIENT),
    ("link", diagrams.LINK), ("servers", diagrams.SERVERS)])

NUMBERS = {PACKETS[number][0]: number for number in PACKETS}
SUBMITS = {number for number, meaning in MEANINGS.items() if protocol.JOB_CREATED in meaning.answers}
BLOCK = re.compile(r"^\{\{(\w+)(?: ([^\n]*?))?(?:\}\}|\n(.*?)^\}\})$", re.S | re.M)
NUMBER = re.compile(r"\{\{=([a-z_.]+):([^}]+)\}\}")  # the value of an expression in a module
SUBMITTING = re.compile(r"SUBMIT\((.*), (.*), (.*)\)")  # function, unique and workload of a submit of each kind


class Wrong(Exception):
    """The source of the page has an error."""


def wrong(condition, text, *arguments):
    if condition:
        raise Wrong(text % arguments if arguments else text)


def module(name):
    return importlib.import_module("gearman_std." + name)


def code(text):
    return "```text\n%s\n```" % text


def link(name):
    """A heading of this page."""
    return "[%s](#%s)" % (name, anchor(name))


def anchor(heading):
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def names(numbers):
    return ", ".join(link(PACKETS[number][0]) for number in numbers)


def paragraphs_of(where):
    """The paragraphs of a docstring, except the first one, the owner and the source; `where` is MODULE or MODULE:CLASS."""
    where, _, name = where.partition(":")
    documented = getattr(module(where), name) if name else module(where)
    return [paragraph.replace("``", "`") for paragraph in inspect.getdoc(documented).split("\n\n")[1:]
            if not paragraph.startswith(("Owner: ", "Source: "))]


def names_of_submits(numbers):
    """The names of packets; if all that submit a job are among them, these are called "any submit"."""
    rest = [number for number in numbers if number not in SUBMITS]
    if len(numbers) - len(rest) < len(SUBMITS):
        return names(numbers)
    return ", ".join(["any submit"] + ([names(rest)] if rest else []))


@functools.lru_cache(maxsize=None)
def general_errors(number):
    """The errors that do not depend on what a packet means: for a missing argument, and for a sender without any right."""
    found = []
    for rights, missing in ((ALL_RIGHTS, 2 if "aggregator" in PACKETS[number][2] else 1), (frozenset(), 0)):
        talker = scenes.World().connects(rights)
        talker.says(number, *[b"1"] * max(0, len(PACKETS[number][2]) - missing))
        data = talker.takes()
        code_of = data[protocol.HEADER_SIZE:].split(b"\0")[0].decode()
        if number_of(data) == ERROR and code_of in ("INVALID_ARGUMENTS", "FORBIDDEN"):
            found.append(code_of)
    return found


class Page:
    """Makes the page."""

    def __init__(self, source):
        self._source = source
        self._described = []   # packets that have a section
        self._commands = []    # text commands that have a section
        self._provoked = {}    # by packet type: the codes of errors that were seen as its answer
        self._recordings = recordings()

    def text(self):
        """The whole page.  Raises Wrong for an error in the source."""
        text = BLOCK.sub(self._expand, self._source)
        text = NUMBER.sub(lambda found: str(eval(found.group(2), vars(module(found.group(1))))), text)
        for name in re.findall(r"\{\{.*", text):
            raise Wrong("this means nothing: %s" % name)
        self._check()
        text = text.replace("<contents>", self._contents(text))
        anchors = [anchor(heading) for heading in re.findall(r"^#+ (.*)$", text, re.M)]
        for name in anchors:
            wrong(anchors.count(name) > 1, "two have the anchor #%s", name)
        for name in re.findall(r"\]\(#([^)]*)\)", text):
            wrong(name not in anchors, "nothing has the anchor #%s", name)
        return NOTICE + text

    def _check(self):
        missing = [PACKETS[number][0] for number in sorted(set(PACKETS) - set(self._described))]
        wrong(missing, "these packets have no section: %s", ", ".join(missing))
        missing = sorted(set(TEXT_MEANINGS) - set(self._commands))
        wrong(missing, "these text commands have no section: %s", ", ".join(missing))
        for number in sorted(PACKETS):
            stated = set(MEANINGS[number].errors)
            seen = self._provoked.get(number, set()) - (set(GENERAL_ERRORS) - stated)
            wrong(stated != seen, "of %s the table says the errors %s, and those that came are %s",
                  PACKETS[number][0], sorted(stated), sorted(seen))

    def _expand(self, found):
        name, argument, body = found.group(1), found.group(2) or "", (found.group(3) or "").rstrip("\n")
        make = getattr(self, "make_" + name, None)
        wrong(make is None, "no part of a page is called %s", name)
        try:
            return make(argument, body)
        except (Wrong, AssertionError, KeyError, ValueError) as error:
            raise Wrong("%s %s: %s" % (name, argument, error)) from error

    # ------------------------------------------------------------------------------------------------------- the small parts

    def make_contents(self, argument, body):
        return "<contents>"

    def _contents(self, text):
        lines = []
        for level, heading in re.findall(r"^(##+) (.*)$", text[text.index("<contents>"):], re.M):
            if level == "##":
                lines.append("- %s" % link(heading))
            elif level == "###":
                lines[-1] += (" · " if "): " in lines[-1] else ": ") + link(heading)
        return "\n".join(lines)

    def make_scene(self, argument, body):
        return code(play(body).text())

    def make_lanes(self, argument, body):
        return code(lanes(play(body)))

    def make_diagram(self, argument, body):
        return "![%s](%s.svg)" % (PICTURES[argument].title, argument)

    def make_docstring(self, argument, body):
        """The docstring of a module or a class without its first paragraph; with a number, at most so many paragraphs."""
        where, _, count = argument.partition(" ")
        return "\n\n".join(paragraphs_of(where)[:int(count) if count else None])

    def make_picture(self, argument, body):
        """The drawing or the table in a docstring."""
        drawn = [paragraph for paragraph in paragraphs_of(argument) if paragraph.startswith("    ")]
        wrong(not drawn, "nothing is drawn there")
        return "\n\n".join(drawn)

    def make_held(self, argument, body):
        """A line with the tests that check what stands above."""
        return "Held by %s." % ", ".join(map(test_named, body.split("\n")))

    # ------------------------------------------------------------------------------------------------------------- the packets

    def make_packets(self, argument, body):
        lines = ["| number | name | from → to | arguments |", "|---|---|---|---|"]
        for number in sorted(PACKETS):
            name, _, arguments = PACKETS[number]
            lines.append("| %d | %s | %s | %s |" % (number, link(name), ways(number), ", ".join(arguments)))
        return "\n".join(lines)

    def make_packet(self, argument, body):
        number = NUMBERS[argument]
        wrong(number in self._described, "it has a section already")
        self._described.append(number)
        head, _, scene = body.partition("\nscene:\n")
        lines = head.split("\n")
        facts = {"when": [], "test": []}
        while lines and lines[0].partition(":")[0] in facts:
            key, _, value = lines.pop(0).partition(": ")
            facts[key].append(value)
        wrong(not (facts["when"] and facts["test"] and scene), "it needs when, test and scene")
        meaning, arguments = MEANINGS[number], PACKETS[number][2]
        played = play(scene)
        self._look_at(number, played)
        rows = [("bytes", bytes_of(number)), ("goes", ways(number)), ("when", " ".join(facts["when"]))]
        rows += [("`%s`" % name, words) for name, words in zip(arguments, meaning.arguments)]
        rows += [("the %s is to" % who, meaning.expected[who])
                 for who in (meanings.SERVER, meanings.CLIENT, meanings.WORKER) if who in meaning.expected]
        if meaning.answers:
            rows.append(("answer", names(meaning.answers)))
        if meaning.later:
            rows.append(("may follow", names(meaning.later)))
        if meanings.SERVER in meaning.expected:
            errors = list(meaning.errors) + [one for one in general_errors(number) if one not in meaning.errors]
            rows.append(("errors", "; ".join("`%s`: %s" % (one, ERROR_MEANINGS[one]) for one in errors) or "none of its own"))
        rows.append(("test", ", ".join(map(test_named, facts["test"]))))
        rows.append(("recorded", self._recorded(number)))
        parts = ["### %s" % argument, "“%s”" % meaning.says, table(rows)]
        text = "\n".join(lines).strip()
        return "\n\n".join(parts + ([text] if text else []) + [code(played.text())])

    def _look_at(self, number, scene):
        """Check that a scene shows the packet that it is about, and that the table has the answer."""
        sent = [number_of(event.data) for event in scene.events if event.in_hex and event.way]
        wrong(number not in sent, "its scene shows no such packet as bytes")
        for event, answer in zip(scene.events, scene.events[1:]):
            if event.way == ">" and number_of(event.data) == number and answer.way == "<" and answer.who == event.who:
                kind = number_of(answer.data)
                meaning = MEANINGS[number]
                wrong(kind not in meaning.answers + meaning.later + (ERROR, protocol.NOOP), "%s answers it, the table says not",
                      PACKETS[kind][0])

    def _recorded(self, number):
        """The recorded conversations that are most about a packet."""
        having = sorted((one.kind != "contract", -packets.count(number) / len(packets), one.name)
                        for one, packets in self._recordings if number in packets)
        shown = [recording_link(name) for _, _, name in having[:MOST_RECORDINGS]]
        rest = len(having) - len(shown)
        return ", ".join(shown) + (" and %d more" % rest if rest > 0 else "") if shown else "in none"

    # --------------------------------------------------------------------------------------------------------------- the errors

    def make_errors(self, argument, body):
        """A row for each error.  A scene provokes it: the answer to the last packet of the scene is that error."""
        rows, seen = collections.OrderedDict(), set()
        for block in body.split("\n\n"):
            head, _, template = block.partition("\n")
            expected, _, when = head.partition(": ")
            expected, _, of = expected.partition(", ")
            for scene in submits_of_each_kind(template):
                packet, error = self._provoke(scene)
                got, text = error.data[protocol.HEADER_SIZE:].decode().split("\0", 1)
                wrong(got != expected, "%s came, not %s", got, expected)
                seen.add(got)
                self._provoked.setdefault(packet, set()).add(got)
                rows.setdefault((got, text, when), []).append(of or packet)
        lines = ["| code | text | when | in answer to |", "|---|---|---|---|"]
        for (got, text, when), packets in rows.items():
            lines.append("| `%s` | %s | %s | %s |" % (
                got, text, when, packets[0] if isinstance(packets[0], str) else names_of_submits(packets)))
        rest = sorted(set(ERROR_MEANINGS) - seen - {"TOO_MANY_CONNECTIONS"})
        wrong(rest, "nothing provokes %s", ", ".join(rest))
        return "\n".join(lines)

    @staticmethod
    def _provoke(text):
        """The type of the last packet of a scene, and its answer, which must be an ERROR."""
        events = [event for event in play(text).events if event.way]
        last = max(place for place, event in enumerate(events) if event.way == ">")
        answers = [event for event in events[last + 1:] if event.way == "<" and number_of(event.data) == ERROR]
        wrong(len(answers) != 1, "no error comes in %s", text)
        return number_of(events[last].data), answers[0]

    # -------------------------------------------------------------------------------------------------------------- text, HTTP

    def make_commands(self, argument, body):
        lines = ["| command | right | says |", "|---|---|---|"]
        for word in sorted(TEXT_MEANINGS):
            right = _TEXT_COMMANDS[word.encode()][0]
            lines.append("| %s | %s | %s |" % (link(word), right, TEXT_MEANINGS[word].says))
        return "\n".join(lines)

    def make_command(self, argument, body):
        """A text command: its forms, and a scene."""
        wrong(argument in self._commands, "it has a section already")
        self._commands.append(argument)
        head, _, scene = body.partition("\nscene:\n")
        lines = head.split("\n")
        rows = []
        while lines and lines[0].startswith("- "):
            form, _, words = lines.pop(0)[2:].partition(": ")
            rows.append(("`%s`" % form, words))
        played = play(scene)
        wrong(not any(event.way == ">" and event.data.decode("latin-1").startswith(argument) for event in played.events),
              "its scene does not ask it")
        meaning = TEXT_MEANINGS[argument]
        parts = ["### %s" % argument, "%s  Answered with %s." % (
            meaning.says, "lines, the last of which is a dot" if meaning.listing else "one line"), table(rows)]
        text = "\n".join(lines).strip()
        return "\n\n".join(parts + ([text] if text else []) + [code(played.text())])

    def make_recordings(self, argument, body):
        reasons = differences(os.path.join(FOLDERS[2], "differences.txt"))
        lines = ["| name | kind | about | gearman_std |", "|---|---|---|---|"]
        for one, _ in self._recordings:
            lines.append("| %s | %s | %s | %s |" % (
                recording_link(one.name), one.kind, escaped(one.about), reasons.get(one.name, "the same")))
        return "\n".join(lines)


def submits_of_each_kind(scene):
    """A scene, once for each kind of submit if it says SUBMIT(function, unique, workload)."""
    found = SUBMITTING.search(scene)
    if found is None:
        return [scene]
    function, unique, workload = found.groups()
    values = {"function": function, "unique": unique, "workload": workload, "epoch": "0"}
    return [scene.replace(found.group(), " ".join([conversations.NAMES[number - 1]] + [
        values.get(name, '""') for name in PACKETS[number][2]])) for number in sorted(SUBMITS)]


def table(rows):
    return "\n".join(["| | |", "|---|---|"] + ["| %s | %s |" % row for row in rows])


def ways(number):
    return ", ".join("%s → %s" % way for way in MEANINGS[number].ways)


def bytes_of(number):
    """The bytes of a packet, in words."""
    magics = []
    if any(receiver == meanings.SERVER for _, receiver in MEANINGS[number].ways):
        magics.append(REQUEST_MAGIC)
    if any(sender == meanings.SERVER for sender, _ in MEANINGS[number].ways):
        magics.append(RESPONSE_MAGIC)
    heads = " or ".join("`%s`" % spaced(magic) for magic in magics)
    arguments = " `00` ".join("*%s*" % name for name in PACKETS[number][2])
    return "%s, `%s`, size%s" % (heads, spaced(number.to_bytes(4, "big")), ", " + arguments if arguments else " `00 00 00 00`")


def spaced(data):
    return " ".join("%02x" % byte for byte in data)


def escaped(text):
    """Text in which Markdown sees nothing."""
    return re.sub(r"([|*<`\\])", r"\\\1", text)


def recording_link(name):
    return "[%s](../../tests/conformance/conversations/%s.txt)" % (name, name)


@functools.lru_cache(maxsize=None)
def recordings():
    """The recorded conversations, each with the types of its packets."""
    return [(one, packets_of_recording(one)) for one in conversations.load()]


def packets_of_recording(conversation):
    """The types of the packets of a recorded conversation."""
    numbers = []
    for step in conversation.steps:
        for template in step.get("send", step.get("expect", "")).split(" "):
            found = re.match("005245(?:51|53)([0-9a-f]{8})", template)
            if found:
                numbers.append(int(found.group(1), 16))
    return numbers


@functools.lru_cache(maxsize=None)
def tests_there_are():
    """In which files there is a test of a name."""
    files = collections.defaultdict(list)
    for path in sorted(glob.glob(os.path.join(ROOT, "tests", "**", "test_*.py"), recursive=True)):
        with open(path, encoding="utf-8") as file:
            for name in re.findall(r"^def (test_\w+)\(", file.read(), re.M):
                files[name].append(os.path.relpath(path, ROOT).replace(os.sep, "/"))
    return files


def test_named(name):
    """A test, which must exist exactly once."""
    files = tests_there_are()[name]
    wrong(not files, "there is no test %s", name)
    wrong(len(files) > 1, "%s is in several files: %s", name, ", ".join(files))
    return "`%s::%s`" % (files[0], name)


LANE = 44  # columns from one lane to the next


def lanes(scene):
    """A scene as a sequence, its server in the middle."""
    names = {"c": "client", "w": "worker"}
    lines = ["%-*s%-*s%s" % (LANE, names["c"], LANE, "server", names["w"])]
    for event in scene.events:
        if not event.way:
            continue
        text = scenes.lines_of(event._replace(notes=[]))[0][4:]
        dashes = "─" * (LANE - len(text) - 8)
        left = event.who.startswith("c")
        arrow = (" ── %s %s> " if left == (event.way == ">") else " <%s %s ── ") % (
            (text, dashes) if left == (event.way == ">") else (dashes, text))
        blank = " " * (LANE - 1)
        lines.append("│%s│%s│" % ((arrow, blank) if left else (blank, arrow)))
    return "\n".join(lines)


def made():
    """All files that are made, by name, as they should be."""
    with open(SOURCE, encoding="utf-8") as file:
        files = {PAGE: Page(file.read()).text()}
    for machine in states.MACHINES:
        if machine.name in PICTURES:
            files[machine.name + ".svg"] = diagrams.Picture(PICTURES[machine.name], states.arrows_of(machine)).svg()
    return files


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Make gearman_std/docs/%s and its pictures." % PAGE)
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 if a file is not what it should be")
    options = parser.parse_args(arguments)
    try:
        files = made()
    except Wrong as error:
        return "tools/protocol.md: %s" % error
    there = {os.path.basename(path) for path in glob.glob(os.path.join(DOCS, "*.svg"))} | {PAGE}
    stale = []
    for name in sorted(there | set(files)):
        path = os.path.join(DOCS, name)
        if os.path.exists(path):
            with open(path, encoding="utf-8", newline="") as file:
                if file.read() == files.get(name):
                    continue
        stale.append(name)
        if not options.check:
            if name in files:
                with open(path, "w", encoding="utf-8", newline="") as file:
                    file.write(files[name])
            else:
                os.remove(path)
    if options.check and stale:
        return "not as `%s` makes it: %s" % (COMMAND, ", ".join(stale))
    return 0


if __name__ == "__main__":
    sys.exit(main())
