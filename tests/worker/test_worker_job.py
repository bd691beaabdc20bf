"""What a function sees of its job, and what becomes of what it returns or raises."""
import json
import logging
import pickle
import subprocess
import sys

import pytest

from gearman_std.wire.protocol import (ERROR, JOB_ASSIGN, JOB_ASSIGN_ALL, WORK_COMPLETE, WORK_DATA, WORK_EXCEPTION, WORK_FAIL,
                                       WORK_STATUS, WORK_WARNING)
from gearman_std.worker.job import Retry

from worker_tools import AtWork, GRAB, HELLO, Machine, make


def test_result_and_next_grab_leave_in_one_send(fake):
    """Two small segments without TCP_NODELAY would cost 40 ms a job, and two sends cost twice the system calls."""
    with AtWork(make(fake)):
        peer = fake.accept(*HELLO)
        for number in range(20):
            peer.chunks = []
            peer.assign(b"H:%d" % number, workload=b"x" * 100)
            peer.expect((WORK_COMPLETE, b"H:%d" % number, b"x" * 100), GRAB)
            assert len(peer.chunks) == 1


def test_what_a_job_knows(fake):
    seen = []

    def function(job):
        seen.append((job.handle, job.function, job.unique, job.reducer, job.workload, job.text, bytes(job.view), job.server,
                     job.attempt, job.lost, job.stopping, repr(job)))
    with AtWork(make(fake, function)):
        peer = fake.accept(*HELLO)
        peer.send((JOB_ASSIGN_ALL, b"H:1", b"f", b"u", b"r", "é".encode()))
        peer.expect((WORK_COMPLETE, b"H:1", b""), GRAB)
        peer.send((JOB_ASSIGN, b"H:2", b"f", b"w"))
        peer.expect((WORK_COMPLETE, b"H:2", b""), GRAB)
    assert seen[0] == (b"H:1", b"f", b"u", b"r", "é".encode(), "é", "é".encode(), fake.address, 1, False, False,
                       "<WorkerJob H:1 of f from %s>" % fake.address)
    assert seen[1][:5] == (b"H:2", b"f", b"", b"", b"w")


@pytest.mark.parametrize("returned, sent", [(b"bytes", b"bytes"), ("té", "té".encode()), (None, b""), (bytearray(b"x"), b"x"),
                                            (memoryview(b"view"), b"view"), (memoryview(b"view")[::2], b"ve"),
                                            (memoryview(b"12345678").cast("I"), b"12345678")])
def test_what_a_function_may_return(fake, returned, sent):
    with AtWork(make(fake, lambda job: returned)):
        peer = fake.accept(*HELLO)
        peer.assign(b"H:1")
        peer.expect((WORK_COMPLETE, b"H:1", sent), GRAB)


def test_a_serializer_may_make_text(fake):
    class Text:
        dumps, loads = str, int
    with AtWork(make(fake, lambda job: job.value * 2, serializer=Text)):
        peer = fake.accept(*HELLO)
        peer.assign(b"H:1", workload=b"21")
        peer.expect((WORK_COMPLETE, b"H:1", b"42"), GRAB)


def test_serializer(fake):
    with AtWork(make(fake, lambda job: {"sum": sum(job.value)}, serializer="json")):
        peer = fake.accept(*HELLO)
        peer.assign(b"H:1", workload=b"[1, 2]")
        packet = peer.receive()
        assert packet[:2] == (WORK_COMPLETE, b"H:1") and json.loads(packet[2].decode()) == {"sum": 3}
        peer.expect(GRAB)
        peer.assign(b"H:2", workload=b"nonsense")
        assert peer.receive()[:2] == (WORK_EXCEPTION, b"H:2")
        peer.expect(GRAB)


def test_pickle_for_those_who_trust_their_clients(fake):
    with AtWork(make(fake, lambda job: {job.value, None}, serializer="pickle")):
        peer = fake.accept(*HELLO)
        peer.assign(b"H:1", workload=pickle.dumps((1, 2)))
        packet = peer.receive()
        assert packet[:2] == (WORK_COMPLETE, b"H:1") and pickle.loads(packet[2]) == {(1, 2), None}
        peer.expect(GRAB)


def test_news_of_a_running_job(fake):
    def function(job):
        job.send_status(1, 4)
        job.send_data("part")
        job.send_warning(b"hm")
        return "end"
    with AtWork(make(fake, function)):
        peer = fake.accept(*HELLO)
        peer.assign(b"H:1")
        peer.expect((WORK_STATUS, b"H:1", b"1", b"4"), (WORK_DATA, b"H:1", b"part"), (WORK_WARNING, b"H:1", b"hm"),
                    (WORK_COMPLETE, b"H:1", b"end"), GRAB)


@pytest.mark.parametrize("error, text", [(ValueError("bööm"), "bööm".encode()), (ValueError(), b"ValueError"),
                                         (KeyError("x"), b"KeyError: 'x'"), (SystemExit(1), b"SystemExit: 1"),
                                         (ValueError("\udcff"), b"\\udcff")])
def test_an_exception_fails_the_job_with_its_text(fake, caplog, error, text):
    def function(job):
        raise error
    with AtWork(make(fake, function)):
        peer = fake.accept(*HELLO)
        peer.assign(b"H:1")
        peer.expect((WORK_EXCEPTION, b"H:1", text), GRAB)
        peer.assign(b"H:2")
        peer.expect((WORK_EXCEPTION, b"H:2", text), GRAB)
    record = [record for record in caplog.records if "failed" in record.getMessage()][0]
    assert record.exc_info[1] is error, "the traceback is in the log"


class Unspeakable(Exception):
    def __str__(self):
        raise RuntimeError("no words")


def test_an_exception_whose_text_cannot_be_had_costs_no_thread(fake):
    def function(job):
        raise Unspeakable
    with AtWork(make(fake, function)):
        peer = fake.accept(*HELLO)
        for _ in range(2):
            peer.assign(b"H:1")
            peer.expect((WORK_EXCEPTION, b"H:1", b"Unspeakable, whose text cannot be had: RuntimeError"), GRAB)


@pytest.mark.parametrize("hook", ["before", "after"])
def test_a_hook_that_wants_to_exit_costs_no_thread(fake, hook):
    worker = make(fake)
    worker.hook(hook, lambda *_: sys.exit("enough"))
    with AtWork(worker):
        peer = fake.accept(*HELLO)
        for _ in range(2):
            peer.assign(b"H:1")
            end = (WORK_EXCEPTION, b"H:1", b"SystemExit: enough") if hook == "before" else (WORK_COMPLETE, b"H:1", b"")
            peer.expect(end, GRAB)


def test_a_logging_handler_that_fails_costs_neither_a_thread_nor_the_worker(fake, capfd):
    class Broken(logging.Handler):
        def emit(self, record):
            raise OSError("the log's server is down")

    def function(job):
        raise ValueError("oops")

    logger, handler = logging.getLogger("gearman_std.worker"), Broken()
    worker = make(fake, function)
    worker.hook("error")(lambda job, error: 1 / 0)
    logger.addHandler(handler)
    try:
        with AtWork(worker):
            peer = fake.accept(*HELLO)
            for handle in b"H:1", b"H:2":
                peer.assign(handle)
                peer.expect((WORK_EXCEPTION, handle, b"oops"), GRAB)
            peer.send((ERROR, b"JOB_NOT_FOUND", b"told by the thread that works"))
            peer.assign(b"H:3")
            peer.expect((WORK_EXCEPTION, b"H:3", b"oops"), GRAB)
    finally:
        logger.removeHandler(handler)
    assert "the log's server is down" in capfd.readouterr().err


def test_a_result_of_the_wrong_type_fails_the_job(fake):
    with AtWork(make(fake, lambda job: 5)):
        peer = fake.accept(*HELLO)
        peer.assign(b"H:1")
        peer.expect((WORK_EXCEPTION, b"H:1", b"f returned int; return bytes, str or None"), GRAB)


def test_a_job_of_an_unknown_function_is_failed(fake, caplog):
    worker = make(fake)
    with AtWork(worker):
        peer = fake.accept(*HELLO)
        peer.assign(b"H:1", b"what")
        peer.expect((WORK_FAIL, b"H:1"), GRAB)
    assert "never registered" in caplog.text


@pytest.mark.parametrize("after", [-1, float("nan")])
def test_a_job_is_tried_again_later_and_not_before(after):
    with pytest.raises(ValueError):
        Retry(after)


def test_a_late_word_of_a_job_is_not_sent(fake):
    jobs = []
    with AtWork(make(fake, jobs.append)):
        peer = fake.accept(*HELLO)
        peer.assign(b"H:1")
        peer.expect((WORK_COMPLETE, b"H:1", b""), GRAB)
        jobs[0].send_data(b"too late")
        peer.assign(b"H:2")
        peer.expect((WORK_COMPLETE, b"H:2", b""), GRAB)


def test_job_not_found_does_not_kill_the_worker(fake):
    """The server took the job away after its time limit, say."""
    worker = make(fake)
    with AtWork(worker):
        peer = fake.accept(*HELLO)
        peer.assign(b"H:1")
        peer.expect((WORK_COMPLETE, b"H:1", b""), GRAB)
        peer.send((ERROR, b"JOB_NOT_FOUND", b"Job given in work result not found"))
        peer.assign(b"H:2")
        peer.expect((WORK_COMPLETE, b"H:2", b""), GRAB)
        assert worker.health().refused == 1


def test_every_refusal_is_counted_and_the_first_told_and_at_the_end_how_many_came(fake, caplog):
    """A function goes on sending its status although the server took its job away."""
    machine = Machine()
    worker = make(fake, machine=machine)
    with AtWork(worker):
        peer = fake.accept(*HELLO)
        for number in range(2):
            peer.send(*[(ERROR, b"JOB_NOT_FOUND", b"gone")] * 100)
            peer.assign(b"H:1")
            peer.expect((WORK_COMPLETE, b"H:1", b""), GRAB)
            assert worker.health().refused == 100 * (number + 1)
            machine.now += 1
    assert caplog.text.count("has no use for a result") == 1 == caplog.text.count("had no use for 199 more since then")


# --- What is refused, and what is told.

@pytest.mark.parametrize("numbers, sent", [((1, 4), (b"1", b"4")), ((0.5, 1.0), (b"500000", b"1000000")),
                                           ((2.0, 4), (b"2", b"4")),
                                           ((1, 2.5), (b"400000", b"1000000")), ((0, 0), (b"0", b"0"))])
def test_progress_in_fractions(fake, numbers, sent):
    with AtWork(make(fake, lambda job: job.send_status(*numbers))):
        peer = fake.accept(*HELLO)
        peer.assign(b"H:1")
        peer.expect((WORK_STATUS, b"H:1") + sent, (WORK_COMPLETE, b"H:1", b""), GRAB)


@pytest.mark.parametrize("numbers, text", [((-1, 2), b"the numerator is -1, not a number from 0"),
                                           ((1, float("nan")), b"the denominator is nan, not a number from 0"),
                                           ((1, "2"), b"the denominator is '2', not a number")])
def test_progress_that_is_none(fake, numbers, text):
    with AtWork(make(fake, lambda job: job.send_status(*numbers))):
        peer = fake.accept(*HELLO)
        peer.assign(b"H:1")
        peer.expect((WORK_EXCEPTION, b"H:1", text), GRAB)


def test_a_pause_that_is_no_number_is_refused():
    with pytest.raises(TypeError, match="after is '5', not a number"):
        Retry(after="5")


class Odd(BaseException):
    """What no `except Exception` catches."""


@pytest.mark.parametrize("name", ["before", "after", "error"])
@pytest.mark.parametrize("error", [Odd, KeyboardInterrupt, GeneratorExit, SystemExit, RecursionError])
def test_whatever_a_hook_raises_costs_at_most_its_job(fake, caplog, name, error):
    def raise_it(*_):
        raise error
    worker = make(fake, lambda job: 1 // 0 if name == "error" else b"done")
    worker.hook(name, raise_it)
    with AtWork(worker):
        peer = fake.accept(*HELLO)
        for _ in range(3):
            peer.assign(b"H:1")
            assert peer.receive()[0] == (WORK_COMPLETE if name == "after" else WORK_EXCEPTION)
            peer.expect(GRAB)
    assert error.__name__ in caplog.text


SILENT = """
import subprocess
import sys
from gearman_std import Worker
worker = Worker(sys.argv[1], max_jobs=2)
@worker.function("f")
def f(job):
    raise ValueError("what went wrong")
%s
worker.work()
"""


@pytest.mark.parametrize("setup, told", [("", True), ("import logging; logging.getLogger('gearman_std').setLevel(100)", False),
                                         ("import logging; logging.basicConfig(filename=sys.argv[2])", False)])
def test_failures_are_told_on_standard_error_where_logging_is_not_set_up(fake, processes, tmp_path, setup, told):
    process = processes.start([sys.executable, "-c", SILENT % setup, fake.address, str(tmp_path / "log")],
                              stderr=subprocess.PIPE)
    peer = fake.accept(*HELLO)
    for number in range(2):
        peer.assign(b"H:%d" % number)
        peer.expect((WORK_EXCEPTION, b"H:%d" % number, b"what went wrong"))
        peer.receive()
    process.kill()
    errors = process.communicate()[1].decode()
    assert (errors.count("ValueError: what went wrong"), errors.count("Traceback")) == ((1, 1) if told else (0, 0))
    assert errors.count("failed again, as 1 did before (ValueError, ") == told
    assert not told or "<WorkerJob H:1 of f from %s> failed" % fake.address in errors
