"""A connection of the library gear, used alone, without a client's threads."""
import socket
import threading

import pytest

from gearman_std.legacy import gear_constants as constants
from gearman_std.legacy.gear_connection import Connection
from gearman_std.legacy.gear_packets import (ConfigurationError, ConnectionError, InvalidDataError, Packet,
                                             StatusAdminRequest, TimeoutError, VersionAdminRequest, request)


@pytest.fixture
def ends():
    """A connection, and the other end of it."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(1)
        connection = Connection("127.0.0.1", listening.getsockname()[1])
        connection.connect()
        peer, _ = listening.accept()
    peer.settimeout(20)
    yield connection, peer
    connection.disconnect()
    peer.close()


def response(ptype, *arguments):
    return bytes(Packet(constants.RES, ptype, b"\0".join(arguments)).toBinary())


def test_packets_and_lines_come_in_their_order(ends):
    connection, peer = ends
    status, version = StatusAdminRequest(), VersionAdminRequest()
    connection.admin_requests += [status, version]
    peer.sendall(response(constants.WORK_COMPLETE, b"H:1", b"x" * 5000) + b"f\t0\t0\t1\n.\nOK 1\n" + response(constants.NOOP))
    assert connection.readPacket(20) == Packet(constants.RES, constants.WORK_COMPLETE, b"H:1\0" + b"x" * 5000)
    assert connection.hasPendingData()
    assert connection.readPacket(20) is status and status.response == b"f\t0\t0\t1\n.\n"
    assert connection.readPacket(20) is version and version.response == b"OK 1\n"
    assert connection.readPacket(20).ptype == constants.NOOP
    peer.close()
    assert connection.readPacket(20) is None


def test_a_large_packet_comes_in_pieces(ends):
    connection, peer = ends
    data = b"0123456789" * 100000
    thread = threading.Thread(target=peer.sendall, args=(response(constants.WORK_DATA, b"H:1", data),))
    thread.start()
    packet = connection.readPacket(20)
    thread.join()
    assert isinstance(packet.data, bytes) and packet.getArgument(1, True) == data


def test_what_is_large_is_sent_while_the_other_end_wants_to_be_read_first(ends):
    connection, peer = ends
    sent, received = b"x" * 8000000, b"y" * 8000000

    def be_slow():
        peer.sendall(response(constants.WORK_DATA, b"H:1", received))
        left = 12 + len(sent)
        while left:
            left -= len(peer.recv(left))
        peer.sendall(response(constants.NOOP))
    thread = threading.Thread(target=be_slow)
    thread.start()
    connection.sendPacket(request(constants.ECHO_REQ, sent))
    assert len(connection.readPacket(20).data) == 4 + len(received)
    assert connection.readPacket(20).ptype == constants.NOOP
    thread.join()


def test_what_makes_no_sense_ends_it_but_what_came_before_counts(ends):
    connection, peer = ends
    peer.sendall(response(constants.NOOP) + b"\0XXX" + b"\0" * 8)
    assert [packet.ptype for packet in _take_until_over(connection)] == [constants.NOOP]


def test_a_request_from_a_server_ends_it(ends):
    connection, peer = ends
    peer.sendall(bytes(request(constants.WORK_FAIL, b"H:1").toBinary()))
    with pytest.raises(ConnectionError, match="a packet that only a client may send"):
        while True:
            connection.conn.wait(20)
            connection.take()


def _take_until_over(connection):
    items = []
    with pytest.raises(ConnectionError, match="bad magic"):
        while True:
            assert connection.hasPendingData() or connection.conn.wait(20)
            items += connection.take()
    return items


def test_who_waits_for_an_answer_does_not_wait_for_ever(ends):
    connection, peer = ends
    with pytest.raises(TimeoutError, match="did not answer b'version' within 0.01 s"):
        connection.sendAdminRequest(VersionAdminRequest(), timeout=0.01)
    with pytest.raises(TimeoutError, match="sent no echo within 0.01 s"):
        connection.echo(b"x", timeout=0.01)
    with pytest.raises(TimeoutError, match="sent nothing within 0 s"):
        connection.readPacket(0)
    failure = []

    def ask():
        try:
            connection.sendAdminRequest(StatusAdminRequest())
        except ConnectionError as error:
            failure.append(str(error))
    thread = threading.Thread(target=ask)
    thread.start()
    while b"status" not in peer.recv(4096):
        continue
    connection.related_jobs[b"H:1"] = "job"
    assert connection.give_up() == ["job"] and connection.related_jobs == {}
    thread.join()
    assert failure[0].startswith("lost the connection")


def test_an_echo_is_waited_for_once(ends):
    connection, peer = ends
    thread = threading.Thread(target=lambda: results.append(connection.echo("text", 20)))
    results = []
    thread.start()
    assert peer.recv(4096) == b"\0REQ\0\0\0\x10\0\0\0\x04text"
    with pytest.raises(InvalidDataError, match="waited for already"):
        connection.echo("text")
    assert not connection.handleEchoRes(b"other")
    assert connection.handleEchoRes(b"text")
    thread.join()
    assert results == [b"text"]


def test_a_connection_that_is_not_there():
    connection = Connection(None, "1")
    assert repr(connection).endswith("host: None port: 1>")
    with pytest.raises(ConnectionError, match="not connected to localhost:1"):
        connection.sendPacket(request(constants.NOOP))
    with pytest.raises(ConnectionError, match="cannot connect to localhost:1"):
        connection.connect()
    assert connection.readPacket(0.0) is None


@pytest.mark.parametrize("arguments, text", [
    (("host", "x"), "no address of a server: the port of"), (("a host", 1), "not an address: "),
    ((5, 1), "no address of a server: an address is a str"),
    (("host", 1, "key"), "TLS needs all of ssl_key, ssl_cert and ssl_ca"),
])
def test_what_is_no_address(arguments, text):
    with pytest.raises(ConfigurationError, match=text):
        Connection(*arguments)


def test_files_of_tls_that_are_not_there():
    connection = Connection("localhost", 1, "/no/key", "/no/certificate", "/no/ca")
    with pytest.raises(ConfigurationError, match="/no/certificate"):
        connection.check()
    with pytest.raises(ConnectionError, match="/no/certificate"):
        connection.connect()
