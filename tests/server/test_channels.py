"""No peer can starve, crash or bloat the server for others: a test for each way to try."""
import os
import select
import selectors
import socket
import subprocess
import sys
import threading
from collections import Counter

import pytest

from gearman_std.core.core import Core
from gearman_std.server.gate import ACCEPT_PAUSE
from gearman_std.core.jobs import FunctionPolicy
from gearman_std.core.limits import Limits
from gearman_std.core.peers import Peer
from gearman_std.wire.protocol import (ALL_YOURS, CAN_DO, ECHO_REQ, ECHO_RES, ERROR, GRAB_JOB, JOB_ASSIGN, JOB_CREATED, NO_JOB,
                                       PRE_SLEEP, SUBMIT_JOB, SUBMIT_JOB_BG, WORK_COMPLETE, WORK_DATA, WORK_EXCEPTION,
                                       WORK_FAIL, WORK_STATUS, WORK_WARNING, pack_request, pack_response)
from gearman_std.server.channels import ANSWER_AHEAD, TURN_PACKETS, TURN_TIME
from gearman_std.server.server import CROWD, DUE_TIME, HEAR_TIME
from gearman_std.server.stalls import LINGER_TIME, PROGRESS, SWEEP_INTERVAL

from patience import until
from server_tools import TIMEOUT, VERSION_LINE, Clock, HeldServer, channel_of, in_dispatcher, let_pass, server_of


def small_buffers(server, wire):
    """Have the server's socket of the latest connection hold little that is unread; return its channel."""
    wire.request(ECHO_REQ, b"")
    wire.response(ECHO_RES, b"")
    channel = channel_of(server)
    channel.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    return channel


def is_served(wire):
    wire.request(ECHO_REQ, b"?")
    wire.response(ECHO_RES, b"?")


# ------------------------------------------------------------------------------------------------- peers that do not go on


@pytest.mark.parametrize("beginning", [
    b"\0", b"\0REQ\0\0\0\x10\0\0", pack_request(ECHO_REQ, b"x" * 100)[:-1], pack_request(ECHO_REQ, b"x" * 70000)[:-1],
    pack_request(ECHO_REQ, b"") + b"\0RE", b"stat"],
    ids=["a byte", "half a header", "a body", "a large body", "the next", "a line"])
def test_who_leaves_a_packet_half_sent_is_dropped_after_the_stall_timeout(place, beginning):
    clock = Clock()
    server = place.serve(clock=clock)
    good, bad = place.wire(server), place.wire(server)
    bad.send(beginning)
    if beginning.startswith(pack_request(ECHO_REQ, b"")):
        bad.response(ECHO_RES, b"")
    is_served(good)
    while not in_dispatcher(server, lambda: server._channels.unfinished):
        is_served(good)
    for _ in range(11):
        let_pass(server, clock, 5.0)
        is_served(good)
    assert in_dispatcher(server, lambda: len(server._channels.all)) == 2
    let_pass(server, clock, 5.0)
    bad.ended()
    assert good.totals()["peers_dropped_stalled"] == 1
    assert in_dispatcher(server, lambda: (len(server._channels.all), len(server._channels.unfinished))) == (1, 0)


@pytest.mark.parametrize("before", [b"", b"version\n"], ids=["at first", "after a line"])
def test_one_byte_at_a_time_is_not_going_on(place, before):
    clock = Clock()
    server = place.serve(clock=clock)
    bad = place.wire(server)
    if before:
        bad.send(before)
        bad.line()
    is_served(bad)
    packet = pack_request(ECHO_REQ, b"x" * 1000)
    channel = channel_of(server)
    for number in range(12):
        bad.send(packet[number:number + 1])
        while in_dispatcher(server, lambda: channel.reader.held) == number:
            continue
        assert in_dispatcher(server, lambda: len(server._channels.all)) == 1
        let_pass(server, clock, 5.0)
    bad.ended()


def test_who_goes_on_slowly_is_not_dropped(place):
    """Another 64 KiB within each stall time-out are enough."""
    clock = Clock()
    server = place.serve(clock=clock)
    wire = place.wire(server)
    is_served(wire)
    channel = channel_of(server)
    packet = pack_request(ECHO_REQ, b"x" * (8 * PROGRESS))
    for start in range(0, len(packet), PROGRESS):
        held = in_dispatcher(server, lambda: channel.reader.held)
        wire.send(packet[start:start + PROGRESS])
        if start + PROGRESS < len(packet):
            while in_dispatcher(server, lambda: channel.reader.held) < held + PROGRESS:
                continue
        for _ in range(11):
            let_pass(server, clock, 5.0)
    wire.response(ECHO_RES, packet[12:])


@pytest.mark.parametrize("cut", [0, 5], ids=["packets end with what is sent", "each ends in what is sent next"])
def test_who_completes_packets_is_not_dropped_though_there_is_always_half_a_packet(place, cut):
    clock = Clock()
    server = place.serve(clock=clock)
    wire = place.wire(server)
    is_served(wire)
    channel = channel_of(server)
    packet = pack_request(ECHO_REQ, b"abcdefghij")
    stream = packet * 30
    parts = [stream[start:start + 11 + cut] for start in range(0, len(stream), 11 + cut)]
    for part in parts:
        before = in_dispatcher(server, lambda: channel.reader.held)
        wire.send(part)
        while in_dispatcher(server, lambda: channel.reader.held) == before:
            continue
        if in_dispatcher(server, lambda: channel.reader.held):
            for _ in range(5):
                let_pass(server, clock, 5.0)
    for _ in range(30):
        wire.response(ECHO_RES, b"abcdefghij")


def test_idle_peers_are_never_dropped(place):
    clock = Clock()
    server = place.serve(clock=clock)
    wires = [place.wire(server) for _ in range(3)]
    for wire in wires:
        is_served(wire)
    for _ in range(10):
        let_pass(server, clock, 86400.0)
    for wire in wires:
        is_served(wire)


def test_without_a_stall_timeout_nobody_is_dropped(place):
    clock = Clock()
    server = place.serve(clock=clock, stall_timeout=0)
    wire = place.wire(server)
    wire.send(pack_request(ECHO_REQ, b"slow")[:-1])
    while not in_dispatcher(server, lambda: server._channels.unfinished):
        continue
    let_pass(server, clock, 1e6)
    wire.send(b"w")
    wire.response(ECHO_RES, b"slow")


# --------------------------------------------------------------------------------------------------- peers that do not read


def test_a_client_that_does_not_read_its_results_is_dropped_and_holds_nobody_up(place):
    """The worker is not slowed, others get their results, and what waits for the client is bounded."""
    server = place.serve(max_unsent=1000000, max_packet_size=200000)
    worker, good, bad = place.wire(server), place.wire(server), place.wire(server, receive_buffer=4096)
    channel = small_buffers(server, bad)
    for client in (good, bad):
        client.request(SUBMIT_JOB, b"f", b"same", b"")
        client.response(JOB_CREATED, b"H:t:1")
    worker.request(CAN_DO, b"f")
    worker.request(GRAB_JOB)
    worker.response(JOB_ASSIGN, b"H:t:1", b"f", b"")
    data, most, sent = b"x" * 100000, 0, 0
    while in_dispatcher(server, lambda: channel in server._channels.all):
        worker.request(WORK_DATA, b"H:t:1", data)
        good.response(WORK_DATA, b"H:t:1", data)
        most = max(most, in_dispatcher(server, channel.cost))
        sent += 1
        assert sent < 100
    assert 900000 < most <= 1200000
    worker.request(WORK_COMPLETE, b"H:t:1", b"")
    good.response(WORK_COMPLETE, b"H:t:1", b"")
    totals = good.totals()
    assert (totals["peers_dropped_unread"], totals["completed"], totals["peers"]) == (1, 1, 2)
    bad.broken()


def test_many_small_packets_that_nobody_reads_are_counted_with_the_memory_they_take(place):
    server = place.serve(max_unsent=20000, max_packet_size=1000)
    server._looks = 0  # so that nothing gathers, and each packet is sent alone
    worker, bad = place.wire(server), place.wire(server, receive_buffer=4096)
    channel = small_buffers(server, bad)
    bad.request(SUBMIT_JOB, b"f", b"", b"")
    bad.response(JOB_CREATED, b"H:t:1")
    worker.request(CAN_DO, b"f")
    worker.request(GRAB_JOB)
    worker.response(JOB_ASSIGN, b"H:t:1", b"f", b"")
    statuses = 0
    while in_dispatcher(server, lambda: channel in server._channels.all):
        worker.request(WORK_STATUS, b"H:t:1", b"1", b"2")
        is_served(worker)
        if in_dispatcher(server, lambda: channel.backlog_size):
            statuses += 1
        assert in_dispatcher(server, lambda: channel.backlog_size) <= 21000 // 5
        assert statuses < 1000
    assert 50 < statuses
    bad.broken()


def test_a_peer_that_does_not_read_is_not_read_from_and_all_comes_when_it_does(place):
    server = place.serve(max_unsent=16000000)
    good, bad = place.wire(server), place.wire(server)
    bad.request(ECHO_REQ, b"")
    bad.response(ECHO_RES, b"")
    channel = channel_of(server)
    data = os.urandom(100000)
    count = 400  # 40 MB, more than all the buffers between take
    sender = threading.Thread(target=lambda: [bad.request(ECHO_REQ, data) for _ in range(count)])
    sender.start()
    while in_dispatcher(server, lambda: channel.backlog_size) <= 1000000:
        is_served(good)
    for _ in range(200):
        is_served(good)
        assert in_dispatcher(server, lambda: channel.backlog_size) <= 1000000 + len(data) + 12
    assert sender.is_alive()
    for _ in range(count):
        bad.response(ECHO_RES, data)
    sender.join()
    assert good.totals()["peers_dropped_unread"] == 0


@pytest.mark.parametrize("request_bytes", [pack_request(ECHO_REQ, b"x" * 2000000), b"status\n"], ids=["large", "text"])
def test_who_leaves_its_answers_unread_is_dropped_after_the_stall_timeout(place, request_bytes):
    clock = Clock()
    server = place.serve(clock=clock)
    in_dispatcher(server, lambda: [server.core.add_function(b"%01000d" % number) for number in range(2000)])
    good, bad = place.wire(server), place.wire(server, receive_buffer=4096)
    channel = small_buffers(server, bad)
    bad.send(request_bytes)
    while not in_dispatcher(server, lambda: channel.backlog):
        is_served(good)
    for _ in range(11):
        let_pass(server, clock, 5.0)
    assert in_dispatcher(server, lambda: channel in server._channels.all)
    for _ in range(3):
        let_pass(server, clock, 5.0)
    assert good.totals()["peers_dropped_stalled"] == 1
    bad.broken()


def test_a_result_as_large_as_packets_may_be_does_not_count_as_unread(place):
    server = place.serve(max_unsent=1000, max_packet_size=5000000)
    wire = place.wire(server)
    wire.request(ECHO_REQ, b"x" * 5000000)
    wire.response(ECHO_RES, b"x" * 5000000)


def test_one_peer_that_waits_a_million_times_for_the_same_job_cannot_bloat_the_server(place):
    """A client gets every packet as often as it submitted; all of them together are too much before they are joined."""
    server = place.serve(max_unsent=100000, max_packet_size=100000)
    bad, worker = place.wire(server), place.wire(server)
    bad.send(pack_request(SUBMIT_JOB, b"f", b"same", b"") * 5000)
    for _ in range(5000):
        bad.response(JOB_CREATED, b"H:t:1")
    worker.request(CAN_DO, b"f")
    worker.request(GRAB_JOB)
    worker.response(JOB_ASSIGN, b"H:t:1", b"f", b"")
    worker.request(WORK_COMPLETE, b"H:t:1", b"x" * 50000)
    bad.broken()
    assert worker.totals()["peers_dropped_unread"] == 1


@pytest.mark.parametrize("packet", [(WORK_STATUS, [b"H:t:1", b"1", b"2"]), (WORK_DATA, [b"H:t:1", b"data"]),
                                    (WORK_WARNING, [b"H:t:1", b"data"]), (WORK_COMPLETE, [b"H:t:1", b"data"]),
                                    (WORK_FAIL, [b"H:t:1"]), (WORK_EXCEPTION, [b"H:t:1", b"data"])], ids=lambda it: str(it[0]))
def test_many_who_wait_for_a_job_cost_one_copy_of_what_its_worker_says(packet):
    core = Core(b"H:t", exceptions=True)
    first, second, worker = [Peer(number, b"") for number in range(3)]
    for peer in (first, second, worker):
        core.connect(peer)
    for peer in (first, second):
        core.receive(peer, [(SUBMIT_JOB, [b"f", b"same", b""])])
    core.receive(worker, [(CAN_DO, [b"f"]), (GRAB_JOB, []), packet])
    assert len(first.outgoing) == len(second.outgoing) == 2
    assert first.outgoing[1] is second.outgoing[1]


# ------------------------------------------------------------------------------------------------------------ much at once


def watch_rounds(server, look):
    """Collect what `look` finds in each of the next rounds of the loop, until it finds nothing."""
    found, over = [], threading.Event()

    def note():
        found.append(look())
        if found[-1]:
            server.call_soon(note)
        else:
            over.set()
    return note, found, over


@pytest.mark.parametrize("flood, answer, each", [
    (pack_request(GRAB_JOB), pack_response(NO_JOB), TURN_PACKETS), (b"version\n", VERSION_LINE, 1)],
    ids=["packets", "lines of text"])
def test_who_sends_much_at_once_gets_its_share_of_each_round_and_others_are_served_between(place, flood, answer, each):
    clock = Clock(step=0.003)  # so that there is time for two or three turns in a round
    server = place.serve(clock=clock)
    good, bad = place.wire(server), place.wire(server)
    is_served(good)
    is_served(bad)
    channel = channel_of(server)
    note, found, over = watch_rounds(server, lambda: len(channel.waiting))
    count = 50 * each
    with HeldServer(server):
        bad.send(flood * count)
        good.request(ECHO_REQ, b"between")
        server.call_soon(lambda: server.call_soon(note))
    good.response(ECHO_RES, b"between")
    assert over.wait(20)
    assert found[0] > count * 3 // 4, "and the other one was answered in the first round"
    assert all(0 < before - after <= 3 * each for before, after in zip(found, found[1:])), found
    bad.expect(answer * count)


def test_those_who_send_much_at_once_share_the_time_of_a_round(place):
    clock = Clock(step=0.003)
    server = place.serve(clock=clock)
    floods = [place.wire(server) for _ in range(5)]
    for wire in floods:
        is_served(wire)
    channels = in_dispatcher(server, lambda: list(server._channels.all))
    note, found, over = watch_rounds(server, lambda: [len(channel.waiting) for channel in channels])
    count = 20 * TURN_PACKETS
    with HeldServer(server):
        for wire in floods:
            wire.send(pack_request(GRAB_JOB) * count)
        server.call_soon(lambda: server.call_soon(lambda: found.append([len(channel.waiting) for channel in channels])))
    for wire in floods:
        wire.expect(pack_response(NO_JOB) * count)
    assert sum(found[0]) >= 5 * count - 3 * TURN_PACKETS, "all of them together get as much as one alone"


@pytest.mark.skipif(not hasattr(select, "epoll"), reason="other systems tell of a few at once")
def test_a_crowd_that_asks_together_is_heard_in_turns_and_answered_between(place):
    clock = Clock()
    server = place.serve(clock=clock)
    crowd = [place.wire(server) for _ in range(60)]
    for wire in crowd:
        is_served(wire)
    heard = []
    receive = server.core.receive

    def count(peer, packets):
        heard.append(server.core.now)
        return receive(peer, packets)
    with HeldServer(server):
        for wire in crowd:
            wire.request(ECHO_REQ, b"together")
        server.core.receive = count
        clock.step = HEAR_TIME / 8
    for wire in crowd:
        wire.response(ECHO_RES, b"together")
    clock.step = 0.0
    assert len(heard) == 60 and max(Counter(heard).values()) <= CROWD, "in one round"


def test_requests_of_http_wait_for_turns_as_lines_do(place):
    """The beginning of a page may take as long as hundreds of small packets."""
    clock = Clock()
    server = server_of(listen=["127.0.0.1:0", "web:127.0.0.1:0"], clock=clock)
    server.bind()
    place.run(server)
    good, crowd = place.wire(server), [socket.create_connection(server.addresses[1], TIMEOUT) for _ in range(12)]
    until(lambda: in_dispatcher(server, lambda: len(server._channels.all)) == 13)
    obeyed = []
    receive = server.core.receive

    def count(peer, packets):
        obeyed.append(server.core.now)
        return receive(peer, packets)
    with HeldServer(server):
        for one in crowd:
            one.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        server.core.receive = count
        clock.step = TURN_TIME / 2
    for one in crowd:
        assert receive_all(one).endswith(b'{"alive": true}\n')
        one.close()
    clock.step = 0.0
    assert len(obeyed) >= 12 and max(Counter(obeyed).values()) <= 3, "in one round"
    is_served(good)


def receive_all(connection):
    got = b""
    while True:
        data = connection.recv(65536)
        if not data:
            return got
        got += data


def test_what_is_due_together_is_done_in_turns(place):
    clock = Clock()
    server = place.serve(clock=clock)
    done = []

    def plan():
        for _ in range(40):
            server._deadlines.add(clock.now + 1.0, lambda: done.append(server.core.now))
        clock.advance(1.0)
        clock.step = DUE_TIME / 8
    in_dispatcher(server, plan)
    until(lambda: len(done) == 40)
    clock.step = 0.0
    assert max(Counter(done).values()) < 10, "in one round"


def test_those_who_leave_together_are_undone_in_turns_and_others_are_served_between(place):
    clock = Clock()
    server = place.serve(clock=clock)
    good, crowd = place.wire(server), [place.wire(server) for _ in range(40)]
    for wire in crowd:
        wire.request(CAN_DO, b"f")
        is_served(wire)
    undone, done = [41], threading.Event()
    give_turns = server._channels.give_turns

    def watch_turns():
        give_turns()
        undone.append(len(server.core.peers))
        if undone[-1] == 1:
            done.set()
    with HeldServer(server):
        for wire in crowd:
            wire.abandon()
        clock.step = TURN_TIME / 8
        server._channels.give_turns = watch_turns
    is_served(good)
    assert done.wait(TIMEOUT)
    clock.step = 0.0
    assert max(before - after for before, after in zip(undone, undone[1:])) < 10, "in one round"
    good.send(b"status\n")
    good.expect(b"f\t0\t0\t0\n.\n")


def test_answers_that_are_large_are_made_only_as_they_are_read(place):
    """5000 times `status` in one write, with many functions, would be a gigabyte of answers."""
    server = place.serve(max_unsent=16000000)
    in_dispatcher(server, lambda: [server.core.add_function(b"function%04d" % number) for number in range(3000)])
    good, bad = place.wire(server), place.wire(server, receive_buffer=4096)
    channel = small_buffers(server, bad)
    with HeldServer(server):
        bad.send(b"status\n" * 5000)
    while in_dispatcher(server, lambda: channel.backlog_size) <= ANSWER_AHEAD:
        is_served(good)
    for _ in range(50):
        is_served(good)
    backlog, waiting = in_dispatcher(server, lambda: (channel.backlog_size, len(channel.waiting)))
    assert backlog < 500000, "what one round makes, and not more"
    assert waiting, "the rest is obeyed later"
    for _ in range(40):
        assert len(bad.listing()) == 3000
    assert in_dispatcher(server, lambda: len(channel.waiting)) < waiting, "it goes on when it has read"
    bad.abandon()


def test_what_waits_is_forgotten_when_the_connection_is_lost(place):
    server = place.serve(max_unsent=160000)
    good, bad = place.wire(server), place.wire(server, receive_buffer=4096)
    channel = small_buffers(server, bad)
    in_dispatcher(server, lambda: [server.core.add_function(b"function%04d" % number) for number in range(3000)])
    bad.send(b"status\n" * 5000)
    while not in_dispatcher(server, lambda: channel.waiting and channel.backlog):
        is_served(good)
    bad.abandon()
    while in_dispatcher(server, lambda: channel in server._channels.all):
        is_served(good)
    channels = server._channels
    assert in_dispatcher(server, lambda: (len(channel.waiting), len(channels.turns), len(channels.unfinished))) == (0, 0, 0)


def test_what_was_sent_before_what_makes_no_sense_is_obeyed_first(place):
    """Although it has to wait for its turns."""
    server = place.serve(clock=Clock(step=0.01))
    wire = place.wire(server)
    wire.send(pack_request(GRAB_JOB) * 100, b"version\n", b"\0BAD" + bytes(8))
    wire.expect(pack_response(NO_JOB) * 100, VERSION_LINE)
    wire.ended()
    assert place.wire(server).totals()["streams_refused"] == 1


def test_who_is_refused_while_packets_of_it_wait_is_closed_when_it_leaves(place):
    server = place.serve(clock=Clock())
    wire, other = place.wire(server), place.wire(server)
    wire.send(b"a b c d e f\n" + b"version\n" * 100)
    wire.ended()
    wire.close()
    for _ in range(100):
        is_served(other)
    assert in_dispatcher(server, lambda: len(server._channels.all)) == 1


def test_who_waits_for_its_turns_with_half_a_packet_more_is_not_dropped_for_that(place):
    clock = Clock(step=0.003)
    server = place.serve(clock=clock)
    wire = place.wire(server)
    is_served(wire)
    channel = channel_of(server)
    with HeldServer(server):
        wire.send(b"version\n" * 200 + b"vers")
        for _ in range(30):  # in the next rounds of the loop
            server.call_soon(clock.advance, 5.0)
    while in_dispatcher(server, clock.advance, 5.0) or in_dispatcher(server, lambda: len(channel.waiting)):
        continue
    wire.send(b"ion\n")
    wire.expect(VERSION_LINE * 201)


@pytest.mark.skipif(not hasattr(select, "epoll"), reason="this system has no epoll")
def test_all_yours_a_job_is_not_given_to_those_of_a_crowd_that_has_left(place, monkeypatch):
    """Although the selector tells of few of them at once."""
    monkeypatch.setattr("gearman_std.net.selector.MOST_ENDED", 2)
    server = place.serve(policy=FunctionPolicy(retries=1))
    client, *crowd = [place.wire(server) for _ in range(40)]
    for wire in crowd:
        wire.send(pack_request(CAN_DO, b"f"), pack_request(ALL_YOURS), pack_request(PRE_SLEEP))
        is_served(wire)
    with HeldServer(server):
        client.request(SUBMIT_JOB, b"f", b"", b"w")
        for wire in crowd[:-1]:
            wire.close()
    client.response(JOB_CREATED, b"H:t:1")
    crowd[-1].response(JOB_ASSIGN, b"H:t:1", b"f", b"w")
    assert in_dispatcher(server, lambda: server.core.functions[b"f"].totals.lost) == 0


# ------------------------------------------------------------------------------------------------------------------ limits


def test_a_packet_over_the_limit_is_refused_with_an_error_that_its_sender_can_read(place):
    """Though it sends all of it before it reads: the rest is ignored, not kept."""
    server = place.serve(max_packet_size=1000)
    good, bad = place.wire(server), place.wire(server)
    is_served(bad)
    channel = channel_of(server)
    bad.request(ECHO_REQ, b"x" * 1000)
    bad.response(ECHO_RES, b"x" * 1000)
    bad.request(ECHO_REQ, b"x" * 20000000)
    bad.response(ERROR, b"ARGUMENT_TOO_LARGE", b"ECHO_REQ of 20000000 bytes, the limit is 1000")
    bad.ended()
    assert channel.reader.held <= 12
    totals = good.totals()
    assert (totals["packets_too_large"], totals["streams_refused"]) == (1, 0)


def test_packets_without_a_limit(place):
    server = place.serve(max_packet_size=0, max_unsent=0)
    wire = place.wire(server)
    is_served(wire)


def test_who_was_refused_and_goes_on_sending_is_closed_after_a_while(place):
    clock = Clock()
    server = place.serve(clock=clock)
    good, bad = place.wire(server), place.wire(server)
    bad.send(b"\0BAD" + bytes(8))
    bad.ended()
    is_served(good)
    assert in_dispatcher(server, lambda: len(server._channels.all)) == 2
    assert in_dispatcher(server, lambda: len(server.core.peers)) == 1, "the core has forgotten it"
    bad.send(b"more")
    let_pass(server, clock, LINGER_TIME)
    assert in_dispatcher(server, lambda: len(server._channels.all)) == 1
    assert good.totals()["peers_dropped_stalled"] == 0


@pytest.mark.parametrize("limit", [0, 100], ids=["as gearmand's", "set"])
def test_a_line_over_the_limit_ends_the_connection(place, limit):
    """Without an answer, as gearmand does; it is counted."""
    server = place.serve(**({"max_line_size": limit} if limit else {}))
    wire = place.wire(server)
    limit = limit or 8192
    line = b"x" * (limit - 1) + b"\n"
    wire.send(line)
    wire.expect(b"ERR UNKNOWN_COMMAND Unknown+server+command" + line[:-1] + b"\r\n")
    wire.send(b"x" * (limit + 1))
    wire.ended()
    assert place.wire(server).totals()["lines_too_long"] == 1


@pytest.mark.parametrize("limits, allowed, refused, reason, counter", [
    ({"jobs": 2}, [b"f", b"g"], b"h", b"The server is full: too many jobs", "refused_jobs"),
    ({"job_bytes": 20}, [b"f", b"g"], b"h", b"The server is full: too many bytes", "refused_job_bytes"),
    ({"function_jobs": 1}, [b"f", b"g"], b"f", b"The function is full: too many jobs", "refused_function_jobs"),
    ({"function_job_bytes": 19}, [b"f", b"g"], b"f", b"The function is full: too many bytes", "refused_function_job_bytes"),
    ({"functions": 2}, [b"f", b"g", b"f"], b"h", b"Too many functions", "refused_functions"),
])
def test_limits_of_jobs_each_have_an_error_and_are_counted(place, limits, allowed, refused, reason, counter):
    server = place.serve(limits=Limits(**limits))
    wire = place.wire(server)
    for number, function in enumerate(allowed, 1):
        wire.request(SUBMIT_JOB_BG, function, b"", b"0123456789")
        wire.response(JOB_CREATED, b"H:t:%d" % number)
    for packet_type in (SUBMIT_JOB, SUBMIT_JOB_BG):
        wire.request(packet_type, refused, b"", b"0123456789")
        wire.response(ERROR, b"QUEUE_ERROR", reason)
    totals = wire.totals()
    assert (totals["refused"], totals[counter], totals["jobs"]) == (2, 2, len(allowed))


def test_a_queue_that_is_full_and_a_server_that_drains_are_counted(place):
    server = place.serve()
    wire = place.wire(server)
    wire.send(b"maxqueue f 1\n")
    wire.expect(b"OK\r\n")
    wire.request(SUBMIT_JOB_BG, b"f", b"", b"")
    wire.response(JOB_CREATED, b"H:t:1")
    wire.request(SUBMIT_JOB_BG, b"f", b"", b"")
    wire.response(ERROR, b"QUEUE_ERROR", b"Job queue is full")
    wire.send(b"drain\n")
    wire.expect(b"OK\r\n")
    wire.request(SUBMIT_JOB_BG, b"g", b"", b"")
    wire.response(ERROR, b"QUEUE_ERROR", b"The server is draining and takes no new jobs")
    totals = wire.totals()
    assert (totals["refused_max_queue"], totals["refused_draining"]) == (1, 1)


def test_limits_of_functions_and_abilities_each_have_an_error(place):
    server = place.serve(limits=Limits(functions=3, abilities=2))
    wires = [place.wire(server), place.wire(server)]
    for wire, function in zip(wires, (b"a", b"b")):
        wire.request(CAN_DO, function)
        is_served(wire)
    wires[0].request(CAN_DO, b"c")
    wires[0].request(CAN_DO, b"d")
    assert wires[0].packet() == (ERROR, b"QUEUE_ERROR\0Too many abilities on this connection")
    wires[1].request(CAN_DO, b"d")
    assert wires[1].packet() == (ERROR, b"QUEUE_ERROR\0Too many functions")
    wires[1].send(b"status\n")
    assert wires[1].listing() == [b"a\t0\t0\t1\n", b"b\t0\t0\t1\n", b"c\t0\t0\t1\n"]
    totals = wires[1].totals()
    assert (totals["refused_abilities"], totals["refused_functions"]) == (1, 1)
    wires[1].send(b"create function d\n")
    wires[1].expect(b"ERR QUEUE_ERROR Too+many+functions\r\n")
    for name in (b"a", b"x", b"y", b"a", b"x 0"):
        wires[1].send(b"maxqueue " + name + (b"" if b" " in name else b" 1") + b"\n")
        wires[1].expect(b"OK\r\n")
    for name in (b"w", b"v"):
        wires[1].send(b"maxqueue " + name + b" 1\n")
        wires[1].expect(b"OK\r\n" if name == b"w" else b"ERR QUEUE_ERROR Too+many+functions\r\n")


# ------------------------------------------------------------------------------------------------------- file descriptors


class FaultyListener:
    """A listener that cannot accept while it is told so."""

    def __init__(self, listener):
        self._listener = listener
        self.socket, self.address = listener.socket, listener.address
        self.secure, self.http = listener.secure, listener.http
        self.close = listener.close
        self.trouble = []
        self.calls = 0

    def accept(self):
        self.calls += 1
        if self.trouble:
            raise self.trouble.pop(0)
        return self._listener.accept()


def with_faulty_listeners(place, **settings):
    server = server_of(**settings)
    server.bind()
    server._entrance.gate.listeners = [FaultyListener(listener) for listener in server._entrance.gate.listeners]
    listeners = server._entrance.gate.listeners
    return place.run(server), listeners


@pytest.mark.parametrize("number", ["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"])
def test_out_of_file_descriptors_accepting_pauses_and_resumes_and_nobody_is_dropped(place, number):
    import errno
    clock = Clock()
    server, (listener, other) = with_faulty_listeners(place, clock=clock, listen=["127.0.0.1", "127.0.0.2"])
    old = place.wire(server)
    is_served(old)
    listener.trouble = [OSError(getattr(errno, number), "no more")] * 2
    new, newer = place.wire(server), place.wire(other.address)
    new.request(ECHO_REQ, b"")
    newer.request(ECHO_REQ, b"")
    while len(listener.trouble) == 2:
        is_served(old)
    calls = listener.calls + other.calls
    for _ in range(5):
        is_served(old)
    assert listener.calls + other.calls <= calls + 1, "nothing is accepted during the pause"
    let_pass(server, clock, ACCEPT_PAUSE)
    while listener.trouble:
        is_served(old)
    let_pass(server, clock, ACCEPT_PAUSE)
    new.response(ECHO_RES, b"")
    newer.response(ECHO_RES, b"")
    assert old.totals()["accept_pauses"] == 2
    assert old.totals()["connections_accepted"] == 3


def test_two_listeners_may_find_at_once_that_there_is_no_room(place):
    import errno
    clock = Clock()
    server, listeners = with_faulty_listeners(place, clock=clock, listen=["127.0.0.1", "127.0.0.2"])
    with HeldServer(server):
        for listener in listeners:
            listener.trouble = [OSError(errno.EMFILE, "no more")]
        wires = [place.wire(listener.address) for listener in listeners]
    in_dispatcher(server, lambda: None)
    assert [len(listener.trouble) for listener in listeners] in ([0, 1], [1, 0]), "the second one does not even try"
    for _ in range(2):
        let_pass(server, clock, ACCEPT_PAUSE)
    for wire in wires:
        is_served(wire)


def test_accepting_resumes_at_once_when_a_connection_ends(place):
    import errno
    server, (listener,) = with_faulty_listeners(place, clock=Clock(), listen=["127.0.0.1"])
    old, leaving = place.wire(server), place.wire(server)
    is_served(leaving)
    listener.trouble = [OSError(errno.EMFILE, "no more")]
    new = place.wire(server)
    while listener.trouble:
        is_served(old)
    leaving.half_close()
    leaving.ended()
    is_served(new)


@pytest.mark.parametrize("number", ["ECONNABORTED", "EPROTO", "ENETDOWN", "EHOSTUNREACH", "EPERM"])
def test_a_connection_that_is_lost_before_it_is_accepted_is_nothing_to_pause_for(place, number):
    import errno
    server, (listener,) = with_faulty_listeners(place, clock=Clock(), listen=["127.0.0.1"])
    listener.trouble = [OSError(getattr(errno, number), "lost")] * 3
    wire = place.wire(server)
    is_served(wire)
    assert wire.totals()["accept_pauses"] == 0


def test_a_graceful_stop_during_the_pause(place):
    import errno
    clock = Clock()
    server, (listener,) = with_faulty_listeners(place, clock=clock, listen=["127.0.0.1"])
    old = place.wire(server)
    is_served(old)
    listener.trouble = [OSError(errno.EMFILE, "no more")]
    new = place.wire(server)
    while listener.trouble:
        is_served(old)
    server.stop(graceful=True)
    server.join(20)
    old.ended()
    new.broken()
    new.abandon()


OUT_OF_DESCRIPTORS = """
import resource
from gearman_std.server.server import Server
server = Server(port=0, listen=["127.0.0.1"])
server.bind()
import logging, selectors
resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
print(server.address[1], flush=True)
server.serve()
"""


def test_with_all_file_descriptors_really_used_up(place, root):
    """Who waits to be accepted is accepted when others leave."""
    pytest.importorskip("resource")
    process = subprocess.Popen([sys.executable, "-c", OUT_OF_DESCRIPTORS],
                               stdout=subprocess.PIPE, cwd=root)
    with process:
        try:
            address = ("127.0.0.1", int(process.stdout.readline()))
            wires = [place.wire(address) for _ in range(60)]
            for wire in wires:
                wire.request(ECHO_REQ, b"")
            wires[0].response(ECHO_RES, b"")
            assert wires[0].totals()["accept_pauses"] > 0
            for _ in range(10):
                is_served(wires[0])
            for wire in wires[1:]:  # each that leaves makes room for one that waits
                wire.response(ECHO_RES, b"")
                wire.close()
            is_served(wires[0])
            assert wires[0].totals()["connections_accepted"] == 60
        finally:
            process.terminate()
            wires[0].broken()
    assert process.returncode is not None


def test_a_selector_that_takes_no_more_sockets_is_like_no_more_file_descriptors(place):
    import errno

    class Full(selectors.DefaultSelector):
        full = False

        def register(self, fileobj, events, data=None):
            if self.full and not callable(data):
                raise OSError(errno.ENOSPC, "no more watches")
            return super().register(fileobj, events, data)
    clock = Clock()
    server = place.serve(clock=clock, make_selector=Full)
    old = place.wire(server)
    is_served(old)
    Full.full = True
    new = place.wire(server)
    new.ended()
    Full.full = False
    assert old.totals()["accept_pauses"] == 1
    let_pass(server, clock, ACCEPT_PAUSE)
    is_served(place.wire(server))


# ---------------------------------------------------------------------------------------------------------------- idleness


class CountingSelector(selectors.DefaultSelector):
    """Notes how long the server wanted to wait."""

    def __init__(self):
        super().__init__()
        self.waits = []

    def select(self, timeout=None):
        self.waits.append(timeout)
        return super().select(timeout)


def last_wait(server):
    server._looks = 0  # those without waiting, which come first
    in_dispatcher(server, lambda: None)
    with HeldServer(server):
        return server._selector.waits[-1]


def test_an_idle_server_does_not_wake_at_all(place):
    server = place.serve(clock=Clock(), make_selector=CountingSelector)
    assert last_wait(server) is None
    wires = [place.wire(server) for _ in range(20)]
    for wire in wires:
        is_served(wire)
        wire.request(CAN_DO, b"f")
        wire.request(GRAB_JOB)
        wire.response(NO_JOB)
    wires[0].request(SUBMIT_JOB_BG, b"g", b"", b"")
    wires[0].response(JOB_CREATED, b"H:t:1")
    assert last_wait(server) is None, "idle connections and queued jobs are nothing to wake for"


def test_half_a_packet_is_looked_at_every_few_seconds_until_it_is_whole_or_dropped(place):
    clock = Clock()
    server = place.serve(clock=clock, make_selector=CountingSelector)
    wire, bad = place.wire(server), place.wire(server)
    for one in (wire, bad):
        is_served(one)
        one.send(b"\0")
    while len(in_dispatcher(server, lambda: server._channels.unfinished)) < 2:
        continue
    assert 0 < last_wait(server) <= SWEEP_INTERVAL
    wire.send(pack_request(ECHO_REQ, b"")[1:])
    wire.response(ECHO_RES, b"")
    assert 0 < last_wait(server) <= SWEEP_INTERVAL
    for _ in range(14):
        let_pass(server, clock, SWEEP_INTERVAL)
    bad.ended()
    assert last_wait(server) is None


def test_the_pause_of_accepting_is_waited_for_without_spinning(place):
    import errno
    clock = Clock()
    server, (listener,) = with_faulty_listeners(place, clock=clock, listen=["127.0.0.1"], make_selector=CountingSelector)
    old = place.wire(server)
    is_served(old)
    listener.trouble = [OSError(errno.EMFILE, "no more")]
    new = place.wire(server)
    while listener.trouble:
        is_served(old)
    assert 0 < last_wait(server) <= ACCEPT_PAUSE
    let_pass(server, clock, ACCEPT_PAUSE)
    is_served(new)
    assert last_wait(server) is None
