"""What comes of calling a job's function, without a server."""
import subprocess
import sys
from decimal import Decimal

import pytest

from gearman_std.wire.worker_session import Assignment
from gearman_std.worker.job import Ability, Reporter, Retry, WorkerJob
from gearman_std.worker.running import RETRY, Run, run_job
from gearman_std.worker.settings import WorkerSettings


class Quiet(Reporter):
    """Nobody listens."""

    lost = False
    stopping = False

    def __init__(self, largest=1000):
        super().__init__("a:4730", largest, WorkerSettings().serializer)

    def say(self, job, put, *arguments):
        raise AssertionError("nothing is said here")


def make_job(largest=1000):
    return WorkerJob(Assignment(b"H:1", b"f", b"", b"", b"work"), Quiet(largest))


def outcome(function, job=None, worker=None, **options):
    return run_job(job or make_job(), Ability(b"f", function, None, None, None), worker or WorkerSettings(), **options)


def fail(error):
    raise error


def test_a_result_or_the_text_of_what_was_raised():
    assert outcome(lambda job: job.text + "!") == (True, b"work!")
    assert outcome(lambda job: fail(ValueError("no"))) == (False, b"no")
    assert outcome(lambda job: fail(SystemExit(3))) == (False, b"SystemExit: 3")
    assert outcome(lambda job: 5) == (False, b"f returned int; return bytes, str or None")


def test_what_is_not_to_be_caught_is_raised():
    with pytest.raises(KeyboardInterrupt):
        outcome(lambda job: fail(KeyboardInterrupt()), caught=lambda error: False)


def test_a_job_is_tried_again_as_often_as_it_names():
    job = make_job()
    assert outcome(lambda job: fail(Retry(after=3.0, attempts=2)), job) == (RETRY, 3.0)
    job.attempt = 2
    assert outcome(lambda job: fail(Retry(3.0, "busy", attempts=2)), job) == (False, b"busy")


def test_a_retry_of_a_class_of_its_own_that_says_nonsense_fails_the_job():
    class Nothing(Retry):
        def __init__(self):
            pass

    class Nonsense(Retry):
        def __init__(self):
            self.attempts, self.after = None, "soon"

    seen = []
    worker = WorkerSettings()
    worker.hooks["error"].append(lambda job, error: seen.append(type(error)))
    assert outcome(lambda job: fail(Nothing()), worker=worker)[1].endswith(b"no attribute 'attempts'")
    assert outcome(lambda job: fail(Nonsense()), worker=worker) == (False, b"after is 'soon', not a number")
    assert seen == [AttributeError, TypeError]


@pytest.mark.parametrize("after, seconds", [(Decimal("0.5"), 0.5), (10 ** 400, float("inf"))])
def test_a_pause_can_be_added_to_a_time(after, seconds):
    pause = outcome(lambda job: fail(Retry(after=after)))[1]
    assert pause == seconds and isinstance(pause, float)


def test_a_result_that_the_server_is_known_not_to_take_fails_the_job():
    assert outcome(lambda job: bytes(6), make_job(largest=10)) == (True, bytes(6))
    assert outcome(lambda job: bytes(7), make_job(largest=10)) == (
        False, b"the result of f has 7 bytes, but a:4730 takes no more than 6")


def test_hooks_see_the_job_its_result_and_its_failure():
    worker, seen = WorkerSettings(), []
    for name in ("before", "after", "error"):
        worker.hooks[name].append(lambda *arguments, name=name: seen.append((name,) + arguments[1:]))
    outcome(lambda job: b"good", worker=worker)
    outcome(lambda job: 1 // 0, worker=worker)
    assert seen[:3] == [("before",), ("after", b"good"), ("before",)]
    assert seen[3][0] == "error" and isinstance(seen[3][1], ZeroDivisionError) and len(seen) == 4
    worker.hooks["before"].append(lambda job: fail(PermissionError("not today")))
    assert outcome(lambda job: b"good", worker=worker) == (False, b"not today")


def test_a_run_knows_when_its_server_takes_the_job_away():
    job = make_job()
    run = Run(job, None, Ability(b"f", bool, 5.0, None, None), None, 100.0)
    assert (run.started, run.due) == (100.0, 105.0) and repr(run) == "<Run of <WorkerJob H:1 of f from a:4730>>"
    run.retry = object()
    assert repr(run).endswith(", to be tried again>")
    assert Run(job, None, Ability(b"f", bool, None, None, None), None, 100.0).due is None


PROGRAM = """
import sys, threading
from gearman_std import Client, JobFailed, Worker
from gearman_std.server.server import Server
worker = Worker(SERVER, threads=THREADS)

@worker.function("resize")
def resize(job):
    raise ValueError("photo %s is broken" % job.text)

@worker.function("reverse")
def reverse(job):
    return 7

with Server(0) as server, Client([server.address]) as client:
    worker.addresses = [server.address]
    def ask():
        for number in range(12):
            for name in ("resize", "reverse"):
                try:
                    client.run(name, str(number), timeout=20)
                except JobFailed:
                    print("failed")
        worker.stop()
    threading.Thread(target=ask).start()
    worker.work(signals=False)
"""


@pytest.mark.parametrize("threads", [1, 3])
def test_a_program_without_logging_shows_each_kind_of_failure_once(threads):
    """And how often each has come: nothing is silent, and nothing fills the screen."""
    program = PROGRAM.replace("SERVER", "'localhost'").replace("THREADS", str(threads))
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
    told = done.stderr.decode()
    assert done.returncode == 0 and done.stdout.split() == [b"failed"] * 24, told
    assert told.count("Traceback") == 2 and told.count("photo 0 is broken") == 1
    for name, error, text in (("resize", "ValueError", "photo 1 is broken"), ("reverse", "TypeError", "reverse returned int")):
        assert told.count("%s failed 2 more times with %s (" % (name, error)) == 1, told
        assert told.count("failed again, as 1 did before (%s, " % error) == told.count(
            "failed again, as 9 did before (%s, " % error) == 1, told
        assert text in told
    assert told.count(" of such failures the 10th, 100th and so on are told") == 2
