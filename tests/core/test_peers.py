"""What the core knows of a connection, and what waits to be sent to it."""
from gearman_std.core.peers import ASLEEP, Peer
from gearman_std.wire.protocol import ECHO_RES, ERROR, LARGE_BODY, WORK_DATA, pack_response


def test_a_peer_is_listed_once_among_those_with_something_to_send():
    unsent = []
    peer = Peer(1, b"::1")
    peer.unsent = unsent
    peer.send(b"a")
    peer.send(b"b")
    assert unsent == [peer] and peer.outgoing == [b"a", b"b"]
    unsent.clear()
    peer.outgoing.clear()
    peer.send(b"c")
    assert unsent == [peer]


def test_small_data_goes_in_one_piece():
    peer = Peer(1, b"::1")
    peer.send_data(WORK_DATA, memoryview(b"d" * (LARGE_BODY - 1)), b"H")
    assert peer.outgoing == [pack_response(WORK_DATA, b"H", b"d" * (LARGE_BODY - 1))] and not peer.bulky


def test_large_data_goes_in_two_pieces_and_is_not_copied():
    peer, data = Peer(1, b"::1"), bytes(LARGE_BODY)
    peer.send_data(ECHO_RES, data)
    assert peer.outgoing[1] is data and peer.bulky and b"".join(peer.outgoing) == pack_response(ECHO_RES, data)


def test_an_error_is_a_packet_of_code_and_text():
    peer = Peer(1, b"::1")
    peer.error(b"CODE", b"what is wrong")
    assert peer.outgoing == [pack_response(ERROR, b"CODE", b"what is wrong")]


def test_repr_shows_the_state():
    peer = Peer(7, b"127.0.0.1")
    peer.sleep = ASLEEP
    peer.abilities[b"f"] = 1
    assert repr(peer) == "<Peer 7 127.0.0.1: 1 abilities, 0 running, 0 watched, asleep>"
