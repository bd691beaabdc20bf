"""The life of a server, and conversations with it over real sockets."""
import errno
import gc
import logging
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import warnings

import pytest

from gearman_std.server.access import PeerFacts
from gearman_std.core.limits import Limits
from gearman_std.wire.protocol import (CAN_DO, ECHO_REQ, ECHO_RES, GRAB_JOB, JOB_ASSIGN, JOB_CREATED, LARGE_BODY, NO_JOB, NOOP,
                                       PRE_SLEEP, SET_CLIENT_ID, SUBMIT_JOB, SUBMIT_JOB_BG, SUBMIT_JOB_EPOCH, WORK_COMPLETE,
                                       WORK_DATA, pack_request, pack_response)
from gearman_std.server.channels import READ_SIZE
from gearman_std.server.server import MAX_STUMBLES, Server

from server_tools import TIMEOUT, VERSION_LINE, Clock, Wire, in_dispatcher, server_of


def open_files():
    return len(os.listdir("/proc/self/fd"))


needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts the files in /proc/self/fd")


# ------------------------------------------------------------------------------------------------------------------ life


def test_a_with_block_serves_on_loopback_until_it_ends():
    with Server(port=0) as server:
        host, port = server.address
        assert host == "127.0.0.1" and port > 0
        assert server.running
        wire = Wire(server.address)
        wire.send(b"version\n")
        wire.expect(VERSION_LINE)
        assert repr(server) == "<Server on 127.0.0.1:%d: <Core: 1 peers, 0 functions, 0 jobs, 0 set aside>>" % port
    wire.ended()
    wire.close()
    assert not server.running
    assert server.address == (host, port), "where it was is still known"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(server.address)


def test_where_it_listens_is_logged_as_a_person_writes_it(place, caplog):
    caplog.set_level(logging.INFO, "gearman_std.server")
    server = place.serve(listen=["127.0.0.1"])
    in_dispatcher(server, lambda: None)
    where = "127.0.0.1:%d" % server.address[1]
    assert "listening on %s" % where in caplog.messages
    assert repr(server).startswith("<Server on %s: " % where)


def test_a_server_that_is_not_bound_has_no_address():
    server = Server(port=0)
    assert server.addresses == []
    with pytest.raises(RuntimeError, match="before it is bound"):
        server.address


def test_its_port_can_be_had_again_at_once(place):
    """Although connections of the old server are in TIME_WAIT."""
    first = place.serve()
    wire = place.wire(first)
    wire.send(b"getpid\n")
    wire.expect(b"OK %d\n" % os.getpid())
    first.stop()
    first.join(TIMEOUT)
    wire.ended()
    second = place.serve(port=first.address[1])
    wire = place.wire(second)
    wire.send(b"getpid\n")
    wire.expect(b"OK %d\n" % os.getpid())


def test_serve_runs_in_the_calling_thread_and_stop_comes_from_another():
    server = Server(port=0, listen=["127.0.0.1"])
    server.bind()
    ran = []

    def ask_and_stop():
        wire = Wire(server.address)
        wire.send(b"getpid\n")
        wire.expect(b"OK %d\n" % os.getpid())
        server.call_soon(lambda: ran.append(threading.current_thread()))
        server.stop()
        wire.ended()
        wire.close()
    asker = threading.Thread(target=ask_and_stop)
    asker.start()
    server.serve()
    asker.join(TIMEOUT)
    assert ran == [threading.main_thread()]


@pytest.mark.skipif(os.name != "posix", reason="sends a signal to itself")
def test_stop_may_be_called_by_a_signal_handler():
    server = Server(port=0, listen=["127.0.0.1"])
    server.bind()
    old = signal.signal(signal.SIGUSR2, lambda number, frame: server.stop())
    try:
        server.call_soon(os.kill, os.getpid(), signal.SIGUSR2)
        server.serve()
    finally:
        signal.signal(signal.SIGUSR2, old)
    assert not server.running


def test_what_was_asked_for_before_it_serves_is_done_then():
    server = Server(port=0)
    ran = []
    server.call_soon(ran.append, 1)
    server.stop()
    assert ran == []
    server.start()
    server.join(TIMEOUT)
    assert ran == [1] and not server.running
    server.stop()  # and after the end nothing happens
    server.call_soon(ran.append, 2)
    assert ran == [1]


def test_a_function_that_is_called_soon_and_fails_harms_nobody(place, caplog):
    server = place.serve()
    server.call_soon(lambda: 1 // 0)
    assert in_dispatcher(server, lambda: 7) == 7
    assert "ZeroDivisionError" in caplog.text


def test_a_function_that_is_called_soon_may_call_itself_soon_again(place):
    """It gets its turn; it does not keep the server from all else."""
    server = place.serve()
    stop = []

    def again():
        if not stop:
            server.call_soon(again)
    again()
    wire = place.wire(server)
    wire.request(ECHO_REQ, b"x")
    wire.response(ECHO_RES, b"x")
    stop.append(True)


def test_a_job_that_is_due_in_years_does_not_end_an_idle_server(place):
    """epoll waits no longer than 2**31 milliseconds."""
    server = place.serve()
    wire = place.wire(server)
    wire.request(SUBMIT_JOB_EPOCH, b"f", b"", b"40000000000", b"w")
    assert wire.packet()[0] == JOB_CREATED
    wait = in_dispatcher(server, server._wait_time)
    reader, writer = socket.socketpair()
    with selectors.DefaultSelector() as selector, reader, writer:
        writer.send(b"x")
        selector.register(reader, selectors.EVENT_READ)
        assert selector.select(wait)


def test_an_idle_server_notices_within_a_minute_that_its_clock_was_set(place):
    """Or that the machine slept meanwhile: a job's time may have come, of which no wait that was planned before knows."""
    server = place.serve(wall_clock=Clock(1600000000.0))
    wire = place.wire(server)
    wire.request(SUBMIT_JOB_EPOCH, b"f", b"", b"1600003600", b"w")
    assert wire.packet()[0] == JOB_CREATED
    assert in_dispatcher(server, server._wait_time) <= 60.0


def test_a_server_serves_once():
    server = Server(port=0)
    with server:
        with pytest.raises(RuntimeError, match="started before"):
            server.start()
    for call in (server.bind, server.serve):
        with pytest.raises(RuntimeError, match="serves once"):
            call()


@needs_proc
def test_a_server_that_never_served_holds_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        before = open_files()
        server = Server(port=0)
        assert open_files() == before
        server.bind()
        server.bind()
        assert open_files() > before
        server.close()
        server.close()
        assert open_files() == before
        del server
        gc.collect()


@needs_proc
def test_all_is_closed_at_the_end():
    before = open_files()
    with Server(port=0) as server:
        wires = [Wire(server.address) for _ in range(5)]
        for wire in wires:
            wire.request(ECHO_REQ, b"")
            wire.response(ECHO_RES, b"")
    for wire in wires:
        wire.ended()
        wire.close()
    assert open_files() == before


@needs_proc
def test_an_address_that_cannot_be_had_is_an_error_that_names_it_and_leaves_nothing_open(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        port = taken.getsockname()[1]
        before = open_files()
        server = Server(listen=[str(tmp_path / "socket"), "127.0.0.1:0", "127.0.0.1:%d" % port])
        with pytest.raises(OSError, match="port %d" % port) as caught:
            server.start()
        assert caught.value.errno == errno.EADDRINUSE
        assert open_files() == before
        assert os.listdir(str(tmp_path)) == []
    with server:  # the port is free now, and nothing keeps the server from a second try
        assert server.addresses[2] == ("127.0.0.1", port)


@pytest.mark.parametrize("prefix", ["", "H t", "x" * 44, b"a\0b"])
def test_a_handle_prefix_that_the_protocol_cannot_carry_is_refused(prefix):
    with pytest.raises(ValueError, match="handle_prefix"):
        Server(handle_prefix=prefix)


def test_an_exception_that_ends_the_loop_closes_everything(place, monkeypatch):
    """A selector that breaks for good is nothing that can be mended; but clients must notice, not hang."""
    monkeypatch.setattr("gearman_std.server.server.STUMBLE_PAUSE", 0.0)

    class Broken(selectors.DefaultSelector):
        broken = False

        def select(self, timeout=None):
            if self.broken:
                raise OSError(errno.EIO, "broken")
            return super().select(timeout)
    server = server_of(listen=["127.0.0.1"], make_selector=Broken)
    server.bind()
    wire = Wire(server.address)
    server.call_soon(setattr, Broken, "broken", True)
    with pytest.raises(OSError, match="broken"):
        server.serve()
    wire.broken()
    wire.abandon()
    assert not server.running
    assert server.core.counters["faults"] == MAX_STUMBLES


def test_what_is_due_is_done_while_timers_that_were_taken_back_are_swept(place):
    server, done = place.serve(), threading.Event()

    def plan():
        deadlines, now = server._deadlines, server.core.now
        later = [deadlines.add(now + 1000.0, done.clear) for _ in range(1000)]
        for timer in later[490:]:
            deadlines.cancel(timer)
        deadlines.add(now + 0.001, done.set)
        return deadlines.entries[0][0] > now + 0.001
    assert in_dispatcher(server, plan), "it is not the first of those that are still to be swept"
    assert done.wait(TIMEOUT)


# -------------------------------------------------------------------------------------------------------- graceful stops


def test_a_graceful_stop_lets_jobs_finish_and_accepts_no_connection(place):
    server = place.serve()
    client, worker = place.wire(server), place.wire(server)
    worker.request(CAN_DO, b"f")
    worker.request(GRAB_JOB)
    worker.response(NO_JOB)
    client.request(SUBMIT_JOB, b"f", b"", b"in")
    client.response(JOB_CREATED, b"H:t:1")
    client.request(SUBMIT_JOB_BG, b"f", b"", b"in2")
    client.response(JOB_CREATED, b"H:t:2")
    worker.request(GRAB_JOB)
    worker.response(JOB_ASSIGN, b"H:t:1", b"f", b"in")
    server.stop(graceful=True)
    in_dispatcher(server, lambda: None)  # the round of the loop after which it closes the listeners has begun
    client.request(ECHO_REQ, b"still there")
    client.response(ECHO_RES, b"still there")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(server.address)
    worker.request(WORK_COMPLETE, b"H:t:1", b"out")
    client.response(WORK_COMPLETE, b"H:t:1", b"out")
    worker.request(GRAB_JOB)
    worker.response(JOB_ASSIGN, b"H:t:2", b"f", b"in2")
    worker.request(WORK_COMPLETE, b"H:t:2", b"")
    server.join(TIMEOUT)
    client.ended()
    worker.ended()


def test_a_graceful_stop_sends_results_that_are_larger_than_the_sockets_buffers(place):
    server = place.serve()
    client, worker = place.wire(server), place.wire(server)
    result = bytes(range(256)) * 65536  # 16 MiB
    worker.request(CAN_DO, b"f")
    client.request(SUBMIT_JOB, b"f", b"", b"in")
    client.response(JOB_CREATED, b"H:t:1")
    worker.request(GRAB_JOB)
    worker.response(JOB_ASSIGN, b"H:t:1", b"f", b"in")
    server.stop(graceful=True)
    worker.request(WORK_COMPLETE, b"H:t:1", result)
    client.response(WORK_COMPLETE, b"H:t:1", result)
    server.join(TIMEOUT)
    client.ended()
    worker.ended()


@pytest.mark.parametrize("graceful", [True, False])
def test_a_stop_sends_everybody_what_waits_however_many_they_are(place, monkeypatch, graceful):
    monkeypatch.setattr("gearman_std.server.channels.FLUSH_PEERS", 1)
    monkeypatch.setattr("gearman_std.server.server.FLUSH_PEERS", 1)
    server = place.serve()
    clients, worker = [place.wire(server) for _ in range(5)], place.wire(server)
    for client in clients:
        client.request(SUBMIT_JOB, b"f", b"u", b"in")
        client.response(JOB_CREATED, b"H:t:1")
    worker.request(CAN_DO, b"f")
    worker.request(GRAB_JOB)
    worker.response(JOB_ASSIGN, b"H:t:1", b"f", b"in")

    def finish():
        server.core.stop(graceful)
        job = server.core.jobs[b"H:t:1"]
        server.core.receive(job.worker, [(WORK_COMPLETE, [b"H:t:1", b"out"])])
    server.call_soon(finish)
    for client in clients:
        client.response(WORK_COMPLETE, b"H:t:1", b"out")
        client.ended()
    server.join(TIMEOUT)


def test_a_second_stop_hurries_a_graceful_one(place):
    server = place.serve()
    client = place.wire(server)
    client.request(SUBMIT_JOB, b"f", b"", b"")
    client.response(JOB_CREATED, b"H:t:1")
    server.stop(graceful=True)
    in_dispatcher(server, lambda: None)
    assert server.running
    server.stop()
    server.join(TIMEOUT)
    client.ended()


# ---------------------------------------------------------------------------------------------------------- conversations


def run_one_job(place, server, workload, result):
    """One job from submit to result, the worker asleep at first."""
    client, worker = place.wire(server), place.wire(server)
    worker.request(CAN_DO, b"f")
    worker.request(PRE_SLEEP)
    in_dispatcher(server, lambda: None)
    sender = threading.Thread(target=client.request, args=(SUBMIT_JOB, b"f", b"u", workload))
    sender.start()
    client.response(JOB_CREATED, b"H:t:1")
    sender.join()
    worker.response(NOOP)
    worker.request(GRAB_JOB)
    worker.response(JOB_ASSIGN, b"H:t:1", b"f", workload)
    sender = threading.Thread(target=worker.request, args=(WORK_COMPLETE, b"H:t:1", result))
    sender.start()
    client.response(WORK_COMPLETE, b"H:t:1", result)
    sender.join()
    client.close()
    worker.close()


def pattern(size):
    """Bytes in which it would show if some were lost, or came twice."""
    return (b"".join(b"%d," % number for number in range(100000)) * (size // 500000 + 1))[:size]


EDGES = (1, READ_SIZE, READ_SIZE - 16, LARGE_BODY, LARGE_BODY - 4, 1024 * 1024, 2 * 1024 * 1024)


@pytest.mark.parametrize("size", sorted({edge + offset for edge in EDGES for offset in (-1, 0, 1)}))
def test_workloads_and_results_of_every_awkward_size_come_through_intact(place, size):
    run_one_job(place, place.serve(), pattern(size), pattern(size)[::-1])


def test_a_workload_of_64_mib_comes_through_and_back_intact(place):
    workload = pattern(64 * 1024 * 1024)
    run_one_job(place, place.serve(), workload, workload)


def test_a_request_may_arrive_byte_by_byte(place):
    server = place.serve()
    wire = place.wire(server)
    for byte in pack_request(ECHO_REQ, b"slow") + b"version\r\n" + pack_request(GRAB_JOB):
        wire.send(bytes((byte,)))
    wire.response(ECHO_RES, b"slow")
    wire.expect(VERSION_LINE)
    wire.response(NO_JOB)


def test_text_and_packets_may_be_mixed_in_one_write_and_are_answered_in_order(place):
    server = place.serve()
    wire = place.wire(server)
    wire.send(b"version\n", pack_request(ECHO_REQ, b"1"), b"nonsense\r\nversion\n", pack_request(GRAB_JOB), b"getpid\n")
    wire.expect(VERSION_LINE)
    wire.response(ECHO_RES, b"1")
    wire.expect(b"ERR UNKNOWN_COMMAND Unknown+server+commandnonsense\r\n" + VERSION_LINE)
    wire.response(NO_JOB)
    wire.expect(b"OK %d\n" % os.getpid())


def test_who_closes_its_sending_half_still_gets_its_answer(place):
    """As `echo status | nc` does."""
    server = place.serve()
    wire = place.wire(server)
    wire.send(b"create function f\nstatus\n")
    wire.half_close()
    wire.expect(b"OK\r\nf\t0\t0\t0\n.\n")
    wire.ended()


def test_who_closes_its_sending_half_gets_even_an_answer_that_is_larger_than_the_sockets_buffers(place):
    server = place.serve()
    names = [b"%06d" % number + b"x" * 1490 for number in range(5000)]
    in_dispatcher(server, lambda: [server.core.add_function(name) for name in names])
    wire = place.wire(server, receive_buffer=4096)
    wire.send(b"status\nversion\n")
    wire.half_close()
    assert wire.listing() == [name + b"\t0\t0\t0\n" for name in names]
    wire.expect(VERSION_LINE)
    wire.ended()


def test_a_client_that_closes_its_sending_half_counts_as_gone(place):
    server = place.serve()
    client, other = place.wire(server), place.wire(server)
    client.request(SUBMIT_JOB, b"f", b"", b"")
    client.response(JOB_CREATED, b"H:t:1")
    client.half_close()
    client.ended()
    other.send(b"status\n")
    other.expect(b"f\t0\t0\t0\n.\n")


def test_a_sixth_word_ends_the_connection_after_what_came_before_was_answered(place):
    server = place.serve()
    wire = place.wire(server)
    wire.send(b"version\na b c d e f\nversion\n")
    wire.expect(VERSION_LINE)
    wire.ended()


HTTP_BODY = b"\nshutdown\r\nshutdown\ndrop function f force\ncancel function f\nSHUTDOWN graceful\n"


@pytest.mark.parametrize("request_bytes", [
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n",
    b"post /hook http/1.0\n\n",
    b"PATCH / HTTP/1.1\r\nhost:x\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"Host: x\n",
    b"\r\n\r\nPOST / HTTP/1.1\r\n\r\n",
    b"version\r\nPOST / HTTP/1.1\r\n\r\n",
    pack_request(ECHO_REQ, b"") + b"POST / HTTP/1.1\r\n\r\n",
    b"POST / HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n\r\n",
    b"SHUTDOWN / HTTP/1.1\r\n\r\n"], ids=repr)
@pytest.mark.parametrize("cut", [0, 1, 20])
def test_what_comes_with_a_request_of_http_is_not_obeyed(place, request_bytes, cut):
    server = place.serve()
    other, wire = place.wire(server), place.wire(server)
    other.request(SUBMIT_JOB_BG, b"f", b"", b"")
    other.response(JOB_CREATED, b"H:t:1")
    data = request_bytes + HTTP_BODY + pack_request(SUBMIT_JOB_BG, b"f", b"", b"")
    try:
        for part in (data[:cut], data[cut:]):
            wire.send(part)
    except OSError:
        assert cut  # it is closed as soon as it is seen
    wire.broken()
    other.send(b"show jobs\n")
    other.expect(b"H:t:1\t0\t0\t1\n.\n")
    assert in_dispatcher(server, lambda: server.core.stopping) == ""


def test_both_directions_flow_at_once(place):
    """A peer that sends without end while much waits for it gets it: writing does not wait for an end of reading."""
    server = place.serve()
    client, worker = place.wire(server), place.wire(server)
    data, parts, echo = pattern(1000000), 20, pattern(50000)
    worker.request(CAN_DO, b"f")
    client.request(SUBMIT_JOB, b"f", b"", b"")
    client.response(JOB_CREATED, b"H:t:1")
    worker.request(GRAB_JOB)
    worker.response(JOB_ASSIGN, b"H:t:1", b"f", b"")
    sender = threading.Thread(target=lambda: [worker.request(WORK_DATA, b"H:t:1", data) for _ in range(parts)])
    chatter = threading.Thread(target=lambda: [client.request(ECHO_REQ, echo) for _ in range(parts)])
    sender.start()
    chatter.start()
    wanted = sorted([pack_response(WORK_DATA, b"H:t:1", data)[12:]] * parts + [echo] * parts)
    assert sorted(client.packet()[1] for _ in range(2 * parts)) == wanted
    sender.join()
    chatter.join()


class OneRound(selectors.DefaultSelector):
    """Reports once that everything is possible with every connection, then has the server stop."""

    server = None
    rounds = 0

    def select(self, timeout=None):
        self.rounds += 1
        if self.rounds > 1:
            self.server.core.stop(graceful=False)
            return []
        return [(key, key.events) for key in self.get_map().values() if not callable(key.data)]


def test_who_sends_all_the_time_is_written_to_all_the_same():
    """In the same round of the loop."""
    server = server_of(listen=["127.0.0.1"], make_selector=OneRound)
    server.bind()
    server._selector.server = server
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    channel = server._entrance.welcome(ours, PeerFacts(), server._entrance.gate.listeners[0])
    channel.put([b"unsent"])
    server._channels.watch(channel)
    theirs.send(pack_request(SET_CLIENT_ID, b"x"))
    server.serve()
    assert theirs.recv(100) == b"unsent"
    assert channel.peer.client_id == b"x"
    theirs.close()


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="this system has no user time-out")
def test_keepalive_user_timeout_and_nodelay_are_on_for_every_tcp_connection(place):
    server = place.serve()
    place.wire(server).send(b"")
    wire = place.wire(server)
    wire.request(ECHO_REQ, b"")
    wire.response(ECHO_RES, b"")

    def options():
        return [[channel.socket.getsockopt(level, option) for level, option in (
            (socket.SOL_SOCKET, socket.SO_KEEPALIVE), (socket.IPPROTO_TCP, socket.TCP_NODELAY),
            (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE), (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL),
            (socket.IPPROTO_TCP, socket.TCP_KEEPCNT), (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT))]
            for channel in server._channels.all]
    assert in_dispatcher(server, options) == [[1, 1, 30, 10, 3, 60000]] * 2


def test_what_the_server_counts_is_shown_from_the_start(place):
    server = place.serve(limits=Limits(jobs=1))
    wire = place.wire(server)
    totals = wire.totals()
    assert totals["connections_accepted"] == 1 and totals["peers"] == 1
    for name in ("connections_refused", "accept_pauses", "packets_too_large", "lines_too_long", "streams_refused",
                 "peers_dropped_unread", "peers_dropped_stalled", "faults", "submitted", "refused"):
        assert totals[name] == 0
    wire.request(SUBMIT_JOB_BG, b"f", b"", b"x")
    wire.response(JOB_CREATED, b"H:t:1")
    wire.request(SUBMIT_JOB_BG, b"f", b"", b"x")
    assert wire.packet() == (19, b"QUEUE_ERROR\0The server is full: too many jobs")
    assert wire.totals()["refused"] == 1


def test_a_fault_of_ours_costs_the_one_peer_and_is_logged_and_counted(place, caplog):
    server = place.serve()
    good, bad = place.wire(server), place.wire(server)
    bad.request(ECHO_REQ, b"")
    bad.response(ECHO_RES, b"")
    peer = in_dispatcher(server, lambda: list(server.core.peers)[-1])
    peer.handlers = [None] * 60
    bad.request(ECHO_REQ, b"x")
    bad.ended()
    assert "a fault of ours" in caplog.text and "TypeError" in caplog.text
    assert good.totals()["faults"] == 1
    server.core.counters["faults"] = 0


def test_a_server_in_a_process_of_its_own_stops_on_a_signal(root):
    program = "from gearman_std.server.server import Server; import signal\n" \
              "s = Server(port=0, listen=['127.0.0.1']); s.bind(); signal.signal(signal.SIGTERM, lambda *_: s.stop())\n" \
              "print(s.address[1], flush=True); s.serve(); print('stopped')"
    process = subprocess.Popen([sys.executable, "-W", "error", "-c", program], stdout=subprocess.PIPE, cwd=root)
    with process:
        port = int(process.stdout.readline())
        wire = Wire(("127.0.0.1", port))
        wire.send(b"version\n")
        wire.expect(VERSION_LINE)
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == b"stopped\n"
        wire.ended()
        wire.close()
    assert process.returncode == 0
