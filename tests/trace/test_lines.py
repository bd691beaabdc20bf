"""Records as lines of text, with their bytes, and with what the protocol says."""
import re

import pytest

from gearman_std.trace.lines import LineMaker, explain, hexadecimal_lines
from gearman_std.wire.meanings import MEANINGS
from gearman_std.wire.protocol import (ERROR, PACKETS, SUBMIT_JOB, SUBMIT_REDUCE_JOB, WORK_COMPLETE, pack_request,
                                       pack_response)
from trace_tools import Talk


@pytest.fixture
def talk():
    return Talk()


def text_of(record, **options):
    """The line without its time."""
    line = LineMaker(**options).make(record)
    assert re.match(r"\d\d:\d\d:\d\d\.\d{6} ", line) and line.endswith("\n")
    return line[16:]


def test_a_line_tells_all_of_a_packet(talk):
    assert text_of(talk.ask(1, pack_request(SUBMIT_JOB, b"f", b"", b"two words"))[0]) == (
        'client 1   > SUBMIT_JOB function=f unique="" workload="two words"  # job 1\n')
    assert text_of(talk.answer(1, pack_response(ERROR, b"QUEUE_ERROR", b"full"))[0]) == (
        "client 1   < ERROR code=QUEUE_ERROR text=full  # about SUBMIT_JOB; after 1.0 ms"
        "  !! refused: the server takes no more jobs, or functions\n")


def test_events(talk):
    talk.ask(1, b"status\n")
    talk.tracer.ended(1, True, talk.time, False)
    talk.tracer.ended(1, False, talk.time, True)
    talk.tracer.closed(1, talk.time)
    assert [text_of(record) for record in talk.records] == [
        "peer 1     > connects from 10.0.0.1:5000 to 10.0.0.99:4730\n", "admin 1    > status line=status\n",
        "admin 1    > sends no more\n",
        "admin 1    < server breaks the connection  !! a request without an answer\n", "admin 1    > connection over\n"]


def test_a_workload_is_cut_at_the_width(talk):
    record = talk.ask(1, pack_request(SUBMIT_JOB, b"f", b"u", b"0123456789"))[0]
    assert 'workload="0123"… (10 bytes)' in text_of(record, width=4)


def test_a_hostile_name_stays_on_its_line(talk):
    record = talk.ask(1, pack_request(SUBMIT_JOB, b"f\n\x1b]0;x\x07", b"\r", b"\xff\x00"))[0]
    for options in ({}, {"hexadecimal": True, "explain": True}):
        text = LineMaker(**options).make(record)
        assert all(line.isprintable() for line in text[:-1].split("\n"))
    assert LineMaker().make(record).count("\n") == 1


@pytest.mark.parametrize("number", sorted(PACKETS))
def test_every_packet_is_explained(number, talk):
    values = [b"QUEUE_ERROR" for _ in PACKETS[number][2]]
    if PACKETS[number][1] == "response":
        record = talk.answer(1, pack_response(number, *values))[0]
    else:
        record = talk.ask(1, pack_request(number, *values))[0]
    told = " ".join(" ".join(explain(record)).split())
    assert " ".join(MEANINGS[number].says.split()) in told
    assert " is to: " in told
    assert all(len(line) <= 100 for line in explain(record))


def test_who_gets_a_packet_is_told_what_to_do(talk):
    told = " ".join(explain(talk.ask(1, pack_request(SUBMIT_JOB, b"f", b"", b""))[0]))
    assert "client 1 says: " in told and "The server is to: " in told and "Answer: JOB_CREATED, or ERROR." in told
    told = " ".join(explain(talk.answer(1, pack_response(ERROR, b"JOB_NOT_FOUND", b""))[0]))
    assert "The client is to: " in told and "The worker is to: " not in told and "JOB_NOT_FOUND: the worker does not" in told


def test_text_and_http_are_explained(talk):
    assert "For each function" in explain(talk.ask(1, b"status\n")[0])[0]
    assert explain(talk.ask(2, b"GET /f HTTP/1.1\r\n\r\n")[0])
    assert explain(talk.ask(3, b"nonsense\n")[0]) == []


def test_each_field_has_its_bytes_and_what_they_mean(talk):
    assert hexadecimal_lines(talk.ask(1, pack_request(SUBMIT_JOB, b"f", b"", b"data"))[0]) == [
        "    00 52 45 51                                      magic: a request, to the server",
        "    00 00 00 07                                      type 7, SUBMIT_JOB",
        "    00 00 00 07                                      size: 7 bytes follow",
        '    66                                               function "f": the name of the function',
        "    00                                               end of function",
        "    00                                               end of unique, which is empty",
        '    64 61 74 61                                      workload "data": the bytes for the function, which no server '
        "looks at"]


def figures(lines):
    """The bytes that are shown."""
    return bytes.fromhex("".join(line[4:52] for line in lines))


@pytest.mark.parametrize("packet", [
    pack_request(SUBMIT_REDUCE_JOB, b"f", b"u", b"r", b"data"), pack_request(SUBMIT_REDUCE_JOB, b"f", b"u", b"r", b"", b"data"),
    pack_request(WORK_COMPLETE, b"H:1"), pack_request(SUBMIT_JOB, b"f"), pack_request(4711, b"x" * 50),
    pack_request(9, b"more"), b"status\r\n", b"\0rubbish that is no packet", b"GET /f HTTP/1.0\r\n\r\n"])
def test_no_byte_is_left_out_or_shown_twice(packet, talk):
    assert figures(hexadecimal_lines(talk.ask(1, packet)[0])) in (packet, packet[:-3])


def test_a_long_field_is_cut(talk):
    record = talk.ask(1, pack_request(SUBMIT_JOB, b"f", b"u", b"x" * 5000))[0]
    lines = hexadecimal_lines(record, 32)
    assert lines[-1] == "    … 4968 bytes more" and len(lines) == 10
