"""The threads of a client that wait: callbacks, their order, and that none of them holds up another thread."""
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from client_tools import LONG, Clock, client_of, in_threads
from gearman_std.errors import JobTimeout
from gearman_std.net.system import REAL_SYSTEM
from gearman_std.testing import ImmediateClient, JobServer
from patience import until


def tell(job):
    job.send_status(1, 2)
    for part in (b"one,", b"two,", b"three"):
        job.send_data(part)
    return b"end of " + job.workload


@pytest.fixture
def server():
    with JobServer() as server:
        server.start_worker({"tell": tell, "echo": lambda job: job.workload}, threads=8)
        yield server


@pytest.fixture
def client(server):
    with server.client(command_timeout=LONG) as client:
        yield client


def test_all_callbacks_of_a_job_have_returned_when_its_result_is_there(client):
    def use(number):
        for turn in range(20):
            parts, task = [], client.submit("tell", b"x", on_data=lambda data: parts.append(data))
            if turn % 4 == 0:
                task.result(LONG)
            elif turn % 4 == 1:
                client.wait([task], LONG)
            elif turn % 4 == 2:
                assert list(client.as_completed([task], LONG)) == [task]
            else:
                while not task.done():
                    time.sleep(0.0001)
            assert parts == [b"one,", b"two,", b"three"]
        return True

    assert in_threads(8, use) == [True] * 8


def test_callbacks_that_use_the_client_are_not_called_one_within_the_other(client):
    depth, deepest, results = [0], [0], []

    def ask(done, of):
        depth[0] += 1
        deepest[0] = max(deepest[0], depth[0])
        results.append(client.run("echo", b"%d" % len(results), timeout=LONG))
        depth[0] -= 1

    tasks = client.submit_many([("tell", b"%d" % number) for number in range(150)], on_status=ask)
    assert [task.result(LONG) for task in tasks] == [b"end of %d" % number for number in range(150)]
    assert (deepest[0], results) == (1, [b"%d" % number for number in range(150)])


def test_many_threads_with_callbacks_that_use_the_client_have_their_own_results(client):
    def use(number):
        for turn in range(15):
            name, inner = b"%d-%d" % (number, turn), []
            if turn % 3:
                assert client.run("tell", name, timeout=LONG, on_status=lambda *_: inner.append(
                    client.run("echo", name, timeout=LONG))) == b"end of " + name
                assert inner == [name]
            else:
                tasks = client.submit_many([("echo", name + b"%d" % part) for part in range(5)])
                assert [task.result(LONG) for task in tasks] == [name + b"%d" % part for part in range(5)]
        return True

    assert in_threads(24, use) == [True] * 24


@pytest.mark.parametrize("how", ["result", "submit"])
def test_a_callback_that_waits_holds_up_no_other_thread(client, how):
    """Also if the thread that submitted the job does something else just now."""
    called, may_return = threading.Event(), threading.Event()

    def wait(done, of):
        called.set()
        assert may_return.wait(LONG)

    def submit_and_wait():
        task = client.submit("tell", b"x", on_status=wait)
        if how == "submit":
            other_done.wait(LONG)
        assert task.result(LONG) == b"end of x"

    other_done = threading.Event()
    thread = threading.Thread(target=submit_and_wait)
    thread.start()
    if how == "result":
        assert called.wait(LONG)
    for number in range(20):
        assert client.run("echo", b"%d" % number, timeout=LONG) == b"%d" % number
    other_done.set()
    may_return.set()
    thread.join(LONG)
    assert not thread.is_alive()


def test_a_callback_may_wait_for_what_another_thread_does_with_the_client(client):
    with client.executor(2) as executor:
        results = []
        client.run("tell", b"x", timeout=LONG, on_status=lambda *_: results.append(
            executor.submit("echo", b"y").result(LONG)))
    assert results == [b"y"]


def test_a_callback_may_wait_for_its_own_job(client):
    results = []
    task = client.submit("tell", b"x", on_status=lambda *_: results.append(task.result(LONG)), on_data=results.append)
    assert task.result(LONG) == b"end of x"
    assert results == [b"end of x", b"one,", b"two,", b"three"]


def test_who_waits_for_a_job_whose_callback_another_thread_is_in_keeps_the_time(client):
    called, may_return = threading.Event(), threading.Event()
    task = client.submit("tell", b"x", on_status=lambda *_: (called.set(), may_return.wait(LONG)))
    thread = threading.Thread(target=task.wait, args=(LONG,))
    thread.start()
    assert called.wait(LONG)
    with pytest.raises(JobTimeout):
        task.result(0.05)
    assert client.wait([task], 0.05) == ([], [task]) and not task.done()  # as it would be after LONG
    may_return.set()
    thread.join(LONG)
    assert task.done() and task.result() == b"end of x"


def test_callbacks_of_an_interrupted_wait_are_called_by_the_next(client):
    told = []

    def interrupt(data):
        told.append(data)
        if len(told) == 1:
            raise KeyboardInterrupt

    task = client.submit("tell", b"x", on_data=interrupt)
    with pytest.raises(KeyboardInterrupt):
        task.result(LONG)
    assert task.result(LONG) == b"end of x" and told == [b"one,", b"two,", b"three"]


def test_what_another_thread_has_just_taken_in_is_not_waited_for(client, monkeypatch):
    task, network = client.submit("echo", b"x"), client._pool.first
    start_reading = network._start_reading

    def start_late(me):
        monkeypatch.undo()
        in_threads(1, lambda _: task.result(LONG))
        reading = start_reading(me)
        reading.version, reading.waiter = network._version, None  # so that it cannot wait
        return reading

    monkeypatch.setattr(network, "_start_reading", start_late)
    assert task.result() == b"x"


def test_what_a_submit_takes_in_is_not_waited_for_by_who_has_begun_to_read(server):
    """A thread that submits looks whether the server has closed the connection; another begins to read meanwhile."""
    clock, waits, reads, taken_in = Clock(), [], threading.Event(), threading.Event()

    def make_waiter(connections):
        wait = REAL_SYSTEM.make_waiter(connections)

        def wait_late(timeout):
            if network._transfer == transfer_late:
                network._transfer = transfer
                reads.set()
                assert taken_in.wait(LONG)
                waits.append(wait(timeout))
                return waits[-1]
            return wait(timeout)
        return wait_late

    def transfer_late(link):
        others.append(pool.submit(task.result))
        assert reads.wait(LONG)
        until(lambda: transfer(link) or task._submission.ended)

    with client_of([server.name], clock=clock, make_waiter=make_waiter) as client, ThreadPoolExecutor(1) as pool:
        network, others = client._pool.first, []
        transfer = network._transfer
        client.ping()
        task = client.submit("echo", b"x")
        network._transfer, network._spins, network.longest_read = transfer_late, 0, LONG
        clock.now += 1.0
        network.exclusively(network._notice_end, network.links[0])  # as a submit does, whose answer would wake it, too
        taken_in.set()
        assert others[0].result(LONG) == b"x" and waits[0], "it was woken"


def test_an_assertion_in_a_callback_of_an_immediate_client_is_heeded():
    def fail(done, of):
        assert done == of

    with ImmediateClient({"tell": tell}) as client:
        with pytest.raises(AssertionError):
            client.run("tell", b"x", on_status=fail)
        assert client.run("tell", b"x") == b"end of x"
