"""TCP options, and TLS that behaves like a plain socket."""
import errno
import os
import socket
import ssl

import pytest

from gearman_std.server.server import Server
from gearman_std.net.streams import TLSStream, acknowledge_at_once, set_up_tcp

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CERTIFICATE, KEY = os.path.join(HERE, "tls_certificate.pem"), os.path.join(HERE, "tls_key.pem")


def test_tcp_sends_at_once_and_notices_who_is_gone():
    with socket.socket() as connected:
        set_up_tcp(connected)
        assert connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert connected.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3), ("TCP_USER_TIMEOUT", 60000)):
            if hasattr(socket, name):
                assert connected.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) == value


def test_keepalive_may_be_set():
    with socket.socket() as connected:
        set_up_tcp(connected, (7, 8, 9))
        for name, value in (("TCP_KEEPIDLE", 7), ("TCP_KEEPINTVL", 8), ("TCP_KEEPCNT", 9), ("TCP_USER_TIMEOUT", 79000)):
            if hasattr(socket, name):
                assert connected.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) == value
        set_up_tcp(connected, (32767, 32767, 127))  # more milliseconds than an int holds


@pytest.mark.skipif(not hasattr(socket, "TCP_KEEPIDLE"), reason="this system does not tell")
def test_the_server_keeps_the_connections_that_it_accepts_alive():
    with Server(port=0, keepalive=(7, 8, 9)) as server, socket.create_connection(server.address, 20) as connection:
        connection.sendall(b"version\n")
        assert connection.recv(100)
        accepted = next(iter(server._channels.all)).socket
        assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 7
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 8
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 9
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 79000


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="this system has no user time-out")
@pytest.mark.parametrize("stall_timeout, expected", [(1.0, 60000), (90.5, 90500), (0, 0x7fffffff)])
def test_the_system_is_as_patient_with_unread_output_as_the_server(stall_timeout, expected):
    with Server(port=0, stall_timeout=stall_timeout) as server, socket.create_connection(server.address, 20) as connection:
        connection.sendall(b"version\n")
        assert connection.recv(100)
        accepted = next(iter(server._channels.all)).socket
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == expected


@pytest.fixture
def pair():
    """Two TLSStreams that talk to each other and have not shaken hands."""
    plain = socket.socketpair()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(CERTIFICATE, KEY)
    client = ssl.create_default_context(cafile=CERTIFICATE)
    for one in plain:
        one.setblocking(False)
    streams = [TLSStream(server.wrap_socket(plain[0], server_side=True, do_handshake_on_connect=False)),
               TLSStream(client.wrap_socket(plain[1], server_hostname="localhost", do_handshake_on_connect=False))]
    yield streams
    for stream in streams:
        stream.close()


def not_now(method, *arguments):
    """What a method returns; None if it says that it cannot do it now, as a plain socket says it."""
    try:
        return method(*arguments)
    except BlockingIOError as error:
        assert error.errno == errno.EAGAIN
        return None


def shake_hands(pair):
    left = list(pair)
    while left:
        for stream in list(left):
            try:
                stream.do_handshake()
            except BlockingIOError:
                continue
            left.remove(stream)


def test_what_cannot_be_done_now_is_told_as_by_a_plain_socket(pair):
    assert not_now(pair[1].do_handshake) is None
    shake_hands(pair)
    assert not_now(pair[0].recv, 100) is None
    assert not_now(pair[0].recv_into, memoryview(bytearray(100))) is None
    while not_now(pair[0].send, bytes(1000000)) is not None:
        continue


def test_bytes_come_through(pair):
    shake_hands(pair)
    assert pair[0].sendmsg([b"one", b"two"]) == 3
    assert pair[1].recv(100) == b"one"
    pair[0].send(b"four")
    assert pair[1].recv(1) == b"f"
    assert pair[1].pending() == 3
    room = bytearray(3)
    assert pair[1].recv_into(memoryview(room)) == 3
    assert room == b"our"


def test_a_large_send_tells_how_far_it_has_come(pair):
    """So that a slow peer is seen to make progress long before the end."""
    shake_hands(pair)
    workload, sent, received = memoryview(os.urandom(2000000)), 0, bytearray()
    steps = 0
    while sent < len(workload):
        step = not_now(pair[0].send, workload[sent:])
        if step is None:
            received += pair[1].recv(1000000)
        else:
            steps += 1
            sent += step
    while len(received) < len(workload):
        received += pair[1].recv(1000000)
    assert received == workload
    assert steps > 10


def test_the_certificate_of_the_other_end(pair):
    shake_hands(pair)
    assert ("DNS", "localhost") in pair[1].getpeercert()["subjectAltName"]
    assert pair[0].getpeercert() is None
    assert repr(pair[0]).startswith("<TLSStream <ssl.SSLSocket")


def test_the_end_of_the_stream(pair):
    """Python 3.6 with a newer OpenSSL reports an end without a farewell as an error, which ends a connection as well."""
    shake_hands(pair)
    pair[0].close()
    try:
        assert pair[1].recv(100) == b""
    except OSError as error:
        assert "eof" in str(error)


@pytest.mark.skipif(not hasattr(socket, "TCP_QUICKACK"), reason="this system always waits a while")
def test_what_was_received_can_be_acknowledged_at_once():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(1)
        with socket.create_connection(listening.getsockname()) as one, listening.accept()[0] as other:
            other.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
            acknowledge_at_once(other)
            assert other.getsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK)
            one.close()


def test_other_sockets_have_nothing_to_acknowledge():
    for one in socket.socketpair():
        with one:
            acknowledge_at_once(one)
