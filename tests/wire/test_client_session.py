"""The client's half of the protocol: bytes in, bytes out, without a socket."""
import pytest

from gearman_std.errors import ProtocolError, QueueFull, ServerError
from gearman_std.wire.protocol import (ECHO_RES, ERROR, GRAB_JOB, JOB_CREATED, LARGE_BODY, NO_JOB, NOOP, OPTION_REQ,
                                       OPTION_RES, REQUEST_MAGIC, RESPONSE_MAGIC, STATUS_RES, STATUS_RES_UNIQUE, SUBMIT_JOB,
                                       SUBMIT_JOB_BG, SUBMIT_JOB_EPOCH, WORK_COMPLETE, WORK_DATA, WORK_EXCEPTION, WORK_FAIL,
                                       WORK_STATUS, WORK_WARNING, PacketReader, pack_request, pack_response)
from gearman_std.wire.client_session import ClientSession

HELLO = pack_request(OPTION_REQ, b"exceptions")


class Recorder:
    """A task or request that writes down what it is told."""

    def __init__(self):
        self.told = []

    def __getattr__(self, name):
        def tell(*arguments):
            self.told.append((name,) + tuple(bytes(one) if isinstance(one, memoryview) else one for one in arguments))
        return tell

    def take(self):
        told, self.told = self.told, []
        return told


class Client:
    """A session between two readers: whatever it says or does must be asked for, or the test fails."""

    def __init__(self):
        self.session = ClientSession()
        self.reader = PacketReader(RESPONSE_MAGIC, text=False)
        self.recorders = []

    def said(self):
        """The bytes that the session wants to send."""
        data = b"".join(map(bytes, self.session.outgoing))
        self.session.outgoing = []
        return data

    def hear(self, *packets):
        for packet in packets:
            self.session.receive(self.reader.feed(packet))

    def recorder(self):
        self.recorders.append(Recorder())
        return self.recorders[-1]

    def submit(self, function=b"f", unique=b"", workload=b"w", packet_type=SUBMIT_JOB):
        task = self.recorder()
        self.session.submit(task, packet_type, (function, unique), workload, packet_type == SUBMIT_JOB_BG)
        return task


@pytest.fixture
def client():
    client = Client()
    assert client.said() == HELLO
    yield client
    assert client.said() == b""
    assert [recorder.told for recorder in client.recorders if recorder.told] == []


@pytest.fixture
def running(client):
    """A client whose options were accepted, a task of it, and the task's handle."""
    client.hear(pack_response(OPTION_RES, b"exceptions"))
    task = client.submit()
    assert client.said() == pack_request(SUBMIT_JOB, b"f", b"", b"w")
    client.hear(pack_response(JOB_CREATED, b"H:1"))
    assert task.take() == [("created", b"H:1")]
    return client, task


def test_a_job_from_submit_to_result(client):
    task = client.submit(b"reverse", b"u", b"abc")
    assert client.said() == pack_request(SUBMIT_JOB, b"reverse", b"u", b"abc")
    client.hear(pack_response(OPTION_RES, b"exceptions"), pack_response(JOB_CREATED, b"H:1"))
    assert task.take() == [("created", b"H:1")]
    client.hear(pack_response(WORK_STATUS, b"H:1", b"1", b"2"), pack_response(WORK_DATA, b"H:1", b"c"),
                pack_response(WORK_WARNING, b"H:1", b"slow"), pack_response(WORK_COMPLETE, b"H:1", b"cba"))
    assert task.take() == [("progressed", 1, 2), ("received", b"c"), ("warned", b"slow"), ("completed", b"cba")]


def test_a_background_job_ends_with_its_handle(client):
    task = client.submit(packet_type=SUBMIT_JOB_BG)
    assert client.said() == pack_request(SUBMIT_JOB_BG, b"f", b"", b"w")
    client.hear(pack_response(OPTION_RES, b"exceptions"), pack_response(JOB_CREATED, b"H:1"))
    assert task.take() == [("accepted", b"H:1")]
    assert client.session.waiting() == []


def test_more_arguments_stand_between_the_unique_and_the_workload(client):
    client.session.submit(client.recorder(), SUBMIT_JOB_EPOCH, (b"f", b"u", b"123"), b"w", True)
    assert client.said() == pack_request(SUBMIT_JOB_EPOCH, b"f", b"u", b"123", b"w")


def test_a_large_workload_is_not_copied(client):
    workload = bytes(LARGE_BODY)
    client.session.submit(client.recorder(), SUBMIT_JOB, (b"f", b""), workload, False)
    assert client.session.outgoing[1] is workload
    assert client.said() == pack_request(SUBMIT_JOB, b"f", b"", workload)


def test_answers_belong_to_commands_by_their_order(client):
    first, second = client.submit(workload=b"1"), client.submit(workload=b"2")
    echo, status = client.recorder(), client.recorder()
    client.session.ask_echo(echo, b"x")
    client.session.ask_status(status, b"H:1")
    assert len(PacketReader(REQUEST_MAGIC).feed(client.said())) == 4
    client.hear(pack_response(OPTION_RES, b"exceptions"), pack_response(JOB_CREATED, b"H:1"), pack_response(ERROR, b"X", b"no"),
                pack_response(ECHO_RES, b"x"), pack_response(STATUS_RES, b"H:1", b"1", b"0", b"0", b"0"))
    assert first.take() == [("created", b"H:1")]
    (name, error), = second.take()
    assert (name, type(error), error.code, error.text) == ("refused", ServerError, "X", "no")
    assert echo.take() == [("answered", (b"x",))]
    assert status.take() == [("answered", [b"H:1", b"1", b"0", b"0", b"0"])]
    assert not client.session.unanswered
    assert client.session.answered == 5


def test_status_by_unique(client):
    request = client.recorder()
    client.session.ask_status_unique(request, b"u")
    client.said()
    client.hear(pack_response(STATUS_RES_UNIQUE, b"u", b"1", b"1", b"3", b"4", b"2"))
    assert request.take() == [("answered", [b"u", b"1", b"1", b"3", b"4", b"2"])]


def test_packets_of_jobs_come_in_any_order(client):
    client.hear(pack_response(OPTION_RES, b"exceptions"))
    tasks = [client.submit(workload=b"%d" % number) for number in range(100)]
    client.said()
    client.hear(b"".join(pack_response(JOB_CREATED, b"H:%d" % number) for number in range(100)))
    client.hear(b"".join(pack_response(WORK_COMPLETE, b"H:%d" % number, b"r%d" % number) for number in reversed(range(100))))
    for number, task in enumerate(tasks):
        assert task.take() == [("created", b"H:%d" % number), ("completed", b"r%d" % number)]
    assert client.session.waiting() == []


def test_the_bytes_may_come_one_by_one(running):
    client, task = running
    for byte in pack_response(WORK_STATUS, b"H:1", b"1", b"2") + pack_response(WORK_COMPLETE, b"H:1", b"result"):
        client.hear(bytes([byte]))
    assert task.take() == [("progressed", 1, 2), ("completed", b"result")]


@pytest.mark.parametrize("packet, outcome", [
    (pack_response(WORK_FAIL, b"H:1"), ("failed", None)),
    (pack_response(WORK_FAIL, b"H:1\0"), ("failed", None)),  # gearmand, for an exception without the option
    (pack_response(WORK_EXCEPTION, b"H:1", b"it broke"), ("failed", b"it broke")),
])
def test_failures(running, packet, outcome):
    client, task = running
    client.hear(packet)
    assert task.take() == [outcome]
    assert client.session.waiting() == []


def test_a_fail_after_an_exception_is_late(running):
    """Perl's server sends both."""
    client, task = running
    client.hear(pack_response(WORK_EXCEPTION, b"H:1", b"it broke"), pack_response(WORK_FAIL, b"H:1"))
    assert task.take() == [("failed", b"it broke")]
    assert client.session.late == 1


def test_packets_for_unknown_jobs_are_counted_and_dropped(client):
    client.hear(pack_response(WORK_COMPLETE, b"H:9", b"x"), pack_response(WORK_DATA, b"H:9", b"x"))
    assert client.session.late == 2


def test_jobs_that_joined_one_another_share_their_packets(client):
    """gearmand sends each packet once per submit that joined, so two tasks of one connection get theirs in turns."""
    client.hear(pack_response(OPTION_RES, b"exceptions"))
    first, second = client.submit(unique=b"u"), client.submit(unique=b"u")
    client.said()
    client.hear(pack_response(JOB_CREATED, b"H:1"), pack_response(JOB_CREATED, b"H:1"))
    client.hear(*[pack_response(WORK_DATA, b"H:1", b"part")] * 2)
    client.hear(*[pack_response(WORK_COMPLETE, b"H:1", b"all")] * 2)
    assert first.take() == second.take() == [("created", b"H:1"), ("received", b"part"), ("completed", b"all")]
    assert client.session.late == 1


def test_a_handle_may_come_again_for_a_new_job(running):
    client, task = running
    client.hear(pack_response(WORK_COMPLETE, b"H:1", b"1"))
    again = client.submit()
    client.said()
    client.hear(pack_response(JOB_CREATED, b"H:1"), pack_response(WORK_COMPLETE, b"H:1", b"2"))
    assert task.take() == [("completed", b"1")]
    assert again.take() == [("created", b"H:1"), ("completed", b"2")]


@pytest.mark.parametrize("code, kind", [(b"QUEUE_ERROR", QueueFull), (b"ARGUMENT_TOO_LARGE", ServerError)])
def test_refusals(client, code, kind):
    client.hear(pack_response(OPTION_RES, b"exceptions"))
    task = client.submit()
    client.said()
    client.hear(pack_response(ERROR, code, b"Job queue is full"))
    (name, error), = task.take()
    assert (name, type(error), error.code, error.text) == ("refused", kind, code.decode(), "Job queue is full")


def test_a_server_may_refuse_the_option(client):
    task = client.submit()
    client.said()
    client.hear(pack_response(ERROR, b"UNKNOWN_OPTION", b"?"), pack_response(JOB_CREATED, b"H:1"))
    assert task.take() == [("created", b"H:1")]


def test_a_server_may_ignore_the_option(client):
    task = client.submit()
    client.said()
    client.hear(pack_response(JOB_CREATED, b"H:1"))
    assert task.take() == [("created", b"H:1")]
    assert not client.session.unanswered


def test_a_full_queue_is_never_taken_for_a_refused_option(client):
    task = client.submit()
    client.said()
    client.hear(pack_response(ERROR, b"QUEUE_ERROR", b"Job queue is full"))
    (name, error), = task.take()
    assert (name, type(error)) == ("refused", QueueFull)


def test_a_noop_is_for_workers(client):
    client.hear(pack_response(NOOP))


def test_numbers_that_are_none_count_as_zero(running):
    client, task = running
    client.hear(pack_response(WORK_STATUS, b"H:1", b"half", b""))
    assert task.take() == [("progressed", 0, 0)]


@pytest.mark.parametrize("data, shown", [
    (pack_response(JOB_CREATED, b"H:7"), "H:7"),
    (pack_response(JOB_CREATED, b""), "without a handle"),
    (pack_response(STATUS_RES, b"H:7", b"0", b"0", b"0", b"0"), "H:7"),
    (pack_response(ECHO_RES, b"what?"), "what?"),
    (pack_response(OPTION_RES, b"exceptions"), "exceptions"),
    (pack_response(NO_JOB), "NO_JOB"),
    (pack_response(GRAB_JOB), "GRAB_JOB"),
    (pack_response(ERROR, b"X", b"nobody asked"), "nobody asked"),
    (pack_request(SUBMIT_JOB, b"f", b"", b"w"), "REQ"),
    (b"\0RES\0\0\0\x0c\0\0\0\x03H:1", "WORK_STATUS"),
])
def test_what_makes_no_sense_is_an_error_that_shows_it(client, data, shown):
    client.hear(pack_response(OPTION_RES, b"exceptions"))
    with pytest.raises(ProtocolError) as caught:
        client.hear(data)
    assert shown in str(caught.value)


def test_who_waits_when_the_connection_is_lost(client):
    client.hear(pack_response(OPTION_RES, b"exceptions"))
    created, done, queued, request = client.submit(), client.submit(), client.submit(), client.recorder()
    client.session.ask_echo(request, b"")
    client.said()
    client.hear(pack_response(JOB_CREATED, b"H:1"), pack_response(JOB_CREATED, b"H:2"),
                pack_response(WORK_COMPLETE, b"H:2", b""))
    assert client.session.waiting() == [(created, True), (queued, False), (request, False)]
    assert (created.take(), done.take()) == ([("created", b"H:1")], [("created", b"H:2"), ("completed", b"")])


def test_what_it_shows_of_itself(running):
    client, _ = running
    assert repr(client.session) == "<ClientSession: 0 commands unanswered, 1 jobs open>"
