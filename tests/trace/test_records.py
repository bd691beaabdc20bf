"""Records: values as words, times as people read them, and JSON there and back."""
import json

import pytest

from gearman_std.errors import ProtocolError
from gearman_std.trace.jobs import milliseconds
from gearman_std.trace.records import gap_to_json, plain_text, record_from_json, record_to_json, show_value
from gearman_std.wire.protocol import JOB_CREATED, SUBMIT_JOB, pack_request, pack_response
from trace_tools import Talk


@pytest.mark.parametrize("data, text", [
    (b"plain", "plain"), (b"a\nb\tc\0d\r", "a\\nb\\tc\\0d\\r"), (b"\x1b[2J\x07", "\\x1b[2J\\x07"), (b"\xff\xfe", "\\xff\\xfe"),
    ("grün".encode(), "grün"), ("a\u202eb\u200b".encode(), "a\\u202eb\\u200b"), ("\x85\x9b".encode(), "\\x85\\x9b")])
def test_nothing_steers_a_terminal(data, text):
    assert plain_text(data) == text
    assert plain_text(data).isprintable()


@pytest.mark.parametrize("value, size, text", [
    (b"word", 4, "word"), (b"", 0, '""'), (b"two words", 9, '"two words"'), (b'a"b', 3, '"a\\"b"'), (b"a=b", 3, '"a=b"'),
    (b"x" * 20, 20, '"xxxxxxxxxx… (20 bytes)'), (b"x" * 10, 5000, '"xxxxxxxxxx… (5000 bytes)'), (b"# 1", 3, '"# 1"')])
def test_values_are_words_or_in_quotes(value, size, text):
    assert show_value(value, size, 10).replace('"…', "…") == text


@pytest.mark.parametrize("seconds, text", [
    (0.0, "0.0 ms"), (0.00123, "1.2 ms"), (0.5, "500 ms"), (9.9, "9900 ms"), (61, "61.0 s")])
def test_times(seconds, text):
    assert milliseconds(seconds) == text


def test_a_record_survives_json():
    talk = Talk()
    talk.ask(1, pack_request(SUBMIT_JOB, b"f\xff", b"u", bytes(range(256))))
    talk.answer(1, pack_response(JOB_CREATED, b"H:1"))
    talk.tracer.ended(1, True, talk.time, False)
    for record in talk.records:
        plain = json.loads(json.dumps(record_to_json(record)))
        back = record_from_json(plain)
        for name in ("number", "connection", "peer", "from_client", "kind", "name", "type", "size", "data", "whole"):
            assert getattr(back, name) == getattr(record, name)
        assert back.time == pytest.approx(record.time, abs=1e-6)
    submit, created = (record_to_json(record) for record in talk.records[1:3])
    assert submit["arguments"] == {"function": "f\\xff", "unique": "u", "workload": bytes(range(60)).decode()}
    assert submit["from"] == "client" and created["from"] == "server" and submit["role"] == "client"
    assert created["job"] == {"number": 1, "handle": "H:1", "function": "f\\xff", "unique": "u"}
    assert created["notes"] == ["job 1", "after 1.0 ms"]


def test_what_was_not_kept_is_told():
    talk = Talk(keep=1024)
    assert record_to_json(talk.ask(1, pack_request(SUBMIT_JOB, b"f", b"", b"x" * 2000))[0])["whole"] is False


@pytest.mark.parametrize("plain", [
    {}, [], None, "x", {"time": "x"}, {"time": 1, "kind": "packet", "name": "x", "from": "client", "bytes": "!"},
    {"time": 1, "kind": "packet", "name": "x", "from": "client", "number": 1, "connection": None, "peer": ""}])
def test_what_is_no_record_is_refused(plain):
    with pytest.raises(ProtocolError, match="not a record of a trace"):
        record_from_json(plain)


def test_a_recording_with_a_gap_says_so():
    with pytest.raises(ProtocolError, match="not complete: 3 records are left out"):
        record_from_json(json.loads(json.dumps(gap_to_json(3))))
