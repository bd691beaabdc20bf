"""A worker that was called in the main thread: functions run there, signals reach it at any point, it leaves when told to."""
import signal
import subprocess
import sys

import pytest

from gearman_std.wire.protocol import CANT_DO, WORK_COMPLETE, WORK_EXCEPTION
from gearman_std.worker.threads import JobThread, MainThread

from samples import few
from worker_tools import GRAB, HELLO, WAIT

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGURG"), reason="where the main thread cannot be interrupted, "
                                                                      "it runs no functions")
BEGIN = """
import os, signal, sqlite3, sys, threading, time
from gearman_std import Worker
worker = Worker(sys.argv[1])
"""


@pytest.fixture
def run(fake, processes):
    """run(code) runs a worker's program in a process of its own; it returns the process and the server's end."""
    def run(code, *greeting):
        process = processes.start([sys.executable, "-c", BEGIN + code, fake.address], stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE)
        return process, fake.accept(*greeting or HELLO)
    return run


def test_what_belongs_to_the_main_thread_can_be_used(run):
    process, peer = run("""
database = sqlite3.connect(":memory:")
class TooLong(Exception):
    pass
def on_alarm(number, frame):
    raise TooLong("too long")
signal.signal(signal.SIGALRM, on_alarm)
@worker.function("f")
def f(job):
    if job.workload == b"database":
        return str(database.execute("select 1").fetchall())
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    time.sleep(60)
worker.work()
""")
    for _ in range(2):
        peer.assign(b"H:1", workload=b"database")
        peer.expect((WORK_COMPLETE, b"H:1", b"[(1,)]"), GRAB)
        peer.assign(b"H:2", workload=b"alarm")
        peer.expect((WORK_EXCEPTION, b"H:2", b"too long"), GRAB)
    process.kill()


def test_grace_leaves_a_function_in_the_main_thread(run):
    process, peer = run("""
worker.grace = 0.1
@worker.function("f")
def f(job):
    worker.stop()
    try:
        time.sleep(60)
    finally:
        print("left", flush=True)
print(worker.work())
""")
    peer.assign(b"H:1")
    peer.expect_end()
    output, errors = process.communicate(timeout=WAIT)
    assert output.split() == [b"left", b"1"] and b"was left unfinished" in errors and process.returncode == 0


@pytest.mark.parametrize("handler, seen", [
    ("signal.default_int_handler", "KeyboardInterrupt"), ("exit_handler", "SystemExit"), ("own_handler", "Stop"),
    ("worker_stop", "")])
@pytest.mark.parametrize("busy", [False, True])
def test_what_a_signal_handler_raises_ends_the_work(run, handler, seen, busy):
    """While the worker waits, and in the middle of a function, which would otherwise take it for its own failure."""
    process, peer = run("""
class Stop(Exception):
    pass
def exit_handler(*_):
    sys.exit(7)
def own_handler(*_):
    raise Stop
def worker_stop(*_):
    worker.stop()
    print("told", flush=True)
signal.signal(signal.SIGINT, HANDLER)
@worker.function("f")
def f(job):
    job.send_data(b"started")
    while HANDLER is not worker_stop or not job.stopping:
        time.sleep(0.005)  # as long as a function looks at it, now and then
try:
    worker.work(signals=False)
except BaseException as error:
    print(type(error).__name__, worker, flush=True)
""".replace("HANDLER", handler))
    if busy:
        peer.assign(b"H:1")
        assert peer.receive()[2] == b"started"
    process.send_signal(signal.SIGINT)
    if seen:
        peer.expect_end()
    else:
        if not busy:
            assert process.stdout.readline() == b"told\n"  # the grab is still without an answer
            peer.assign(b"H:1")
            assert peer.receive()[2] == b"started"
        peer.expect((WORK_COMPLETE, b"H:1", b""), (CANT_DO, b"f"))
        peer.expect_farewell()
    output, errors = process.communicate(timeout=WAIT)
    assert output.decode().startswith(seen) and b"at work" not in output and b"Traceback" not in errors


INTERRUPTED = """
import gc, inspect
from gearman_std.testing import JobServer
from gearman_std.worker.shared import Shared
from gearman_std.worker.shift import Shift
from gearman_std.worker.slots import Slots
from gearman_std.worker.threads import JobThread, MainThread
from gearman_std.worker.worker import _Signals
PLACES = []
for one in (Worker, _Signals, Shared, Shift, Slots, JobThread, MainThread):
    lines, first = inspect.getsourcelines(one)
    PLACES.append((inspect.getsourcefile(one), first, first + len(lines)))
def is_traced(code):
    return any(code.co_filename == file and first <= code.co_firstlineno < last for file, first, last in PLACES)
THREADS = int(sys.argv[2])
points = failed = 0
def trace_from(number):
    state = [0, False]
    def trace(frame, event, argument):
        if not is_traced(frame.f_code):
            return None
        if event in ("line", "return") and not state[1]:
            state[0] += 1
            if state[0] == number:
                state[1] = True
                raise KeyboardInterrupt
        return trace
    return trace, state
with JobServer() as server, server.client(job_timeout=20) as client:
    number = 0
    while True:
        number += 1
        worker = Worker(server.name, threads=THREADS)
        worker.register("f", lambda job: worker.stop() or job.workload)
        task = client.submit("f", b"x")
        trace, state = trace_from(number)
        sys.settrace(trace)
        try:
            worker.work(signals=False)
            ended = "worked"
        except KeyboardInterrupt:
            ended = "interrupted"
        except BaseException as error:
            ended = repr(error)
        finally:
            sys.settrace(None)
        points += 1
        bad = ended not in ("worked", "interrupted") or "at work" in repr(worker)
        if bad:
            failed += 1
            print(number, ended, worker, flush=True)
        if not state[1]:
            break
        worker.stops = 0
        threading.Thread(target=lambda: (task.wait(20), worker.stop())).start()
        worker.work(signals=False)
        assert task.result() == b"x", number
    gc.collect()
    print("points", points, "failed", failed, "threads", threading.active_count(), flush=True)
"""


@pytest.mark.parametrize("threads", few([2, 1]))
def test_an_interrupt_at_any_point(processes, threads):
    """Ctrl-C before each line that the main thread runs: KeyboardInterrupt, nothing else; the job is done by who works next."""
    process = processes.start([sys.executable, "-c", BEGIN + INTERRUPTED, "localhost", str(threads)], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE)
    output, errors = process.communicate(timeout=60)
    assert b" failed 0 " in output and b"Traceback" not in errors, (output, errors)
    assert int(output.split()[1]) > 50


def test_reprs_show_the_state():
    job_thread, main = JobThread(None, None), MainThread(None, None)
    assert (repr(job_thread), repr(main)) == ("<JobThread, idle>", "<MainThread, idle>")
    job_thread.running = main.running = True
    assert (repr(job_thread), repr(main)) == ("<JobThread, running a job>", "<MainThread, running a job>")
