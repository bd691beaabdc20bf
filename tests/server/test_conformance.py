"""Recorded conversations with gearmand, played against our server; those with long silences and those that need a server of
their own are left to `tests/conformance/replay.py --spawn`, which plays them all."""
import hashlib
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from gearman_std.server.server import Server

FOLDER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "conformance")
sys.path.insert(0, FOLDER)
try:
    import conversations
    import replay
finally:
    sys.path.remove(FOLDER)

CLASSES = {"contract", "quirk", "v1.1", "bug"}
RECORDINGS = "15ebc9ba45743001396a492ddb07a5c1efac657a72e59183baabc9667cc11ff9"  # SHA-256 of what was recorded, in JSON
CONVERSATIONS = conversations.load()
DIFFERENCES = replay.differences(os.path.join(FOLDER, "differences.txt"))


def silence(conversation):
    """For how many seconds nothing happens in a conversation."""
    return sum(step.get("sleep", 0) + step.get("expect_nothing_for", 0) for step in conversation.steps)


QUICK = [conversation for conversation in CONVERSATIONS
         if not conversation.server_arguments and not conversation.own_server and silence(conversation) < 0.3
         and conversation.name not in DIFFERENCES]


@pytest.fixture(scope="module")
def outcomes():
    """What went otherwise in each of the quick conversations, or None, by name; they are played many at a time."""
    with Server(port=0) as server, ThreadPoolExecutor(8) as pool:
        player = replay.Player(server.address[:2])
        return dict(zip([conversation.name for conversation in QUICK], pool.map(player.play, QUICK)))


@pytest.mark.parametrize("name", [conversation.name for conversation in QUICK])
def test_our_server_does_as_gearmand(outcomes, name):
    assert outcomes[name] is None, outcomes[name]


def test_there_is_a_conversation_for_each_difference_and_a_reason_too():
    names = [conversation.name for conversation in CONVERSATIONS]
    assert len(names) == len(set(names))
    assert set(DIFFERENCES) <= set(names)
    assert all(len(reason.split()) > 1 for reason in DIFFERENCES.values())


def test_most_of_the_contract_is_played_here():
    """Of what every server has to do, no more than a handful of conversations differ, each for a reason that the list gives."""
    contract = {conversation.name for conversation in CONVERSATIONS if conversation.kind == "contract"}
    assert {conversation.kind for conversation in CONVERSATIONS} == CLASSES
    assert len(contract & set(DIFFERENCES)) <= 5
    assert len(contract & {conversation.name for conversation in QUICK}) > len(contract) / 2


def test_the_files_have_what_was_recorded_and_nothing_else():
    recordings = sorted((conversation.recording() for conversation in CONVERSATIONS), key=lambda one: one["name"])
    assert hashlib.sha256(json.dumps(recordings, sort_keys=True).encode()).hexdigest() == RECORDINGS


def test_a_file_is_written_as_it_was_read():
    for conversation in CONVERSATIONS:
        with open(os.path.join(conversations.FOLDER, conversation.name + ".txt")) as file:
            assert conversation.text() == file.read()


HEAD = "005245510000%04x"  # a request packet's magic and type


@pytest.mark.parametrize("step, line", [
    ({"conn": "c", "send": HEAD % 4 + "00000000"}, "c > PRE_SLEEP"),
    ({"conn": "c", "send": HEAD % 4 + "00000001"}, "c > PRE_SLEEP size=1"),
    ({"conn": "c", "send": HEAD % 1 + "00000001" + "00"}, r'c > CAN_DO "\0"'),
    ({"conn": "c", "send": HEAD % 7 + "00000000"}, "c > SUBMIT_JOB"),
    ({"conn": "c", "send": HEAD % 7 + "00000004" + "0000" + "0000"}, r'c > SUBMIT_JOB "" "" "\0\0"'),
    ({"conn": "c", "send": HEAD % 13 + "{LEN}{HANDLE1}00" + "41" * 40 + "2b0a"}, r'c > WORK_COMPLETE {HANDLE1} "A"*40"+\n"'),
    ({"conn": "c", "send": HEAD % 16 + "000000022b2a 0052455300001000000000017b"},
     r'c > ECHO_REQ "+*" + TYPE_4096 magic=\0RES "\x7b"'),
    ({"conn": "c", "send": HEAD % 16 + "00000002625c5c"}, r'c > ECHO_REQ size=2 "b\\\\"'),
    ({"conn": "c", "send": "2b"}, 'c > "+"'),
    ({"conn": "c", "send": "0052"}, r'c > "\0R"'),
    ({"conn": "c", "send": "ff225c78{F1}"}, r'c > "\xff\"\\x{F1}"'),
    ({"conn": "c", "expect": "0052455300000008[0-9a-f]{8}41(?:3[0-9])+"}, "c < JOB_CREATED size=any A{DIGITS}"),
    ({"conn": "c", "expect": "4f4b20(?:(?!0a)[0-9a-f]{2})+0a"}, r'c < "OK {TEXT}\n"'),
    ({"conn": "c", "expect": "(?=(?:[0-9a-f]{2})*{F1}09)(?!(?:[0-9a-f]{2})*6220)(?:[0-9a-f]{2})*2e0a"},
     r'c < listing with "{F1}\t" without "b "'),
    ({"conn": "c", "expect_nothing_for": 0.5}, "c < nothing for 0.5"),
    ({"conn": "c", "expect_closed": True}, "c < end"),
    ({"conn": "c", "half_close": True}, "c half-closes"),
    ({"sleep": 1.5}, "wait 1.5"),
    ({"expect_exit": 1}, "server exits 1"),
    ({"expect_refused": True}, "server refuses connections"),
])
def test_each_step_has_a_line(step, line):
    assert conversations.step_text(step) == line
    assert conversations.parse_step(line) == step


class Told:
    """A server of a few words: what it sends to whoever connects."""

    def __init__(self, fake, data):
        self.address = ("127.0.0.1", fake.port)
        self._fake, self._data = fake, data

    def plays(self, *lines):
        """What goes otherwise in a conversation of these lines."""
        conversation = conversations.Conversation.parse("\n".join(("N (bug)", "about", "") + lines))
        with ThreadPoolExecutor(1) as pool:
            said = pool.submit(self._says)
            outcome = replay.Player(self.address, 0.1).play(conversation)
            said.result()
        return outcome

    def _says(self):
        peer = self._fake.listener.accept()[0]
        peer.sendall(self._data)
        self._fake.peers.append(peer)


CREATED = "RES JOB_CREATED of 3 bytes: b'H:1'"


@pytest.mark.parametrize("line, wrong", [
    ("c < JOB_CREATED {HANDLE1}", None),
    ("c < JOB_CREATED H:1", None),
    ("c < JOB_CREATED H:2", "step 1 (c): expected RES JOB_CREATED of 3 bytes: b'H:2'\n         got " + CREATED),
    ("c < NO_JOB", "step 1 (c): expected RES NO_JOB of 0 bytes: b''\n         got " + CREATED),
    ("c < nothing for 0.01", "step 1 (c): expected nothing, got " + CREATED),
    ("c < end", "step 1 (c): expected the end, got " + CREATED),
    ("c connects", "step 1 (c): c has been sent, too: " + CREATED),
    ("server refuses connections", "step 1 (server): the server takes connections"),
    ("c > GET_STATUS {HANDLE1}", "step 1 (c): nobody has told the handle of 005245510000000f{LEN}{HANDLE1}"),
])
def test_what_goes_otherwise_is_told(fake, line, wrong):
    assert Told(fake, bytes.fromhex("005245530000000800000003") + b"H:1").plays(line) == wrong


def test_a_handle_is_the_same_all_over_a_conversation(fake):
    created = bytes.fromhex("005245530000000800000003")
    told = Told(fake, created + b"H:1" + created + b"H:2")
    wrong = told.plays("c < JOB_CREATED {HANDLE1}", "c < JOB_CREATED {HANDLE1}")
    assert wrong.endswith("b'H:1'\n         got RES JOB_CREATED of 3 bytes: b'H:2'")
    assert told.plays("c < JOB_CREATED {HANDLE1}", "c < JOB_CREATED {HANDLE2}") is None
