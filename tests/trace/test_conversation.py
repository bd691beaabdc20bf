"""Records of connections: who speaks, what belongs together, what is wrong, what is slow; without a socket."""
import pytest

from gearman_std.trace.units import HTTP_MESSAGE, LINE, PACKET, RUBBISH, TLS
from gearman_std.wire.protocol import (ALL_YOURS, CAN_DO, ECHO_REQ, ECHO_RES, ERROR, GET_STATUS, GRAB_JOB, GRAB_JOB_UNIQ,
                                       JOB_ASSIGN, JOB_ASSIGN_UNIQ, JOB_CREATED, NO_JOB, NOOP, OPTION_REQ, PACKETS, PRE_SLEEP,
                                       SET_CLIENT_ID, STATUS_RES, SUBMIT_JOB, SUBMIT_JOB_BG, SUBMIT_REDUCE_JOB, WORK_COMPLETE,
                                       WORK_DATA, WORK_FAIL, pack_request, pack_response)
from trace_tools import Talk

SUBMIT = pack_request(SUBMIT_JOB, b"f", b"u", b"data")
CREATED = pack_response(JOB_CREATED, b"H:1")
GRAB = pack_request(GRAB_JOB)
ASSIGN = pack_response(JOB_ASSIGN, b"H:1", b"f", b"data")
DONE = (WORK_COMPLETE, b"H:1", b"result")


@pytest.fixture
def talk():
    return Talk()


def only(records):
    assert len(records) == 1, records
    return records[0]


def test_a_packet_has_its_arguments_by_name(talk):
    record = only(talk.ask(1, SUBMIT))
    assert (record.kind, record.name, record.type, record.from_client) == (PACKET, "SUBMIT_JOB", SUBMIT_JOB, True)
    assert record.arguments == [("function", b"f"), ("unique", b"u"), ("workload", b"data")]
    assert (record.last_size, record.size, record.data, record.marks) == (4, len(SUBMIT), SUBMIT, [])


@pytest.mark.parametrize("number", sorted(PACKETS))
def test_every_packet_that_is_whole_and_goes_where_it_should_has_no_mark_of_its_own(number, talk):
    _, direction, names = PACKETS[number]
    values = [b"%d" % index for index, _ in enumerate(names)]
    if direction == "request" or direction == "both":
        assert only(talk.ask(1, pack_request(number, *values))).marks == []
    if direction == "response" or direction == "both":
        record = only(talk.answer(1, pack_response(number, *values)))
        assert [mark for mark in record.marks if "no request waits" not in mark and "refused" not in mark] == []
        assert record.arguments == list(zip(names, values))


def test_who_speaks_is_told_by_what_it_says_first(talk):
    assert only(talk.ask(1, pack_request(ECHO_REQ, b"x"))).peer == "peer 1"
    assert only(talk.ask(1, SUBMIT)).peer == "client 1"
    assert only(talk.ask(2, pack_request(CAN_DO, b"f"))).peer == "worker 2"
    assert only(talk.ask(3, b"status\n")).peer == "admin 3"
    assert only(talk.ask(4, b"GET /f HTTP/1.1\r\n\r\n")).peer == "http 4"
    assert only(talk.ask(2, pack_request(SET_CLIENT_ID, b"mail\x1b[2J"))).peer == "worker 2 (mail\\x1b[2J)"
    assert only(talk.ask(1, GRAB)).peer == "client 1"


def test_the_packets_of_a_job_are_linked_over_connections(talk):
    assert only(talk.ask(1, SUBMIT)).notes == ["job 1"]
    assert only(talk.answer(1, CREATED)).notes == ["job 1", "after 1.0 ms"]
    talk.wait(0.002)
    talk.ask(2, GRAB)
    assert only(talk.answer(2, ASSIGN)).notes == ["job 1 of client 1, waited 5.0 ms", "after 1.0 ms"]
    assert only(talk.ask(2, pack_request(WORK_DATA, b"H:1", b"part"))).notes == ["job 1"]
    talk.wait(0.01)
    record = only(talk.ask(2, pack_request(*DONE)))
    assert record.notes == ["job 1, ran 12.0 ms"]
    assert record.function == b"f"
    assert record.job.facts() == {"number": 1, "handle": "H:1", "function": "f", "unique": "u", "waited_ms": 5.0,
                                  "ran_ms": 12.0}
    assert only(talk.answer(1, pack_response(*DONE))).notes == ["job 1, took 18.0 ms in all"]


def test_a_worker_can_be_faster_than_the_answer_to_the_client(talk):
    talk.ask(1, SUBMIT)
    talk.ask(2, GRAB)
    assert only(talk.answer(2, ASSIGN)).notes[0] == "job 2"
    assert only(talk.answer(1, CREATED)).notes[0] == "job 2"
    assert only(talk.ask(2, pack_request(*DONE))).job.waited == pytest.approx(0.002, abs=1e-5)


def test_a_job_that_joins_another_is_that_one(talk):
    talk.ask(1, SUBMIT)
    talk.answer(1, CREATED)
    assert only(talk.ask(3, SUBMIT)).notes == ["job 2"]
    assert only(talk.answer(3, CREATED)).notes[0] == "job 1, which was there already: job 2 has joined it"


def test_a_handle_that_comes_again_after_its_job_is_another_job(talk):
    for number in (1, 2):
        talk.ask(1, SUBMIT)
        assert only(talk.answer(1, CREATED)).notes[0] == "job %d" % number
        talk.ask(2, GRAB)
        talk.answer(2, ASSIGN)
        talk.ask(2, pack_request(WORK_FAIL, b"H:1\0"))


def test_a_second_attempt_says_so(talk):
    talk.ask(2, GRAB, GRAB)
    talk.answer(2, ASSIGN)
    assert only(talk.answer(2, ASSIGN)).notes[0] == "job 1, attempt 2"


def test_answers_belong_to_requests_in_their_order(talk):
    talk.ask(1, SUBMIT, pack_request(SUBMIT_JOB_BG, b"g", b"", b""))
    records = talk.answer(1, CREATED, pack_response(JOB_CREATED, b"H:2"))
    assert [record.function for record in records] == [b"f", b"g"]
    assert only(talk.answer(1, CREATED)).marks == ["no request waits for this"]


def test_slow_answers_are_marked(talk):
    talk.ask(1, pack_request(ECHO_REQ, b"x"))
    talk.wait(1.5)
    assert only(talk.answer(1, pack_response(ECHO_RES, b"x"))).marks == ["slow: after 1501 ms"]
    talk.ask(3, b"version\n")
    talk.wait(12)
    assert only(talk.answer(3, b"OK 1\n")).marks == ["slow: after 12.0 s"]


def test_a_worker_that_is_slow_to_wake_up_is_marked(talk):
    talk.ask(2, pack_request(PRE_SLEEP))
    talk.wait(60)
    assert only(talk.answer(2, pack_response(NOOP))).marks == []
    talk.wait(0.2)
    assert only(talk.ask(2, pack_request(GRAB_JOB_UNIQ))).marks == ["slow: after 201 ms"]
    assert only(talk.answer(2, pack_response(NO_JOB))).notes == ["after 1.0 ms"]
    assert only(talk.ask(2, GRAB)).notes == []


def test_all_yours_brings_jobs_unasked(talk):
    talk.ask(2, pack_request(ALL_YOURS), pack_request(PRE_SLEEP))
    assert only(talk.answer(2, ASSIGN)).marks == []


REFUSALS = [
    ([pack_request(OPTION_REQ, b"x")], b"UNKNOWN_OPTION", "about OPTION_REQ"),
    ([GRAB, pack_request(WORK_FAIL, b"H:9")], b"JOB_NOT_FOUND", "about WORK_FAIL"),
    ([GRAB, SUBMIT], b"QUEUE_ERROR", "about SUBMIT_JOB"),
    ([pack_request(ALL_YOURS), GRAB], b"INVALID_COMMAND", "about ALL_YOURS"),
    ([pack_request(NOOP), GRAB], b"INVALID_COMMAND", "about NOOP"),
    ([GRAB, pack_response(ECHO_REQ, b"x")], b"INVALID_MAGIC", "about ECHO_REQ"),
    ([GRAB], b"server_error", "about GRAB_JOB"),
]


@pytest.mark.parametrize("asked, code, note", REFUSALS)
def test_a_refusal_is_about_a_request(asked, code, note, talk):
    talk.ask(1, *asked)
    record = only(talk.answer(1, pack_response(ERROR, code, b"text")))
    assert record.notes[0] == note
    assert record.marks[0].startswith("refused: ")


def test_a_refusal_of_nothing(talk):
    assert only(talk.answer(1, pack_response(ERROR, b"JOB_NOT_FOUND", b""))).notes == []


WRONG = [
    (pack_response(SUBMIT_JOB, b"f", b"u", b""), "marked as a response"),
    (pack_request(JOB_CREATED, b"H:1"), "no server takes this"),
    (pack_request(99, b"x"), "no packet has this type, so servers close the connection"),
    (pack_request(0x80000001), "no packet has this type, so servers close the connection"),
    (pack_request(SUBMIT_JOB, b"f", b"u"), "2 arguments of 3"),
    (pack_request(GRAB_JOB, b"oops"), "4 bytes where none are expected"),
    (pack_request(SUBMIT_JOB, b"f", b"u" * 65, b""), "a unique of more than 64 bytes"),
    (pack_request(GET_STATUS, b"H" * 64), "a handle of more than 63 bytes"),
    (pack_request(CAN_DO, b"f" * 9000), "a function of more than 8191 bytes"),
    (b"hello\n", "servers do not know this command"),
    (b"\r\n", "an empty line"),
    (b"version" + b" " * 9000 + b"\n", "longer than servers take"),
    (b"\0oops and more", "no packet"),
    (b"\x16\x03\x01\x02", "TLS, which cannot be read here; all that follows passes unseen"),
]


@pytest.mark.parametrize("data, mark", WRONG)
def test_what_is_wrong_is_marked(data, mark, talk):
    assert mark in talk.ask(1, data)[0].marks


def test_what_a_server_does_wrong_is_marked(talk):
    assert "marked as a request" in only(talk.answer(1, pack_request(WORK_FAIL, b"H:1"))).marks
    assert "no server sends this" in only(talk.answer(1, pack_response(CAN_DO, b"f"))).marks
    assert only(talk.answer(1, b"OK\n")).marks == ["no command waits for this"]


def test_forms_that_some_programs_have_are_no_mistakes(talk):
    record = only(talk.ask(2, pack_request(WORK_COMPLETE, b"H:1")))
    assert record.marks == [] and "Perl" in record.notes[-1]
    record = only(talk.ask(1, pack_request(SUBMIT_REDUCE_JOB, b"f", b"u", b"r", b"data")))
    assert record.marks == [] and record.arguments[-2:] == [("aggregator", b""), ("workload", b"data")]
    assert record.last_size == 4


def test_the_size_of_a_workload_that_was_not_kept():
    talk = Talk(keep=1024)
    record = only(talk.ask(1, pack_request(SUBMIT_JOB, b"f", b"u", b"x" * 5000)))
    assert record.last_size == 5000 and len(record.data) == 1024 and record.size == 5016


def test_text_commands_and_their_answers(talk):
    assert only(talk.ask(3, b"STATUS\r\n")).name == "status"
    records = talk.answer(3, b"f\t0\t0\t0\nERR\t0\t0\t0\n.\n")
    assert [(record.kind, record.name, dict(record.arguments)["line"]) for record in records] == [
        (LINE, "status", b"f\t0\t0\t0"), (LINE, "status", b"ERR\t0\t0\t0"), (LINE, "status", b".")]
    talk.ask(3, b"version\nshow x\nversion\n")
    records = talk.answer(3, b"OK 1\nERR UNKNOWN_SHOW_ARGUMENTS\r\nOK 1\n")
    assert [(record.name, record.marks) for record in records] == [("version", []), ("show", ["refused"]), ("version", [])]


def test_http_and_its_answers(talk):
    talk.ask(1, SUBMIT)
    talk.answer(1, CREATED)
    record = only(talk.ask(4, b"POST /wc HTTP/1.1\r\nX-Gearman-Unique: u\r\nContent-Length: 5\r\n\r\nhello"))
    assert record.kind == HTTP_MESSAGE and record.function == b"wc"
    assert record.arguments == [("request", b"POST /wc HTTP/1.1"), ("x-gearman-unique", b"u"), ("body", b"hello")]
    record = only(talk.answer(4, b"HTTP/1.1 200 OK\r\nX-Gearman-Job-Handle: H:1\r\nContent-Length: 0\r\n\r\n"))
    assert record.notes == ["job 1", "after 1.0 ms"] and record.function == b"f"
    assert only(talk.answer(4, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")).marks == ["refused"]


def test_a_connection_begins_and_ends(talk):
    talk.ask(1, SUBMIT, SUBMIT[:5])
    talk.tracer.ended(1, True, talk.time, False)
    talk.tracer.ended(1, False, talk.time, True)
    talk.tracer.closed(1, talk.time)
    assert [(record.name, record.marks) for record in talk.records] == [
        ("connects", []), ("SUBMIT_JOB", []), ("packet", ["cut off in its header"]), ("ends", []),
        ("resets", ["a request without an answer"]), ("over", [])]
    assert [record.number for record in talk.records] == [1, 2, 3, 4, 5, 6]


def test_a_packet_that_is_cut_off(talk):
    talk.ask(1, SUBMIT[:-2])
    talk.tracer.ended(1, True, talk.time, False)
    assert "cut off: %d bytes of %d" % (len(SUBMIT) - 2, len(SUBMIT)) in talk.records[1].marks


def test_a_server_that_cannot_be_reached(talk):
    talk.tracer.opened(1, talk.time, "a", "b")
    talk.tracer.failed(1, talk.time, "Connection refused")
    assert talk.records[-1].marks == ["Connection refused"]


def test_status_is_linked_too(talk):
    talk.ask(1, SUBMIT)
    talk.answer(1, CREATED)
    assert only(talk.ask(1, pack_request(GET_STATUS, b"H:1"))).job.number == 1
    assert only(talk.answer(1, pack_response(STATUS_RES, b"H:1", b"1", b"0", b"0", b"0"))).notes[0] == "job 1"
    record = only(talk.answer(2, pack_response(JOB_ASSIGN_UNIQ, b"H:7", b"f", b"u7", b"data")))
    assert record.job.unique == b"u7"


def test_kinds_have_names_that_differ():
    assert len({PACKET, LINE, HTTP_MESSAGE, RUBBISH, TLS}) == 5
