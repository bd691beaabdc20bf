"""Submitting jobs and waiting for them: against a server that does what a test says, our own, and gearmand."""
import concurrent.futures
import json
import logging
import os
import pickle
import queue
import random
import select
import socket
import ssl
import threading
import time

import pytest

from client_tools import (CERTIFICATE, KEY, LONG, Clock, Pace, be_silent, in_threads, middle, obey, once, one_job,
                          unused_address, vanish, worker_of)
from gearman_std.server.access import Access
from gearman_std.client.client import Client
from gearman_std.client.link import JobStatus
from gearman_std.client.plan import HIGH, LOW, NORMAL
from gearman_std.errors import (JobError, JobFailed, JobTimeout, NoServer, NoWorker, ProtocolError, QueueFull, ServerError,
                                ServerLost)
from gearman_std.wire.protocol import (ECHO_RES, ERROR, GET_STATUS, JOB_CREATED, OPTION_RES, STATUS_RES, STATUS_RES_UNIQUE,
                                       SUBMIT_JOB, SUBMIT_JOB_BG, SUBMIT_JOB_EPOCH, SUBMIT_JOB_HIGH, SUBMIT_JOB_HIGH_BG,
                                       SUBMIT_JOB_LOW, SUBMIT_JOB_LOW_BG, SUBMIT_REDUCE_JOB, SUBMIT_REDUCE_JOB_BACKGROUND,
                                       TEXT_LINE, WORK_COMPLETE, WORK_DATA, WORK_EXCEPTION, WORK_FAIL, WORK_STATUS,
                                       WORK_WARNING, pack_response)
from gearman_std.server.server import Server
from worker_tools import AtWork


# ------------------------------------------------------------------------------------------------------------------- submitting

def test_run_returns_the_result(serve, make_client):
    server = serve()
    assert make_client(server).run("reverse", "täxt") == "täxt".encode()


@pytest.mark.parametrize("options, packet", [
    ({}, (SUBMIT_JOB, b"f", b"", b"w")),
    ({"priority": HIGH}, (SUBMIT_JOB_HIGH, b"f", b"", b"w")),
    ({"priority": NORMAL, "unique": "ü"}, (SUBMIT_JOB, b"f", b"\xc3\xbc", b"w")),
    ({"priority": LOW}, (SUBMIT_JOB_LOW, b"f", b"", b"w")),
    ({"background": True}, (SUBMIT_JOB_BG, b"f", b"", b"w")),
    ({"background": True, "priority": HIGH, "unique": b"u"}, (SUBMIT_JOB_HIGH_BG, b"f", b"u", b"w")),
    ({"background": True, "priority": LOW}, (SUBMIT_JOB_LOW_BG, b"f", b"", b"w")),
    ({"background": True, "at": 1700000000.25}, (SUBMIT_JOB_EPOCH, b"f", b"", b"1700000001", b"w")),
    ({"reducer": "sum"}, (SUBMIT_REDUCE_JOB, b"f", b"", b"sum", b"0", b"w")),
    ({"reducer": "sum", "background": True}, (SUBMIT_REDUCE_JOB_BACKGROUND, b"f", b"", b"sum", b"0", b"w")),
])
def test_each_kind_of_job_has_its_packet(serve, make_client, options, packet):
    server = serve()
    client = make_client(server)
    task = client.submit("f", b"w", **options)
    task.result(LONG)
    assert (task.handle, task.done(), task.server) == (b"H:1", True, server.name)
    client.close()
    assert server.outcome() == [packet]


def test_a_delay_counts_from_now(serve, make_client):
    server = serve()
    client = make_client(server)
    before = time.time()
    client.submit("f", background=True, delay=100)
    after = time.time()
    client.close()
    (_, _, _, epoch, _), = server.outcome()
    assert before + 100 <= int(epoch) <= after + 101


def test_a_background_job_is_accepted_when_submit_returns(serve, make_client):
    server = serve()
    task = make_client(server).submit("f", background=True)
    assert (repr(task), task.state) == ("<Task H:1 of f: accepted>", "accepted")
    assert task.result() is None


@pytest.mark.parametrize("function, options", [
    ("", {}), ("a\0b", {}), ("f" * 8192, {}),
    ("f", {"unique": "a\0b"}), ("f", {"unique": "u" * 64}),
    ("f", {"reducer": "a\0b"}), ("f", {"reducer": ""}), ("f", {"reducer": "r" * 65}), ("f", {"reducer": "r", "priority": HIGH}),
    ("f", {"priority": "urgent"}),
    ("f", {"at": 1.0}), ("f", {"at": 1.0, "delay": 1.0, "background": True}), ("f", {"at": -1.0, "background": True}),
    ("f", {"at": float("nan"), "background": True}), ("f", {"delay": float("inf"), "background": True}),
    ("f", {"at": 1.0, "background": True, "priority": HIGH}), ("f", {"at": 1.0, "background": True, "reducer": "r"}),
])
def test_what_the_protocol_cannot_carry_is_a_value_error_before_anything_is_sent(nowhere, make_client, function, options):
    client = make_client(nowhere)
    with pytest.raises(ValueError):
        client.submit(function, **options)
    with pytest.raises(ValueError):
        client.submit_many([dict(options, function=function)])


@pytest.mark.parametrize("workload", [1, {"a": 1}, object()])
def test_a_workload_that_is_no_bytes_is_a_type_error_before_anything_is_sent(nowhere, make_client, workload):
    with pytest.raises(TypeError):
        make_client(nowhere).submit("f", workload)


@pytest.mark.parametrize("call", [
    lambda client: client.status(""), lambda client: client.status("H:\0"), lambda client: client.status("H" * 64),
    lambda client: client.status_unique(""), lambda client: client.status_unique("u" * 64),
    lambda client: client.ping("elsewhere:1"), lambda client: client.status("H:1", "elsewhere:1"),
    lambda client: client.map("f", [b""], in_flight=0), lambda client: client.wait([], return_when="some"),
    lambda client: client.run("f", attempts=0), lambda client: client.run("f", timeout=float("nan")),
])
def test_senseless_questions_are_a_value_error_before_anything_is_sent(nowhere, make_client, call):
    with pytest.raises(ValueError):
        call(make_client(nowhere))


@pytest.mark.parametrize("call", [
    lambda client: client.submit_many("text"), lambda client: client.submit_many(["fg"]),
    lambda client: client.submit_many({"function": "f"}), lambda client: client.submit_many([b"fg"]),
    lambda client: client.submit_many([None]), lambda client: client.submit("f", on_status="f"),
    lambda client: client.submit("f", on_data=5), lambda client: client.submit_many([("f", "x")], on_warning=[]),
    lambda client: client.run("f", timeout="5"), lambda client: client.ping(data=5),
])
def test_what_is_of_another_type_is_a_type_error_before_anything_is_sent(nowhere, make_client, call):
    with pytest.raises(TypeError):
        call(make_client(nowhere))


@pytest.mark.parametrize("name", ["connect_timeout", "command_timeout", "job_timeout"])
def test_a_time_out_that_is_none_is_an_error_at_once(name):
    with pytest.raises(TypeError, match="number of seconds"):
        Client("localhost", **{name: "5"})
    with pytest.raises(ValueError, match="number of seconds"):
        Client("localhost", **{name: float("nan")})


def test_what_cannot_be_sent_does_not_cost_the_others_their_connection(serve, make_client):
    client = make_client(serve())
    assert client.ping(data="text") >= 0.0
    connection = client._pool.first.links[0].connection
    with pytest.raises(TypeError):
        client.ping(data=None)
    assert client._pool.first.links[0].connection is connection


def test_a_client_waits_for_no_tasks_of_another_client(serve, make_client):
    server = serve(be_silent)
    client, other = make_client(server), make_client(server)
    mine, others = client.submit("f"), other.submit("f")
    with pytest.raises(ValueError, match="another client"):
        client.wait([mine, others], LONG)
    with pytest.raises(ValueError, match="another client"):
        next(client.as_completed([mine, others], LONG))
    assert not mine._submission.listeners


@pytest.mark.parametrize("background, packet_type", [(None, SUBMIT_JOB), (0, SUBMIT_JOB), ("yes", SUBMIT_JOB_BG)])
def test_background_is_true_or_false_as_anything_in_python(serve, make_client, background, packet_type):
    server = serve()
    client = make_client(server)
    client.submit("f", b"w", background=background).result(LONG)
    client.close()
    assert [packet[0] for packet in server.outcome()] == [packet_type]


@pytest.mark.parametrize("servers", ["", "a:b", "a:99999", ["x" * 300], "a\0b", "unix:"])
def test_a_senseless_address_is_a_value_error(servers):
    with pytest.raises(ValueError):
        Client(servers)


@pytest.mark.parametrize("workload", [memoryview(b"abcdef")[::2], memoryview(bytearray(12)).cast("I"), bytearray(b"abc"), None])
def test_any_bytes_are_a_workload(serve, make_client, workload):
    server = serve()
    assert make_client(server).run("f", workload, timeout=LONG) == (b"" if workload is None else bytes(workload))


def test_servers_come_from_the_environment(serve, monkeypatch):
    server = serve()
    monkeypatch.setenv("GEARMAN_SERVERS", server.name)
    with Client() as client:
        assert client.run("f", "x") == b"x"
        assert repr(client) == "<Client of %s>" % server.name
    assert repr(client) == "<Client of %s (not connected)>" % server.name


@pytest.mark.parametrize("size", [70000, 64 * 1024 * 1024])
def test_large_workloads_and_results_come_intact(serve, make_client, size):
    def mirror(peer):
        received, needed = [], None
        while needed is None or needed:
            data = peer.hear()
            received.append(data)
            if needed is None:
                needed = len(b"\0REQ....SIZEexceptions") + len(b"\0REQ....SIZEf\0\0") + size
            needed -= len(data)
        sent = b"".join(received)[-size:]
        peer.raw(pack_response(OPTION_RES, b"exceptions") + pack_response(JOB_CREATED, b"H:1"))
        peer.raw(pack_response(WORK_COMPLETE, b"H:1", sent))
        peer.receive()

    workload = os.urandom(1024) * (size // 1024) + bytes(size % 1024)
    assert make_client(serve(mirror)).run("f", workload, timeout=60) == workload


def test_serializers(serve, make_client):
    server = serve()
    client = make_client(server, serializer="json")
    assert client.run("f", {"a": [1, None]}) == {"a": [1, None]}
    assert make_client(server, serializer="pickle").run("f", (1, b"x")) == (1, b"x")

    class Shout:
        @staticmethod
        def dumps(value):
            return value.upper()

        @staticmethod
        def loads(data):
            return data.decode() + "!"

    assert make_client(server, serializer=Shout).run("f", "hey") == "HEY!"
    client.close()
    assert server.outcome() == [(SUBMIT_JOB, b"f", b"", json.dumps({"a": [1, None]}).encode())]


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets here")
def test_a_unix_socket(serve, make_client, tmp_path):
    server = serve(obey, str(tmp_path / "gear.sock"))
    assert make_client("unix:" + server.name).run("f", "x", timeout=LONG) == b"x"


def test_tls(serve, make_client):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATE, KEY)
    server = serve(wrap=lambda plain: context.wrap_socket(plain, server_side=True))
    client = make_client(server, tls={"ca": CERTIFICATE})
    workload = os.urandom(1000000)
    assert client.run("f", workload, timeout=LONG) == workload
    assert list(client.map("f", [b"%d" % number for number in range(500)])) == [b"%d" % number for number in range(500)]


# ------------------------------------------------------------------------------------------------------------- failures of jobs

def test_a_failed_job_raises_its_exception_and_warnings(serve, make_client):
    server = serve(one_job((WORK_WARNING, b"H:1", b"hot"), (WORK_EXCEPTION, b"H:1", "zu heiß".encode())))
    task = make_client(server).submit("f")
    with pytest.raises(JobFailed, match="^f failed: zu heiß$") as caught:
        task.result(LONG)
    assert (caught.value.exception, caught.value.warnings, caught.value.handle) == ("zu heiß".encode(), (b"hot",), b"H:1")
    assert task.exception() is caught.value
    assert repr(task) == "<Task H:1 of f: failed>"


def test_a_bare_fail_with_a_stray_nul(serve, make_client):
    with pytest.raises(JobFailed, match="^f failed$") as caught:
        make_client(serve(one_job((WORK_FAIL, b"H:1\0")))).run("f", timeout=LONG)
    assert caught.value.exception is None


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("code, kind", [(b"QUEUE_ERROR", QueueFull), (b"SERVER_ERROR", ServerError)])
def test_a_refused_job(serve, make_client, code, kind, background):
    def refuse(peer):
        peer.receive()
        peer.send(ERROR, code, b"Job queue is full")
        return obey(peer)

    client = make_client(serve(refuse))
    with pytest.raises(kind, match=r"Job queue is full \(function f\)") as caught:
        client.submit("f", background=background).result(LONG)
    assert (caught.value.code, caught.value.text, caught.value.function) == (code.decode(), "Job queue is full", b"f")
    assert client.run("f", "the connection goes on") == b"the connection goes on"


def test_progress_data_and_warnings_go_to_callbacks(serve, make_client):
    server = serve(one_job((WORK_STATUS, b"H:1", b"1", b"2"), (WORK_DATA, b"H:1", b"a"), (WORK_WARNING, b"H:1", b"!"),
                           (WORK_DATA, b"H:1", b"b"), (WORK_COMPLETE, b"H:1", b"c")))
    told = []
    task = make_client(server).submit("f", on_status=lambda *numbers: told.append(numbers), on_data=told.append,
                                      on_warning=told.append)
    assert task.result(LONG) == b"c"
    assert told == [(1, 2), b"a", b"!", b"b"]
    assert (task.progress, task.warnings) == ((1, 2), [b"!"])


def test_a_callback_may_use_the_client(serve, make_client):
    def script(peer):
        peer.receive()
        peer.send(JOB_CREATED, b"H:A")
        peer.send(WORK_DATA, b"H:A", b"part")
        peer.receive()
        peer.raw(pack_response(JOB_CREATED, b"H:B") + pack_response(WORK_COMPLETE, b"H:B", b"inner")
                 + pack_response(WORK_COMPLETE, b"H:A", b"outer"))
        return peer.receive()

    client = make_client(serve(script))
    inner = []
    assert client.submit("f", on_data=lambda data: inner.append(client.run("g", data, timeout=LONG))).result(LONG) == b"outer"
    assert inner == [b"inner"]


def test_a_callback_that_fails_hurts_nobody(serve, make_client, caplog):
    server = serve(one_job((WORK_DATA, b"H:1", b"a"), (WORK_DATA, b"H:1", b"b"), (WORK_COMPLETE, b"H:1", b"c")))
    told = []

    def careless(data):
        told.append(data)
        raise KeyError("oops")

    with caplog.at_level(logging.ERROR, "gearman_std.client"):
        assert make_client(server).submit("f", on_data=careless).result(LONG) == b"c"
    assert told == [b"a", b"b"]
    assert "oops" in caplog.text


def test_a_logging_handler_that_raises_hurts_nobody(serve, make_client, capsys):
    class Raising(logging.Handler):
        def emit(self, record):
            raise ValueError("a bad handler")

    server = serve(one_job((WORK_DATA, b"H:1", b"a"), (WORK_COMPLETE, b"H:1", b"c")))
    client, logger = make_client(server), logging.getLogger("gearman_std.client")
    handler = Raising()
    logger.addHandler(handler)
    try:
        assert client.submit("f", on_data=int).result(LONG) == b"c"  # which logs that the callback failed
        client._pool.first._notes.append("connection lost")
        client.close()
    finally:
        logger.removeHandler(handler)
    assert capsys.readouterr().err.count("ValueError: a bad handler") >= 1


def test_data_can_be_iterated_over_as_it_comes(serve, make_client):
    may_go_on = threading.Event()

    def script(peer):
        peer.receive()
        peer.send(JOB_CREATED, b"H:1")
        peer.send(WORK_DATA, b"H:1", b"one")
        assert may_go_on.wait(LONG)
        peer.send(WORK_DATA, b"H:1", b"two")
        peer.send(WORK_DATA, b"H:1", b"three")
        peer.send(WORK_COMPLETE, b"H:1", b"end")
        return peer.receive()

    task = make_client(serve(script)).submit("f")
    stream = task.stream(LONG)
    assert next(stream) == b"one"
    may_go_on.set()
    assert list(stream) == [b"two", b"three"]
    assert task.result() == b"end"


def test_a_stream_ends_with_what_the_result_raises(serve, make_client):
    stream = make_client(serve(one_job((WORK_DATA, b"H:1", b"a"), (WORK_FAIL, b"H:1")))).submit("f").stream(LONG)
    assert next(stream) == b"a"
    with pytest.raises(JobFailed):
        next(stream)


def test_a_stream_that_dries_up_is_a_job_timeout(serve, make_client):
    stream = make_client(serve(one_job((WORK_DATA, b"H:1", b"a"))), job_timeout=0.1).submit("f").stream()
    assert next(stream) == b"a"
    with pytest.raises(JobTimeout):
        next(stream)


# ------------------------------------------------------------------------------------------------------------------------ width

def test_thousands_of_jobs_are_on_their_way_at_once_on_one_connection(serve, make_client):
    """The server answers none before it has seen all."""
    def script(peer):
        jobs = [peer.receive() for _ in range(5000)]
        peer.raw(b"".join(pack_response(JOB_CREATED, b"H:%d" % number) for number in range(5000)))
        for number in reversed(range(5000)):
            peer.send(WORK_COMPLETE, b"H:%d" % number, jobs[number][-1])
        return peer.receive()

    server = serve(script)
    client = make_client(server)
    tasks = client.submit_many(("f", b"%d" % number) for number in range(5000))
    assert len(tasks) == 5000
    done, pending = client.wait(tasks, LONG)
    assert (done, pending) == (tasks, [])
    assert [task.result() for task in tasks] == [b"%d" % number for number in range(5000)]
    assert len(server.connections) == 1


def test_a_batch_is_checked_before_anything_of_it_is_sent(serve, make_client, nowhere):
    server = serve()
    client = make_client(server)
    with pytest.raises(ValueError):
        client.submit_many([("f", b"x")] * 10 + [("", b"x")])
    with pytest.raises(TypeError):
        client.submit_many([("f", b"x"), ("f", object())])
    assert client.run("f", b"the first", timeout=LONG) == b"the first"
    client.close()
    assert [packet[3] for packet in server.outcome()] == [b"the first"]
    with pytest.raises(NoServer):
        make_client(nowhere).submit_many([("f", b"x")] * 1000)
    assert make_client(nowhere).submit_many([]) == []


def test_each_job_of_a_batch_tells_what_became_of_it_when_servers_go_away(make_client, monkeypatch):
    """Some are on their way when the last server is lost: they tell so, and those that were never sent are NoServer."""
    client = make_client("127.0.0.1:1")
    network, placed = client._pool.first, []

    def submit(submission, *arguments):
        if len(placed) == 3:
            raise NoServer("the last one has gone")
        placed.append(submission)
        submission.placed(network.links[0])

    monkeypatch.setattr(network, "submit", submit)
    tasks = client.submit_many([("f", b"%d" % number) for number in range(6)])
    assert placed == [task._submission for task in tasks[:3]] and not any(one.ended for one in placed)
    assert [task.failed for task in tasks] == [False] * 3 + [True] * 3
    errors = [task.exception(0) for task in tasks[3:]]
    assert all(isinstance(error, NoServer) for error in errors) and len(set(map(id, errors))) == 3  # each has its own
    results = client.map("f", [b"x"] * 3)
    with pytest.raises(NoServer, match="the last one has gone"):
        next(results)


def test_a_job_without_a_workload(serve, make_client):
    server = serve()
    assert make_client(server).run("f", timeout=LONG) == b""
    assert make_client(server, serializer="json").run("f", timeout=LONG) is None
    assert make_client(server, serializer="pickle").run("f", timeout=LONG) is None


def test_what_cannot_be_made_bytes_or_read_again_is_the_serializers_error(serve, make_client):
    server = serve()
    client = make_client(server, serializer="pickle")
    with pytest.raises((pickle.PicklingError, AttributeError, TypeError)):
        client.submit("f", lambda: None)
    assert client.run("f", {"still": "there"}, timeout=LONG) == {"still": "there"}
    task = make_client(serve(one_job((WORK_COMPLETE, b"H:1", b"{not json"))), serializer="json").submit("f")
    for _ in range(2):
        with pytest.raises(ValueError):
            task.result(LONG)
    assert task.exception() is None  # the job itself went well


def test_any_and_all_of_many(serve, make_client):
    go_on = [threading.Event() for _ in range(3)]

    def script(peer):
        for number in range(4):
            peer.receive()
            peer.send(JOB_CREATED, b"H:%d" % number)
        for number, event in zip((2, 0, 1), go_on):
            assert event.wait(LONG)
            peer.send(WORK_COMPLETE, b"H:%d" % number, b"r%d" % number)
        return peer.receive()

    client = make_client(serve(script))
    tasks = client.submit_many([("f", b"")] * 4)
    assert client.wait(tasks, 0.01, return_when="first") == ([], tasks)
    assert client.wait([]) == ([], [])
    go_on[0].set()
    assert client.wait(tasks, LONG, return_when="first") == ([tasks[2]], [tasks[0], tasks[1], tasks[3]])
    completed = client.as_completed(tasks, 5)
    assert next(completed) is tasks[2]
    go_on[1].set()
    assert next(completed) is tasks[0]
    go_on[2].set()
    assert next(completed) is tasks[1]
    assert not tasks[3].done()
    completed.close()
    with pytest.raises(JobTimeout):
        list(client.as_completed(tasks, 0.05))
    assert all(listener.over for task in tasks for listener in task._submission.listeners or ())


def test_tasks_as_they_are_done_may_be_forgotten_anywhere(serve, make_client):
    """The garbage collector closes a generator wherever it runs, also where its thread has the client's lock."""
    first = one_job((WORK_COMPLETE, b"H:1", b"x"))
    client = make_client(serve(lambda peer: first(peer) and peer.receive()))
    tasks = client.submit_many([("f", b"")] * 2)
    abandoned = client.as_completed(tasks, LONG)
    assert next(abandoned) is tasks[0]
    forgotten, = tasks[1]._submission.listeners
    closing = threading.Thread(target=abandoned.close, daemon=True)

    def close_elsewhere():
        closing.start()
        closing.join(LONG)
        assert not closing.is_alive()

    client._pool.first.exclusively(close_elsewhere)
    assert client.wait(tasks, 0) == (tasks[:1], tasks[1:])
    assert all(listener is not forgotten for listener in tasks[1]._submission.listeners)


def test_map_keeps_the_order_and_never_has_too_many_in_flight(serve, make_client):
    pace = Pace(0.001)

    def script(peer):
        """Whenever the client has nothing more to say, end all jobs, the last first."""
        most, open_jobs, count = 0, [], 0
        while pace.tick():
            while select.select([peer.socket], [], [], 0)[0]:
                for packet_type, arguments in peer.reader.feed(peer.hear()):
                    if packet_type == SUBMIT_JOB:
                        count += 1
                        open_jobs.append((b"H:%d" % count, bytes(arguments[2])))
                        most = max(most, len(open_jobs))
                        peer.send(JOB_CREATED, b"H:%d" % count)
                    else:
                        peer.send(OPTION_RES, b"exceptions")
            for handle, workload in reversed(open_jobs):
                peer.send(WORK_COMPLETE, handle, workload)
            open_jobs = []
        return most, count

    server = serve(script)
    client = make_client(server, clock=pace, make_waiter=pace.make_waiter)
    workloads = [b"%d" % number for number in range(35)]
    try:
        assert list(client.map("f", iter(workloads), in_flight=10)) == workloads
    finally:
        pace.end()
    most, count = server.outcome()
    assert (most, count) == (10, 35)


@pytest.mark.parametrize("count, in_flight", [(0, 1), (1, 1), (5, 1), (5, 2), (10, 10), (20, 10), (3, 10)])
def test_map_of_any_length(serve, make_client, count, in_flight):
    client = make_client(serve())
    assert list(client.map("f", [b"%d" % number for number in range(count)], in_flight=in_flight)) == [
        b"%d" % number for number in range(count)]


def test_the_workloads_of_a_map_may_come_from_jobs(serve, make_client):
    """What the user hands in is run with no lock held."""
    client = make_client(serve())
    workloads = (client.run("g", b"%d" % number, timeout=LONG) for number in range(20))
    assert list(client.map("f", workloads, in_flight=4)) == [b"%d" % number for number in range(20)]


def test_a_client_may_be_used_from_many_threads(serve, make_client):
    client = make_client(serve(), serve())

    def many(thread):
        for number in range(100):
            workload = b"%d/%d" % (thread, number)
            assert client.run("f", workload, timeout=LONG) == workload
        return True

    assert in_threads(16, many) == [True] * 16
    assert (client._pool.first._others, client._pool.first._reading, client._pool.first._turn) == ([], None, {})


def test_who_waits_longer_reads_when_the_reader_has_its_result(serve, make_client):
    """Threads whose results come in every order hand the reading on."""
    def script(peer):
        jobs = [peer.receive() for _ in range(8)]
        peer.raw(b"".join(pack_response(JOB_CREATED, job[-1]) for job in jobs))
        order = list(jobs)
        random.Random(1).shuffle(order)
        for job in order:
            peer.send(WORK_COMPLETE, job[-1], b"r" + job[-1])
            assert finished.get(timeout=LONG) == job[-1]
        return peer.receive()

    finished = queue.Queue()
    client = make_client(serve(script))

    def one(thread):
        result = client.run("f", b"%d" % thread, timeout=LONG)
        finished.put(b"%d" % thread)
        return result

    assert in_threads(8, one) == [b"r%d" % thread for thread in range(8)]


def test_a_time_out_of_one_thread_leaves_the_others_waiting(serve, make_client):
    timed_out = threading.Event()

    def script(peer):
        jobs = [peer.receive() for _ in range(2)]
        peer.raw(b"".join(pack_response(JOB_CREATED, job[-1]) for job in jobs))
        assert timed_out.wait(LONG)
        peer.send(WORK_COMPLETE, b"patient", b"")
        return peer.receive()

    client = make_client(serve(script))

    def one(thread):
        if thread:
            return client.run("f", b"patient", timeout=LONG)
        with pytest.raises(JobTimeout):
            client.run("f", b"hasty", timeout=0.1)
        timed_out.set()
        return None

    assert in_threads(2, one) == [None, b""]


def test_the_executor_is_one_of_concurrent_futures(serve, make_client):
    client = make_client(serve())
    with client.executor(max_workers=4) as executor:
        assert isinstance(executor, concurrent.futures.Executor)
        futures = [executor.submit("f", b"%d" % number, unique="u%d" % number) for number in range(50)]
        done, _ = concurrent.futures.wait(futures, LONG)
        assert len(done) == 50
        assert sorted(future.result() for future in futures) == sorted(b"%d" % number for number in range(50))
        assert list(executor.map("f", [b"a", b"b"])) == [b"a", b"b"]
        assert isinstance(executor.submit("").exception(LONG), ValueError)
    with pytest.raises(RuntimeError):
        executor.submit("f")


def test_a_submit_waits_while_much_is_unsent(serve, make_client):
    """A server that reads slowly holds back who submits, instead of filling the client's memory."""
    may_read = threading.Event()

    def script(peer):
        assert may_read.wait(LONG)
        return len(obey(peer))

    server = serve(script)
    client = make_client(server)
    submitted = []

    def submit():
        for _ in range(12):
            submitted.append(client.submit("f", bytes(4000000)))

    thread = threading.Thread(target=submit)
    thread.start()
    thread.join(0.3)
    assert thread.is_alive() and len(submitted) < 12
    may_read.set()
    thread.join(LONG)
    assert client.wait(submitted, LONG) == (submitted, [])


# ----------------------------------------------------------------------------------------------------------------------- asking

def knows(*known):
    """A script: answer the status of these handles and uniques, know no others."""
    def script(peer):
        while True:
            packet = peer.receive()
            if packet is None:
                return
            found = packet[1] in known
            numbers = [b"1", b"1", b"3", b"4"] if found else [b"0"] * 4
            if packet[0] == GET_STATUS:
                peer.send(STATUS_RES, packet[1], *numbers)
            else:
                peer.send(STATUS_RES_UNIQUE, packet[1], *(numbers + [b"2" if found else b"0"]))
    return script


def test_the_status_of_a_job_from_another_process(serve, make_client):
    client = make_client(serve(knows()), serve(knows(b"H:1", b"u")))
    assert client.status("H:1") == JobStatus(True, True, 3, 4, None)
    assert client.status_unique("u") == JobStatus(True, True, 3, 4, 2)
    assert client.status("H:2") == JobStatus(False, False, 0, 0, None)
    assert client.status_unique("v") == JobStatus(False, False, 0, 0, 0)


def test_the_status_may_be_asked_of_one_server(serve, make_client):
    servers = [serve(knows()), serve(knows(b"H:1"))]
    client = make_client(*servers)
    assert client.status("H:1", servers[1].name).known
    assert not client.status("H:1", servers[0].name).known


def test_an_unknown_job_may_be_on_the_server_that_is_down(serve, make_client, nowhere):
    client = make_client(nowhere, serve(knows(b"H:1")))
    assert client.status("H:1").known
    with pytest.raises(NoServer):
        client.status("H:2")


def test_a_server_that_is_lost_while_it_is_asked_does_not_hide_what_another_knows(serve, make_client):
    client = make_client(serve(vanish), serve(knows(b"H:2")))
    assert client.status("H:2").known
    client = make_client(serve(vanish), serve(knows()))
    with pytest.raises(ServerLost):
        client.status("H:2")  # which the lost one may have known


def test_a_task_knows_its_status(serve, make_client):
    def script(peer):
        peer.receive()
        peer.send(JOB_CREATED, b"H:1")
        assert peer.receive() == (GET_STATUS, b"H:1")
        peer.send(STATUS_RES, b"H:1", b"1", b"0", b"0", b"0")
        return peer.receive()

    assert make_client(serve(script)).submit("f").status() == JobStatus(True, False, 0, 0, None)


def test_ping(serve, make_client, nowhere):
    server = serve()
    client = make_client(nowhere, server)
    assert 0 <= client.ping() < LONG
    assert 0 <= client.ping(server.name, b"") < LONG
    with pytest.raises(NoServer):
        client.ping(nowhere)


def test_a_ping_measures_the_echo_and_neither_connecting_nor_servers_that_are_down(serve, make_client, silent):
    client = make_client(silent, serve(), connect_timeout=1.0)
    assert client.ping() < 0.9
    began = time.monotonic()
    client.ping()  # the silent one is left out for a while
    assert time.monotonic() - began < 0.9


def test_a_ping_that_comes_back_different_is_a_protocol_error(serve, make_client):
    def script(peer):
        peer.receive()
        peer.send(ECHO_RES, b"pong")
        return peer.receive()

    with pytest.raises(ProtocolError, match="pong"):
        make_client(serve(script)).ping()


def with_workers(**workers):
    """A script: the text command status tells of these functions' workers, packets are obeyed."""
    def script(peer):
        first = peer.reader.feed(peer.hear())
        if first and first[0][0] == TEXT_LINE:
            assert first[0][1][0] == b"status"
            lines = "".join("%s\t0\t0\t%d\n" % pair for pair in sorted(workers.items()))
            peer.raw(lines.encode() + b".\n")
            return None
        peer.packets.extend(first)
        return obey(peer)
    return script


def test_no_worker_is_an_error_on_request(serve, make_client):
    client = make_client(serve(with_workers(f=1, idle=0)))
    assert client.run("f", b"x", require_worker=True) == b"x"
    for function in ("idle", "unknown"):
        with pytest.raises(NoWorker, match="no worker can do %s" % function) as caught:
            client.submit(function, require_worker=True)
        assert isinstance(caught.value, JobError)
    assert client.submit("unknown", background=True).handle


def test_a_server_that_may_not_be_asked_for_workers_says_so_at_once(serve, make_client):
    with Server(port=0, access=Access(admin=["none"])) as server:
        client = make_client("127.0.0.1:%d" % server.address[1], command_timeout=None)
        with pytest.raises(ServerError, match="PERMISSION_DENIED: .*"):
            client.submit("f", require_worker=True)


def test_of_several_servers_the_one_with_a_worker_gets_the_job(serve, make_client, nowhere):
    servers = [serve(with_workers()), serve(with_workers(f=1)), nowhere]
    client = make_client(*servers)
    assert {client.submit("f", background=True, require_worker=True).server for _ in range(6)} == {servers[1].name}
    with pytest.raises(NoWorker):
        client.submit("g", require_worker=True)


# ---------------------------------------------------------------------------------------------------------------------- retries

def fails_then_works(failures):
    """A script: fail so many jobs, then work."""
    def script(peer):
        for number in range(failures):
            if peer.receive() is None:
                return None
            peer.send(JOB_CREATED, b"F:%d" % number)
            peer.send(WORK_EXCEPTION, b"F:%d" % number, b"not yet")
        return obey(peer)
    return script


def test_a_job_is_tried_again_on_request(serve, make_client):
    pauses = []
    client = make_client(serve(fails_then_works(4)), sleep=pauses.append, random=middle)
    assert client.run("f", b"x", attempts=5, backoff=1.0, backoff_max=5.0, timeout=LONG) == b"x"
    assert pauses == [1.0, 2.0, 4.0, 5.0]


def test_the_pauses_between_tries_are_jittered(serve, make_client):
    pauses = []
    client = make_client(serve(fails_then_works(30)), sleep=pauses.append)
    client.run("f", b"x", attempts=31, backoff=1.0, backoff_max=1.0)
    assert len(set(pauses)) == 30
    assert 0.5 <= min(pauses) and max(pauses) <= 1.5


def test_there_may_be_any_number_of_tries(serve, make_client):
    client = make_client(serve(fails_then_works(1100)), sleep=lambda seconds: None)
    assert client.run("f", b"x", attempts=2000, backoff_max=0.1) == b"x"


def test_the_last_try_raises(serve, make_client):
    pauses = []
    client = make_client(serve(fails_then_works(3)), sleep=pauses.append)
    with pytest.raises(JobFailed, match="not yet"):
        client.run("f", attempts=3)
    assert len(pauses) == 2
    with pytest.raises(ValueError):
        client.run("", attempts=3)
    assert len(pauses) == 2


def test_each_try_has_its_own_time(serve, make_client):
    def script(peer):
        peer.receive()
        peer.send(JOB_CREATED, b"F:1")
        peer.receive()
        peer.send(JOB_CREATED, b"F:2")
        peer.send(WORK_COMPLETE, b"F:2", b"second")
        return peer.receive()

    client = make_client(serve(script), sleep=lambda seconds: None)
    assert client.run("f", attempts=2, try_timeout=0.1, timeout=LONG) == b"second"


def test_all_tries_together_have_a_time_too(serve, make_client):
    clock = Clock()
    pauses = []

    def sleep(seconds):
        pauses.append(seconds)
        clock.now += seconds

    client = make_client(serve(fails_then_works(100)), clock=clock, sleep=sleep, random=middle)
    with pytest.raises(JobFailed):
        client.run("f", attempts=100, backoff=2.0, timeout=5.0)
    assert pauses == [2.0, 3.0]


@pytest.mark.parametrize("refusal", ["lost", "full", "nowhere"])
def test_what_is_worth_a_second_try(serve, make_client, refusal):
    def full(peer):
        peer.receive()
        peer.send(ERROR, b"QUEUE_ERROR", b"Job queue is full")
        return obey(peer)

    if refusal == "nowhere":
        held, address = unused_address()
        port = int(address.split(":")[1])

        def sleep(seconds):
            held.close()
            serve(obey, ("127.0.0.1", port))
        client = make_client(address, sleep=sleep)
    else:
        client = make_client(serve(once(vanish, obey) if refusal == "lost" else full), sleep=lambda seconds: None)
    assert client.run("f", b"x", attempts=2) == b"x"


# ----------------------------------------------------------------------------------------------------------------- real servers

def tell_all(job):
    job.send_warning(b"careful")
    job.send_data(b"half")
    job.send_status(1, 2)
    return b"done"


def fail(job):
    raise ValueError("no good: %s" % job.workload.decode())


@pytest.fixture
def own_server():
    with Server(port=0, listen=["127.0.0.1"]) as server:
        yield server.address


@pytest.fixture(params=["gearmand", "own_server"])
def real_server(request):
    return "%s:%d" % request.getfixturevalue(request.param)[:2]


def test_jobs_through_a_real_server(real_server, make_client):
    client = make_client(real_server)
    with AtWork(worker_of(real_server, echo=lambda job: job.workload, tell=tell_all, fail=fail)):
        assert client.run("echo", "x", timeout=LONG) == b"x"
        workloads = [b"%d" % number for number in range(2000)]
        assert list(client.map("echo", workloads, timeout=LONG)) == workloads
        large = os.urandom(4000000)
        assert client.run("echo", large, timeout=60) == large
        told = []
        task = client.submit("tell", on_data=told.append, on_warning=told.append, on_status=lambda *n: told.append(n))
        assert task.result(LONG) == b"done"
        assert told == [b"careful", b"half", (1, 2)]
        with pytest.raises(JobFailed, match="no good: x") as caught:
            client.run("fail", "x", timeout=LONG)
        assert b"no good: x" in caught.value.exception
        assert client.run("echo", "y", require_worker=True, timeout=LONG) == b"y"


def test_asking_a_real_server(real_server, make_client):
    client = make_client(real_server)
    assert client.ping() < LONG
    task = client.submit("nobody", unique="later", background=True)
    other = make_client(real_server)
    assert other.status(task.handle) == JobStatus(True, False, 0, 0, None)
    assert other.status_unique("later") == JobStatus(True, False, 0, 0, 0)
    assert not other.status("H:none:1").known
    assert not other.status_unique("none").known
    with pytest.raises(NoWorker):
        client.submit("nobody", require_worker=True)
    assert client.submit("nobody", delay=1000, background=True).handle
    assert client.submit("nobody", reducer="r", background=True).handle


def test_equal_jobs_of_one_client_are_run_once(real_server, make_client):
    go_on = threading.Event()
    runs = []

    def once_only(job):
        runs.append(job.workload)
        assert go_on.wait(LONG)
        return b"shared"

    client = make_client(real_server)
    with AtWork(worker_of(real_server, once=once_only)):
        tasks = [client.submit("once", b"%d" % number, unique="u") for number in range(5)]
        assert len({task.handle for task in tasks}) == 1
        go_on.set()
        assert [task.result(LONG) for task in tasks] == [b"shared"] * 5
    assert len(runs) == 1
