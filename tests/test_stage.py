"""What an ImmediateClient runs its jobs on: threads that wait for each other, exceptions anywhere, calls from within, forks."""
import concurrent.futures
import os
import signal
import sys
import threading

import pytest

from client_tools import in_threads
from gearman_std.errors import ClientBusy, JobFailed, JobTimeout, NoWorker, ServerLost
from gearman_std.testing import ImmediateClient
from interrupts import STEP, Interrupt, InterruptAt
from patience import until
from samples import few


def echo(job):
    return job.workload


def fail(job):
    raise ValueError("no good")


@pytest.fixture
def client():
    with ImmediateClient({"echo": echo}) as client:
        yield client


@pytest.fixture
def late(client):
    """A task that waits for its function, which is there now."""
    task = client.submit("late", "x")
    client.worker.register("late", echo)
    return task


def in_thread(call):
    """Return when another thread has made a call."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        pool.submit(call).result(20)


def test_a_result_that_another_thread_takes_in_just_before_this_one_reads(client, late, monkeypatch):
    network = client._pool.first
    start_reading = network._start_reading

    def start_late(me):
        monkeypatch.undo()
        in_thread(late.result)
        return start_reading(me)

    monkeypatch.setattr(network, "_start_reading", start_late)
    assert late.result() == b"x"


@pytest.mark.parametrize("timeout", [None, 3600.0])
def test_a_result_that_another_thread_takes_in_while_this_one_reads(client, late, monkeypatch, timeout):
    network = client._pool.first
    read = network._read

    def read_late(*arguments):
        monkeypatch.undo()
        client.advance(10)  # so long does no thread read without looking
        in_thread(late.result)
        return read(*arguments)

    monkeypatch.setattr(network, "_read", read_late)
    assert late.result(timeout) == b"x"
    assert client._stage.clock() == 10.0, "and no time passes for that"


def test_a_thread_runs_no_job_of_another_one_before_its_own_is_submitted(client, monkeypatch):
    """Not while that one connects either: the job may wait for its own."""
    network, stage, me = client._pool.first, client._stage, threading.get_ident()
    connect, work = network.open, stage.work
    both, waits, begun = threading.Barrier(2, timeout=5), threading.Event(), []
    client.function("meet")(lambda job: (begun.append(job), both.wait()) and b"met")

    def connect_slowly(*arguments):
        if threading.get_ident() != me:
            until(lambda: waits.is_set() or network._queue)
        return connect(*arguments)

    def work_late(end):
        waits.set()
        until(lambda: begun or len(stage.core.jobs) >= (1 if threading.get_ident() == me else 2))
        return work(end)

    monkeypatch.setattr(network, "open", connect_slowly)
    monkeypatch.setattr(stage, "work", work_late)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        other = pool.submit(client.run, "meet")
        until(lambda: network.links[0].connecting)
        results = [client.run("meet"), other.result(20)]
    assert results == [b"met"] * 2


def test_who_waits_for_a_callback_that_another_thread_is_in_does_not_wait_for_ever(client, monkeypatch):
    called, looked, go_on = threading.Event(), [], threading.Event()
    rest = client._stage.rest

    def on_data(data):
        called.set()
        go_on.wait(20)

    def look(*arguments, **jobs):
        if jobs:
            return rest(*arguments, **jobs)
        looked.append(rest(*arguments))
        if len(looked) == 3:
            go_on.set()
        return looked[-1]

    task = client.submit("late", on_data=on_data)
    client.worker.register("late", lambda job: job.send_data("part"))
    monkeypatch.setattr(client._stage, "rest", look)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        other = pool.submit(task.result)
        try:
            assert called.wait(20)
            assert task.result() == b""
        finally:
            go_on.set()
        assert other.result(20) == b"" and looked[:3] == [True] * 3


def test_a_callback_that_would_wait_for_ever_is_told_so_while_another_thread_waits_for_it(client):
    task = client.submit("late", on_data=lambda data: (called.set(), client.run("missing")))
    called = threading.Event()
    client.worker.register("late", lambda job: job.send_data("part"))
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        other = pool.submit(task.result)
        assert called.wait(20)
        assert task.result() == b""
        with pytest.raises(NoWorker):
            other.result(20)


def run_all(client, names):
    """Run a job of each name, each in a thread of its own; return what came of them."""
    def one(name):
        try:
            return client.run(name)
        except JobFailed as error:
            return error.exception
    with concurrent.futures.ThreadPoolExecutor(len(names)) as pool:
        return [future.result(20) for future in [pool.submit(one, name) for name in names]]


@pytest.mark.parametrize("timeout", [None, 3600.0])
def test_jobs_in_two_threads_may_each_wait_for_further_jobs(client, timeout):
    both = threading.Barrier(2, timeout=20)
    client.function("inner")(lambda job: client.run("echo", job.workload, timeout=timeout))

    @client.function("outer")
    def outer(job):
        both.wait()
        return b" ".join(client.run("inner", b"%d" % number, timeout=timeout) for number in range(20))

    assert run_all(client, ["outer", "outer"]) == [b" ".join(b"%d" % number for number in range(20))] * 2
    assert client._stage.clock() == 0.0


def test_time_passes_for_jobs_of_two_threads_that_wait_the_earlier_end_first(client):
    """Though nobody can do what they wait for."""
    both, order = threading.Barrier(2, timeout=20), []

    def wait(job, seconds):
        both.wait()
        with pytest.raises(JobTimeout):
            client.run("missing", timeout=seconds)
        order.append((seconds, client._stage.clock()))

    client.function("long")(lambda job: wait(job, 60.0))
    client.function("short")(lambda job: wait(job, 5.0))
    assert run_all(client, ["long", "short"]) == [b""] * 2
    assert order == [(5.0, 5.0), (60.0, 60.0)]


def test_jobs_of_two_threads_that_wait_for_each_other_are_told_so(client):
    both = threading.Barrier(2, timeout=20)

    def wait_for(name):
        both.wait()
        return client.run(name, unique="one " + name)

    client.function("left")(lambda job: wait_for("right"))
    client.function("right")(lambda job: wait_for("left"))
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        tasks = [pool.submit(lambda name: client.run(name, unique="one " + name), name) for name in ("left", "right")]
        failures = [task.exception(20) for task in tasks]
    first = b"this would wait for ever: all jobs that run wait, too"
    assert {failure.exception for failure in failures} <= {first, b"left failed: " + first, b"right failed: " + first}


def test_a_job_may_wait_for_one_that_lets_time_pass_in_another_thread(client):
    """By a retry's pause, and by advance."""
    client.function("never")(lambda job: fail(job))
    started, joined = threading.Event(), threading.Event()

    @client.function("slow")
    def slow(job):
        started.set()
        assert joined.wait(20)  # or this thread, as it waits, would run the other job within this one
        client.advance(30)
        with pytest.raises(JobFailed):
            client.run("never", attempts=3, backoff=10)
        return b"%d" % (client._stage.clock() >= 45.0)  # the pauses are 15 seconds at least

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        other = pool.submit(client.run, "slow", unique="u")
        assert started.wait(20)
        client.function("join")(lambda job: (joined.set(), client.run("slow", unique="u"))[1])
        assert client.run("join") == b"1" and other.result(20) == b"1"


def test_a_submit_does_not_wait_for_the_jobs_of_other_threads(client):
    """Which may wait for what comes after it."""
    started, go_on = threading.Event(), threading.Event()
    client.function("wait")(lambda job: (started.set(), go_on.wait(20)) and None)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        other = pool.submit(client.run, "wait")
        assert started.wait(20)
        assert client.run("echo", "x") == b"x"
        client.submit("echo", "y", background=True)
        assert [task.result() for task in client.submit_many([("echo", "1"), ("echo", "2")])] == [b"1", b"2"]
        assert not other.done()
        go_on.set()
        assert other.result(20) == b""


def test_a_submit_waits_for_its_job_if_another_thread_runs_that(client, monkeypatch):
    ran, stage = [], client._stage
    client.function("note")(lambda job: ran.append(threading.current_thread()))
    change, threads = stage.change, []

    def change_early(act, *arguments):
        """Another thread takes the job before this one comes to that."""
        outcome = change(act, *arguments)
        if act == stage.take and stage.core.jobs:
            monkeypatch.undo()
            threads.append(threading.Thread(target=client.advance, args=(0,)))
            threads[0].start()
            until(lambda: stage._running or ran)
        return outcome

    monkeypatch.setattr(stage, "change", change_early)
    client.submit("note", background=True)
    assert ran == threads
    threads[0].join(20)


def test_ctrl_c_and_the_outcomes_of_a_test_framework_end_the_call_and_the_job(client):
    class Outcome(BaseException):
        """Like those of pytest.fail."""

    def raise_it(job):
        raise Outcome("failed within the job")

    client.function("outcome")(raise_it)
    with pytest.raises(Outcome):
        client.submit("outcome")
    assert client.run("echo", "x") == b"x"
    client.function("leave")(lambda job: sys.exit(3))
    with pytest.raises(JobFailed, match="SystemExit"):
        client.run("leave")


def tell(job):
    job.send_status(1, 2)
    job.send_data(b"part")
    return job.workload


IMMEDIATE_CALLS = {
    "run": lambda client: client.run("echo", b"x"),
    "within a job": lambda client: client.run("outer", b"x"),
    "background": lambda client: client.submit("echo", b"x", background=True),
    "submit_many": lambda client: [task.result() for task in client.submit_many([("echo", b"1"), ("tell", b"2")])],
    "callbacks": lambda client: client.run("tell", b"x", on_data=lambda data: client.run("echo", data)),
    "map": lambda client: list(client.map("echo", [b"1", b"2", b"3"], in_flight=2)),
    "delay": lambda client: (client.submit("echo", b"x", background=True, delay=5), client.advance(10)),
    "wait": lambda client: client.submit("echo", b"x").wait(1.0),
}


def at_every_point(name, come=None):
    """Make a call, again and again, each time interrupted at a later point; yield the client after each of them."""
    number, interrupt = 1, None
    while interrupt is None or interrupt.place is not None:
        client = ImmediateClient({"echo": echo, "tell": tell, "outer": lambda job: client.run("echo", job.workload)})
        interrupt = InterruptAt(number, None if come is None else lambda: come(client))
        try:
            interrupt.run(IMMEDIATE_CALLS[name], client)
        except Interrupt:
            assert come is None
        yield client, interrupt.place
        number += 5 * STEP
    assert number > 100


@pytest.mark.parametrize("name", few(sorted(IMMEDIATE_CALLS), 2))
def test_after_an_exception_anywhere_an_immediate_client_is_as_good_as_before(name):
    for client, place in at_every_point(name):
        assert [client.run("echo", b"%d" % number) for number in range(3)] == [b"0", b"1", b"2"], place
        with client.executor(1) as executor:  # and the other threads', too
            assert executor.submit("echo", b"x").result(20) == b"x", place
        client.close()


@pytest.mark.parametrize("name", few(sorted(IMMEDIATE_CALLS), 2))
def test_a_call_of_an_immediate_client_from_within_any_works_or_is_a_named_error(name):
    outcomes = []

    def come(client):
        try:
            outcomes.append(client.run("echo", b"within"))
        except ClientBusy as error:
            outcomes.append(b"reentrant" if error.reentrant else error)

    for client, place in at_every_point(name, come):
        assert outcomes[-1:] in ([b"within"], [b"reentrant"]) or place is None, place
        assert client.run("echo", b"after") == b"after", place
    assert {b"within", b"reentrant"} == set(outcomes)


def test_what_an_exception_cost_an_immediate_client_is_told_and_no_handle_comes_twice(client, monkeypatch):
    task = client.submit("late")
    kept = client.submit("late", background=True, delay=60)
    tick = client._stage.core.tick

    def tick_badly(*arguments):
        tick(*arguments)
        raise Interrupt

    monkeypatch.setattr(client._stage.core, "tick", tick_badly)
    with pytest.raises(Interrupt):
        client.advance(1)
    with pytest.raises(ServerLost, match="closed"):
        task.result()
    assert not client.status(kept).known and not client.cancel(kept)
    assert client.submit("echo").handle not in (task.handle, kept.handle)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_of_a_fork_waits_for_no_other_thread_of_an_immediate_clients_parent(client):
    started, go_on = threading.Event(), threading.Event()
    client.function("wait")(lambda job: (started.set(), go_on.wait(20)) and None)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        other = pool.submit(client.run, "wait")
        try:
            assert started.wait(20)
            child = os.fork()
            if child == 0:
                status = 1
                signal.alarm(20)
                try:
                    with pytest.raises(NoWorker):
                        client.run("missing")
                    status = 0 if client.run("echo", "x") == b"x" else 2
                finally:
                    os._exit(status)
            assert os.waitpid(child, 0)[1] == 0
        finally:
            go_on.set()
        assert other.result(20) == b""


def test_callbacks_of_a_job_whose_result_another_thread_takes_in_are_called():
    """It does so while this thread, which waits within a job, runs what it waits for."""
    client, seen = ImmediateClient(), []

    @client.function("inner")
    def inner(job):
        job.send_data(b"part")
        return b"result"

    @client.function("outer")
    def outer(job):
        return client.run("inner", on_data=seen.append)

    stage, work = client._stage, client._stage.work

    def work_and_take_in(end):
        did = work(end)
        if did and stage.within_job:
            in_threads(1, lambda _: client._take_in())
        return did
    stage.work = work_and_take_in
    assert client.run("outer") == b"result" and seen == [b"part"]
