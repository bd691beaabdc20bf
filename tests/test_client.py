"""Submitting jobs and waiting for them: against a server that does what a test says, our own, and gearmand."""
import collections
import concurrent.futures
import json
import logging
import os
import queue
import random
import select
import socket
import ssl
import subprocess
import sys
import threading
import time

import pytest

from gearman_std.client import HIGH, LOW, NORMAL, Client, JobStatus
from gearman_std.errors import (CommandTimeout, ConnectTimeout, GearmanError, JobError, JobFailed, JobTimeout, NoServer,
                                NoWorker, ProtocolError, QueueFull, ServerError, ServerLost)
from gearman_std.protocol import (ECHO_REQ, ECHO_RES, ERROR, GET_STATUS, GET_STATUS_UNIQUE, JOB_CREATED, OPTION_REQ, OPTION_RES,
                                  REQUEST_MAGIC, STATUS_RES, STATUS_RES_UNIQUE, SUBMIT_JOB, SUBMIT_JOB_BG, SUBMIT_JOB_EPOCH,
                                  SUBMIT_JOB_HIGH, SUBMIT_JOB_HIGH_BG, SUBMIT_JOB_LOW, SUBMIT_JOB_LOW_BG, SUBMIT_REDUCE_JOB,
                                  SUBMIT_REDUCE_JOB_BACKGROUND, TEXT_LINE, WORK_COMPLETE, WORK_DATA, WORK_EXCEPTION, WORK_FAIL,
                                  WORK_STATUS, WORK_WARNING, PacketReader, pack_response)
from gearman_std.server import Server
from gearman_std.worker import Worker

HERE = os.path.dirname(os.path.abspath(__file__))
CERTIFICATE, KEY = os.path.join(HERE, "tls_certificate.pem"), os.path.join(HERE, "tls_key.pem")
LONG = 20.0  # seconds that pass only if a test fails


class Peer:
    """One connection of a fake server."""

    def __init__(self, connected):
        self.socket = connected
        self.reader = PacketReader(REQUEST_MAGIC)
        self.packets = collections.deque()

    def receive(self):
        """The next packet as (type, argument, …) without OPTION_REQ, which is answered; None when the client has gone."""
        while True:
            while not self.packets:
                data = self.hear()
                if not data:
                    return None
                self.packets.extend(self.reader.feed(data))
                assert self.reader.error is None
            packet_type, arguments = self.packets.popleft()
            if packet_type != OPTION_REQ:
                return (packet_type,) + tuple(bytes(argument) for argument in arguments)
            assert bytes(arguments[0]) == b"exceptions"
            self.send(OPTION_RES, b"exceptions")

    def hear(self):
        """The next bytes, none when the client has gone."""
        try:
            return self.socket.recv(1000000)
        except OSError:
            return b""

    def send(self, packet_type, *arguments):
        self.raw(pack_response(packet_type, *arguments))

    def raw(self, data):
        try:
            self.socket.sendall(data)
        except OSError:
            return


class FakeServer:
    """A server that runs a script for each connection; what the script returns or raises is its outcome."""

    def __init__(self, script, address=("127.0.0.1", 0), wrap=None):
        self.script = script
        self.wrap = wrap
        self.listener = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(address)
        self.listener.listen(64)
        self.address = self.listener.getsockname()
        self.name = self.address if isinstance(address, str) else "127.0.0.1:%d" % self.address[1]
        self.outcomes = queue.Queue()
        self.connections = []
        self.threads = [threading.Thread(target=self.accept)]
        self.threads[0].start()

    def accept(self):
        while True:
            try:
                connected, _ = self.listener.accept()
            except OSError:
                return
            self.connections.append(connected)
            self.threads.append(threading.Thread(target=self.serve, args=(connected,)))
            self.threads[-1].start()

    def serve(self, connected):
        try:
            connected.settimeout(LONG)
            if connected.family == socket.AF_INET:
                connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.wrap is not None:
                connected = self.wrap(connected)
                self.connections.append(connected)
            self.outcomes.put(self.script(Peer(connected)))
        except BaseException as error:
            self.outcomes.put(error)
        finally:
            hang_up(connected)
            connected.close()

    def outcome(self):
        outcome = self.outcomes.get(timeout=LONG)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def close(self):
        hang_up(self.listener)
        self.listener.close()
        for connected in list(self.connections):
            hang_up(connected)
        for thread in self.threads:
            thread.join(LONG)
            assert not thread.is_alive()
        while not self.outcomes.empty():
            self.outcome()


def hang_up(connected):
    """Have whoever waits for a socket go on; it is closed by the thread that uses it."""
    try:
        connected.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it is not connected any more


def obey(peer, seen=None):
    """Be a good server with an instant worker, which echoes the workload; return the packets received."""
    seen = [] if seen is None else seen
    count = 0
    while True:
        packet = peer.receive()
        if packet is None:
            return seen
        seen.append(packet)
        if packet[0] == ECHO_REQ:
            peer.send(ECHO_RES, packet[1])
        elif packet[0] in (GET_STATUS, GET_STATUS_UNIQUE):
            answer = STATUS_RES if packet[0] == GET_STATUS else STATUS_RES_UNIQUE
            peer.send(answer, packet[1], b"0", b"0", b"0", b"0", *[b"0"] * (answer == STATUS_RES_UNIQUE))
        else:
            count += 1
            handle = b"H:%d" % count
            answer = pack_response(JOB_CREATED, handle)
            if packet[0] in (SUBMIT_JOB, SUBMIT_JOB_HIGH, SUBMIT_JOB_LOW, SUBMIT_REDUCE_JOB):
                answer += pack_response(WORK_COMPLETE, handle, packet[-1])
            peer.raw(answer)


@pytest.fixture
def fake():
    """fake(script) starts a FakeServer."""
    servers = []

    def fake(script=obey, *arguments, **options):
        servers.append(FakeServer(script, *arguments, **options))
        return servers[-1]
    yield fake
    for server in servers:
        server.close()


@pytest.fixture
def make_client():
    clients = []

    def make_client(*servers, **options):
        names = [server.name if isinstance(server, FakeServer) else server for server in servers]
        clients.append(Client(names, **options))
        return clients[-1]
    yield make_client
    for client in clients:
        client.close()
        assert client._waker is None
        assert all(link.connection is None for link in client._links)


class Clock:
    """A clock that is set by hand."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class Unrandom:
    """Always the middle."""

    @staticmethod
    def random():
        return 0.5

    @staticmethod
    def randrange(limit):
        return 0


def unused_address():
    """Where nobody listens: a bound socket, to be kept, and its address."""
    held = socket.socket()
    held.bind(("127.0.0.1", 0))
    return held, "127.0.0.1:%d" % held.getsockname()[1]


@pytest.fixture
def nowhere():
    held, address = unused_address()
    yield address
    held.close()


def in_threads(count, function):
    """Run function(number) in so many threads at once; return the results, raise the first error."""
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        return list(pool.map(function, range(count)))


# ------------------------------------------------------------------------------------------------------------------- submitting

def test_run_returns_the_result(fake, make_client):
    server = fake()
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
def test_each_kind_of_job_has_its_packet(fake, make_client, options, packet):
    server = fake()
    client = make_client(server)
    task = client.submit("f", b"w", **options)
    task.result(LONG)
    assert (task.handle, task.done(), task.server) == (b"H:1", True, server.name)
    client.close()
    assert server.outcome() == [packet]


def test_a_delay_counts_from_now(fake, make_client):
    server = fake()
    client = make_client(server)
    before = time.time()
    client.submit("f", background=True, delay=100)
    after = time.time()
    client.close()
    (_, _, _, epoch, _), = server.outcome()
    assert before + 100 <= int(epoch) <= after + 101


def test_a_background_job_is_accepted_when_submit_returns(fake, make_client):
    server = fake()
    task = make_client(server).submit("f", background=True)
    assert repr(task) == "<Task H:1 of f: done>"
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
    lambda client: client.run("f", attempts=0),
])
def test_senseless_questions_are_a_value_error_before_anything_is_sent(nowhere, make_client, call):
    with pytest.raises(ValueError):
        call(make_client(nowhere))


@pytest.mark.parametrize("servers", ["", "a:b", "a:99999", ["x" * 300], "a\0b", "unix:"])
def test_a_senseless_address_is_a_value_error(servers):
    with pytest.raises(ValueError):
        Client(servers)


@pytest.mark.parametrize("workload", [memoryview(b"abcdef")[::2], memoryview(bytearray(12)).cast("I"), bytearray(b"abc"), None])
def test_any_bytes_are_a_workload(fake, make_client, workload):
    server = fake()
    assert make_client(server).run("f", workload, timeout=LONG) == (b"" if workload is None else bytes(workload))


def test_servers_come_from_the_environment(fake, monkeypatch):
    server = fake()
    monkeypatch.setenv("GEARMAN_SERVERS", server.name)
    with Client() as client:
        assert client.run("f", "x") == b"x"
        assert repr(client) == "<Client of %s>" % server.name
    assert repr(client) == "<Client of %s (not connected)>" % server.name


@pytest.mark.parametrize("size", [70000, 64 * 1024 * 1024])
def test_large_workloads_and_results_come_intact(fake, make_client, size):
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
    assert make_client(fake(mirror)).run("f", workload, timeout=60) == workload


def test_serializers(fake, make_client):
    server = fake()
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
def test_a_unix_socket(fake, make_client, tmp_path):
    server = fake(obey, str(tmp_path / "gear.sock"))
    assert make_client("unix:" + server.name).run("f", "x", timeout=LONG) == b"x"


def test_tls(fake, make_client):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATE, KEY)
    server = fake(wrap=lambda plain: context.wrap_socket(plain, server_side=True))
    client = make_client(server, tls={"ca": CERTIFICATE})
    workload = os.urandom(1000000)
    assert client.run("f", workload, timeout=LONG) == workload
    assert list(client.map("f", [b"%d" % number for number in range(500)])) == [b"%d" % number for number in range(500)]


# ------------------------------------------------------------------------------------------------------------- failures of jobs

def one_job(*packets):
    """A script: accept one job, send these packets for it, wait for the client to go."""
    def script(peer):
        assert peer.receive()[0] == SUBMIT_JOB
        peer.send(JOB_CREATED, b"H:1")
        for packet in packets:
            peer.send(*packet)
        return peer.receive()
    return script


def test_a_failed_job_raises_its_exception_and_warnings(fake, make_client):
    server = fake(one_job((WORK_WARNING, b"H:1", b"hot"), (WORK_EXCEPTION, b"H:1", "zu heiß".encode())))
    task = make_client(server).submit("f")
    with pytest.raises(JobFailed, match="^f failed: zu heiß$") as caught:
        task.result(LONG)
    assert (caught.value.exception, caught.value.warnings, caught.value.handle) == ("zu heiß".encode(), (b"hot",), b"H:1")
    assert task.exception() is caught.value
    assert repr(task) == "<Task H:1 of f: failed>"


def test_a_bare_fail_with_a_stray_nul(fake, make_client):
    with pytest.raises(JobFailed, match="^f failed$") as caught:
        make_client(fake(one_job((WORK_FAIL, b"H:1\0")))).run("f", timeout=LONG)
    assert caught.value.exception is None


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("code, kind", [(b"QUEUE_ERROR", QueueFull), (b"SERVER_ERROR", ServerError)])
def test_a_refused_job(fake, make_client, code, kind, background):
    def refuse(peer):
        peer.receive()
        peer.send(ERROR, code, b"Job queue is full")
        return obey(peer)

    client = make_client(fake(refuse))
    with pytest.raises(kind, match="Job queue is full"):
        client.submit("f", background=background).result(LONG)
    assert client.run("f", "the connection goes on") == b"the connection goes on"


def test_progress_data_and_warnings_go_to_callbacks(fake, make_client):
    server = fake(one_job((WORK_STATUS, b"H:1", b"1", b"2"), (WORK_DATA, b"H:1", b"a"), (WORK_WARNING, b"H:1", b"!"),
                          (WORK_DATA, b"H:1", b"b"), (WORK_COMPLETE, b"H:1", b"c")))
    told = []
    task = make_client(server).submit("f", on_status=lambda *numbers: told.append(numbers), on_data=told.append,
                                      on_warning=told.append)
    assert task.result(LONG) == b"c"
    assert told == [(1, 2), b"a", b"!", b"b"]
    assert (task.progress, task.warnings) == ((1, 2), [b"!"])


def test_a_callback_may_use_the_client(fake, make_client):
    def script(peer):
        peer.receive()
        peer.send(JOB_CREATED, b"H:A")
        peer.send(WORK_DATA, b"H:A", b"part")
        peer.receive()
        peer.raw(pack_response(JOB_CREATED, b"H:B") + pack_response(WORK_COMPLETE, b"H:B", b"inner")
                 + pack_response(WORK_COMPLETE, b"H:A", b"outer"))
        return peer.receive()

    client = make_client(fake(script))
    inner = []
    assert client.submit("f", on_data=lambda data: inner.append(client.run("g", data, timeout=LONG))).result(LONG) == b"outer"
    assert inner == [b"inner"]


def test_a_callback_that_fails_hurts_nobody(fake, make_client, caplog):
    server = fake(one_job((WORK_DATA, b"H:1", b"a"), (WORK_DATA, b"H:1", b"b"), (WORK_COMPLETE, b"H:1", b"c")))
    told = []

    def careless(data):
        told.append(data)
        raise KeyError("oops")

    with caplog.at_level(logging.ERROR, "gearman_std.client"):
        assert make_client(server).submit("f", on_data=careless).result(LONG) == b"c"
    assert told == [b"a", b"b"]
    assert "oops" in caplog.text


def test_data_can_be_iterated_over_as_it_comes(fake, make_client):
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

    task = make_client(fake(script)).submit("f")
    stream = task.stream(LONG)
    assert next(stream) == b"one"
    may_go_on.set()
    assert list(stream) == [b"two", b"three"]
    assert task.result() == b"end"


def test_a_stream_ends_with_what_the_result_raises(fake, make_client):
    stream = make_client(fake(one_job((WORK_DATA, b"H:1", b"a"), (WORK_FAIL, b"H:1")))).submit("f").stream(LONG)
    assert next(stream) == b"a"
    with pytest.raises(JobFailed):
        next(stream)


def test_a_stream_that_dries_up_is_a_job_timeout(fake, make_client):
    stream = make_client(fake(one_job((WORK_DATA, b"H:1", b"a"))), job_timeout=0.1).submit("f").stream()
    assert next(stream) == b"a"
    with pytest.raises(JobTimeout):
        next(stream)


# ------------------------------------------------------------------------------------------------------------------------ width

def test_thousands_of_jobs_are_on_their_way_at_once_on_one_connection(fake, make_client):
    """The server answers none before it has seen all."""
    def script(peer):
        jobs = [peer.receive() for _ in range(5000)]
        peer.raw(b"".join(pack_response(JOB_CREATED, b"H:%d" % number) for number in range(5000)))
        for number in reversed(range(5000)):
            peer.send(WORK_COMPLETE, b"H:%d" % number, jobs[number][-1])
        return peer.receive()

    server = fake(script)
    client = make_client(server)
    tasks = client.submit_many(("f", b"%d" % number) for number in range(5000))
    assert len(tasks) == 5000
    done, pending = client.wait(tasks, LONG)
    assert (done, pending) == (tasks, [])
    assert [task.result() for task in tasks] == [b"%d" % number for number in range(5000)]
    assert len(server.connections) == 1


def test_any_and_all_of_many(fake, make_client):
    go_on = [threading.Event() for _ in range(3)]

    def script(peer):
        for number in range(4):
            peer.receive()
            peer.send(JOB_CREATED, b"H:%d" % number)
        for number, event in zip((2, 0, 1), go_on):
            assert event.wait(LONG)
            peer.send(WORK_COMPLETE, b"H:%d" % number, b"r%d" % number)
        return peer.receive()

    client = make_client(fake(script))
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
    assert all(not task._listeners for task in tasks)


def test_map_keeps_the_order_and_never_has_too_many_in_flight(fake, make_client):
    def script(peer):
        most, open_jobs, count = 0, [], 0
        while True:
            if not select.select([peer.socket], [], [], 0.05 if open_jobs else None)[0]:
                for handle, workload in reversed(open_jobs):
                    peer.send(WORK_COMPLETE, handle, workload)
                open_jobs = []
                continue
            data = peer.hear()
            if not data:
                return most, count
            for packet_type, arguments in peer.reader.feed(data):
                if packet_type == SUBMIT_JOB:
                    count += 1
                    open_jobs.append((b"H:%d" % count, arguments[2]))
                    most = max(most, len(open_jobs))
                    peer.send(JOB_CREATED, b"H:%d" % count)
                else:
                    peer.send(OPTION_RES, b"exceptions")

    server = fake(script)
    client = make_client(server)
    workloads = [b"%d" % number for number in range(35)]
    assert list(client.map("f", iter(workloads), in_flight=10)) == workloads
    client.close()
    most, count = server.outcome()
    assert (most, count) == (10, 35)


@pytest.mark.parametrize("count, in_flight", [(0, 1), (1, 1), (5, 1), (5, 2), (10, 10), (20, 10), (3, 10)])
def test_map_of_any_length(fake, make_client, count, in_flight):
    client = make_client(fake())
    assert list(client.map("f", [b"%d" % number for number in range(count)], in_flight=in_flight)) == [
        b"%d" % number for number in range(count)]


def test_the_workloads_of_a_map_may_come_from_jobs(fake, make_client):
    """What the user hands in is run with no lock held."""
    client = make_client(fake())
    workloads = (client.run("g", b"%d" % number, timeout=LONG) for number in range(20))
    assert list(client.map("f", workloads, in_flight=4)) == [b"%d" % number for number in range(20)]


def test_a_client_may_be_used_from_many_threads(fake, make_client):
    client = make_client(fake(), fake())

    def many(thread):
        for number in range(100):
            workload = b"%d/%d" % (thread, number)
            assert client.run("f", workload, timeout=LONG) == workload
        return True

    assert in_threads(16, many) == [True] * 16
    assert (client._others, client._poller) == ([], None)


def test_who_waits_longer_reads_when_the_reader_has_its_result(fake, make_client):
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
    client = make_client(fake(script))

    def one(thread):
        result = client.run("f", b"%d" % thread, timeout=LONG)
        finished.put(b"%d" % thread)
        return result

    assert in_threads(8, one) == [b"r%d" % thread for thread in range(8)]


def test_a_time_out_of_one_thread_leaves_the_others_waiting(fake, make_client):
    timed_out = threading.Event()

    def script(peer):
        jobs = [peer.receive() for _ in range(2)]
        peer.raw(b"".join(pack_response(JOB_CREATED, job[-1]) for job in jobs))
        assert timed_out.wait(LONG)
        peer.send(WORK_COMPLETE, b"patient", b"")
        return peer.receive()

    client = make_client(fake(script))

    def one(thread):
        if thread:
            return client.run("f", b"patient", timeout=LONG)
        with pytest.raises(JobTimeout):
            client.run("f", b"hasty", timeout=0.1)
        timed_out.set()
        return None

    assert in_threads(2, one) == [None, b""]


def test_the_executor_is_one_of_concurrent_futures(fake, make_client):
    client = make_client(fake())
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


def test_a_submit_waits_while_much_is_unsent(fake, make_client):
    """A server that reads slowly holds back who submits, instead of filling the client's memory."""
    may_read = threading.Event()

    def script(peer):
        assert may_read.wait(LONG)
        return len(obey(peer))

    server = fake(script)
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


# -------------------------------------------------------------------------------------------------------------------- time-outs

@pytest.fixture
def silent():
    """The address of a listener that answers nothing, not even who connects, like a host behind a firewall."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    fillers = []
    for _ in range(3):
        fillers.append(socket.socket())
        fillers[-1].setblocking(False)
        fillers[-1].connect_ex(listener.getsockname())
    yield "127.0.0.1:%d" % listener.getsockname()[1]
    for one in fillers + [listener]:
        one.close()


def be_silent(peer):
    """Accept everything, answer nothing."""
    while peer.hear():
        continue


@pytest.mark.parametrize("call", [
    lambda client: client.run("f"), lambda client: client.submit("f", background=True), lambda client: client.ping(),
    lambda client: client.status("H:1"), lambda client: client.status_unique("u"),
    lambda client: client.submit("f", require_worker=True),
])
def test_no_server(nowhere, silent, make_client, call):
    with pytest.raises(NoServer, match="refused") as caught:
        call(make_client(nowhere))
    assert not isinstance(caught.value, ConnectTimeout)
    with pytest.raises(NoServer):
        call(make_client(silent, connect_timeout=0.1))


def test_a_connect_timeout_is_its_own_error(silent, make_client):
    with pytest.raises(ConnectTimeout, match="within 0.1 s"):
        make_client(silent, connect_timeout=0.1).run("f")


def test_a_silent_server_does_not_use_up_the_time_of_the_others(silent, fake, make_client):
    client = make_client(silent, fake(), connect_timeout=0.4)
    for number in range(4):
        assert client.run("f", b"%d" % number, timeout=LONG) == b"%d" % number


@pytest.mark.parametrize("call", [
    lambda client: client.run("f"), lambda client: client.submit("f").handle,
    lambda client: client.submit("f", background=True), lambda client: client.submit("f").wait(LONG) and client.submit("f", unique="u", background=True),
    lambda client: client.ping(), lambda client: client.status("H:1"), lambda client: client.status_unique("u"),
    lambda client: list(client.map("f", [b"1", b"2"])), lambda client: next(client.submit("f").stream()),
    lambda client: client.submit("f", require_worker=True),
])
def test_a_server_that_does_not_answer_is_a_command_timeout(fake, make_client, call):
    """Also for a foreground job without a job time-out: JOB_CREATED is the answer to a command."""
    client = make_client(fake(be_silent), command_timeout=0.15)
    began = time.monotonic()
    with pytest.raises(CommandTimeout, match="within 0.15 s"):
        call(client)
    assert 0.14 < time.monotonic() - began < 5


@pytest.mark.parametrize("call", [lambda client: client.run("f"), lambda client: client.submit("f", background=True),
                                  lambda client: client.ping()])
def test_bytes_that_trickle_do_not_put_the_command_timeout_off(fake, make_client, call):
    over = threading.Event()

    def trickle(peer):
        peer.receive()
        for byte in b"\0RES" + b"\0\0\0\x08" + b"\0\0\0\x40" + b"H" * 64:
            if over.wait(0.05):
                return
            peer.raw(bytes([byte]))

    client = make_client(fake(trickle), command_timeout=0.3)
    began = time.monotonic()
    try:
        with pytest.raises(CommandTimeout):
            call(client)
        assert time.monotonic() - began < 2
    finally:
        over.set()


def test_a_job_that_takes_long_is_no_command_timeout(fake, make_client):
    def slow(peer):
        peer.receive()
        peer.send(JOB_CREATED, b"H:1")
        assert not select.select([peer.socket], [], [], 0.3)[0]
        peer.send(WORK_COMPLETE, b"H:1", b"at last")
        return peer.receive()

    assert make_client(fake(slow), command_timeout=0.1).run("f") == b"at last"


def test_each_answer_gives_the_next_command_its_own_time(fake, make_client):
    def steady(peer):
        for number in range(6):
            peer.receive()
        for number in range(6):
            assert not select.select([peer.socket], [], [], 0.1)[0]
            peer.send(JOB_CREATED, b"H:%d" % number)
            peer.send(WORK_COMPLETE, b"H:%d" % number, b"")
        return peer.receive()

    client = make_client(fake(steady), command_timeout=0.4)
    assert [task.result() for task in client.submit_many([("f", b"")] * 6)] == [b""] * 6


def test_answers_that_waited_while_nobody_read_are_in_time(fake, make_client):
    """A client has no thread that reads while its owner does something else."""
    clock, answered = Clock(), threading.Event()

    def script(peer):
        peer.receive()
        peer.send(JOB_CREATED, b"H:1")
        peer.send(WORK_COMPLETE, b"H:1", b"in time")
        answered.set()
        return peer.receive()

    client = make_client(fake(script), clock=clock, command_timeout=10.0)
    task = client.submit("f")
    assert answered.wait(LONG)
    clock.now += 60
    assert task.result() == b"in time"


def test_after_a_command_timeout_another_server_is_asked(fake, make_client):
    hung, good = fake(be_silent), fake()
    client = make_client(hung, good, command_timeout=0.1, random=Unrandom)
    results = []
    for number in range(6):
        try:
            results.append(client.run("f", b"x"))
        except CommandTimeout:
            results.append(None)
    assert results.count(None) == 1
    assert results[-1] == b"x"


def test_a_job_timeout_is_its_own_error(fake, make_client):
    server = fake(one_job())
    client = make_client(server, job_timeout=0.1)
    task = client.submit("f")
    with pytest.raises(JobTimeout, match="no result of f within 0.1 s") as caught:
        task.result()
    assert caught.value.handle == b"H:1"
    with pytest.raises(JobTimeout, match="within 0.05 s"):
        task.result(0.05)
    with pytest.raises(JobTimeout):
        task.exception()
    assert not task.done() and not task.wait(0)


def test_a_time_out_that_is_endless(fake, make_client):
    client = make_client(fake(), connect_timeout=None, command_timeout=None, job_timeout=float("inf"))
    assert client.run("f", "x") == b"x"
    assert client.submit("f", "x").result(1e12) == b"x"


def test_asking_again_and_again_takes_in_what_has_arrived(fake, make_client):
    """done() and wait(0) make progress, so that a loop around them ends."""
    for ask_task in (lambda task: task.done(), lambda task: task.wait(0)):
        task = make_client(fake()).submit("f", b"x")
        deadline = time.monotonic() + LONG
        while not ask_task(task):
            assert time.monotonic() < deadline
        assert task.result() == b"x"


# ----------------------------------------------------------------------------------------------------- the truth about a submit

def once(*scripts):
    """A script of which each connection plays the next part."""
    parts = iter(scripts)
    return lambda peer: next(parts)(peer)


def vanish(peer):
    """Take one job and close the connection without an answer."""
    return peer.receive()


def test_confirmed_and_lost(fake, make_client):
    def script(peer):
        peer.receive()
        peer.send(JOB_CREATED, b"H:1")

    client = make_client(fake(script))
    task = client.submit("f", unique="u")
    assert task.handle == b"H:1"
    with pytest.raises(ServerLost, match="closed the connection") as caught:
        task.result(LONG)
    assert caught.value.sent == "confirmed"


@pytest.mark.parametrize("background", [False, True])
def test_sent_but_not_confirmed_is_not_sent_again_without_a_unique(fake, make_client, background):
    server = fake(once(vanish, obey))
    client = make_client(server)
    with pytest.raises(ServerLost) as caught:
        client.submit("f", b"w", background=background).result(LONG)
    assert caught.value.sent == "unconfirmed"
    assert len(server.connections) == 1


@pytest.mark.parametrize("background", [False, True])
def test_sent_but_not_confirmed_is_sent_again_with_a_unique(fake, make_client, background):
    server = fake(once(vanish, vanish, obey))
    client = make_client(server)
    task = client.submit("f", b"w", unique="u", background=background)
    assert task.result(LONG) == (None if background else b"w")
    packet = (SUBMIT_JOB_BG if background else SUBMIT_JOB, b"f", b"u", b"w")
    client.close()
    assert [server.outcome(), server.outcome(), server.outcome()] == [packet, packet, [packet]]


def test_what_never_left_is_sent_again(fake, make_client):
    """The first job's end did not leave, so no server can have queued any of them."""
    got_some = threading.Event()

    def read_a_little(peer):
        peer.hear()
        got_some.set()

    server = fake(once(read_a_little, obey))
    client = make_client(server)
    client.submit("f", bytes(20000000))  # waits until it is nearly sent
    tasks = client.submit_many([("f", b"1"), ("f", b"2")])
    assert got_some.is_set()
    assert [task.result(LONG) for task in tasks] == [b"1", b"2"]


def test_the_truth_survives_a_failing_second_try(fake, make_client):
    server = fake(lambda peer: (hang_up(server.listener), vanish(peer))[-1])
    client = make_client(server)
    with pytest.raises(ServerLost, match="cannot connect .*before that, .* closed the connection") as caught:
        client.submit("f", b"w", unique="u").result(LONG)
    assert caught.value.sent == "unconfirmed"


def test_a_job_is_not_sent_again_for_ever(fake, make_client):
    server = fake(vanish)
    with pytest.raises(ServerLost) as caught:
        make_client(server).run("f", unique="u", timeout=LONG)
    assert caught.value.sent == "unconfirmed"
    assert 2 < len(server.connections) < 20


def test_a_command_timeout_is_not_followed_by_a_second_try(fake, make_client):
    """The caller has been told, so the job must not start behind its back."""
    server = fake(once(be_silent, obey))
    client = make_client(server, command_timeout=0.1)
    with pytest.raises(CommandTimeout) as caught:
        client.submit("f", unique="u", background=True)
    assert caught.value.sent == "unconfirmed"
    client.ping()
    client.close()
    server.outcome()
    assert server.outcome() == [(ECHO_REQ, b"ping")]


def test_a_lost_server_ends_every_wait(fake, make_client):
    def script(peer):
        for number in range(3):
            peer.receive()
            peer.send(JOB_CREATED, b"H:%d" % number)
        ready.wait(LONG)

    ready = threading.Event()
    client = make_client(fake(script))
    tasks = client.submit_many([("f", b"")] * 3)

    def wait(thread):
        if thread == 2:
            ready.set()
        return tasks[thread].exception(LONG)

    assert [error.sent for error in in_threads(3, wait)] == ["confirmed"] * 3


def test_closing_ends_every_wait(fake, make_client):
    client = make_client(fake(one_job()))
    task = client.submit("f")
    errors = []
    threads = [threading.Thread(target=lambda: errors.append(task.exception())) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert task.handle == b"H:1"
    client.close()
    for thread in threads:
        thread.join(LONG)
    assert [(type(error), error.sent) for error in errors] == [(ServerLost, "confirmed")] * 3
    with pytest.raises(NoServer, match="closed"):
        client.submit("f")
    client.close()


# ------------------------------------------------------------------------------------------------------------------ bad replies

@pytest.mark.parametrize("reply, shown", [
    (b"HTTP/1.1 400 Bad Request\r\n\r\n", "HTTP/1.1 400"),
    (b"\0RES\0\0\0\x63\0\0\0\0", "99"),
    (b"\0XXX\0\0\0\x08\0\0\0\0", "XXX"),
    (b"\0RES\0\0\0\x08\xff\xff\xff\xff", "JOB_CREATED of 4294967295 bytes"),
    (pack_response(OPTION_RES, b"exceptions") + pack_response(JOB_CREATED, b""), "without a handle"),
    (pack_response(OPTION_RES, b"exceptions") + pack_response(STATUS_RES, b"H:77", b"1", b"1", b"0", b"0"), "H:77"),
    (b"\0RES\0\0\0\x14\0\0\0\x03H:1", "STATUS_RES"),
    (pack_response(JOB_CREATED, b"H:1") + pack_response(JOB_CREATED, b"H:2"), "H:2"),
])
def test_replies_that_make_no_sense_are_a_protocol_error_that_shows_them(fake, make_client, reply, shown):
    def script(peer):
        peer.hear()
        peer.raw(reply)
        return peer.hear()

    client = make_client(fake(script))
    with pytest.raises(ProtocolError) as caught:
        client.run("f", unique="u", timeout=LONG)
    assert shown in str(caught.value)


def test_any_garbage_is_an_error_and_never_a_hang(fake, make_client):
    rng = random.Random(7)
    replies = [bytes(rng.randrange(256) for _ in range(rng.randrange(1, 80))) for _ in range(15)]
    good = (pack_response(OPTION_RES, b"exceptions") + pack_response(JOB_CREATED, b"H:1")
            + pack_response(WORK_COMPLETE, b"H:1", b"x"))
    for _ in range(25):
        reply = bytearray(good)
        reply[rng.randrange(len(reply))] = rng.randrange(256)
        replies.append(bytes(reply))
    left = iter(replies)

    def script(peer):
        peer.hear()
        peer.raw(next(left))

    server = fake(script)
    for _ in replies:
        try:
            make_client(server).run("f", timeout=LONG)
        except JobTimeout:
            raise
        except GearmanError:
            continue


# -------------------------------------------------------------------------------------------------------------- several servers

def place_of(client, function, unique, workload=b""):
    """The index of the server to which a job would go."""
    task = client._make_task(function, workload, unique)
    return client._links.index(client._candidates(task)[0])


PLACES = [3, 2, 4, 1, 4, 4, 4, 3, 0, 3, 3, 3]  # of photo-0 to photo-11 among NAMES
NAMES = ["10.0.0.%d:4730" % number for number in range(1, 6)]


def test_a_unique_names_the_same_server_in_every_process():
    """The places are written down here, as they must be the same for all versions and machines for ever."""
    with Client(NAMES) as client:
        assert [place_of(client, "resize", "photo-%d" % number) for number in range(12)] == PLACES
    with Client(NAMES[::-1]) as backwards:
        assert [4 - place_of(backwards, "resize", "photo-%d" % number) for number in range(12)] == PLACES


def test_another_process_picks_the_same_server():
    program = ("from gearman_std.client import Client\nc = Client(%r)\n"
               "tasks = [c._make_task('resize', b'', 'photo-%%d' %% number) for number in range(12)]\n"
               "print([c._links.index(c._candidates(task)[0]) for task in tasks])" % NAMES)
    for seed in ("1", "2"):
        output = subprocess.check_output([sys.executable, "-c", program], env=dict(os.environ, PYTHONHASHSEED=seed))
        assert json.loads(output.decode()) == PLACES


def test_every_server_has_its_share_and_losing_one_moves_only_that():
    uniques = ["u%d" % number for number in range(5000)]
    with Client(NAMES) as all_five, Client(NAMES[:4]) as four:
        before = [place_of(all_five, "f", unique) for unique in uniques]
        after = [place_of(four, "f", unique) for unique in uniques]
    for share in collections.Counter(before).values():
        assert 600 < share < 1400
    assert all(new == old for old, new in zip(before, after) if old != 4)
    moved = collections.Counter(new for old, new in zip(before, after) if old == 4)
    assert len(moved) == 4


def test_the_function_counts_too():
    with Client(NAMES) as client:
        assert len({place_of(client, "f%d" % number, "same") for number in range(50)}) == 5


def test_a_dash_means_the_workload():
    with Client(NAMES) as client:
        assert len({place_of(client, "f", "-", b"w%d" % number) for number in range(50)}) == 5
        assert len({place_of(client, "f", "-", b"same") for _ in range(50)}) == 1


def test_equal_jobs_meet_on_one_server_and_others_are_spread(fake, make_client):
    servers = [fake() for _ in range(3)]
    clients = [make_client(*servers), make_client(*servers[::-1])]
    for number in range(6):
        assert len({client.submit("f", unique="same-%d" % number, background=True).server for client in clients}) == 1
    spread = collections.Counter(clients[0].submit("f", background=True).server for _ in range(30))
    assert sorted(spread.values()) == [10, 10, 10]


def test_a_dead_server_is_skipped_and_rejoined(fake, make_client, caplog):
    held, address = unused_address()
    good, clock = fake(), Clock()
    client = make_client(address, good, clock=clock, random=Unrandom)
    dead = client._links[0]
    with caplog.at_level(logging.INFO, "gearman_std.client"):
        assert {client.submit("f", background=True).server for _ in range(6)} == {good.name}
    assert dead.failures == 1 and dead.retry_at == clock.now + 0.5
    for failures, pause in ((2, 1.0), (3, 2.0), (4, 4.0), (5, 8.0), (6, 16.0), (7, 30.0), (8, 30.0)):
        clock.now = dead.retry_at
        assert {client.submit("f", background=True).server for _ in range(4)} == {good.name}
        assert (dead.failures, dead.retry_at) == (failures, clock.now + pause)
    held.close()
    clock.now = dead.retry_at - 0.001
    back = fake(obey, ("127.0.0.1", int(address.split(":")[1])))
    assert {client.submit("f", background=True).server for _ in range(6)} == {good.name}
    clock.now += 0.001
    assert {client.submit("f", background=True).server for _ in range(6)} == {good.name, back.name}
    assert dead.failures == 0


def test_the_pauses_are_jittered(make_client, nowhere):
    pauses = set()
    for seed in range(20):
        clock = Clock()
        client = make_client(nowhere, clock=clock, random=random.Random(seed))
        with pytest.raises(NoServer):
            client.submit("f")
        pauses.add(client._links[0].retry_at - clock.now)
    assert len(pauses) == 20
    assert 0.25 <= min(pauses) < 0.4 and 0.6 < max(pauses) <= 0.75


def test_while_its_server_is_dead_a_unique_has_one_other_server(fake, make_client, nowhere):
    servers = [nowhere, fake(), fake()]
    client = make_client(*servers)
    for number in range(10):
        assert len({client.submit("f", unique="u%d" % number, background=True).server for _ in range(3)}) == 1


def test_only_dead_servers_are_tried_all_the_same(nowhere, make_client):
    held, other = unused_address()
    client = make_client(nowhere, other, clock=Clock())
    for _ in range(3):
        with pytest.raises(NoServer):
            client.submit("f")
    assert [link.failures for link in client._links] == [3, 3]
    held.close()


def test_names_are_resolved_again(fake, make_client, monkeypatch):
    first, second = fake(once(vanish)), fake()
    homes = {"gear": first}
    resolve = socket.getaddrinfo

    def getaddrinfo(host, port, *arguments, **options):
        return resolve(*homes[host].address, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    client = make_client("gear:1")
    with pytest.raises(ServerLost):
        client.run("f", "x", timeout=LONG)
    homes["gear"] = second
    assert client.run("f", "x", timeout=LONG) == b"x"


def test_who_waits_for_another_threads_attempt_to_connect_shares_its_outcome(make_client, silent):
    client = make_client(silent, connect_timeout=0.2)
    began = time.monotonic()

    def run(thread):
        with pytest.raises(NoServer):
            client.run("f")
        return True

    assert in_threads(8, run) == [True] * 8
    assert time.monotonic() - began < 1.5


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


def test_the_status_of_a_job_from_another_process(fake, make_client):
    client = make_client(fake(knows()), fake(knows(b"H:1", b"u")))
    assert client.status("H:1") == JobStatus(True, True, 3, 4, None)
    assert client.status_unique("u") == JobStatus(True, True, 3, 4, 2)
    assert client.status("H:2") == JobStatus(False, False, 0, 0, None)
    assert client.status_unique("v") == JobStatus(False, False, 0, 0, 0)


def test_the_status_may_be_asked_of_one_server(fake, make_client):
    servers = [fake(knows()), fake(knows(b"H:1"))]
    client = make_client(*servers)
    assert client.status("H:1", servers[1].name).known
    assert not client.status("H:1", servers[0].name).known


def test_an_unknown_job_may_be_on_the_server_that_is_down(fake, make_client, nowhere):
    client = make_client(nowhere, fake(knows(b"H:1")))
    assert client.status("H:1").known
    with pytest.raises(NoServer):
        client.status("H:2")


def test_a_task_knows_its_status(fake, make_client):
    def script(peer):
        peer.receive()
        peer.send(JOB_CREATED, b"H:1")
        assert peer.receive() == (GET_STATUS, b"H:1")
        peer.send(STATUS_RES, b"H:1", b"1", b"0", b"0", b"0")
        return peer.receive()

    assert make_client(fake(script)).submit("f").status() == JobStatus(True, False, 0, 0, None)


def test_ping(fake, make_client, nowhere):
    server = fake()
    client = make_client(nowhere, server)
    assert 0 <= client.ping() < LONG
    assert 0 <= client.ping(server.name, b"") < LONG
    with pytest.raises(NoServer):
        client.ping(nowhere)


def test_a_ping_that_comes_back_different_is_a_protocol_error(fake, make_client):
    def script(peer):
        peer.receive()
        peer.send(ECHO_RES, b"pong")
        return peer.receive()

    with pytest.raises(ProtocolError, match="pong"):
        make_client(fake(script)).ping()


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


def test_no_worker_is_an_error_on_request(fake, make_client):
    client = make_client(fake(with_workers(f=1, idle=0)))
    assert client.run("f", b"x", require_worker=True) == b"x"
    for function in ("idle", "unknown"):
        with pytest.raises(NoWorker, match="no worker can do %s" % function) as caught:
            client.submit(function, require_worker=True)
        assert isinstance(caught.value, JobError)
    assert client.submit("unknown", background=True).handle


def test_of_several_servers_the_one_with_a_worker_gets_the_job(fake, make_client, nowhere):
    servers = [fake(with_workers()), fake(with_workers(f=1)), nowhere]
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


def test_a_job_is_tried_again_on_request(fake, make_client):
    pauses = []
    client = make_client(fake(fails_then_works(4)), sleep=pauses.append, random=Unrandom)
    assert client.run("f", b"x", attempts=5, backoff=1.0, backoff_max=5.0, timeout=LONG) == b"x"
    assert pauses == [1.0, 2.0, 4.0, 5.0]


def test_the_pauses_between_tries_are_jittered(fake, make_client):
    pauses = []
    client = make_client(fake(fails_then_works(30)), sleep=pauses.append)
    client.run("f", b"x", attempts=31, backoff=1.0, backoff_max=1.0)
    assert len(set(pauses)) == 30
    assert 0.5 <= min(pauses) and max(pauses) <= 1.5


def test_the_last_try_raises(fake, make_client):
    pauses = []
    client = make_client(fake(fails_then_works(3)), sleep=pauses.append)
    with pytest.raises(JobFailed, match="not yet"):
        client.run("f", attempts=3)
    assert len(pauses) == 2
    with pytest.raises(ValueError):
        client.run("", attempts=3)
    assert len(pauses) == 2


def test_each_try_has_its_own_time(fake, make_client):
    def script(peer):
        peer.receive()
        peer.send(JOB_CREATED, b"F:1")
        peer.receive()
        peer.send(JOB_CREATED, b"F:2")
        peer.send(WORK_COMPLETE, b"F:2", b"second")
        return peer.receive()

    client = make_client(fake(script), sleep=lambda seconds: None)
    assert client.run("f", attempts=2, try_timeout=0.1, timeout=LONG) == b"second"


def test_all_tries_together_have_a_time_too(fake, make_client):
    clock = Clock()
    pauses = []

    def sleep(seconds):
        pauses.append(seconds)
        clock.now += seconds

    client = make_client(fake(fails_then_works(100)), clock=clock, sleep=sleep, random=Unrandom)
    with pytest.raises((JobFailed, JobTimeout)):
        client.run("f", attempts=100, backoff=2.0, timeout=5.0)
    assert pauses == [2.0, 3.0]


@pytest.mark.parametrize("refusal", ["lost", "full", "nowhere"])
def test_what_is_worth_a_second_try(fake, make_client, refusal):
    def full(peer):
        peer.receive()
        peer.send(ERROR, b"QUEUE_ERROR", b"Job queue is full")
        return obey(peer)

    if refusal == "nowhere":
        held, address = unused_address()
        port = int(address.split(":")[1])

        def sleep(seconds):
            held.close()
            fake(obey, ("127.0.0.1", port))
        client = make_client(address, sleep=sleep)
    else:
        client = make_client(fake(once(vanish, obey) if refusal == "lost" else full), sleep=lambda seconds: None)
    assert client.run("f", b"x", attempts=2) == b"x"


# ----------------------------------------------------------------------------------------------------------------- real servers

class WorkerThread:
    """A Worker at work in a thread for a ``with`` block."""

    def __init__(self, servers, **functions):
        self.worker = Worker(servers, threads=4)
        for name, function in functions.items():
            self.worker.register(name, function)
        self.thread = threading.Thread(target=self.worker.work)

    def __enter__(self):
        self.thread.start()
        return self.worker

    def __exit__(self, *exception):
        self.worker.stop()
        self.thread.join(LONG)
        assert not self.thread.is_alive()


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
    with WorkerThread(real_server, echo=lambda job: job.workload, tell=tell_all, fail=fail):
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
    with WorkerThread(real_server, once=once_only):
        tasks = [client.submit("once", b"%d" % number, unique="u") for number in range(5)]
        assert len({task.handle for task in tasks}) == 1
        go_on.set()
        assert [task.result(LONG) for task in tasks] == [b"shared"] * 5
    assert len(runs) == 1


def test_every_job_ends_once_while_servers_are_killed_and_restarted(processes, make_client):
    """Thousands of jobs under way; each ends as its result or as an error that says what is known."""
    program = ("import sys\nfrom gearman_std.server import Server\n"
               "Server(port=int(sys.argv[1]), listen=['127.0.0.1']).serve()")
    held = [unused_address() for _ in range(2)]
    ports = [address.split(":")[1] for _, address in held]
    for one, _ in held:
        one.close()
    running = [processes.start_server([sys.executable, "-c", program, port], int(port)) for port in ports]
    servers = ["127.0.0.1:" + port for port in ports]
    over = threading.Event()
    kills = []

    def kill_and_restart():
        while not over.wait(0.1):
            turn = len(kills) % 2
            kills.append(turn)
            running[turn].kill()
            running[turn].wait()
            running[turn] = processes.start_server([sys.executable, "-c", program, ports[turn]], int(ports[turn]))

    killer = threading.Thread(target=kill_and_restart)
    client = make_client(*servers)
    endings, batch = collections.Counter(), 0
    with WorkerThread(servers, echo=lambda job: job.workload):
        killer.start()
        try:
            while len(kills) < 8 or batch < 8:
                batch += 1
                tasks = []
                for number in range(500):
                    try:
                        unique = "%d-%d" % (batch, number) if number % 2 else None
                        tasks.append(client.submit("echo", b"%d" % number, unique=unique))
                    except NoServer:
                        endings["NoServer"] += 1
                        tasks.append(None)
                seen = set()
                for task in client.as_completed([task for task in tasks if task is not None], 60):
                    assert task not in seen
                    seen.add(task)
                    error = task.exception(0)
                    if error is None:
                        assert task.result() == b"%d" % tasks.index(task)
                        endings["result"] += 1
                    else:
                        assert isinstance(error, (ServerLost, NoServer, JobFailed)), error
                        endings[type(error).__name__ + " " + getattr(error, "sent", "")] += 1
        finally:
            over.set()
            killer.join(LONG)
    assert sum(endings.values()) == 500 * batch
    assert endings["result"] > 200 * batch, endings
    assert [link.session._tasks for link in client._links if link.connection is not None] == [
        {} for link in client._links if link.connection is not None]
