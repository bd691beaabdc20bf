"""One connection to one job server: real sockets on this machine, and doubles where the system must misbehave."""
import errno
import os
import socket
import ssl
import threading
import time
from decimal import Decimal
from fractions import Fraction

import pytest

from gearman_std.net.connection import Connection, Deadline, ask, check_timeout, make_waiter, open_connection
from gearman_std.errors import CommandTimeout, ConnectTimeout, NoServer, ServerLost

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CERTIFICATE, KEY = os.path.join(HERE, "tls_certificate.pem"), os.path.join(HERE, "tls_key.pem")


class Clock:
    """A clock that is set by hand."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def closing():
    """closing(thing) has it closed when the test ends."""
    things = []

    def closing(thing):
        things.append(thing)
        return thing
    yield closing
    for thing in reversed(things):
        thing.close()


@pytest.fixture
def listener(closing):
    listener = closing(socket.socket())
    listener.bind(("127.0.0.1", 0))
    listener.listen(8)
    listener.settimeout(10)
    return listener


@pytest.fixture
def pair(closing):
    """A Connection and the plain socket at its other end."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.settimeout(10)
    return closing(Connection(("test", 1), ours)), closing(theirs)


@pytest.fixture
def in_thread():
    """in_thread(function) runs it in a thread that the test's end waits for."""
    threads = []

    def in_thread(function, *arguments):
        threads.append(threading.Thread(target=function, args=arguments))
        threads[-1].start()
    yield in_thread
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


# Deadline

def test_a_deadline_counts_down_to_zero():
    clock = Clock()
    deadline = Deadline(2.0, clock)
    assert (deadline.left(), deadline.over) == (2.0, False)
    clock.now += 1.5
    assert (deadline.left(), deadline.over) == (0.5, False)
    clock.now += 1.5
    assert (deadline.left(), deadline.over) == (0.0, True)


@pytest.mark.parametrize("timeout", [None, float("inf"), 1e300, 10 ** 400, Decimal("Infinity")])
def test_without_a_time_out_a_deadline_never_comes(timeout):
    deadline = Deadline(timeout)
    assert (deadline.left(), deadline.over) == (None, False)


@pytest.mark.parametrize("timeout", [-1, -10 ** 400, -float("inf"), Decimal(-1), 0, False])
def test_a_time_out_before_now_is_over(timeout):
    deadline = Deadline(timeout)
    assert (deadline.left(), deadline.over) == (0.0, True)


@pytest.mark.parametrize("timeout", [Decimal("2.5"), Fraction(5, 2)])
def test_numbers_of_all_kinds_are_seconds(timeout):
    assert Deadline(timeout, Clock()).left() == 2.5 == check_timeout("timeout", timeout)


@pytest.mark.parametrize("timeout, error", [
    (float("nan"), ValueError), (Decimal("nan"), ValueError), (Decimal("snan"), ValueError), ("5", TypeError),
    (b"5", TypeError), (1j, TypeError), ([], TypeError)])
def test_a_time_out_is_a_number(timeout, error):
    with pytest.raises(error, match="timeout is .*, not a number of seconds"):
        Deadline(timeout)


# sending and receiving

def test_what_was_put_leaves_at_the_flush(pair):
    connection, peer = pair
    connection.put(b"one ", b"two")
    assert (connection.queued, connection.sent, connection.unsent, connection.pieces) == (7, 0, True, 2)
    assert connection.flush()
    assert (connection.queued, connection.sent, connection.unsent, connection.pieces) == (7, 7, False, 0)
    assert peer.recv(100) == b"one two"


def test_a_flush_does_not_wait_and_loses_nothing(pair):
    connection, peer = pair
    pieces = [bytes([number % 256]) * (1 + number * 37 % 40000) for number in range(600)]
    connection.put(*pieces)
    received = bytearray()
    while not connection.flush():
        assert connection.sent + sum(map(len, connection._outgoing)) == connection.queued
        received += peer.recv(100000)
    peer.setblocking(False)
    while len(received) < connection.queued:
        received += peer.recv(1000000)
    assert received == b"".join(pieces)


def test_a_large_piece_is_sent_without_a_copy():
    """Only the system's own buffer takes bytes out of the workload."""
    class Socket:
        def __init__(self):
            self.taken = []

        def sendmsg(self, pieces):
            self.taken.append(pieces)
            if len(self.taken) == 1:
                return 100000
            raise BlockingIOError()

        send = None

    double, workload = Socket(), bytes(1000000)
    connection = Connection(("test", 1), double)
    connection.put(b"head", workload, b"next")
    assert not connection.flush()
    assert [piece.obj if isinstance(piece, memoryview) else piece for piece in double.taken[0]][1] is workload
    assert double.taken[1][0].obj is workload
    assert len(double.taken[1][0]) == 1000004 - 100000


def test_a_system_without_sendmsg(pair):
    connection, peer = pair
    connection._send_pieces = None
    connection.put(b"x" * 20000, b"y" * 20000)
    assert connection.flush()
    received = b""
    while len(received) < 40000:
        received += peer.recv(40000)
    assert received == b"x" * 20000 + b"y" * 20000


def test_receiving_does_not_wait(pair):
    connection, peer = pair
    assert connection.receive() is None
    peer.sendall(b"bytes")
    assert connection.receive() == b"bytes"
    room = bytearray(3)
    peer.sendall(b"more")
    assert connection.receive(memoryview(room)) == 3
    assert (room, connection.receive()) == (b"mor", b"e")


def test_the_end_of_the_stream_is_server_lost(pair):
    connection, peer = pair
    peer.close()
    with pytest.raises(ServerLost, match="test:1 closed the connection"):
        connection.receive()
    connection.put(b"x")
    with pytest.raises(ServerLost, match="lost the connection to test:1"):
        connection.flush()


@pytest.mark.parametrize("call", ["flush", "receive"])
def test_what_the_system_says_is_server_lost(call):
    class Socket:
        def send(self, data):
            raise OSError(errno.ETIMEDOUT, "Connection timed out")

        recv = send

    connection = Connection(("test", 1), Socket())
    connection.put(b"x")
    with pytest.raises(ServerLost, match="Connection timed out") as caught:
        getattr(connection, call)()
    assert caught.value.sent == "never"


def test_waiting_for_input_and_for_room(pair):
    connection, peer = pair
    assert not connection.wait(0)
    connection.put(b"x")
    assert connection.wait(10)
    connection.flush()
    peer.sendall(b"y")
    assert connection.wait(None)


@pytest.mark.parametrize("without_poll", [False, True])
def test_a_waiter_tells_who_is_ready(pair, closing, monkeypatch, without_poll):
    if without_poll:
        monkeypatch.delattr("select.poll")
    connection, peer = pair
    wait = make_waiter([(connection, False), (peer, True)])
    assert wait(0) == [peer.fileno()]
    wait = make_waiter([(connection, False), (peer, False)])
    assert wait(0) == []
    peer.sendall(b"x")
    assert wait(1e12) == wait(float("inf")) == wait(None) == [connection.fileno()]


def test_what_it_shows_of_itself(pair):
    connection, _ = pair
    connection.put(b"abc")
    assert repr(connection) == "<Connection to test:1, 3 bytes unsent>"


# connecting

def test_connecting_sets_the_socket_up(listener, closing):
    connection = closing(open_connection(listener.getsockname(), 5.0))
    closing(listener.accept()[0])
    ours = connection._socket
    assert ours.gettimeout() == 0
    assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 60000
        assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30


def test_each_address_of_a_name_is_tried(listener, closing, monkeypatch):
    dead = socket.socket()
    dead.bind(("127.0.0.1", 0))
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", one.getsockname()) for one in (dead, listener)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **options: found)
    closing(open_connection("two-faced", 5.0))
    dead.close()


def test_a_silent_address_gets_only_its_share_of_the_time(listener, closing, monkeypatch):
    """A listener whose queue is full answers nothing, like a host behind a firewall."""
    silent = closing(socket.socket())
    silent.bind(("127.0.0.1", 0))
    silent.listen(0)
    for _ in range(3):
        filler = closing(socket.socket())
        filler.setblocking(False)
        filler.connect_ex(silent.getsockname())
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", one.getsockname()) for one in (silent, listener)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **options: found)
    closing(open_connection("two-faced", 0.4))
    with pytest.raises(ConnectTimeout, match="did not answer within 0.1 s"):
        found.pop()
        open_connection("one-faced", 0.1)


def test_nobody_there_is_no_server():
    unused = socket.socket()
    unused.bind(("127.0.0.1", 0))
    address = unused.getsockname()
    with pytest.raises(NoServer, match="cannot connect to 127.0.0.1:%d: Connection refused" % address[1]):
        open_connection(address, 5.0)
    unused.close()


def test_time_over_before_it_began_is_a_connect_timeout(listener):
    with pytest.raises(ConnectTimeout):
        open_connection(listener.getsockname(), 0)


@pytest.mark.parametrize("name, failure", [
    ("nowhere", socket.gaierror(socket.EAI_NONAME, "Name or service not known")),
    ("a..b", UnicodeError("label empty or too long")),
])
def test_a_name_that_is_not_known_is_no_server(monkeypatch, name, failure):
    def getaddrinfo(*arguments, **options):
        raise failure
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(NoServer, match="cannot connect to %s:4730: " % name):
        open_connection(name, 5.0)


def test_a_name_server_that_is_silent_is_a_connect_timeout(listener, closing, monkeypatch):
    """The system would wait for it as long as it likes."""
    resolve, asked, over = socket.getaddrinfo, threading.Event(), threading.Event()

    def getaddrinfo(host, *arguments, **options):
        if host == "slow" and not options.get("flags"):
            asked.set()
            over.wait(20)
        return resolve("127.0.0.1" if host == "slow" and not options.get("flags") else host, *arguments, **options)
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    name = "slow:%d" % listener.getsockname()[1]
    began = time.monotonic()
    with pytest.raises(ConnectTimeout, match="did not answer within 0.1 s"):
        open_connection(name, 0.1)
    assert time.monotonic() - began < 15 and asked.is_set()
    over.set()
    closing(open_connection(name, 5.0))


def test_names_are_looked_up_although_no_thread_can_be_started(listener, closing, monkeypatch, localhost):
    """As when the interpreter is about to end, or the system has no thread left."""
    def start(thread):
        raise RuntimeError("can't start new thread")
    monkeypatch.setattr(threading.Thread, "start", start)
    closing(open_connection("%s:%d" % (localhost, listener.getsockname()[1]), 5.0))


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets here")
def test_a_unix_socket(tmp_path, closing):
    path = str(tmp_path / "gear.sock")
    with pytest.raises(NoServer, match="gear.sock"):
        open_connection(path, 5.0)
    listener = closing(socket.socket(socket.AF_UNIX))
    listener.bind(path)
    listener.listen(1)
    connection = closing(open_connection("unix:" + path, 5.0, tls=True))
    peer = closing(listener.accept()[0])
    connection.put(b"plain")
    connection.flush()
    assert peer.recv(100) == b"plain"


# TLS

@pytest.fixture
def tls_listener(listener):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if hasattr(ssl, "PROTOCOL_TLS_SERVER") else ssl.PROTOCOL_TLS)
    context.load_cert_chain(CERTIFICATE, KEY)
    return context, listener


def serve_tls(context, listener, conversation):
    plain, _ = listener.accept()
    plain.settimeout(10)
    try:
        with context.wrap_socket(plain, server_side=True) as peer:
            conversation(peer)
    except OSError:
        plain.close()


def receive_all(connection, size):
    received = bytearray()
    while len(received) < size:
        assert connection.wait(10)
        received += connection.receive() or b""
    return bytes(received)


def test_large_things_go_through_tls_both_ways(tls_listener, in_thread, closing):
    sent = os.urandom(3000000)

    def mirror(peer):
        received = bytearray()
        while len(received) < len(sent):
            received += peer.recv(100000)
        peer.sendall(received)

    in_thread(serve_tls, tls_listener[0], tls_listener[1], mirror)
    connection = closing(open_connection(tls_listener[1].getsockname(), 10.0, {"ca": CERTIFICATE}))
    connection.put(b"", sent[:1000], sent[1000:])
    progress = []
    while not connection.flush():
        progress.append(connection.sent)
        assert connection.wait(10)
    assert receive_all(connection, len(sent)) == sent


def test_an_ssl_context_may_be_given(tls_listener, in_thread, closing, localhost):
    in_thread(serve_tls, tls_listener[0], tls_listener[1], lambda peer: peer.sendall(b"hello"))
    context = ssl.create_default_context(cafile=CERTIFICATE)
    connection = closing(open_connection((localhost, tls_listener[1].getsockname()[1]), 10.0, context))
    assert receive_all(connection, 5) == b"hello"


@pytest.mark.parametrize("tls", [{"verify": False}, {"ca": CERTIFICATE, "hostname": "localhost"}])
def test_tls_may_look_at_less_or_for_another_name(tls_listener, in_thread, closing, tls):
    in_thread(serve_tls, tls_listener[0], tls_listener[1], lambda peer: peer.sendall(b"hello"))
    connection = closing(open_connection(tls_listener[1].getsockname(), 10.0, tls))
    assert receive_all(connection, 5) == b"hello"


def test_the_client_may_show_a_certificate(tls_listener, in_thread, closing):
    context, listener = tls_listener
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(CERTIFICATE)
    in_thread(serve_tls, context, listener, lambda peer: peer.sendall(b"hello"))
    tls = {"ca": CERTIFICATE, "certificate": CERTIFICATE, "key": KEY}
    connection = closing(open_connection(listener.getsockname(), 10.0, tls))
    assert receive_all(connection, 5) == b"hello"


@pytest.mark.parametrize("tls", [True, {"ca": CERTIFICATE, "hostname": "elsewhere"}])
def test_a_certificate_that_is_not_trusted_is_no_server(tls_listener, in_thread, tls):
    in_thread(serve_tls, tls_listener[0], tls_listener[1], lambda peer: peer.recv(1))
    with pytest.raises(NoServer, match="(?i)certificate|hostname"):
        open_connection(tls_listener[1].getsockname(), 10.0, tls)


def test_a_server_that_never_shakes_hands_is_a_connect_timeout(listener):
    with pytest.raises(ConnectTimeout):
        open_connection(listener.getsockname(), 0.2, {"ca": CERTIFICATE})


def test_a_server_without_tls_is_no_server(listener, in_thread):
    def answer():
        with listener.accept()[0] as peer:
            peer.recv(10000)
            peer.sendall(b"ERR unknown_command Unknown+server+command\r\n")

    in_thread(answer)
    with pytest.raises(NoServer):
        open_connection(listener.getsockname(), 10.0, {"ca": CERTIFICATE})


def test_other_tls_settings_are_a_value_error(listener):
    with pytest.raises(ValueError, match="not a TLS setting: cert"):
        open_connection(listener.getsockname(), 10.0, {"cert": CERTIFICATE})


# text commands

def answer_text(listener, pieces, closing_at_end=False):
    peer, _ = listener.accept()
    with peer:
        peer.settimeout(10)
        asked = peer.recv(100)
        for piece in pieces:
            peer.sendall(piece)
        if not closing_at_end:
            assert peer.recv(100) == b""
    return asked


@pytest.mark.parametrize("pieces", [[b".\n"], [b"f\t0\t0\t0\n.\n"], [b"f\t0\t0\t0\n.", b"\n"], [b"f.\n" * 100000, b".", b"\n"]])
def test_a_reply_ends_with_a_dot(listener, in_thread, pieces):
    in_thread(answer_text, listener, pieces)
    assert ask(open_connection(listener.getsockname(), 10.0), b"status", 10.0) == b"".join(pieces)


def test_a_reply_through_tls(tls_listener, in_thread):
    reply = b"f\t0\t0\t0\n" * 20000 + b".\n"
    in_thread(serve_tls, tls_listener[0], tls_listener[1], lambda peer: (peer.sendall(reply), peer.recv(100), peer.recv(1)))
    assert ask(open_connection(tls_listener[1].getsockname(), 10.0, {"ca": CERTIFICATE}), b"status", 10.0) == reply


def test_no_reply_in_time_is_a_command_timeout(listener, in_thread):
    in_thread(answer_text, listener, [b"f\t0"])
    with pytest.raises(CommandTimeout, match="within 0.1 s"):
        ask(open_connection(listener.getsockname(), 10.0), b"status", 0.1)


def test_a_reply_cut_short_is_server_lost(listener, in_thread):
    in_thread(answer_text, listener, [b"f\t0"], True)
    with pytest.raises(ServerLost):
        ask(open_connection(listener.getsockname(), 10.0), b"status", 10.0)
