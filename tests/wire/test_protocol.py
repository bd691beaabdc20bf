"""The wire format: the packet table, packing, and the reader, whole, byte by byte, in pieces and under random bytes."""
import random
import re
import struct
import sys
import time

import pytest

from gearman_std.wire import protocol
from gearman_std.errors import ProtocolError, ServerError
from gearman_std.wire.protocol import (BOTH, CAN_DO, CAN_DO_TIMEOUT, ECHO_REQ, GET_STATUS, GRAB_JOB, JOB_ASSIGN, JOB_ASSIGN_ALL,
                                       JOB_CREATED, LARGE_BODY, MAX_FIELD_SIZE, MAX_LINE_SIZE, MAX_PACKET_SIZE, NO_JOB, NOOP,
                                       PACKETS, PRE_SLEEP, REQUEST, REQUEST_MAGIC, RESET_ABILITIES, RESPONSE, RESPONSE_MAGIC,
                                       STATUS_RES, SUBMIT_JOB, SUBMIT_JOB_BG, SUBMIT_JOB_EPOCH, SUBMIT_JOB_SCHED,
                                       SUBMIT_REDUCE_JOB, SUBMIT_REDUCE_JOB_BACKGROUND, TEXT_LINE, TOO_FEW_ARGUMENTS, TOO_LARGE,
                                       WORK_COMPLETE, WORK_DATA, WORK_EXCEPTION, WORK_STATUS, WORK_WARNING, WRONG_MAGIC,
                                       PacketReader, encode, encode_data, encode_function, encode_handle, encode_reducer,
                                       encode_unique, pack_request, pack_response, packet_name, parse_number, request_head,
                                       response_head, told_limit)

from samples import few

# From the PROTOCOL document of gearmand: number, name, magic (REQ, RES or both), how many arguments.
DOCUMENT = """
1 CAN_DO REQ 1
2 CANT_DO REQ 1
3 RESET_ABILITIES REQ 0
4 PRE_SLEEP REQ 0
5 UNUSED RES 0
6 NOOP RES 0
7 SUBMIT_JOB REQ 3
8 JOB_CREATED RES 1
9 GRAB_JOB REQ 0
10 NO_JOB RES 0
11 JOB_ASSIGN RES 3
12 WORK_STATUS both 3
13 WORK_COMPLETE both 2
14 WORK_FAIL both 1
15 GET_STATUS REQ 1
16 ECHO_REQ REQ 1
17 ECHO_RES RES 1
18 SUBMIT_JOB_BG REQ 3
19 ERROR RES 2
20 STATUS_RES RES 5
21 SUBMIT_JOB_HIGH REQ 3
22 SET_CLIENT_ID REQ 1
23 CAN_DO_TIMEOUT REQ 2
24 ALL_YOURS REQ 0
25 WORK_EXCEPTION both 2
26 OPTION_REQ REQ 1
27 OPTION_RES RES 1
28 WORK_DATA both 2
29 WORK_WARNING both 2
30 GRAB_JOB_UNIQ REQ 0
31 JOB_ASSIGN_UNIQ RES 4
32 SUBMIT_JOB_HIGH_BG REQ 3
33 SUBMIT_JOB_LOW REQ 3
34 SUBMIT_JOB_LOW_BG REQ 3
35 SUBMIT_JOB_SCHED REQ 8
36 SUBMIT_JOB_EPOCH REQ 4
37 SUBMIT_REDUCE_JOB REQ 5
38 SUBMIT_REDUCE_JOB_BACKGROUND REQ 5
39 GRAB_JOB_ALL REQ 0
40 JOB_ASSIGN_ALL RES 5
41 GET_STATUS_UNIQUE REQ 1
42 STATUS_RES_UNIQUE RES 6
"""


def raw(packet_type, body=b"", magic=REQUEST_MAGIC, size=None):
    """A packet put together by hand."""
    return magic + struct.pack(">II", packet_type, len(body) if size is None else size) + body


def plain(packets):
    """Packets with every argument as bytes, so that they can be compared."""
    return [(packet_type, tuple(map(bytes, arguments))) for packet_type, arguments in packets]


def told(reader):
    """The reader's error without the bytes it shows, for how many it can show depends on how they arrived."""
    return reader.error and re.sub(r": b['\"].*", "", str(reader.error))


def read(data, cut=None, **options):
    """(packets, error) of a reader that gets the data whole, or cut by cut(position) bytes."""
    reader = PacketReader(**options)
    packets, position = [], 0
    while position < len(data):
        size = len(data) if cut is None else cut(position)
        packets += plain(reader.feed(data[position:position + size]))
        position += size
    return packets, told(reader)


def read_in_place(data, **options):
    """As read, but receiving into the reader's room wherever it offers one, as sockets do."""
    reader = PacketReader(**options)
    packets, position = [], 0
    while position < len(data):
        room = reader.room()
        if room is None:
            packets += plain(reader.feed(data[position:position + 50000]))
            position += 50000
        else:
            size = min(len(room), len(data) - position)
            room[:size] = data[position:position + size]
            room.release()
            packets += plain(reader.filled(size))
            position += size
    return packets, told(reader)


def in_every_way(data, **options):
    """What a reader makes of the data, the same whole, in pieces, byte by byte and in place."""
    result = read(data, **options)
    assert read(data, lambda _: 13, **options) == result
    assert read(data, lambda position: 4096 + position % 7, **options) == result
    assert read_in_place(data, **options) == result
    if len(data) < 50000:
        assert read(data, lambda _: 1, **options) == result
    return result


# The table

def test_numbers_names_directions_and_arguments_are_the_documents():
    rows = [line.split() for line in DOCUMENT.strip().splitlines()]
    assert [int(number) for number, _, _, _ in rows] == sorted(PACKETS) == list(range(1, len(PACKETS) + 1))
    for number, name, magic, count in rows:
        assert getattr(protocol, name) == int(number)
        assert PACKETS[int(number)][:2] == (name, {"REQ": REQUEST, "RES": RESPONSE, "both": BOTH}[magic])
        assert len(PACKETS[int(number)][2]) == int(count), name


def test_packet_name():
    assert packet_name(7) == "SUBMIT_JOB"
    assert packet_name(99) == "type 99"


# Packing

def test_pack_request():
    assert pack_request(SUBMIT_JOB, b"wc", b"u1", b"some\0text") == b"\0REQ\0\0\0\x07\0\0\0\x0fwc\0u1\0some\0text"


def test_pack_response():
    """gearmand's fixed frames."""
    assert pack_response(NO_JOB).hex() == "005245530000000a00000000"
    assert pack_response(NOOP).hex() == "005245530000000600000000"
    assert pack_response(JOB_CREATED, b"H:lap:1") == b"\0RES\0\0\0\x08\0\0\0\x07H:lap:1"


def test_heads_leave_the_last_argument_to_the_sender():
    workload = b"x" * 1000
    assert request_head(SUBMIT_JOB, 1000, b"wc", b"u") + workload == pack_request(SUBMIT_JOB, b"wc", b"u", workload)
    assert response_head(WORK_COMPLETE, 1000, b"H:1") + workload == pack_response(WORK_COMPLETE, b"H:1", workload)
    assert request_head(ECHO_REQ, 1000) + workload == pack_request(ECHO_REQ, workload)


def test_packing_takes_memoryviews():
    assert pack_request(WORK_COMPLETE, b"H:1", memoryview(b"result")) == pack_request(WORK_COMPLETE, b"H:1", b"result")


def test_encode():
    assert encode("é") == b"\xc3\xa9"
    assert encode(b"\xff") == encode(bytearray(b"\xff")) == encode(memoryview(b"\xff")) == b"\xff"
    for value in (None, 1, ["x"]):
        with pytest.raises(TypeError):
            encode(value)


def test_data_may_be_text_too():
    assert (encode_data("é"), encode_data(b"x"), encode_data(bytearray(b"y"))) == (b"\xc3\xa9", b"x", b"y")
    with pytest.raises(TypeError):
        encode_data(7)


def test_the_limit_that_a_server_tells_is_the_one_that_a_reader_tells():
    reader = PacketReader(max_size=1000)
    reader.feed(raw(ECHO_REQ, b"x" * 1001))
    assert told_limit(ServerError(reader.error.code.decode(), str(reader.error))) == 1000
    for code, text in (("ARGUMENT_TOO_LARGE", "Unique value too large"), ("ARGUMENT_TOO_LARGE", ", the limit is near"),
                       ("QUEUE_ERROR", ", the limit is 1000")):
        assert told_limit(ServerError(code, text)) is None


def test_large_data_is_copied_if_it_may_change_before_it_is_sent():
    """A script that reads a file into one buffer again and again sends each part before the next one overwrites it."""
    data = b"data"
    view = memoryview(data)
    kept = encode_data(view)
    view.release()
    assert isinstance(kept, memoryview) and kept.obj is data and kept == b"data"
    buffer = bytearray(b"data")
    view = memoryview(buffer)
    kept = encode_data(view)
    view.release()
    buffer[:] = b"gone"
    buffer.append(0)
    assert kept == b"data"


@pytest.mark.parametrize("encoder, limit", [(encode_function, 8191), (encode_unique, 63), (encode_handle, 63),
                                            (encode_reducer, 64)])
def test_names_that_the_wire_cannot_carry_are_refused(encoder, limit):
    assert encoder("é") == b"\xc3\xa9"
    assert encoder(b"x" * limit) == b"x" * limit
    for value in ("", b"", "a\0b", b"x" * (limit + 1), "é" * limit):
        with pytest.raises(ValueError):
            encoder(value)
    with pytest.raises(TypeError, match=" is 7: expected str or bytes, not int"):
        encoder(7)
    with pytest.raises(ValueError, match="is no text; bytes can be any"):
        encoder("\udcff")  # a byte of a file's name


# The reader

@pytest.mark.parametrize("packet_type", sorted(PACKETS))
def test_every_packet_is_read_as_it_was_packed(packet_type):
    arguments = tuple(b"argument-%d" % number for number in range(len(PACKETS[packet_type][2])))
    data = pack_request(packet_type, *arguments)
    assert in_every_way(data) == ([(packet_type, arguments)], None)
    data = pack_response(packet_type, *arguments)
    assert in_every_way(data, magic=RESPONSE_MAGIC, text=False) == ([(packet_type, arguments)], None)


def test_only_the_last_argument_may_hold_nul():
    data = raw(SUBMIT_JOB, b"f\0u\0a\0b\0") + raw(ECHO_REQ, b"\0\0")
    assert in_every_way(data) == ([(SUBMIT_JOB, (b"f", b"u", b"a\0b\0")), (ECHO_REQ, (b"\0\0",))], None)


def test_arguments_may_be_empty():
    data = raw(SUBMIT_JOB, b"\0\0") + raw(ECHO_REQ) + raw(WORK_COMPLETE, b"\0")
    assert in_every_way(data) == ([(SUBMIT_JOB, (b"", b"", b"")), (ECHO_REQ, (b"",)), (WORK_COMPLETE, (b"", b""))], None)


def test_bytes_after_a_packet_without_arguments_are_skipped():
    """gearmand takes no notice of a body that GRAB_JOB should not have."""
    assert in_every_way(raw(GRAB_JOB, b"junk") + raw(PRE_SLEEP)) == ([(GRAB_JOB, ()), (PRE_SLEEP, ())], None)


def test_packets_and_lines_share_a_stream():
    data = b"status\r\n" + raw(GRAB_JOB) + b"workers\n\nversion\n" + raw(GET_STATUS, b"H:1") + b"unfini"
    assert in_every_way(data) == ([(TEXT_LINE, (b"status\r",)), (GRAB_JOB, ()), (TEXT_LINE, (b"workers",)), (TEXT_LINE, (b"",)),
                                   (TEXT_LINE, (b"version",)), (GET_STATUS, (b"H:1",))], None)


def test_a_line_may_have_any_byte_but_a_newline_after_its_first():
    assert in_every_way(b"a\0REQ\xff\n") == ([(TEXT_LINE, (b"a\0REQ\xff",))], None)


def test_held_counts_the_bytes_of_a_unit_that_has_begun():
    reader = PacketReader()
    assert reader.held == 0
    for data, held in ((b"\0", 1), (raw(GRAB_JOB)[1:], 0), (b"stat", 4), (b"us\n", 0),
                       (raw(ECHO_REQ, size=LARGE_BODY), 12), (b"x" * (LARGE_BODY - 1), LARGE_BODY + 11), (b"x", 0)):
        reader.feed(data)
        assert reader.held == held


def test_a_packet_with_the_other_magic_is_reported_and_skipped():
    """gearmand: ERROR INVALID_MAGIC, not executed; the connection stays."""
    data = raw(SUBMIT_JOB, b"f\0u\0w", RESPONSE_MAGIC) + raw(GRAB_JOB)
    assert in_every_way(data) == ([(WRONG_MAGIC, ()), (GRAB_JOB, ())], None)
    large = raw(SUBMIT_JOB, b"f\0u\0" + b"w" * 200000, RESPONSE_MAGIC) + raw(GRAB_JOB)
    assert in_every_way(large) == ([(WRONG_MAGIC, ()), (GRAB_JOB, ())], None)


@pytest.mark.parametrize("body", [b"", b"f", b"f\0u", b"f\0" + b"u" * 8000], ids=len)
def test_a_packet_with_too_few_arguments_is_reported_and_skipped(body):
    """The declared size is the boundary, so the stream stays in step."""
    packets = [(TOO_FEW_ARGUMENTS, (b"SUBMIT_JOB",)), (GRAB_JOB, ())]
    assert in_every_way(raw(SUBMIT_JOB, body) + raw(GRAB_JOB)) == (packets, None)


@pytest.mark.parametrize("packet_type", [WORK_COMPLETE, WORK_DATA, WORK_WARNING, WORK_EXCEPTION])
def test_a_result_may_lack_its_data(packet_type):
    """Perl's worker sends the handle alone, without a NUL, if a function returns nothing or 0."""
    assert in_every_way(raw(packet_type, b"H:1") + raw(GRAB_JOB)) == ([(packet_type, (b"H:1", b"")), (GRAB_JOB, ())], None)


@pytest.mark.parametrize("packet_type", [number for number in sorted(PACKETS) if len(PACKETS[number][2]) > 1
                                         and number not in (WORK_COMPLETE, WORK_DATA, WORK_WARNING, WORK_EXCEPTION)])
def test_each_packet_with_several_arguments_notices_that_one_is_missing(packet_type):
    count = len(PACKETS[packet_type][2]) - 1
    if packet_type in (SUBMIT_REDUCE_JOB, SUBMIT_REDUCE_JOB_BACKGROUND):
        count -= 1  # these do without the aggregator
    packets, error = in_every_way(pack_request(packet_type, *[b"x"] * count) + raw(GRAB_JOB))
    assert packets == [(TOO_FEW_ARGUMENTS, (packet_name(packet_type).encode(),)), (GRAB_JOB, ())]
    assert error is None


@pytest.mark.parametrize("packet_type", [SUBMIT_REDUCE_JOB, SUBMIT_REDUCE_JOB_BACKGROUND])
@pytest.mark.parametrize("size", [0, 5, 9000, 70000, 300000])
def test_reduce_jobs_come_with_an_aggregator_and_without(packet_type, size):
    """libgearman sends four fields before the workload, the PROTOCOL document names three."""
    workload = b"w" * size
    expected = ([(packet_type, (b"f", b"u", b"reducer", b"", workload)), (GRAB_JOB, ())], None)
    assert in_every_way(raw(packet_type, b"f\0u\0reducer\0" + workload) + raw(GRAB_JOB)) == expected
    assert in_every_way(raw(packet_type, b"f\0u\0reducer\0\0" + workload) + raw(GRAB_JOB)) == expected


@pytest.mark.parametrize("data", [b"\0GET / HTTP/1.1\r\n", b"\0RET" + raw(GRAB_JOB)[4:], b"\0\0\0\0" + raw(GRAB_JOB)[4:]],
                         ids=["HTTP", "RET", "zeros"])
def test_bad_magic_ends_the_stream(data):
    packets, error = in_every_way(raw(GRAB_JOB) + data + raw(GRAB_JOB))
    assert packets == [(GRAB_JOB, ())]
    assert "bad magic" in error


@pytest.mark.parametrize("packet_type", [0] + [max(PACKETS) + more for more in (1, 2, 3)] + [0x7FFFFFFF, 1 << 31, 0xFFFFFFFF])
def test_an_unknown_type_ends_the_stream(packet_type):
    """Also those numbers that the reader uses itself for what it reports."""
    packets, error = in_every_way(raw(GRAB_JOB) + raw(packet_type, b"x") + raw(GRAB_JOB))
    assert packets == [(GRAB_JOB, ())]
    assert "unknown packet type %d" % packet_type in error


def test_a_client_reads_no_text():
    packets, error = in_every_way(raw(NOOP, magic=RESPONSE_MAGIC) + b"OK\n", magic=RESPONSE_MAGIC, text=False)
    assert packets == [(NOOP, ())]
    assert "not a packet" in error


def test_a_client_that_speaks_tls_ends_the_stream_at_once():
    """There is no end of a line in what it sends first, so it would wait for an answer for ever."""
    assert in_every_way(raw(GRAB_JOB) + b"\x16\x03\x01\x02\0\x01") == ([(GRAB_JOB, ())], "TLS, which is not spoken here")


def test_nothing_is_read_after_an_error():
    reader = PacketReader()
    reader.feed(raw(99))
    assert reader.error is not None
    assert reader.feed(raw(GRAB_JOB)) == []
    assert reader.room() is None


# Limits

def test_a_packet_of_the_limit_is_read_and_a_larger_one_refused_before_it_arrives():
    for limit in (100, MAX_FIELD_SIZE, 10000, LARGE_BODY, 1000000):
        body = b"x" * limit
        assert in_every_way(raw(ECHO_REQ, body), max_size=limit) == ([(ECHO_REQ, (body,))], None)
        packets, error = in_every_way(raw(ECHO_REQ, size=limit + 1), max_size=limit)
        assert packets == []
        assert "the limit is %d" % limit in error
    reader = PacketReader()
    reader.feed(raw(ECHO_REQ, size=MAX_PACKET_SIZE + 1))
    assert reader.error.code == b"ARGUMENT_TOO_LARGE"


def memory_for(function):
    """The bytes of memory that are taken after a function was called, and were not before."""
    tracemalloc = pytest.importorskip("tracemalloc")  # PyPy has none
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        function()
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("arrived", [0, 1, 100, 5000, 20000, 65536, 400000, 3000000])
@pytest.mark.parametrize("step", [1 << 30, 65536, 1000])
def test_a_declared_size_reserves_no_memory(arrived, step):
    """Room grows with what has really arrived."""
    data = raw(ECHO_REQ, size=MAX_PACKET_SIZE) + bytes(arrived)
    reader, rooms = PacketReader(), []

    def feed():
        for position in range(0, len(data), step):
            reader.feed(data[position:position + step])
        rooms.append(reader.room(generous=False))
    assert memory_for(feed) < 2.2 * arrived + 1000
    assert (rooms[0] is None) == (arrived < 16000)
    assert reader.held == len(data)


@pytest.mark.parametrize("arrived, room", [(0, None), (4000, None), (5000, 1048576 + 4096), (2000000, 4000000)])
def test_a_generous_reader_has_room_for_a_mebibyte_at_once(arrived, room):
    reader = PacketReader()
    reader.feed(raw(ECHO_REQ, size=MAX_PACKET_SIZE) + bytes(arrived))
    assert (reader.room() and len(reader.room())) == (room and room - arrived)


@pytest.mark.parametrize("declared", [100000, LARGE_BODY - 1])
def test_a_packet_that_comes_byte_by_byte_takes_little_more_memory_than_its_bytes(declared):
    reader, data = PacketReader(), raw(ECHO_REQ, size=declared) + bytes(10000)
    assert memory_for(lambda: [reader.feed(data[position:position + 1]) and None
                               for position in range(len(data))].clear()) < 1.3 * len(data) + 6000


def test_room_that_was_not_filled_does_not_keep_bytes_from_being_fed():
    data = raw(SUBMIT_JOB, b"f\0u\0" + bytes(range(256)) * 1000)
    reader, packets, position = PacketReader(), [], 20000
    reader.feed(data[:position])
    while not packets:
        with reader.room() as room:
            room[:100] = data[position:position + 100]
        packets += reader.filled(100)
        packets += reader.feed(data[position + 100:position + 5100])
        position += 5100
    assert plain(packets) == [(SUBMIT_JOB, (b"f", b"u", bytes(range(256)) * 1000))]


def skipping_reader(**options):
    return PacketReader(RESPONSE_MAGIC, text=False, skip=True, **options)


LARGE_JOB = pack_response(JOB_ASSIGN, b"H:1", b"f", b"x" * 300000)
PASSED_OVER = (TOO_LARGE, (b"%d" % JOB_ASSIGN, b"%d" % (len(LARGE_JOB) - 12), b"H:1", b"f"))


@pytest.mark.parametrize("piece", [1000, 50000])
def test_a_packet_beyond_the_limit_is_passed_over_and_what_comes_after_it_is_read(piece):
    reader, packets, data = skipping_reader(max_size=100000), [], LARGE_JOB + pack_response(NO_JOB)
    for start in range(0, len(data), piece):
        packets += reader.feed(data[start:start + piece])
    assert plain(packets) == [PASSED_OVER, (NO_JOB, ())] and reader.error is None


class Full(bytearray):
    """Memory that there is none of any more."""

    def __iadd__(self, data):
        raise MemoryError


@pytest.mark.parametrize("in_place", [False, True])
def test_a_packet_for_which_there_is_no_memory_is_passed_over(monkeypatch, in_place):
    reader = skipping_reader()
    if in_place:
        packets = reader.feed(LARGE_JOB[:20000])
        monkeypatch.setattr(protocol, "bytearray", no_memory, raising=False)
        assert reader.room() is None
    else:
        monkeypatch.setattr(protocol, "bytearray", Full, raising=False)
        packets = reader.feed(LARGE_JOB[:20000])
    for start in range(20000, len(LARGE_JOB), 50000):
        packets += reader.feed(LARGE_JOB[start:start + 50000])
    assert plain(packets) == [PASSED_OVER] and reader.error is None
    monkeypatch.undo()
    assert plain(reader.feed(LARGE_JOB)) == [(JOB_ASSIGN, (b"H:1", b"f", b"x" * 300000))]


def no_memory(*_):
    raise MemoryError


def test_who_passes_over_nothing_is_told_that_there_is_no_memory(monkeypatch):
    reader = PacketReader()
    reader.feed(raw(SUBMIT_JOB, b"f\0u\0" + b"x" * 300000)[:20000])
    monkeypatch.setattr(protocol, "bytearray", no_memory, raising=False)
    with pytest.raises(MemoryError):
        reader.room()


@pytest.mark.parametrize("packet_type", [SUBMIT_JOB, SUBMIT_JOB_BG, SUBMIT_JOB_EPOCH, SUBMIT_JOB_SCHED, SUBMIT_REDUCE_JOB])
@pytest.mark.parametrize("size", [0, 70000])
def test_arguments_before_the_last_have_their_limit(packet_type, size):
    count = len(PACKETS[packet_type][2])
    workload = b"w" * size
    for number in range(count - 1):
        arguments = [b"a"] * (count - 1) + [workload]
        arguments[number] = b"a" * MAX_FIELD_SIZE
        data = pack_request(packet_type, *arguments)
        assert in_every_way(data) == ([(packet_type, tuple(arguments))], None)
        for size in (MAX_FIELD_SIZE + 1, 100000):
            arguments[number] = b"a" * size
            packets, error = in_every_way(pack_request(packet_type, *arguments) + raw(GRAB_JOB))
            assert packets == []
            assert "more than 8191 bytes" in error


def test_the_name_of_an_ability_may_have_one_byte_more():
    """gearmand's limit for the only argument of CAN_DO is 8192."""
    assert in_every_way(raw(CAN_DO, b"f" * 8192)) == ([(CAN_DO, (b"f" * 8192,))], None)
    packets, error = in_every_way(raw(CAN_DO, b"f" * 8193))
    assert packets == [] and "CAN_DO of 8193 bytes" in error


@pytest.mark.parametrize("packet_type", [CAN_DO, GET_STATUS, RESET_ABILITIES, CAN_DO_TIMEOUT, WORK_STATUS, STATUS_RES])
def test_packets_without_data_cannot_be_large(packet_type):
    packets, error = in_every_way(raw(packet_type, size=1000000))
    assert packets == [] and "of 1000000 bytes" in error


def test_a_line_has_its_limit():
    line = b"x" * (MAX_LINE_SIZE - 1)
    assert in_every_way(line + b"\n") == ([(TEXT_LINE, (line,))], None)
    packets, error = in_every_way(b"x" * (MAX_LINE_SIZE + 1))
    assert packets == [] and "a line longer than" in error
    assert in_every_way(b"x" * MAX_LINE_SIZE + b"\n")[0] == []


# Large bodies

BOUNDARIES = (4096, 8191, 8192, 65480, LARGE_BODY, 1 << 20, 1 << 21)


@pytest.mark.parametrize("size", [size + delta for size in BOUNDARIES for delta in (-1, 0, 1)])
def test_workloads_around_every_boundary_arrive_intact(size):
    workload = random.Random(size).getrandbits(8 * size).to_bytes(size, "big")
    data = pack_request(SUBMIT_JOB, b"f", b"u", workload) + raw(GRAB_JOB)
    assert in_every_way(data) == ([(SUBMIT_JOB, (b"f", b"u", workload)), (GRAB_JOB, ())], None)


def test_the_body_itself_may_be_of_every_size_around_the_large_one():
    for size in range(LARGE_BODY - 3, LARGE_BODY + 4):
        data = raw(ECHO_REQ, b"x" * size)
        assert in_every_way(data + data) == ([(ECHO_REQ, (b"x" * size,))] * 2, None)


def test_a_large_workload_is_handed_on_without_a_copy():
    reader = PacketReader()
    packets = reader.feed(request_head(JOB_ASSIGN, 1 << 20, b"H:1", b"f") + bytes(20000))
    while not packets:
        with reader.room() as room:
            size = len(room)
        packets = reader.filled(size)
    assert isinstance(packets[0][1][2], memoryview)
    assert packets[0][1][:2] == [b"H:1", b"f"]
    assert len(packets[0][1][2]) == 1 << 20


def test_too_few_arguments_in_a_large_body_end_the_stream():
    """One of them is longer than an argument may be."""
    for body in (b"x" * 100000, b"f\0" + b"x" * 100000):
        packets, error = in_every_way(raw(SUBMIT_JOB, body) + raw(GRAB_JOB))
        assert packets == [(TOO_FEW_ARGUMENTS, (b"SUBMIT_JOB",)), (GRAB_JOB, ())] and error is None or "more than" in error


@pytest.mark.parametrize("piece", [8192, 65536, 1 << 20])
def test_a_packet_of_64_mib_costs_no_more_than_its_bytes(piece):
    """Joining what is there with each piece that comes would take minutes."""
    size = 64 * 1024 * 1024
    data = bytes(piece)
    reader = PacketReader()
    began = time.perf_counter()
    assert reader.feed(request_head(SUBMIT_JOB, size, b"f", b"u")) == []
    packets = []
    for _ in range(size // piece):
        packets += reader.feed(data)
    assert time.perf_counter() - began < 5
    assert [len(argument) for argument in packets[0][1]] == [1, 1, size]


def test_many_small_packets_in_one_read_cost_no_more_than_their_bytes():
    data = raw(GRAB_JOB) * 100000
    began = time.perf_counter()
    assert len(PacketReader().feed(data)) == 100000
    assert time.perf_counter() - began < 5


# Random bytes: packets or a ProtocolError, nothing else, however the bytes are cut.

def random_stream(rng):
    """A stream of well-formed packets, lines, and damage."""
    parts = []
    for _ in range(rng.randrange(1, 12)):
        kind = rng.randrange(10)
        packet_type = rng.randrange(1, max(PACKETS) + 1)
        if kind < 5:
            count = max(0, len(PACKETS[packet_type][2]) + rng.choice((0, 0, 0, 0, -1, 1)))
            arguments = [bytes(rng.choices(b"\0ab\xff", k=rng.choice((0, 1, 5, 60)))) for _ in range(count)]
            parts.append(pack_request(packet_type, *arguments))
        elif kind == 5:
            parts.append(raw(packet_type, bytes(rng.choices(b"\0a", k=rng.randrange(20))), RESPONSE_MAGIC))
        elif kind == 6:
            parts.append(bytes(rng.choices(b"status \xe9", k=rng.randrange(30))) + b"\n")
        elif kind == 7:
            parts.append(pack_request(rng.choice((SUBMIT_JOB, ECHO_REQ, WORK_COMPLETE, SUBMIT_REDUCE_JOB)),
                                      *[b"x" * rng.choice((1, 8191, 8192))] * rng.randrange(1, 5),
                                      b"y" * rng.choice((10, 8192, 65530, 65536, 70000))))
        elif kind == 8:
            parts.append(raw(rng.choice((0, 1, 7, max(PACKETS) + 1, 1 << 31)), size=rng.choice((0, 3, 100, 9000, 1 << 31))))
        else:
            parts.append(bytes(rng.randrange(256) for _ in range(rng.randrange(40))))
    data = bytearray(b"".join(parts))
    for _ in range(rng.choice((0, 0, 1, 5))):
        if data:
            data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data)


@pytest.mark.parametrize("seed", few(range(100), 10))
def test_random_bytes_make_packets_or_a_protocol_error(seed):
    rng = random.Random(1000 * sys.version_info[1] + seed)  # other ones with every Python
    data = random_stream(rng)
    options = {"magic": rng.choice((REQUEST_MAGIC, REQUEST_MAGIC, RESPONSE_MAGIC)), "text": rng.random() < 0.8,
               "max_size": rng.choice((MAX_PACKET_SIZE, 60000, 200))}
    packets, error = read(data, **options)
    for packet_type, arguments in packets:
        if packet_type in PACKETS:
            assert len(arguments) == len(PACKETS[packet_type][2])
        else:
            assert packet_type in (TEXT_LINE, WRONG_MAGIC, TOO_FEW_ARGUMENTS)
    for _ in range(3):
        sizes = rng.choice(((1, 2, 3), (1, 12, 13, 40), (100, 5000), (60000, 70000)))
        assert read(data, lambda _: rng.choice(sizes), **options) == (packets, error)
    assert read_in_place(data, **options) == (packets, error)


def test_errors_are_protocol_errors_and_short():
    """Whatever a peer sends, the message stays fit for a line of a log."""
    for data in (b"\0" + b"\xff" * 100000, raw(99, b"x" * 100000), b"x" * 100000, raw(SUBMIT_JOB, b"f" * 9000 + b"\0u\0w")):
        reader = PacketReader()
        reader.feed(data)
        assert isinstance(reader.error, ProtocolError)
        assert len(str(reader.error)) < 250 and "\n" not in str(reader.error)


def test_repr_shows_the_state():
    reader = PacketReader()
    reader.feed(b"\0RE")
    assert repr(reader) == "<PacketReader 3 bytes of a unit>"
    reader = PacketReader()
    reader.feed(raw(ECHO_REQ, b"x" * 10, size=LARGE_BODY))
    assert repr(reader) == "<PacketReader 22 bytes of a unit>"
    reader.feed(b"x" * (LARGE_BODY - 10) + raw(99))
    assert repr(reader).startswith("<PacketReader unknown packet type 99")


def test_a_job_for_a_reducer_has_five_arguments():
    """JOB_ASSIGN_ALL names the reducer between unique and workload."""
    data = pack_response(JOB_ASSIGN_ALL, b"H:1", b"f", b"u", b"r", b"w\0w")
    packets = [(JOB_ASSIGN_ALL, (b"H:1", b"f", b"u", b"r", b"w\0w"))]
    assert in_every_way(data, magic=RESPONSE_MAGIC, text=False) == (packets, None)


@pytest.mark.parametrize("text, number", (
    (b"12", 12), (b"0", 0), (b"", 0), (b"abc", 0), (b"12x", 12), (b"-1", -1), (b"+7", 7), (b" 5", 5), (b"\xb2", 0),
    ("٣".encode(), 0), (b"9" * 8000, int("9" * 40)), (b"9" * 8000 + b"x", int("9" * 40)), (b"- 5", 0), (b"-", 0)))
def test_numbers_are_read_as_the_c_server_reads_them(text, number):
    assert parse_number(text) == number
