"""python-gearman's client, against a real server, and against one that the test plays."""
import json
import pickle
import socket
import threading
import time

import pytest

from gearman_std.legacy import (DataEncoder, GearmanClient, GearmanJob, GearmanJobRequest, JOB_COMPLETE, JOB_CREATED,
                                JOB_FAILED, JOB_PENDING, JOB_UNKNOWN, PRIORITY_HIGH, PRIORITY_LOW, errors)
from gearman_std.testing import JobServer
from gearman_std.wire.protocol import (ERROR, GET_STATUS, JOB_CREATED as CREATED, STATUS_RES, SUBMIT_JOB, SUBMIT_JOB_BG,
                                       SUBMIT_JOB_HIGH_BG, SUBMIT_JOB_LOW, WORK_COMPLETE, WORK_DATA, WORK_EXCEPTION,
                                       WORK_FAIL, WORK_STATUS, WORK_WARNING)

from worker_tools import WAIT


class Pickled(DataEncoder):
    @classmethod
    def encode(cls, encodable_object):
        return pickle.dumps(encodable_object)

    @classmethod
    def decode(cls, decodable_string):
        return pickle.loads(decodable_string)


class Json(DataEncoder):
    """An encoder that writes text and reads bytes or text."""

    @classmethod
    def encode(cls, encodable_object):
        return json.dumps(encodable_object, ensure_ascii=False)

    @classmethod
    def decode(cls, decodable_string):
        return json.loads(decodable_string if isinstance(decodable_string, str) else decodable_string.decode("utf-8"))


def reverse(worker, job):
    return job.data[::-1]


def playing(fake, play):
    """Start a thread that accepts one connection and plays the server on it."""
    def run():
        try:
            play(fake.accept())
        except BaseException as error:
            failures.append(error)
    failures = []
    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def join():
        thread.join(WAIT)
        assert not thread.is_alive() and not failures, failures
    return join


def submitted(peer):
    """The packet type, function, unique and data of a job that a client submits; the client gets a handle."""
    packet = peer.receive()
    peer.send((CREATED, b"H:fake:1"))
    return packet


@pytest.fixture
def at_fake(fake):
    client = GearmanClient([fake.address])
    yield client
    client.shutdown()


# --- Submitting.

def test_a_job_is_done_and_its_request_tells_all(client, working):
    def work(worker, job):
        worker.send_job_status(job, 1, 3)
        worker.send_job_data(job, b"part")
        worker.send_job_warning(job, "careful")
        return job.data[::-1]
    working(work=work)
    request = client.submit_job("work", "hello", unique="u-1")
    assert (request.result, request.state, request.complete, request.timed_out) == (b"olleh", JOB_COMPLETE, True, False)
    assert list(request.data_updates) == [b"part"] and list(request.warning_updates) == [b"careful"]
    assert dict(request.status, time_received=0) == {
        "handle": request.job.handle, "known": True, "running": True, "numerator": 1, "denominator": 3, "time_received": 0}
    assert list(request.status_updates) == [(1, 3)] and request.server_status is request.status
    assert request.job.handle.startswith(b"H:") and (request.job.task, request.job.unique) == ("work", "u-1")
    assert request.job.connection is client.connection_list[0] and request.exception is None


def test_what_is_sent_is_what_was_said(fake, at_fake):
    packets = []

    def play(peer):
        for _ in range(4):
            packets.append(submitted(peer))
    join = playing(fake, play)
    at_fake.submit_job("f", b"data", unique=b"u", background=True)
    at_fake.submit_job(b"f", "d\xe9", unique="\xe9", background=True, priority=PRIORITY_HIGH, wait_until_complete=False)
    at_fake.submit_job("f", "", unique="v", priority=PRIORITY_LOW, wait_until_complete=False)
    at_fake.submit_job("f", "", wait_until_complete=False)
    join()
    assert packets[:3] == [(SUBMIT_JOB_BG, b"f", b"u", b"data"),
                           (SUBMIT_JOB_HIGH_BG, b"f", "\xe9".encode(), "d\xe9".encode()), (SUBMIT_JOB_LOW, b"f", b"v", b"")]
    assert packets[3][0] == SUBMIT_JOB and len(packets[3][2]) == 32


def test_background_means_complete_when_created(client):
    request = client.submit_job("nobody_does_it", "x", background=True)
    assert (request.state, request.complete, request.timed_out, request.result) == (JOB_CREATED, True, False, None)


def test_a_timeout_does_not_raise_and_the_request_may_be_waited_for_again(client, working):
    gate = threading.Event()
    working(slow=lambda worker, job: gate.wait(WAIT) and b"at last")
    request = client.submit_job("slow", "x", poll_timeout=0.05)
    assert (request.timed_out, request.state, request.complete, request.result) == (True, JOB_CREATED, False, None)
    gate.set()
    assert client.wait_until_jobs_completed([request], poll_timeout=WAIT) == [request]
    assert (request.timed_out, request.result) == (False, b"at last")


def test_a_server_that_does_not_answer_leaves_the_request_pending(fake, at_fake):
    request = at_fake.submit_job("f", "x", poll_timeout=0.05)
    assert (request.timed_out, request.state, request.complete) == (True, JOB_PENDING, False)


def test_many_jobs_keep_their_order(client, working):
    working(reverse=reverse)
    requests = client.submit_multiple_jobs([{"task": "reverse", "data": "a%d" % number} for number in range(50)])
    assert [request.result for request in requests] == [("a%d" % number)[::-1].encode() for number in range(50)]
    assert all(request.complete and not request.timed_out for request in requests)


def test_one_where_several_are_wanted_is_told(client):
    for call in (client.submit_multiple_jobs, client.submit_multiple_requests, client.wait_until_jobs_accepted,
                 client.wait_until_jobs_completed, client.get_job_statuses, client.wait_until_job_statuses_received):
        with pytest.raises(AssertionError, match="Expected multiple job"):
            call({"task": "f", "data": ""})


def test_a_failed_job_is_failed_and_an_exception_has_its_text(client, working):
    def raise_it(worker, job):
        worker.send_job_exception(job, "why")
        return b"never"
    working(fails=lambda worker, job: worker.send_job_failure(job) or b"never", raises=raise_it)
    request = client.submit_job("fails", "x")
    assert (request.state, request.complete, request.result, request.exception) == (JOB_FAILED, True, None, None)
    assert client.submit_job("raises", "x").exception == b"why"


@pytest.mark.parametrize("encoder", [Pickled, Json])
@pytest.mark.parametrize("text", [False, True])
def test_encoders_on_the_class_and_on_the_instance(server, working, encoder, text):
    worker = working(count=lambda worker, job: {"sum": sum(job.data), "seen": job.data, "\xe9": "\xe9" * 70})
    worker.data_encoder = encoder
    if text and encoder is Pickled:
        worker.text = False  # its bytes are no text
        encoder = type("Latin", (DataEncoder,), {
            "encode": classmethod(lambda cls, thing: pickle.dumps(thing, 0)),
            "decode": classmethod(lambda cls, data: pickle.loads(data.encode("utf-8", "surrogateescape")))})
    kind = type("Encoding", (GearmanClient,), {"data_encoder": encoder, "text": text})
    client = kind([server])
    try:
        assert client.submit_job("count", [1, 2]).result == {"sum": 3, "seen": [1, 2], "\xe9": "\xe9" * 70}
    finally:
        client.shutdown()


def test_what_the_encoder_does_not_take_is_told(client):
    for data in (None, 1, ["x"]):
        with pytest.raises(TypeError, match="Expecting byte string, got"):
            client.submit_job("f", data)


def test_text_is_text_everywhere_and_no_byte_is_lost(server, working):
    seen = []
    working(same=lambda worker, job: seen.append(job.data) or job.data)
    client = GearmanClient([server])
    client.text = True
    try:
        request = client.submit_job("same", "\xe9" * 70)
        assert request.result == "\xe9" * 70 and isinstance(request.job.handle, str) and seen == [("\xe9" * 70).encode()]
        assert isinstance(client.get_job_status(request).status["handle"], str)
        request = client.submit_job("same", b"\xff\x00\xe9")
        assert request.result.encode("utf-8", "surrogateescape") == b"\xff\x00\xe9"
        assert client.submit_job("same", request.result).result == request.result
    finally:
        client.shutdown()


# --- What a server may say.

def test_packets_in_any_order_and_for_nobody_are_no_error(fake, at_fake):
    def play(peer):
        assert submitted(peer)[0] == SUBMIT_JOB
        peer.send((WORK_DATA, b"H:other:1", b"late"), (WORK_DATA, b"H:fake:1", b"d"), (WORK_WARNING, b"H:fake:1", b"w"),
                  (WORK_STATUS, b"H:fake:1", b"1", b"2"), (WORK_COMPLETE, b"H:other:9", b"late"),
                  (WORK_COMPLETE, b"H:fake:1", b"done"), (WORK_FAIL, b"H:fake:1"), (WORK_EXCEPTION, b"H:fake:1", b"late"))
    join = playing(fake, play)
    request = at_fake.submit_job("f", "x")
    join()
    assert (request.result, request.state, request.exception) == (b"done", JOB_COMPLETE, None)
    assert (list(request.data_updates), list(request.warning_updates)) == ([b"d"], [b"w"])


def test_a_refusal_fails_the_job_and_is_told(fake, at_fake):
    told = []
    at_fake.on_gearman_error = lambda code, text: told.append((code, text))

    def play(peer):
        peer.receive()
        peer.send((ERROR, b"QUEUE_ERROR", b"Job queue is full"))
    join = playing(fake, play)
    request = at_fake.submit_job("f", "x", background=True)
    join()
    assert (request.state, request.complete, request.exception) == (
        JOB_FAILED, True, b"QUEUE_ERROR: Job queue is full (function f)")
    assert told == [("QUEUE_ERROR", "Job queue is full")]


def test_a_server_that_is_lost_before_it_accepts_is_tried_again_as_often_as_allowed(fake, at_fake):
    def play(peer):
        peer.receive()
        peer.close()
        submitted(fake.accept())
    join = playing(fake, play)
    request = at_fake.submit_job("f", "x", background=True, max_retries=1)
    join()
    assert (request.state, request.connection_attempts) == (JOB_CREATED, 2)


def test_else_it_is_told_how_often_that_was(fake, at_fake):
    def play(peer):
        peer.receive()
        peer.close()
    join = playing(fake, play)
    with pytest.raises(errors.ExceededConnectionAttempts, match="no server has accepted .*submitted 1 time") as caught:
        at_fake.submit_job("f", "x", background=True)
    assert "time(s): %s closed the connection" % fake.address in str(caught.value)  # where, and why
    join()


def test_a_server_that_is_lost_after_it_accepted_makes_the_request_unknown(fake, at_fake):
    def play(peer):
        submitted(peer)
        peer.close()
    join = playing(fake, play)
    request = at_fake.submit_job("f", "x", wait_until_complete=False)
    assert request.state == JOB_CREATED
    join()
    with pytest.raises(errors.ServerUnavailable, match="Found no valid connections in list: .*: %s closed" % fake.address):
        at_fake.wait_until_jobs_completed([request], poll_timeout=WAIT)
    assert request.state == JOB_UNKNOWN


def test_handle_error_is_called_for_a_connection_that_broke(fake):
    broken = []

    class Client(GearmanClient):
        def handle_error(self, current_connection):
            broken.append(current_connection)
            super().handle_error(current_connection)
    client = Client([fake.address])

    def play(peer):
        submitted(peer)
        peer.close()
    join = playing(fake, play)
    with pytest.raises(errors.ServerUnavailable):
        client.submit_job("f", "x", poll_timeout=WAIT)
    join()
    assert broken == client.connection_list
    client.shutdown()


def test_no_server_is_told_with_address_and_reason():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        client = GearmanClient(["127.0.0.1:%d" % taken.getsockname()[1]])
        with pytest.raises(errors.ServerUnavailable, match="Found no valid connections: .*127.0.0.1:%d.*refused" %
                           taken.getsockname()[1]):
            client.submit_job("f", "x")
        with pytest.raises(errors.ConnectionError, match="refused"):
            client.establish_connection(client.connection_list[0])
        client.shutdown()
    with pytest.raises(errors.ServerUnavailable, match="no server was given"):
        GearmanClient().submit_job("f", "x")


def test_all_servers_are_asked(server):
    with JobServer() as other, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        client = GearmanClient(["127.0.0.1:%d" % taken.getsockname()[1], server, other.address])
        requests = client.submit_multiple_jobs([{"task": "many", "data": ""} for _ in range(60)], background=True)
        used = {request.job.connection.get_address() for request in requests}
        assert used == {connection.get_address() for connection in client.connection_list[1:]}
        assert all(request.complete for request in requests)
        assert all(request.status["known"] for request in client.get_job_statuses(requests, poll_timeout=WAIT))
        client.shutdown()


def test_equal_uniques_of_all_clients_meet_at_one_server(server):
    with JobServer() as other:
        clients = [GearmanClient(servers) for servers in ([server, other.address], [other.address, server])]
        for number in range(10):
            handles = {client.submit_job("meet", "", unique="u%d" % number, background=True).job.handle for client in clients}
            assert len(handles) == 1
        for client in clients:
            client.shutdown()


def test_what_a_packet_cannot_carry_is_told(client):
    for job in ({"task": "", "data": ""}, {"task": "a\0b", "data": ""}, {"task": "f", "data": "", "unique": "\0"},
                {"task": 7, "data": ""}, {"task": "f", "data": "", "priority": "URGENT"}):
        with pytest.raises(errors.ProtocolError):
            client.submit_multiple_jobs([job])
    with pytest.raises(KeyError, match="data is missing"):
        client.submit_multiple_jobs([{"task": "f"}])


# --- Asking.

def test_status_of_a_request_and_of_one_made_by_hand(client, working):
    gate, running = threading.Event(), threading.Event()

    def work(worker, job):
        worker.send_job_status(job, 2, 5)
        running.set()
        gate.wait(WAIT)
        return b""
    working(status_of=work)
    request = client.submit_job("status_of", "x", background=True)
    assert running.wait(WAIT)
    by_hand = GearmanJobRequest(GearmanJob(client.connection_list[0], request.job.handle, None, None, None))
    by_hand.state = "CREATED"
    for one in (request, by_hand):
        while True:
            status = client.get_job_status(one, poll_timeout=WAIT).status
            assert not one.timed_out
            if status["denominator"]:
                break
        assert (status["known"], status["running"], status["numerator"], status["denominator"]) == (True, True, 2, 5)
        assert status["time_received"] <= time.time()
    gate.set()
    while client.get_job_status(by_hand).status["known"]:
        pass
    gone = GearmanJobRequest(GearmanJob(client.connection_list[0], "H:nowhere:1", None, None, None))
    assert client.get_job_status(gone).status["known"] is False


def test_status_that_does_not_come_is_a_timeout_and_one_that_comes_late_is_no_error(fake, at_fake):
    asked = threading.Event()

    def play(peer):
        submitted(peer)
        assert peer.receive() == (GET_STATUS, b"H:fake:1")
        asked.wait(WAIT)
        peer.send((STATUS_RES, b"H:fake:1", b"1", b"0", b"0", b"0"))
        assert peer.receive() == (GET_STATUS, b"H:fake:2")
        peer.send((STATUS_RES, b"H:fake:2", b"0", b"0", b"0", b"0"))
    join = playing(fake, play)
    request = at_fake.submit_job("f", "x", background=True)
    assert at_fake.get_job_status(request, poll_timeout=0.05).timed_out
    asked.set()
    other = GearmanJobRequest(GearmanJob(at_fake.connection_list[0], "H:fake:2", None, None, None))
    assert at_fake.get_job_status(other, poll_timeout=WAIT).status["known"] is False
    assert request.status["known"] is True
    join()


def test_a_request_that_was_never_submitted_has_no_status(client):
    request = GearmanJobRequest(GearmanJob(None, None, "f", "u", ""))
    with pytest.raises(errors.InvalidClientState, match="no connection of this client"):
        client.get_job_status(request)
    request.job.connection = client.connection_list[0]
    with pytest.raises(errors.InvalidClientState, match="no handle"):
        client.get_job_status(request)


# --- Other things that scripts do.

def test_poll_connections_until_stopped_is_called_and_can_be_used(server, working):
    gate = threading.Event()
    working(any_of=lambda worker, job: job.data if job.data == b"quick" else gate.wait(WAIT) and b"")
    calls = []

    class Client(GearmanClient):
        def poll_connections_until_stopped(self, submitted_connections, callback_fxn, timeout=None):
            calls.append(timeout)
            return super().poll_connections_until_stopped(submitted_connections, callback_fxn, timeout=timeout)

        def wait_until_any_job_completed(self, job_requests, poll_timeout=None):
            self.poll_connections_until_stopped(
                self.connection_list, lambda any_activity: not any(request.complete for request in job_requests), poll_timeout)
            return [request for request in job_requests if request.complete]
    client = Client([server])
    requests = client.submit_multiple_jobs([{"task": "any_of", "data": data} for data in ("quick", "slow")],
                                           wait_until_complete=False)
    assert [request.result for request in client.wait_until_any_job_completed(requests, WAIT)] == [b"quick"]
    assert client.poll_connections_until_stopped(client.connection_list, lambda any_activity: True, timeout=0.01) is True
    assert client.poll_connections_until_stopped(client.connection_list, lambda any_activity: False) is False
    assert WAIT in calls and None in calls
    gate.set()
    client.wait_until_jobs_completed(requests, poll_timeout=WAIT)
    client.shutdown()


def test_a_request_can_be_reset_and_submitted_again(client, working):
    working(again=reverse)
    request = client.submit_job("again", "abc")
    request.reset()
    assert (request.result, request.state, request.job.handle) == (None, JOB_UNKNOWN, None)
    assert client.submit_multiple_requests([request])[0].result == b"cba"
    with pytest.raises(errors.InvalidClientState, match="was submitted already"):
        client.send_job_request(request)


def test_after_shutdown_the_next_call_connects_again(client, working):
    working(more=reverse)
    assert client.submit_job("more", "ab").result == b"ba"
    assert client.connection_list[0].connected and client.connection_list[0].fileno() > 0
    client.shutdown()
    assert not client.connection_list[0].connected
    assert client.submit_job("more", "cd").result == b"dc"


def test_a_connection_that_is_closed_is_connected_again(client):
    assert client.submit_job("closed", "x", background=True).complete
    client.connection_list[0].close()
    assert not client.connection_list[0].connected
    assert client.submit_job("closed", "x", background=True).complete


def test_servers_may_be_added_later(server):
    with JobServer() as other:
        client = GearmanClient([server])
        assert client.submit_job("added", "x", background=True).complete
        connection = client.add_connection(other.address)
        requests = client.submit_multiple_jobs([{"task": "added", "data": ""} for _ in range(40)], background=True)
        assert {request.job.connection for request in requests} == {client.connection_list[0], connection}
        client.shutdown()


def test_many_threads_may_use_one_client(client, working):
    working(threads=reverse)
    failures = []

    def run(number):
        for count in range(20):
            data = "%d-%d" % (number, count)
            if client.submit_job("threads", data).result != data[::-1].encode():
                failures.append(data)
    threads = [threading.Thread(target=run, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(4 * WAIT)
        assert not thread.is_alive()
    assert not failures
