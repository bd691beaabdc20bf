"""What packets mean: the table has every packet, every argument, every error, and agrees with what the core does."""
import re

import pytest

from gearman_std.core import handlers, text
from gearman_std.wire.meanings import (CLIENT, ERROR_MEANINGS, GENERAL_ERRORS, MEANINGS, SERVER, TEXT_MEANINGS, WORKER)
from gearman_std.wire.protocol import BOTH, ERROR, PACKETS, REQUEST, RESPONSE


def test_every_packet_has_a_meaning_with_all_its_arguments():
    assert set(MEANINGS) == set(PACKETS)
    for number, (name, _, arguments) in PACKETS.items():
        assert len(MEANINGS[number].arguments) == len(arguments), name


def test_who_sends_a_packet_agrees_with_its_direction():
    for number, (name, direction, _) in PACKETS.items():
        ways = MEANINGS[number].ways
        assert ways and all(sender != receiver and SERVER in (sender, receiver) for sender, receiver in ways), name
        to_server = any(receiver == SERVER for _, receiver in ways)
        from_server = any(sender == SERVER for sender, _ in ways)
        assert (to_server, from_server) == (direction in (REQUEST, BOTH), direction in (RESPONSE, BOTH)), name


def test_everybody_who_gets_a_packet_is_told_what_is_expected():
    for number, meaning in MEANINGS.items():
        assert set(meaning.expected) == {receiver for _, receiver in meaning.ways}, PACKETS[number]
        assert set(meaning.expected) <= {CLIENT, WORKER, SERVER}


@pytest.mark.parametrize("number", sorted(MEANINGS))
def test_sentences_are_whole(number):
    meaning = MEANINGS[number]
    for sentence in [meaning.says] + list(meaning.expected.values()):
        assert re.match(r"[A-Z][^\n]*[.?]\Z", sentence), sentence
    for words in meaning.arguments:
        assert words and not words.endswith("."), words


def test_answers_come_from_who_got_the_packet():
    for number, meaning in MEANINGS.items():
        for answer in meaning.answers + meaning.later:
            back = {(receiver, sender) for sender, receiver in meaning.ways}
            assert back & set(MEANINGS[answer].ways), (PACKETS[number], PACKETS[answer])
        assert ERROR not in meaning.answers


def test_what_a_server_takes_is_what_the_core_obeys():
    obeyed = {number for number, meaning in MEANINGS.items() if SERVER in meaning.expected}
    assert obeyed == set(handlers._HANDLERS)


def test_every_text_command_has_a_meaning():
    assert set(TEXT_MEANINGS) == {name.decode() for name in text._TEXT_COMMANDS}
    for meaning in TEXT_MEANINGS.values():
        assert re.match(r"[A-Z][^\n]*\.\Z", meaning.says)


def test_every_code_of_an_error_has_a_meaning(sources):
    """Those in the core's sources, and those that the table names."""
    found = set()
    for name in ("core/handlers", "core/submits", "core/peers", "core/limits", "server/entrance"):
        with open("%s/%s.py" % (sources, name), encoding="utf-8") as file:
            found |= set(re.findall(r'b"([A-Z]+(?:_[A-Z]+)+|FORBIDDEN)"', file.read()))
    with open("%s/wire/protocol.py" % sources, encoding="utf-8") as file:
        found |= set(re.findall(r'b"(ARGUMENT_TOO_LARGE)"', file.read()))
    assert len(found) > 5
    assert found <= set(ERROR_MEANINGS)
    named = set(GENERAL_ERRORS).union(*(meaning.errors for meaning in MEANINGS.values()))
    assert named == set(ERROR_MEANINGS)
