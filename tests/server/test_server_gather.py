"""Output for clients gathers while others have something to say, for a moment, and what is for workers does not."""
import pytest

from gearman_std.wire.protocol import CAN_DO, ECHO_REQ, ECHO_RES, ERROR, pack_response
from gearman_std.server.channels import GATHER_TIME

from server_tools import TIMEOUT, Clock, in_dispatcher, let_pass

ECHOES = b"".join(pack_response(ECHO_RES, text) for text in (b"1", b"2", b"3"))


class Busy:
    """While it is entered, there is something to do for a server in every round of its loop."""

    def __init__(self, server):
        self._server = server
        self._over = False

    def _again(self):
        if not self._over:
            self._server.call_soon(self._again)

    def __enter__(self):
        self._again()

    def __exit__(self, *error):
        self._over = True


def ask(server, wire):
    """Send three packets, one after another has been obeyed, and wait until their answers gather."""
    sizes = []
    for number in (b"1", b"2", b"3"):
        wire.request(ECHO_REQ, number)
        sizes.append(len(pack_response(ECHO_RES, number)))
        while in_dispatcher(server, gathered, server) != sum(sizes):
            continue


def gathered(server):
    assert len(server._channels.gathering) == len(set(server._channels.gathering))
    return sum(len(piece) for peer in server._channels.gathering for piece in peer.outgoing)


@pytest.fixture
def scene(place):
    """clock, busy server, wire of a client whose three answers gather."""
    clock = Clock()
    server = place.serve(clock=clock)
    wire = place.wire(server)
    with Busy(server):
        ask(server, wire)
        yield clock, server, wire


def test_what_gathers_leaves_after_a_moment_although_the_server_is_busy(scene):
    clock, server, wire = scene
    let_pass(server, clock, GATHER_TIME)
    wire.expect(ECHOES)
    ask(server, wire)
    let_pass(server, clock, GATHER_TIME)
    wire.expect(ECHOES)


def test_what_gathers_leaves_in_one_send(scene, monkeypatch):
    clock, server, wire = scene
    (peer,), sent = server._channels.gathering, []
    send = peer.channel.send
    monkeypatch.setattr(type(peer.channel), "send", lambda channel, data: sent.append(bytes(data)) or send(data))
    let_pass(server, clock, GATHER_TIME)
    wire.expect(ECHOES)
    assert sent == [ECHOES]


def test_what_gathers_leaves_when_there_is_nothing_to_do(place):
    server = place.serve(clock=Clock())
    wire = place.wire(server)
    with Busy(server):
        ask(server, wire)
    wire.expect(ECHOES)


def test_what_is_for_a_worker_does_not_wait(scene, place):
    clock, server, wire = scene
    worker = place.wire(server)
    worker.request(CAN_DO, b"f")
    worker.request(ECHO_REQ, b"x")
    worker.response(ECHO_RES, b"x")
    assert in_dispatcher(server, gathered, server) == len(ECHOES)
    let_pass(server, clock, GATHER_TIME)
    wire.expect(ECHOES)


def test_who_sends_nothing_more_gets_what_has_gathered(scene):
    _, _, wire = scene
    wire.half_close()
    wire.expect(ECHOES)
    wire.ended()


def test_who_sends_too_much_gets_what_has_gathered_and_is_told(scene):
    clock, server, wire = scene
    wire.send(b"\0REQ\0\0\0\x10\xff\xff\xff\xff")
    while not in_dispatcher(server, lambda: server._channels.gathering[0].closing):
        continue
    let_pass(server, clock, GATHER_TIME)
    wire.expect(ECHOES)
    assert wire.packet()[0] == ERROR
    wire.ended()


def test_a_lost_peer_does_not_gather(scene, place):
    clock, server, wire = scene
    other = place.wire(server)
    other.request(ECHO_REQ, b"x")
    while in_dispatcher(server, lambda: len(server._channels.gathering)) != 2:
        continue
    in_dispatcher(server, server._channels.lose, server._channels.gathering[0].channel)
    let_pass(server, clock, GATHER_TIME)
    other.response(ECHO_RES, b"x")
    wire.ended()


@pytest.mark.parametrize("graceful", [False, True])
def test_a_server_that_stops_sends_what_has_gathered(scene, graceful):
    _, server, wire = scene
    server.stop(graceful=graceful)
    wire.expect(ECHOES)
    wire.ended()
    server.join(TIMEOUT)
    assert not server.running
