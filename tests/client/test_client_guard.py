"""Exceptions at every point of the client, as a signal's handler may raise them, and calls from within it."""
import gc
import signal
import sys
import threading
import time

import pytest

from client_tools import LONG, be_silent, in_threads
from gearman_std.client import guard as client_guard
from gearman_std.client.guard import Guarded
from gearman_std.errors import ClientBusy, GearmanError, NoServer, ServerLost
from gearman_std.wire.protocol import (ECHO_REQ, ECHO_RES, GET_STATUS, GET_STATUS_UNIQUE, JOB_CREATED, STATUS_RES,
                                       STATUS_RES_UNIQUE, SUBMIT_JOB_BG, WORK_COMPLETE, WORK_DATA, WORK_STATUS, WORK_WARNING,
                                       pack_response)
from interrupts import STEP, SWEEP, Interrupt, InterruptAt
from samples import few

pytestmark = pytest.mark.timeout(3600 if SWEEP else 120)


def tell_all(peer):
    """Be a good server whose worker tells everything that it can tell of a job."""
    count = 0
    while True:
        packet = peer.receive()
        if packet is None:
            return
        if packet[0] == ECHO_REQ:
            peer.send(ECHO_RES, packet[1])
        elif packet[0] == GET_STATUS:
            peer.send(STATUS_RES, packet[1], b"1", b"0", b"0", b"0")
        elif packet[0] == GET_STATUS_UNIQUE:
            peer.send(STATUS_RES_UNIQUE, packet[1], b"1", b"0", b"0", b"0", b"1")
        else:
            count += 1
            handle = b"H:%d" % count
            answer = pack_response(JOB_CREATED, handle)
            if packet[0] != SUBMIT_JOB_BG:
                for told in (WORK_STATUS, b"1", b"2"), (WORK_DATA, b"part"), (WORK_WARNING, b"!"), (WORK_COMPLETE, packet[-1]):
                    answer += pack_response(told[0], handle, *told[1:])
            peer.raw(answer)


def use_executor(client):
    with client.executor(2) as executor:
        return executor.submit("f", b"x").result(LONG)


def use_callbacks(client):
    told = []
    client.run("f", b"x", on_data=told.append, on_warning=told.append, timeout=LONG,
               on_status=lambda *_: told.append(client.run("f", b"y", timeout=LONG)))
    assert told == [b"y", b"part", b"!"]


CALLS = {
    "map": lambda client: list(client.map("f", [b"1", b"2", b"3"], in_flight=2)),
    "callbacks": use_callbacks,
    "executor": use_executor,
    "run": lambda client: client.run("f", b"x", timeout=LONG),
    "attempts": lambda client: client.run("f", b"x", timeout=LONG, attempts=3, backoff=0),
    "background": lambda client: client.submit("f", b"x", background=True),
    "handle": lambda client: client.submit("f", b"x").handle,
    "large": lambda client: client.submit("f", bytes(300000)).result(LONG),
    "submit_many": lambda client: [task.result(LONG) for task in client.submit_many([("f", b"1"), ("f", b"2")])],
    "wait": lambda client: client.wait(client.submit_many([("f", b"1"), ("f", b"2")]), LONG),
    "as_completed": lambda client: list(client.as_completed(client.submit_many([("f", b"1"), ("f", b"2")]), LONG)),
    "stream": lambda client: list(client.submit("f", b"x").stream(LONG)),
    "task.status": lambda client: client.submit("f", b"x").status(),
    "status": lambda client: client.status("H:1"),
    "status_unique": lambda client: client.status_unique("u"),
    "ping": lambda client: client.ping(),
}


def check(client, task, where):
    """What was under way before has its result or a named error; what comes next has its own result."""
    error = task.exception(LONG)
    assert error is None and task.result() == b"before" or isinstance(error, ServerLost), where
    tasks = [client.submit("f", b"after %d" % number) for number in range(3)]
    assert [task.result(LONG) for task in tasks] == [b"after %d" % number for number in range(3)], where


@pytest.mark.parametrize("name", few(CALLS, 3))
def test_after_an_exception_anywhere_the_client_is_as_good_as_before(serve, make_client, name):
    client = make_client(serve(tell_all), command_timeout=LONG)
    count, interrupted = 1, True
    while interrupted:
        client.run("f", b"connected", timeout=LONG)
        task = client.submit("f", b"before")
        interrupted = False
        interrupt = InterruptAt(count)
        try:
            interrupt.run(CALLS[name], client)
        except Interrupt:
            interrupted = True
        interrupted = interrupted or interrupt.place is not None
        check(client, task, interrupt.place)
        network = client._pool.first
        assert (network._turn, network._reading, network._others, network._changing) == ({}, None, [], None), interrupt.place
        count += STEP
    assert count > (10 if name == "executor" else 100)


@pytest.mark.parametrize("name", few(sorted(CALLS) if SWEEP else ["run", "submit_many", "background", "callbacks"]))
def test_after_an_exception_anywhere_no_other_thread_has_a_wrong_result_or_hangs(serve, make_client, name):
    client = make_client(serve(tell_all), command_timeout=LONG)
    over, failures, results = threading.Event(), [], [0, 0]

    def use(number):
        turn = 0
        while not over.is_set():
            turn += 1
            workload = b"%d of %d" % (turn, number)
            try:
                if client.run("f", workload, timeout=LONG) != workload:
                    failures.append("wrong result")
                results[number] += 1
            except ServerLost:
                continue
            except BaseException as error:
                failures.append(error)

    threads = [threading.Thread(target=use, args=(number,), daemon=True) for number in range(2)]
    for thread in threads:
        thread.start()
    count, interrupted = 1, True
    try:
        while interrupted and not failures:
            interrupted = False
            interrupt = InterruptAt(count)
            try:
                interrupt.run(CALLS[name], client)
            except (Interrupt, ServerLost):
                interrupted = True
            interrupted = interrupted or interrupt.place is not None
            before = list(results)
            check(client, client.submit("f", b"before"), interrupt.place)
            deadline = time.monotonic() + LONG
            while not failures and any(one == other for one, other in zip(before, results)):
                assert time.monotonic() < deadline, interrupt.place
                time.sleep(0.0002)
            count += STEP if SWEEP else 11
    finally:
        over.set()
        for thread in threads:
            thread.join(LONG)
    assert not failures
    assert not any(thread.is_alive() for thread in threads)


# ----------------------------------------------------------------------------------------------------------- calls from within

def within(client, call):
    """What a call returns or raises that comes while this thread is in the middle of a change of the client's network."""
    outcomes = []

    def come():
        try:
            outcomes.append(call())
        except GearmanError as error:
            outcomes.append(error)

    client._pool.first.exclusively(come)
    return outcomes[0]


@pytest.mark.parametrize("name", sorted(set(CALLS) - {"executor"}))
def test_a_call_from_within_works(serve, make_client, name):
    client = make_client(serve(tell_all), command_timeout=LONG)
    assert client.run("f", b"connected", timeout=LONG) == b"connected"
    outcome = within(client, lambda: CALLS[name](client))
    assert not isinstance(outcome, GearmanError)
    assert len(client._pool.spares) == 1
    assert client.run("f", b"after", timeout=LONG) == b"after"


def test_what_cannot_be_done_from_within_is_a_named_error_at_once(serve, make_client):
    client = make_client(serve(be_silent), command_timeout=LONG)
    task = client.submit("f")
    for call in task.result, task.done, lambda: client.wait([task]):
        error = within(client, call)
        assert isinstance(error, ClientBusy) and error.reentrant
    assert within(client, client.close) is None
    assert isinstance(task.exception(LONG), ServerLost)
    with pytest.raises(NoServer, match="closed"):
        client.submit("f")
    assert isinstance(within(client, lambda: client.submit("f")), NoServer)


def test_tasks_of_calls_from_within_can_be_waited_for_with_others(serve, make_client):
    client = make_client(serve(tell_all), command_timeout=LONG)
    tasks = [client.submit("f", b"1"), within(client, lambda: client.submit("f", b"2")), client.submit("f", b"3")]
    assert client.wait(tasks, LONG) == (tasks, [])
    tasks += [within(client, lambda: client.submit("f", b"4"))]
    assert set(client.as_completed(tasks, LONG)) == set(tasks)
    assert [task.result(LONG) for task in tasks] == [b"1", b"2", b"3", b"4"]


@pytest.mark.skipif(not hasattr(gc, "get_threshold"), reason="PyPy does not count what is made until it collects")
def test_a_finalizer_may_use_the_client_wherever_the_garbage_collector_runs_it(serve, make_client):
    client, released = make_client(serve(tell_all), command_timeout=LONG), []
    me = threading.get_ident()

    class Resource:
        def __init__(self):
            self.me = self

        def __del__(self):
            if threading.get_ident() != me:
                return  # that of the server, which cannot wait for itself
            try:
                released.append(client.run("f", b"released", timeout=LONG))
            except BaseException as error:
                released.append(error)

    threshold = gc.get_threshold()
    number = 0
    try:
        while number < 200 or len(released) < 6:  # not many, if the server's thread happens to be who collects
            assert number < 10000
            number += 1
            gc.set_threshold(20 + number % 17)
            Resource()
            assert client.run("f", b"%d" % number, timeout=LONG) == b"%d" % number
    finally:
        gc.set_threshold(*threshold)
        gc.collect()
    assert set(released) == {b"released"}


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no such timer here")
def test_a_signals_handler_may_use_the_client_wherever_it_comes(serve, make_client):
    client, beats = make_client(serve(tell_all), command_timeout=LONG), []

    def beat(*_):
        try:
            beats.append(client.run("f", b"beat", timeout=LONG))
            client.submit("f", b"background", background=True)
        except BaseException as error:
            beats.append(error)
        signal.setitimer(signal.ITIMER_REAL, 0.0007)

    before = signal.signal(signal.SIGALRM, beat)
    signal.setitimer(signal.ITIMER_REAL, 0.0007)
    try:
        for number in range(400):
            assert client.run("f", b"%d" % number, timeout=LONG) == b"%d" % number
    finally:
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert beats and set(beats) == {b"beat"}


def test_too_little_stack_anywhere_harms_nothing(serve, make_client):
    client = make_client(serve(tell_all), command_timeout=LONG)

    def dive(depth):
        if depth:
            return dive(depth - 1)
        try:
            client.run("f", b"deep", timeout=LONG)
            return True
        except RecursionError:
            return False

    depth = frames = 0
    frame = sys._getframe()
    while frame is not None:
        frame, frames = frame.f_back, frames + 1
    limit = sys.getrecursionlimit()
    for depth in range(limit - frames - 60, limit - frames - 2):
        task = client.submit("f", b"before")
        try:
            dive(depth)
        except RecursionError:
            pass  # in `dive` itself
        check(client, task, depth)


# ------------------------------------------------------------------------------------------------------------------- turns

def test_a_turn_that_was_never_given_back_is_taken_from_its_thread():
    """As after two interrupts within a microsecond."""
    for thread in threading.get_ident(), 1:
        guarded = Guarded()
        guarded._turn[0] = thread
        assert guarded.exclusively(lambda: "done") == "done" and not guarded._turn


def test_a_thread_that_is_kept_from_going_on_keeps_no_other_waiting_for_long(monkeypatch):
    monkeypatch.setattr(Guarded, "turn_patience", 0.1)
    guarded, may_go_on, inside = Guarded(), threading.Event(), threading.Event()
    thread = threading.Thread(target=guarded.exclusively, args=(lambda: (inside.set(), may_go_on.wait(LONG)),))
    thread.start()
    assert inside.wait(LONG)
    with pytest.raises(ClientBusy) as caught:
        guarded.exclusively(lambda: None)
    assert not caught.value.reentrant
    may_go_on.set()
    thread.join(LONG)
    assert guarded.exclusively(lambda: 1) == 1 and repr(guarded) == "<Guarded, free>"


def test_turns_come_one_after_the_other():
    guarded, count = Guarded(), [0]

    def add():
        before = count[0]
        time.sleep(0)
        count[0] = before + 1

    in_threads(8, lambda number: [guarded.exclusively(add) for _ in range(300)])
    assert count == [2400] and not guarded._queue


class FrameThatLooks:
    """Of another thread; notes whether garbage may be collected while its variables are looked at."""

    f_code = f_back = None

    def __init__(self, seen, error=None):
        self.seen = seen
        self.error = error

    @property
    def f_locals(self):
        self.seen.append(gc.isenabled())
        if self.error is not None:
            raise self.error
        return {}


@pytest.mark.parametrize("error", [None, KeyboardInterrupt()])
@pytest.mark.parametrize("enabled", [True, False])
def test_no_garbage_is_collected_while_the_variables_of_another_thread_are_looked_at(monkeypatch, enabled, error):
    """As CPython 3.11 crashes when the thread goes on meanwhile, because a finalizer lets it."""
    seen, was_enabled = [], gc.isenabled()
    monkeypatch.setattr(client_guard, "_COLLECTS_MEANWHILE", True)
    me = threading.get_ident()
    frames = {0: FrameThatLooks(seen, error), me: FrameThatLooks(seen, error)}
    monkeypatch.setattr(client_guard.sys, "_current_frames", lambda: frames)
    try:
        (gc.enable if enabled else gc.disable)()
        for thread, collects in ((0, False), (me, enabled)):
            try:
                assert not client_guard.goes_on(thread, None, "name", 1)
            except KeyboardInterrupt:
                assert error is not None
            assert seen.pop() == collects and gc.isenabled() == enabled
    finally:
        (gc.enable if was_enabled else gc.disable)()
