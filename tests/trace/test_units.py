"""One direction of a connection, cut into units: sent at once, byte by byte, cut off, and between bytes that mean nothing."""
import random
from collections import deque

import pytest

from gearman_std.trace.units import HTTP_MESSAGE, LINE, PACKET, RUBBISH, TLS, UnitReader
from gearman_std.wire.protocol import (CAN_DO, ECHO_REQ, MAX_LINE_SIZE, SUBMIT_JOB, pack_request, pack_response)

SUBMIT = pack_request(SUBMIT_JOB, b"f", b"u", b"data\nwith a line")


def read(data, cut=None, requests=True, keep=1 << 20, methods=None):
    """The units of a stream, also those that its end completes."""
    reader = UnitReader(requests, keep, deque() if methods is None else deque(methods))
    units, position = [], 0
    while position < len(data):
        size = len(data) if cut is None else cut
        units += reader.feed(data[position:position + size])
        position += size
    return [tuple(unit) for unit in units] + [tuple(unit) for unit in reader.end()]


def in_pieces(data, **options):
    """The units, which must be the same however the bytes come."""
    units = read(data, **options)
    for cut in (1, 2, 3, 7, 13):
        assert read(data, cut, **options) == units, cut
    return units


def test_packets_and_lines_in_one_stream():
    assert in_pieces(SUBMIT + b"status\n" + SUBMIT) == [
        (PACKET, SUBMIT, len(SUBMIT), True), (LINE, b"status\n", 7, True), (PACKET, SUBMIT, len(SUBMIT), True)]


def test_both_magics_are_packets_in_either_direction():
    response = pack_response(CAN_DO, b"f")
    for requests in (True, False):
        assert in_pieces(response + SUBMIT, requests=requests) == [
            (PACKET, response, len(response), True), (PACKET, SUBMIT, len(SUBMIT), True)]


def test_of_a_large_packet_the_beginning_is_kept():
    packet = pack_request(ECHO_REQ, b"x" * 100000)
    for cut in (None, 1000, 65536):
        assert read(packet + SUBMIT, cut, keep=1024) == [(PACKET, packet[:1024], len(packet), True),
                                                         (PACKET, SUBMIT, len(SUBMIT), True)]


def test_a_view_of_a_large_packet_is_not_needed_after_the_call():
    packet = pack_request(ECHO_REQ, b"x" * 100000)
    reader, buffer, units = UnitReader(True, 1024, deque()), bytearray(5000), []
    for start in range(0, len(packet), 5000):
        piece = packet[start:start + 5000]
        buffer[:len(piece)] = piece
        with memoryview(buffer) as view, view[:len(piece)] as part:
            units += reader.feed(part)
    assert [tuple(unit) for unit in units] == [(PACKET, packet[:1024], len(packet), True)]


@pytest.mark.parametrize("cut", [1, 5, 11, 12, 20])
def test_what_is_cut_off_is_told_at_the_end(cut):
    assert in_pieces(SUBMIT[:cut]) == [(PACKET, SUBMIT[:cut], cut, False)]


def test_a_line_without_an_end():
    assert in_pieces(b"status") == [(LINE, b"status", 6, False)]


def test_a_line_that_is_longer_than_servers_take():
    line = b"x" * (2 * MAX_LINE_SIZE) + b"\n"
    assert in_pieces(line + SUBMIT, keep=100) == [
        (LINE, line[:100], len(line), True), (PACKET, SUBMIT, len(SUBMIT), True)]
    assert in_pieces(line[:-1] + SUBMIT, keep=100) == [
        (RUBBISH, line[:100], len(line) - 1, True), (PACKET, SUBMIT, len(SUBMIT), True)]


def test_bytes_between_packets_do_not_hide_the_next():
    assert in_pieces(b"oops" + SUBMIT) == [(RUBBISH, b"oops", 4, True), (PACKET, SUBMIT, len(SUBMIT), True)]


def test_bytes_that_begin_with_nul_and_are_no_packet_are_told_at_once():
    reader = UnitReader(True, 1024, deque())
    assert [unit.kind for unit in reader.feed(b"\0RUBBISH and more")] == [RUBBISH]
    units = reader.feed(b"still\0R") + reader.feed(SUBMIT[1:])
    assert [unit.kind for unit in units] == [RUBBISH, RUBBISH]
    assert [unit.kind for unit in reader.feed(SUBMIT)] == [RUBBISH, PACKET]
    assert reader.end() == []


def test_rubbish_is_not_lost():
    units = read(b"\0RUBBISH and more", 3)
    assert b"".join(unit[1] for unit in units) == b"\0RUBBISH and more"
    assert {unit[0] for unit in units} == {RUBBISH}


def test_tls_is_told_once():
    reader = UnitReader(True, 1024, deque())
    assert [unit.kind for unit in reader.feed(b"\x16\x03\x01hello") + reader.feed(SUBMIT) + reader.end()] == [TLS]


POST = b"POST /f HTTP/1.1\r\nContent-Length: 5\r\nX-Gearman-Unique: u\r\n\r\nhello"
GET = b"GET /f HTTP/1.0\r\n\r\n"
CHUNKS = b"POST /f HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\na;x=y\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n"


def test_requests_of_http():
    assert in_pieces(POST + GET + CHUNKS + POST) == [
        (HTTP_MESSAGE, message, len(message), True) for message in (POST, GET, CHUNKS, POST)]


@pytest.mark.parametrize("cut", [20, 40, len(POST) - 1])
def test_a_request_that_is_cut_off(cut):
    assert in_pieces(POST[:cut]) == [(HTTP_MESSAGE, POST[:cut], cut, False)]


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"
TO_HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
ENDLESS = b"HTTP/1.0 200 OK\r\n\r\nall that comes\n\n"


def test_responses_of_http():
    units = in_pieces(CONTINUE + OK + NO_CONTENT + TO_HEAD + OK + ENDLESS, requests=False,
                      methods=[b"POST", b"POST", b"HEAD", b"GET", b"GET"])
    assert units == [(HTTP_MESSAGE, message, len(message), True)
                     for message in (CONTINUE, OK, NO_CONTENT, TO_HEAD, OK, ENDLESS)]


def test_a_chunk_of_no_size_goes_on_to_the_end():
    message = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nno number\r\nrest"
    assert in_pieces(message, requests=False) == [(HTTP_MESSAGE, message, len(message), True)]


def test_no_byte_is_lost_or_counted_twice_whatever_comes():
    chance = random.Random(5)
    alphabet = [b"\0", b"\0REQ", b"\0RES", b"\0\0\0\x07\0\0\0\x02", b"a", b"\n", b"\r\n", POST, SUBMIT, b"\xff"]
    for _ in range(300):
        data = b"".join(chance.choice(alphabet) for _ in range(chance.randrange(1, 20)))
        for cut in (None, 1, 5):
            units = read(data, cut, requests=chance.random() < 0.5)
            assert b"".join(unit[1] for unit in units) == data
            assert sum(unit[2] for unit in units) == len(data)
