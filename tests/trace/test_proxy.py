"""The proxy over real sockets: it changes nothing, and passes bytes on whatever happens to either end."""
import contextlib
import hashlib
import os
import socket
import struct
import threading

import pytest

from client_tools import CERTIFICATE, KEY, LONG
from gearman_std.client.client import Client
from gearman_std.server.listeners import open_listeners
from gearman_std.server.server import Server
from gearman_std.trace.proxy import Proxy, Upstream
from gearman_std.trace.tracer import Tracer
from gearman_std.wire.protocol import ECHO_REQ, pack_request
from gearman_std.worker.worker import Worker
from patience import until
from server_tools import receive
from worker_tools import AtWork

HERE = "127.0.0.1"
TLS = {"certificate": CERTIFICATE, "key": KEY}


class Running:
    """A proxy in a thread, and what it has told."""

    def __init__(self, upstream, place=(HERE, 0), tls=None, tracer=None):
        self.records = []
        self.complaints = []
        self.listeners = open_listeners([(place, False, "")], 1024)
        upstream = Upstream(upstream, tls)
        self.proxy = Proxy([(one, upstream) for one in self.listeners], tracer or Tracer([self.records.append]),
                           self.complaints.append)
        self.address = self.listeners[0].address
        self.thread = threading.Thread(target=self.proxy.run)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *error):
        self.proxy.stop()
        self.thread.join(LONG)
        self.proxy.close()
        assert not self.thread.is_alive()

    def names(self):
        return [record.name for record in self.records]

    def until(self, name, count=1):
        """Wait until there are `count` records of a name."""
        until(lambda: self.names().count(name) >= count)


@contextlib.contextmanager
def pair(**options):
    """(client's socket, server's socket, proxy), connected through the proxy."""
    with socket.socket() as listening:
        listening.bind((HERE, 0))
        listening.listen(5)
        with Running(listening.getsockname(), **options) as running:
            with socket.create_connection(running.address, LONG) as client:
                server, _ = listening.accept()
                server.settimeout(LONG)
                with server:
                    yield client, server, running


def receive_all(connected):
    pieces = []
    while True:
        piece = connected.recv(1 << 20)
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)


def test_bytes_pass_in_both_directions():
    with pair() as (client, server, running):
        client.sendall(b"status\n")
        assert receive(server, 7) == b"status\n"
        server.sendall(b".\n")
        assert receive(client, 2) == b".\n"
        running.until("status", 2)


def test_bytes_that_are_no_packets_pass_as_they_are():
    rubbish = bytes(range(256)) * 50 + b"\0REQ\0\0\0\x63\xff\xff\xff\xff" + os.urandom(50000)
    with pair() as (client, server, _):
        for end, other in ((client, server), (server, client)):
            end.sendall(rubbish)
            assert receive(other, len(rubbish)) == rubbish


@pytest.mark.parametrize("first", ["client", "server"])
def test_one_direction_ends_and_the_other_goes_on(first):
    with pair() as (client, server, running):
        one, other = (client, server) if first == "client" else (server, client)
        one.sendall(b"last words")
        one.shutdown(socket.SHUT_WR)
        assert receive_all(other) == b"last words"
        for number in range(3):
            other.sendall(b"%d" % number)
            assert receive(one, 1) == b"%d" % number
        other.close()
        assert receive_all(one) == b""
        running.until("over")
        assert running.names().count("ends") == 2


@pytest.mark.parametrize("first", ["client", "server"])
def test_who_breaks_a_connection_breaks_it_for_the_other(first):
    with pair() as (client, server, running):
        one, other = (client, server) if first == "client" else (server, client)
        one.sendall(b"x")
        assert receive(other, 1) == b"x"
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        one.close()
        with pytest.raises(ConnectionResetError):
            other.recv(1)
        running.until("resets")


def test_what_was_sent_before_a_connection_closes_arrives():
    """A server that refuses does this: it answers and closes while the client still sends."""
    with pair() as (client, server, running):
        server.sendall(b"no room\n")
        server.close()
        assert receive_all(client) == b"no room\n"
        with pytest.raises(OSError):
            for _ in range(1000):
                client.sendall(b"x" * 100000)
        running.until("over")


def test_a_slow_reader_holds_up_the_sender_and_loses_nothing():
    size = 64 << 20
    block = b"\0" + os.urandom((1 << 16) - 1)  # not lines of text, of which a record would be made each
    with pair() as (client, server, running):
        client.settimeout(0.2)
        sent = 0
        with pytest.raises(socket.timeout):
            while sent < size:
                sent += client.send(block[sent % len(block):])
        assert sent < size, "the proxy has taken all that nobody reads"
        client.settimeout(LONG)
        head, tail = hashlib.sha1(), hashlib.sha1()

        def read():
            taken = 0
            while taken < size:
                piece = server.recv(1 << 20)
                if not piece:
                    break
                taken += len(piece)
                tail.update(piece)
        thread = threading.Thread(target=read)
        thread.start()
        while sent < size:
            sent += client.send(block[sent % len(block):size - sent + sent % len(block)])
        thread.join(LONG)
        for _ in range(size // len(block)):
            head.update(block)
        assert head.digest() == tail.digest()
        assert all(len(end.waiting) <= 1 << 18 for link in running.proxy.links for end in (link.client, link.server))


def test_a_thousand_connections_at_once():
    try:
        import resource
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if 0 <= soft < 5000:
            if 0 <= hard < 5000:
                pytest.skip("only %d open files are allowed" % hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (5000, hard))
    except ImportError:
        pytest.skip("cannot tell how many open files are allowed")
    with Server(port=0, listen=[HERE]) as server, Running(server.address) as running, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(running.address, LONG)) for _ in range(1000)]
        for number, client in enumerate(clients):
            client.sendall(pack_request(ECHO_REQ, b"%04d" % number))
        for number, client in enumerate(clients):
            assert receive(client, 16)[12:] == b"%04d" % number
        assert len(running.proxy.links) == 1000
        for client in clients:
            client.close()
        running.until("over", 1000)
        assert not running.proxy.links and not running.complaints
    assert len({record.connection for record in running.records}) == 1000


def test_real_jobs_of_many_sizes():
    with Server(port=0, listen=[HERE]) as server, Running(server.address) as running:
        worker = Worker([running.address])
        worker.register("echo", lambda job: job.workload)
        with AtWork(worker), Client([running.address]) as client:
            for size in (0, 1, 100, 65535, 65536, 1 << 20, 64 << 20):
                data = b"0123456789abcdef" * (size // 16) + b"x" * (size % 16)
                assert client.run("echo", data, timeout=LONG) == data
    sizes = [record.last_size for record in running.records if record.name.startswith("SUBMIT_JOB")]
    assert sizes == [0, 1, 100, 65535, 65536, 1 << 20, 64 << 20]
    marks = [record.marks for record in running.records if record.marks]
    assert all("slow" in mark for record in marks for mark in record), marks


def test_a_server_that_is_not_there_closes_the_client():
    with socket.socket() as nobody:
        nobody.bind((HERE, 0))  # and does not listen
        with Running(nobody.getsockname()) as running:
            for _ in range(2):
                # The proxy may be faster than the client; then already the client's connect fails.
                with contextlib.suppress(ConnectionResetError), socket.create_connection(running.address, LONG) as client:
                    assert client.recv(1) == b""
            running.until("over", 2)
        assert len(running.complaints) == 1
        assert running.complaints[0].startswith("cannot connect to 127.0.0.1:%d: " % nobody.getsockname()[1])
        assert running.names() == ["connects", "fails", "over"] * 2


def test_unix_sockets_on_both_sides(tmp_path):
    with Server(port=0, listen=["unix:%s" % (tmp_path / "server")]):
        with Running((str(tmp_path / "server"), 0), place=(str(tmp_path / "proxy"), 0)) as running:
            with Client(["unix:%s" % (tmp_path / "proxy")]) as client:
                assert client.submit("f", b"x", background=True).handle
        assert "SUBMIT_JOB_BG" in running.names()


def test_tls_to_the_server():
    with Server(port=0, listen=[HERE], tls=TLS) as server, Running(server.address, tls={"ca": CERTIFICATE}) as running:
        with Client([running.address]) as client:
            assert client.submit("f", b"x" * 300000, background=True).handle
        with socket.create_connection(running.address, LONG) as client:
            client.sendall(b"version\n")
            client.shutdown(socket.SHUT_WR)
            assert receive_all(client).startswith(b"OK ")
    assert "SUBMIT_JOB_BG" in running.names() and "version" in running.names()


def test_tls_with_somebody_else_is_refused():
    tls = {"ca": CERTIFICATE, "hostname": "example.org"}
    with Server(port=0, listen=[HERE], tls=TLS) as server, Running(server.address, tls=tls) as running:
        with contextlib.suppress(ConnectionResetError):  # perhaps before it knows that it is connected
            with socket.create_connection(running.address, LONG) as client:
                assert client.recv(1) == b""
        running.until("over")
    assert len(running.complaints) == 1


def test_a_tracer_that_fails_does_not_stop_the_bytes():
    class Failing:
        def __getattr__(self, name):
            raise ValueError("oops")

    with pair(tracer=Failing()) as (client, server, running):
        client.sendall(b"x")
        assert receive(server, 1) == b"x"
        assert running.complaints[0] == "the trace of connection 1 is not complete: ValueError: oops"


def test_it_finishes_when_its_connections_have():
    with pair() as (client, server, running):
        running.proxy.finish(LONG)
        client.sendall(b"x")
        assert receive(server, 1) == b"x"
        client.close()
        server.close()
        running.thread.join(LONG)
        assert not running.thread.is_alive()


def test_it_finishes_without_those_that_do_not():
    with pair() as (client, _, running):
        running.proxy.finish(0.0)
        running.thread.join(LONG)
        assert not running.thread.is_alive()
        assert client.fileno() >= 0
