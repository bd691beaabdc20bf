"""The connections of a client and the threads that wait for them: time-outs, losses, garbage, several servers."""
import collections
import concurrent.futures
import logging
import os
import random
import select
import signal
import socket
import ssl
import threading
import time

import pytest

from client_tools import (CERTIFICATE, KEY, LONG, Clock, Pace, be_silent, client_of, hang_up, in_threads, middle, obey, once,
                          one_job, unused_address, vanish)
from gearman_std.client.client import Client
from gearman_std.client.plan import plan_job
from gearman_std.net.addresses import split_servers
from gearman_std.net.connection import Connection, make_waiter
from gearman_std.errors import (CommandTimeout, ConnectTimeout, GearmanError, JobFailed, JobTimeout, NoServer, ProtocolError,
                                QueueFull, ServerLost)
from gearman_std.wire.protocol import (ECHO_REQ, ECHO_RES, ERROR, JOB_CREATED, OPTION_RES, STATUS_RES, STATUS_RES_UNIQUE,
                                       SUBMIT_JOB, SUBMIT_JOB_BG, WORK_COMPLETE, WORK_DATA, WORK_EXCEPTION, WORK_FAIL,
                                       WORK_STATUS, WORK_WARNING, pack_response)
from samples import few


# -------------------------------------------------------------------------------------------------------------------- time-outs

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


def test_the_connect_timeout_is_for_all_servers_together(two_silent, make_client):
    """Whatever is asked; five clients wait at the same time."""
    calls = [lambda client: client.submit("f"), lambda client: client.submit("f", require_worker=True),
             lambda client: client.ping(), lambda client: client.status("H:1"), lambda client: client.status_unique("u")]

    def seconds(call):
        client = make_client(*two_silent, connect_timeout=1.0)
        began = time.monotonic()
        with pytest.raises(ConnectTimeout):
            call(client)
        return time.monotonic() - began
    with concurrent.futures.ThreadPoolExecutor(len(calls)) as pool:
        assert max(pool.map(seconds, calls)) < 1.9


@pytest.mark.parametrize("options", [dict(timeout=0.1), dict(timeout=0.1, require_worker=True),
                                     dict(timeout=LONG, try_timeout=0.1)])
def test_the_time_of_a_run_is_for_connecting_too(silent, make_client, options):
    client = make_client(silent, connect_timeout=LONG)
    began = time.monotonic()
    with pytest.raises(ConnectTimeout):
        client.run("f", **options)
    assert time.monotonic() - began < 15


@pytest.mark.parametrize("call", [
    lambda client: client.run("f", b"w", timeout=LONG), lambda client: client.submit("f", background=True).handle,
    lambda client: [task.result(LONG) for task in client.submit_many([("f", b"w")])], lambda client: client.ping(),
    lambda client: client.status("H:1"),
])
def test_a_connection_that_was_closed_while_it_was_idle_is_not_used(serve, make_client, call):
    def one_and_out(peer):
        peer.receive()
        peer.send(JOB_CREATED, b"H:1")
        peer.send(WORK_COMPLETE, b"H:1", b"")
    server, clock = serve(once(one_and_out, obey)), Clock()
    client = make_client(server, clock=clock)
    client.run("f", timeout=LONG)
    select.select([client._pool.first.links[0].connection], [], [], LONG)  # until the end has arrived
    clock.now += 60
    call(client)


def test_an_error_tells_a_time_that_a_person_can_read(serve, make_client):
    with pytest.raises(JobTimeout, match=r"^no result of f within 0\.\d{1,3} s$"):
        make_client(serve(one_job())).run("f", timeout=0.1)


@pytest.mark.parametrize("options", [dict(timeout=0.1), dict(timeout=LONG, try_timeout=0.1)])
def test_the_time_of_a_run_is_for_sending_too(serve, make_client, options):
    done = threading.Event()
    client = make_client(serve(lambda peer: done.wait(LONG)), command_timeout=LONG)  # which reads nothing
    began = time.monotonic()
    with pytest.raises(JobTimeout):
        client.run("f", bytes(64000000), **options)
    assert time.monotonic() - began < 15
    done.set()


def test_a_silent_server_does_not_use_up_the_time_of_the_others(silent, serve, make_client):
    client = make_client(silent, serve(), connect_timeout=1.0)
    for number in range(4):
        assert client.run("f", b"%d" % number, timeout=LONG) == b"%d" % number


@pytest.mark.parametrize("call", [
    lambda client: client.run("f"), lambda client: client.submit("f").handle,
    lambda client: client.submit("f", background=True),
    lambda client: client.submit("f").wait(LONG) and client.submit("f", unique="u", background=True),
    lambda client: client.ping(), lambda client: client.status("H:1"), lambda client: client.status_unique("u"),
    lambda client: list(client.map("f", [b"1", b"2"])), lambda client: next(client.submit("f").stream()),
])
def test_a_server_that_does_not_answer_is_a_command_timeout(serve, make_client, call):
    """Also for a foreground job without a job time-out: JOB_CREATED is the answer to a command."""
    pace = Pace()
    client = make_client(serve(be_silent), command_timeout=15.0, clock=pace, make_waiter=pace.make_waiter)
    began = pace.now
    with pytest.raises(CommandTimeout, match="within 15.0 s"):
        call(client)
    assert pace.now - began in (15.0, 30.0)  # of one command, or of two


def test_a_server_that_does_not_say_whether_somebody_can_do_a_function_is_a_command_timeout(serve, make_client):
    with pytest.raises(CommandTimeout, match="within 0.1 s"):
        make_client(serve(be_silent), command_timeout=0.1).submit("f", require_worker=True)


@pytest.mark.parametrize("call", [lambda client: client.run("f"), lambda client: client.submit("f", background=True),
                                  lambda client: client.ping()])
def test_bytes_that_trickle_do_not_put_the_command_timeout_off(serve, make_client, call):
    pace = Pace(0.5)
    said = []

    def trickle(peer):
        peer.receive()
        for byte in b"\0RES" + b"\0\0\0\x08" + b"\0\0\0\x40" + b"H" * 64:
            if not pace.tick():
                return
            said.append(byte)
            peer.raw(bytes([byte]))

    client = make_client(serve(trickle), command_timeout=15.0, clock=pace, make_waiter=pace.make_waiter)
    began = pace.now
    try:
        with pytest.raises(CommandTimeout):
            call(client)
        assert 15.0 <= pace.now - began < 16.0 and len(said) > 10
    finally:
        pace.end()


def test_a_job_that_takes_long_is_no_command_timeout(serve, make_client):
    clock, has_passed = Clock(), threading.Event()

    def slow(peer):
        peer.receive()
        peer.send(JOB_CREATED, b"H:1")
        peer.send(WORK_DATA, b"H:1", b"begun")
        assert has_passed.wait(LONG)
        peer.send(WORK_COMPLETE, b"H:1", b"at last")
        return peer.receive()

    def much_time_passes(data):
        clock.now += 1000
        has_passed.set()

    client = make_client(serve(slow), command_timeout=0.1, clock=clock)
    assert client.run("f", on_data=much_time_passes) == b"at last"


def test_each_answer_gives_the_next_command_its_own_time(serve, make_client):
    pace = Pace(0.5)

    def steady(peer):
        for number in range(4):
            peer.receive()
        for number in range(4):
            assert pace.tick()
            assert not select.select([peer.socket], [], [], 0)[0]
            peer.send(JOB_CREATED, b"H:%d" % number)
            peer.send(WORK_COMPLETE, b"H:%d" % number, b"")
        return peer.receive()

    client = make_client(serve(steady), command_timeout=1.5, clock=pace, make_waiter=pace.make_waiter)
    began = pace.now
    assert [task.result() for task in client.submit_many([("f", b"")] * 4)] == [b""] * 4
    assert pace.now - began > 1.5


def test_answers_that_waited_while_nobody_read_are_in_time(serve, make_client):
    """A client has no thread that reads while its owner does something else."""
    clock, answered = Clock(), threading.Event()

    def script(peer):
        peer.receive()
        peer.send(JOB_CREATED, b"H:1")
        peer.send(WORK_COMPLETE, b"H:1", b"in time")
        answered.set()
        return peer.receive()

    client = make_client(serve(script), clock=clock, command_timeout=10.0)
    task = client.submit("f")
    assert answered.wait(LONG)
    clock.now += 60
    assert task.result() == b"in time"


def test_after_a_command_timeout_another_server_is_asked(serve, make_client):
    hung, good = serve(be_silent), serve()
    pace = Pace(silent=[hung.address])
    client = make_client(hung, good, command_timeout=15.0, random=middle, clock=pace, make_waiter=pace.make_waiter)
    results = []
    for number in range(6):
        try:
            results.append(client.run("f", b"x"))
        except CommandTimeout:
            results.append(None)
    assert results.count(None) == 1
    assert results[-1] == b"x"


@pytest.mark.parametrize("call", [
    lambda client, tasks: tasks[-1].handle, lambda client, tasks: client.submit("f", background=True),
    lambda client, tasks: client.ping(), lambda client, tasks: tasks[-1].status(),
])
def test_the_time_of_a_command_begins_anew_with_each_answer(serve, make_client, call):
    """Whatever is asked last waits for all that was asked before."""
    pace = Pace(0.5)

    def steady(peer):
        for number in range(8):
            peer.receive()
            assert pace.tick()
            peer.send(JOB_CREATED, b"H:%d" % number)
        pace.silent = []
        return obey(peer)

    client = make_client(serve(steady), command_timeout=2.0, clock=pace, make_waiter=pace.make_waiter)
    tasks = client.submit_many([("f", b"")] * 8, background=True)
    began = pace.now
    call(client, tasks)
    assert pace.now - began > 2.0
    assert [task.handle for task in tasks] == [b"H:%d" % number for number in range(8)]


def test_a_time_out_is_kept_while_jobs_are_to_be_submitted_again(silent, serve, make_client):
    """The server breaks the connection, and then answers nobody who connects."""
    server = serve(lambda peer: peer.socket.recv(1))
    client = make_client(server, connect_timeout=LONG)
    tasks = [client.submit("f", b"x", idempotent=True) for _ in range(6)]
    client._pool.first.links[0].address = split_servers(silent, {})[0]
    began = time.monotonic()
    for task in tasks:
        try:
            task.result(0.1)
        except GearmanError:
            continue
    assert not tasks[0].done() and client.wait(tasks, 0.1) == ([], tasks)
    assert time.monotonic() - began < 15


def test_one_failed_attempt_to_connect_ends_all_jobs_that_wait_for_it(serve, make_client):
    server = serve(lambda peer: (hang_up(server.listener), peer.socket.recv(1)))
    client = make_client(server)
    tasks = client.submit_many([("f", b"x")] * 5, idempotent=True)
    errors = [task.exception(LONG) for task in tasks]
    assert all(error.sent == "unconfirmed" and "cannot connect" in str(error) for error in errors)
    assert len(set(map(id, errors))) == 5  # each has its own
    assert client._pool.first.links[0].failures == 1


def test_a_run_in_the_background_keeps_its_time(serve, make_client):
    began = time.monotonic()
    with pytest.raises(JobTimeout):
        make_client(serve(be_silent)).run("f", background=True, timeout=0.1)
    assert time.monotonic() - began < 15


def test_a_job_timeout_is_its_own_error(serve, make_client):
    server = serve(one_job())
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


def test_a_time_out_that_is_endless(serve, make_client):
    client = make_client(serve(), connect_timeout=None, command_timeout=None, job_timeout=float("inf"))
    assert client.run("f", "x") == b"x"
    assert client.submit("f", "x").result(1e12) == b"x"


def test_asking_again_and_again_takes_in_what_has_arrived(serve, make_client):
    """done() and wait(0) make progress, so that a loop around them ends."""
    for ask_task in (lambda task: task.done(), lambda task: task.wait(0)):
        task = make_client(serve()).submit("f", b"x")
        deadline = time.monotonic() + LONG
        while not ask_task(task):
            assert time.monotonic() < deadline
        assert task.result() == b"x"


# ----------------------------------------------------------------------------------------------------- the truth about a submit

def test_confirmed_and_lost(serve, make_client):
    def script(peer):
        peer.receive()
        peer.send(JOB_CREATED, b"H:1")

    client = make_client(serve(script))
    task = client.submit("f", unique="u")
    assert task.handle == b"H:1"
    with pytest.raises(ServerLost, match="closed the connection") as caught:
        task.result(LONG)
    assert caught.value.sent == "confirmed"


@pytest.mark.parametrize("unique", [None, "u"])
@pytest.mark.parametrize("background", [False, True])
def test_sent_but_not_confirmed_is_not_sent_again(serve, make_client, background, unique):
    """Also with a unique: it joins what still waits or runs, and what is done already would run a second time."""
    server = serve(once(vanish, obey))
    client = make_client(server)
    with pytest.raises(ServerLost) as caught:
        client.submit("f", b"w", unique=unique, background=background).result(LONG)
    assert caught.value.sent == "unconfirmed"
    assert len(server.connections) == 1


@pytest.mark.parametrize("unique", [None, "u"])
@pytest.mark.parametrize("background", [False, True])
def test_sent_but_not_confirmed_is_sent_again_if_it_may_run_twice(serve, make_client, background, unique):
    server = serve(once(vanish, vanish, obey))
    client = make_client(server)
    task = client.submit("f", b"w", unique=unique, background=background, idempotent=True)
    assert task.result(LONG) == (None if background else b"w")
    packet = (SUBMIT_JOB_BG if background else SUBMIT_JOB, b"f", (unique or "").encode(), b"w")
    client.close()
    assert [server.outcome(), server.outcome(), server.outcome()] == [packet, packet, [packet]]


@pytest.mark.parametrize("call", [
    lambda client: client.run("f", b"w", idempotent=True, timeout=LONG),
    lambda client: list(client.map("f", [b"w"], idempotent=True))[0],
    lambda client: client.submit_many([("f", b"w")], idempotent=True)[0].result(LONG),
    lambda client: client.run("f", b"w", attempts=2, backoff=0, timeout=LONG),
])
def test_whoever_submits_can_say_that_a_job_may_run_twice(serve, make_client, call):
    assert call(make_client(serve(once(vanish, obey)))) == b"w"


def test_what_never_left_is_sent_again(serve, make_client):
    """The first job's end did not leave, so no server can have queued any of them."""
    got_some = threading.Event()

    def read_a_little(peer):
        peer.hear()
        got_some.set()

    server = serve(once(read_a_little, obey))
    client = make_client(server)
    client.submit("f", bytes(20000000))  # waits until it is nearly sent
    tasks = client.submit_many([("f", b"1"), ("f", b"2")])
    assert got_some.is_set()
    assert [task.result(LONG) for task in tasks] == [b"1", b"2"]


def test_the_truth_survives_a_failing_second_try(serve, make_client):
    server = serve(lambda peer: (hang_up(server.listener), vanish(peer))[-1])
    client = make_client(server)
    with pytest.raises(ServerLost, match="cannot connect .*before that, .* closed the connection") as caught:
        client.submit("f", b"w", idempotent=True).result(LONG)
    assert caught.value.sent == "unconfirmed"


def test_a_job_is_not_sent_again_for_ever(serve, make_client):
    server = serve(vanish)
    with pytest.raises(ServerLost) as caught:
        make_client(server).run("f", idempotent=True, timeout=LONG)
    assert caught.value.sent == "unconfirmed"
    assert 2 < len(server.connections) < 20


def test_a_command_timeout_is_not_followed_by_a_second_try(serve, make_client):
    """The caller has been told, so the job must not start behind its back."""
    server = serve(once(be_silent, obey))
    client = make_client(server, command_timeout=0.1)
    with pytest.raises(CommandTimeout) as caught:
        client.submit("f", idempotent=True, background=True)
    assert caught.value.sent == "unconfirmed"
    client.ping()
    client.close()
    outcomes = [server.outcome(), server.outcome()]  # of two threads, in any order
    assert [(ECHO_REQ, b"ping")] in outcomes and None in outcomes


def test_a_lost_server_ends_every_wait(serve, make_client):
    def script(peer):
        for number in range(3):
            peer.receive()
            peer.send(JOB_CREATED, b"H:%d" % number)
        ready.wait(LONG)

    ready = threading.Event()
    client = make_client(serve(script))
    tasks = client.submit_many([("f", b"")] * 3)

    def wait(thread):
        if thread == 2:
            ready.set()
        return tasks[thread].exception(LONG)

    assert [error.sent for error in in_threads(3, wait)] == ["confirmed"] * 3


def test_closing_ends_every_wait(serve, make_client):
    client = make_client(serve(one_job()))
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
def test_replies_that_make_no_sense_are_a_protocol_error_that_shows_them(serve, make_client, reply, shown):
    def script(peer):
        peer.hear()
        peer.raw(reply)
        return peer.hear()

    client = make_client(serve(script))
    with pytest.raises(ProtocolError) as caught:
        client.run("f", unique="u", timeout=LONG)
    assert shown in str(caught.value)


def test_any_garbage_is_an_error_and_never_a_hang(serve, make_client):
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

    server = serve(script)
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
    network = client._pool.first
    return network.links.index(network.candidates(plan_job(client._sharing, function, unique=unique), workload)[0])


NAMES = ["10.0.0.%d:4730" % number for number in range(1, 6)]


def test_the_function_counts_too():
    with Client(NAMES) as client:
        assert len({place_of(client, "f%d" % number, "same") for number in range(50)}) == 5


def test_a_dash_means_the_workload():
    with Client(NAMES) as client:
        assert len({place_of(client, "f", "-", b"w%d" % number) for number in range(50)}) == 5
        assert len({place_of(client, "f", "-", b"same") for _ in range(50)}) == 1


def test_equal_jobs_meet_on_one_server_and_others_are_spread(serve, make_client):
    servers = [serve() for _ in range(3)]
    clients = [make_client(*servers), make_client(*servers[::-1])]
    for number in range(6):
        assert len({client.submit("f", unique="same-%d" % number, background=True).server for client in clients}) == 1
    spread = collections.Counter(clients[0].submit("f", background=True).server for _ in range(30))
    assert sorted(spread.values()) == [10, 10, 10]


def test_a_dead_server_is_skipped_and_rejoined(serve, make_client, caplog):
    held, address = unused_address()
    good, clock = serve(), Clock()
    client = make_client(address, good, clock=clock, random=middle)
    dead = client._pool.first.links[0]
    with caplog.at_level(logging.INFO, "gearman_std.client"):
        assert {client.submit("f", background=True).server for _ in range(6)} == {good.name}
    assert dead.failures == 1 and dead.retry_at == clock.now + 0.25
    for failures, pause in ((2, 0.5), (3, 1.0), (4, 2.0), (5, 4.0), (6, 8.0), (7, 16.0), (8, 30.0), (9, 30.0)):
        clock.now = dead.retry_at
        assert {client.submit("f", background=True).server for _ in range(4)} == {good.name}
        assert (dead.failures, dead.retry_at) == (failures, clock.now + pause)
    held.close()
    clock.now = dead.retry_at - 0.001
    back = serve(obey, ("127.0.0.1", int(address.split(":")[1])))
    assert {client.submit("f", background=True).server for _ in range(6)} == {good.name}
    clock.now += 0.001
    assert {client.submit("f", background=True).server for _ in range(6)} == {good.name, back.name}
    assert dead.failures == 0


def test_the_pauses_are_jittered(make_client, nowhere):
    pauses = set()
    for seed in range(20):
        clock = Clock()
        client = make_client(nowhere, clock=clock, random=random.Random(seed).random)
        with pytest.raises(NoServer):
            client.submit("f")
        pauses.add(client._pool.first.links[0].retry_at - clock.now)
    assert len(pauses) == 20
    assert 0.125 <= min(pauses) < 0.2 and 0.3 < max(pauses) <= 0.375


def test_while_its_server_is_dead_a_unique_has_one_other_server(serve, make_client, nowhere):
    servers = [nowhere, serve(), serve()]
    client = make_client(*servers)
    for number in range(10):
        assert len({client.submit("f", unique="u%d" % number, background=True).server for _ in range(3)}) == 1


def test_only_dead_servers_are_tried_all_the_same(nowhere, make_client):
    held, other = unused_address()
    client = make_client(nowhere, other, clock=Clock())
    for _ in range(3):
        with pytest.raises(NoServer):
            client.submit("f")
    assert [link.failures for link in client._pool.first.links] == [3, 3]
    held.close()


def test_names_are_resolved_again(serve, make_client, monkeypatch):
    first, second = serve(once(vanish)), serve()
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
    client = make_client(silent, connect_timeout=0.3)
    began = time.monotonic()

    def run(thread):
        with pytest.raises(NoServer):
            client.run("f")
        return True

    assert in_threads(8, run) == [True] * 8
    assert time.monotonic() - began < 2.3


# ---------------------------------------------------------------------------------------------------- interrupts and processes

def test_ctrl_c_while_waiting_leaves_the_client_usable(serve, make_client):
    def script(peer):
        assert peer.receive()[0] == SUBMIT_JOB
        peer.send(JOB_CREATED, b"H:slow")
        assert peer.receive()[2] == b"next"
        peer.send(JOB_CREATED, b"H:next")
        peer.send(WORK_COMPLETE, b"H:next", b"second")
        peer.send(WORK_COMPLETE, b"H:slow", b"first")
        return peer.receive()

    interrupts = []

    def make_interrupted_waiter(connections):
        wait = make_waiter(connections)

        def wait_or_interrupt(timeout):
            if slow._submission.handle is not None and not interrupts:
                interrupts.append(timeout)
                os.kill(os.getpid(), signal.SIGINT)
            return wait(timeout)
        return wait_or_interrupt

    client = make_client(serve(script), make_waiter=make_interrupted_waiter)
    slow = client.submit("f")
    with pytest.raises(KeyboardInterrupt):
        slow.result(LONG)
    assert interrupts
    assert client.run("f", unique="next", timeout=LONG) == b"second"
    assert slow.result(LONG) == b"first"


def test_a_logging_handler_may_use_the_client(serve, make_client):
    client = make_client(serve(once(vanish, obey)))
    logger, said = logging.getLogger("gearman_std.client"), []

    class Sender(logging.Handler):
        def emit(self, record):
            assert not client._pool.first._turn
            said.append((record.getMessage(), client.run("log", record.getMessage(), timeout=LONG)))

    handler, level = Sender(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        assert client.run("f", b"x", idempotent=True, timeout=LONG) == b"x"
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    (message, result), = said
    assert "closed the connection" in message and result == message.encode()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork")
def test_after_a_fork_the_child_connects_anew_and_the_parent_goes_on(serve, make_client):
    go_on = threading.Event()

    def slow(peer):
        assert peer.receive()[0] == SUBMIT_JOB
        peer.send(JOB_CREATED, b"H:1")
        go_on.wait(LONG)
        peer.send(WORK_COMPLETE, b"H:1", b"the parent's")
        return peer.receive()

    parts = iter([slow, obey])
    client = make_client(serve(lambda peer: next(parts)(peer)))
    task = client.submit("f")
    assert task.handle == b"H:1"

    def fork():
        child = os.fork()
        if not child:
            status = 1
            try:
                signal.alarm(int(LONG))
                error = task.exception(LONG)
                assert isinstance(error, ServerLost) and error.sent == "confirmed" and "forked" in str(error)
                assert client.run("f", b"child", timeout=LONG) == b"child"
                client.close()
                status = 0
            finally:
                os._exit(status)
        return child

    with concurrent.futures.ThreadPoolExecutor(1) as pool:  # the thread that has its turn is not there in the child
        child = client._pool.first.exclusively(lambda: pool.submit(fork).result(LONG))
    assert os.waitpid(child, 0)[1] == 0
    go_on.set()
    assert task.result(LONG) == b"the parent's"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork")
def test_a_child_says_no_farewell_on_the_tls_connection_of_its_parent(serve, make_client):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATE, KEY)
    client = make_client(serve(wrap=lambda plain: context.wrap_socket(plain, server_side=True)), tls={"ca": CERTIFICATE})
    assert client.run("f", b"before", timeout=LONG) == b"before"
    parents = client._pool.first.links[0].connection
    child = os.fork()
    if not child:
        status = 1
        try:
            signal.alarm(int(LONG))
            client.close()
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert client.run("f", b"after", timeout=LONG) == b"after"
    assert client._pool.first.links[0].connection is parents


def test_every_truncation_of_every_reply_ends_as_a_result_or_a_named_error(serve, make_client):
    option = pack_response(OPTION_RES, b"exceptions")
    job = option + pack_response(JOB_CREATED, b"H:1") + pack_response(WORK_STATUS, b"H:1", b"1", b"2")
    job += pack_response(WORK_DATA, b"H:1", b"d") + pack_response(WORK_WARNING, b"H:1", b"w")
    conversations = [
        (lambda client: client.run("f", timeout=LONG), job + pack_response(WORK_COMPLETE, b"H:1", b"x")),
        (lambda client: client.run("f", timeout=LONG), job + pack_response(WORK_EXCEPTION, b"H:1", b"x")),
        (lambda client: client.run("f", timeout=LONG), job + pack_response(WORK_FAIL, b"H:1")),
        (lambda client: client.submit("f", background=True), option + pack_response(ERROR, b"QUEUE_ERROR", b"full")),
        (lambda client: client.ping(), option + pack_response(ECHO_RES, b"ping")),
        (lambda client: client.status("H:1"), option + pack_response(STATUS_RES, b"H:1", b"1", b"1", b"1", b"2")),
        (lambda client: client.status_unique("u"),
         option + pack_response(STATUS_RES_UNIQUE, b"u", b"1", b"1", b"1", b"2", b"1")),
    ]
    replies = [reply[:size] for _, reply in conversations for size in range(len(reply) + 1)]
    left = iter(replies)

    def script(peer):
        peer.hear()
        peer.raw(next(left))

    server = serve(script)
    for call, reply in conversations:
        for size in range(len(reply) + 1):
            client = make_client(server, command_timeout=LONG)
            try:
                call(client)
                assert size == len(reply)
            except (JobFailed, QueueFull):
                assert size == len(reply)
            except ServerLost:
                assert size < len(reply)


@pytest.mark.parametrize("group", few(range(8)))
def test_mutated_replies_never_hang_and_only_named_errors_come_out(group):
    """Thousands of random changes to good replies, fed to the session and the reader that the client uses, without a socket."""
    good = (pack_response(OPTION_RES, b"exceptions") + pack_response(JOB_CREATED, b"H:1") + pack_response(JOB_CREATED, b"H:2")
            + pack_response(WORK_STATUS, b"H:1", b"1", b"2") + pack_response(WORK_DATA, b"H:2", b"data")
            + pack_response(WORK_WARNING, b"H:1", b"w") + pack_response(STATUS_RES, b"H:1", b"1", b"1", b"1", b"2")
            + pack_response(ECHO_RES, b"ping") + pack_response(ERROR, b"CODE", b"text")
            + pack_response(WORK_COMPLETE, b"H:1", b"x") + pack_response(WORK_EXCEPTION, b"H:2", b"x"))
    for seed in range(group, 4000, 8):
        rng = random.Random(seed)
        reply = bytearray(good)
        for _ in range(rng.randrange(1, 4)):
            place = rng.randrange(len(reply))
            change = rng.randrange(3)
            if change == 0:
                reply[place] = rng.randrange(256)
            elif change == 1:
                del reply[place:place + rng.randrange(1, 20)]
            else:
                reply[place:place] = bytes(rng.randrange(256) for _ in range(rng.randrange(1, 20)))

        def connect(address, timeout, tls):
            return Connection(address, Canned(bytes(reply), rng.randrange(1, 60)))

        with client_of("h", connect_timeout=1.0, command_timeout=1.0, clock=Clock(), random=middle, connect=connect,
                       make_waiter=lambda connections: lambda timeout: [CANNED]) as client:
            tasks = client.submit_many([("f", b""), ("f", b"")])
            for ask in (lambda: client.status("H:1"), client.ping, lambda: client.submit("f", background=True)):
                try:
                    ask()
                except GearmanError as error:
                    assert str(error), seed
            assert all(task.wait(60.0) and task.state in ("failed", "done") for task in tasks), seed


CANNED = 1000  # a descriptor of nobody's


class Canned:
    """A socket that hands out bytes in parts and then ends."""

    def __init__(self, data, part):
        self.data = data
        self.part = part

    def fileno(self):
        return CANNED

    def send(self, data):
        return len(data)

    def recv(self, size):
        part, self.data = self.data[:min(size, self.part)], self.data[min(size, self.part):]
        return part

    def recv_into(self, room):
        part = self.recv(len(room))
        room[:len(part)] = part
        return len(part)

    def shutdown(self, how):
        self.data = b""

    def close(self):
        self.data = b""
