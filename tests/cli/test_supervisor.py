"""One parent that keeps processes running, and its children's ears."""
import io
import os
import queue
import signal
import subprocess
import sys
import threading
import time

import pytest

from gearman_std.cli.supervisor import (AT_WORK, SUPERVISED, CodeWatch, Supervised, Supervisor, is_supervised,
                                        start_child)
from gearman_std.net.system import System

from patience import until

WAIT = 10


class FakeProcess:
    """A process that ends when the test says so."""

    counter = 100

    def __init__(self):
        FakeProcess.counter += 1
        self.pid = FakeProcess.counter
        self.ended = queue.Queue()
        self.stdin = self
        self.said = queue.Queue()
        self.closed = threading.Event()
        self.unheard = False  # a word to it is on its way when it ends

    def wait(self):
        return self.ended.get()

    def kill(self):
        self.said.put("killed")
        self.ended.put(-9)

    def write(self, data):
        self.said.put(data)

    def flush(self):
        pass

    def close(self):
        self.closed.set()
        if self.unheard:
            raise BrokenPipeError

    def dies(self, status):
        """End, and return when the supervisor knows."""
        self.ended.put(status)
        assert self.closed.wait(WAIT)


class Clock:
    """Time that passes when told to; it counts how often somebody looks."""

    def __init__(self):
        self.now = 1000.0
        self.looks = threading.Semaphore(0)

    def __call__(self):
        self.looks.release()
        return self.now


class Scene:
    """A supervisor of fake processes, running in a thread."""

    def __init__(self, count, **options):
        self.clock = Clock()
        self.started = queue.Queue()
        system = System(clock=self.clock, random=lambda: 1.0)
        self.supervisor = Supervisor(["worker"], count, start=self.start, _system=system, **options)
        self.thread = threading.Thread(target=self.supervisor.run, daemon=True)
        self.thread.start()

    def start(self, argv):
        assert argv == ["worker"]
        process = FakeProcess()
        self.started.put(process)
        return process

    def process(self):
        return self.started.get(timeout=WAIT)

    def none_starts(self):
        """Not in the next two rounds, in which all that is due would start."""
        while self.clock.looks.acquire(blocking=False):
            continue
        for _ in range(3):
            assert self.clock.looks.acquire(timeout=WAIT)
        assert self.started.empty()

    def join(self):
        self.thread.join(WAIT)
        assert not self.thread.is_alive()


@pytest.fixture(autouse=True)
def many_rounds(monkeypatch):
    monkeypatch.setattr("gearman_std.cli.supervisor._TICK", 0.01)


@pytest.fixture
def scene():
    """A supervisor of two processes."""
    scene = Scene(2)
    scene.processes = [scene.process(), scene.process()]
    yield scene
    for _ in range(3):
        scene.supervisor.stop()
    scene.join()


def test_what_dies_is_started_again(scene):
    scene.clock.now += 60
    scene.processes[0].dies(1)
    scene.process()
    scene.none_starts()


def test_what_dies_young_has_to_wait(scene):
    process = scene.processes[0]
    for pause in (0.5, 1.0, 2.0):
        process.dies(1)
        scene.none_starts()
        scene.clock.now += pause - 0.01
        scene.none_starts()
        scene.clock.now += 0.02
        process = scene.process()
    scene.clock.now += 60
    process.ended.put(0)
    scene.process()


def test_what_is_hopeless_from_the_start_ends_all():
    scene = Scene(2, hopeless=2)
    processes = [scene.process(), scene.process()]
    processes[0].ended.put(2)
    assert processes[1].said.get(timeout=WAIT) == b"\0"
    processes[1].ended.put(0)
    scene.join()
    assert scene.supervisor.status == 2


def test_the_end_of_one_that_did_not_hear_the_last_word_is_no_fault(scene):
    scene.processes[0].unheard = True
    scene.clock.now += 60
    scene.processes[0].ended.put(2)
    scene.process()


def test_what_has_worked_before_is_not_hopeless():
    scene = Scene(1, hopeless=2)
    scene.clock.now += 60
    scene.process().ended.put(0)
    second = scene.process()
    scene.clock.now += 60
    second.ended.put(2)
    third = scene.process()
    scene.supervisor.stop()
    third.ended.put(0)
    scene.join()
    assert scene.supervisor.status == 0


@pytest.mark.parametrize("how", ["at work", "died", "cannot be started", "hopeless", "stopped"])
def test_it_says_once_that_it_has_begun(how):
    begun, process = [], FakeProcess()
    process.word, writer = os.pipe()
    os.set_blocking(process.word, False)

    def start(argv):
        if how == "cannot be started":
            raise OSError(12, "no memory")
        if how == "at work":
            os.write(writer, AT_WORK)
        elif how == "stopped":
            supervisor.stop()
        if how != "at work":
            process.ended.put({"died": 1, "hopeless": 2, "stopped": 0}[how])
        return process
    supervisor = Supervisor(["worker"], 1, start=start, hopeless=2, begun=lambda: begun.append(supervisor.stops),
                            _system=System(clock=Clock(), random=lambda: 1.0))
    thread = threading.Thread(target=supervisor.run, daemon=True)
    thread.start()
    if how not in ("hopeless", "stopped"):
        until(lambda: begun)
        if how == "at work":
            process.dies(1)
        supervisor.stop()
    thread.join(WAIT)
    os.close(writer)
    assert not thread.is_alive()
    assert begun == ([] if how in ("hopeless", "stopped") else [0])


def test_stop_asks_then_hurries_then_kills(scene):
    scene.supervisor.stop()
    assert [process.said.get(timeout=WAIT) for process in scene.processes] == [b"\0", b"\0"]
    scene.processes[0].ended.put(0)
    scene.supervisor.stop()
    assert scene.processes[1].said.get(timeout=WAIT) == b"\0"
    scene.supervisor.stop()
    assert scene.processes[1].said.get(timeout=WAIT) == "killed"
    scene.join()
    assert scene.started.empty(), "what ends is not started again"


def test_what_cannot_be_started_is_tried_again():
    failures = threading.Semaphore(0)

    def start(argv):
        failures.release()
        raise OSError("no memory")
    clock = Clock()
    supervisor = Supervisor(["worker"], start=start, _system=System(clock=clock))
    thread = threading.Thread(target=supervisor.run, daemon=True)
    thread.start()
    for _ in range(3):
        assert failures.acquire(timeout=WAIT)
        clock.now += 31
    supervisor.stop()
    thread.join(WAIT)
    assert not thread.is_alive()


def test_at_least_one_process():
    with pytest.raises(ValueError):
        Supervisor(["worker"], 0)


CHILD = r"""
import os, sys, threading
from gearman_std.cli.supervisor import Supervised, is_supervised
assert is_supervised() and not is_supervised()
stops, heard = threading.Semaphore(0), []
def stop():
    heard.append(repr(supervised))
    stops.release()
supervised = Supervised(stop)
supervised.listen()
os.write(1, b"ready\n")
for number in range(int(sys.argv[1])):
    while not stops.acquire(timeout=0.05):  # signals are seen between two waits wherever waiting cannot be interrupted
        pass
    os.write(1, b"stop\n" if len(sys.argv) == 2 else heard[number].encode() + b"\n")
"""

PARENT = r"""
import os, signal, sys
from gearman_std.cli.supervisor import Supervisor
supervisor = Supervisor([sys.executable, "-c", sys.argv[1], "1"], 2)
signal.signal(signal.SIGTERM, lambda *_: supervisor.stop())
supervisor.run()
os.write(1, b"left\n")
"""


def lines(process, count):
    return sorted(process.stdout.readline().strip() for _ in range(count))


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_real_processes(processes):
    process = processes.start([sys.executable, "-c", PARENT, CHILD], stdout=subprocess.PIPE)
    assert lines(process, 2) == [b"ready", b"ready"]
    process.send_signal(signal.SIGTERM)
    assert lines(process, 3) == [b"left", b"stop", b"stop"]
    assert process.wait(WAIT) == 0


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_children_leave_when_the_parent_is_killed(processes):
    process = processes.start([sys.executable, "-c", PARENT, CHILD], stdout=subprocess.PIPE)
    assert lines(process, 2) == [b"ready", b"ready"]
    process.kill()
    assert lines(process, 3) == [b"", b"stop", b"stop"]


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_signal_that_reaches_parent_and_child_counts_once(processes):
    """systemd signals every process of a unit, a terminal every process of its foreground."""
    child = processes.start([sys.executable, "-c", CHILD, "2", "tell"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            env=dict(os.environ, **{SUPERVISED: "1"}))
    assert child.stdout.readline().strip() == b"ready"
    child.send_signal(signal.SIGTERM)
    assert child.stdout.readline().strip() == b"<Supervised: {'parent': 0, 'signals': 1}>"
    child.stdin.write(b"\0\0")
    child.stdin.flush()
    assert child.stdout.readline().strip() == b"<Supervised: {'parent': 2, 'signals': 1}>", "the parent's first word was new"
    assert child.wait(WAIT) == 0


def test_what_a_child_starts_does_not_read_the_words_of_the_parent(processes):
    """ssh and ffmpeg read their standard input although nobody asked them to."""
    greedy = CHILD.replace('os.write(1, b"ready', 'assert os.read(0, 1) == b""; os.write(1, b"ready')
    child = processes.start([sys.executable, "-c", greedy, "1"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            env=dict(os.environ, **{SUPERVISED: "1"}))
    child.stdin.write(b"\0" * 1000)  # enough for both to read
    child.stdin.close()
    assert child.stdout.readline() == b"ready\n"
    assert child.stdout.readline() == b"stop\n"
    assert child.wait(WAIT) == 0


EARLY = r"""
import os, signal, sys
from gearman_std.cli.supervisor import Supervised
os.kill(os.getpid(), int(sys.argv[1]))
stops = []
Supervised(lambda: stops.append(1)).listen()
print(len(stops))
"""


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="signals that can be held back")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_waits_until_a_child_listens(number):
    """While it imports its modules it would end with a traceback, or with a status that its parent takes for a death."""
    process = start_child([sys.executable, "-c", EARLY, "%d" % number], read=True)
    with process.stdin, process.stdout:
        assert process.stdout.read().strip() == b"1"
    assert process.wait(WAIT) == 0
    assert number not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


class Breathless:
    """A process that there is no thread for, to wait for its end."""

    def __init__(self):
        self.stdin = io.BytesIO()
        self.calls = []

    def kill(self):
        self.calls.append("kill")

    def wait(self):
        self.calls.append("wait")


def test_a_process_that_cannot_be_waited_for_is_not_left_running(monkeypatch, caplog):
    def fail(*_):
        supervisor.stop()
        raise OSError(11, "there may be no more threads")
    monkeypatch.setattr("gearman_std.cli.supervisor.start_thread", fail)
    process = Breathless()
    supervisor = Supervisor(["x"], start=lambda argv: process)
    supervisor.run()
    assert process.calls == ["kill", "wait"] and process.stdin.closed
    assert "cannot start process 1: there may be no more threads" in caplog.text


def test_the_end_of_the_parent_counts_once():
    reading, writing = os.pipe()
    stops = threading.Semaphore(0)
    supervised = Supervised(stops.release, reading)
    thread = threading.Thread(target=supervised._listen)
    thread.start()
    os.write(writing, b"\0")
    assert stops.acquire(timeout=WAIT)
    os.close(writing)
    thread.join(WAIT)
    os.close(reading)
    assert not stops.acquire(blocking=False)


def test_most_processes_are_not_supervised():
    assert not is_supervised()


def test_code_watch(tmp_path, monkeypatch):
    module = tmp_path / "watched_module.py"
    extra = tmp_path / "extra.conf"
    module.write_text("x = 1")
    extra.write_text("a")
    monkeypatch.syspath_prepend(str(tmp_path))
    __import__("watched_module")
    watch = CodeWatch([str(extra)])
    assert not watch()
    extra.write_text("ab")
    assert watch()
    extra.write_text("a")
    watch = CodeWatch()
    module.write_text("x = 22")
    assert watch()
    watch = CodeWatch()
    module.unlink()
    assert watch()
    del sys.modules["watched_module"]


def test_code_watch_is_cheap():
    """Once a second it must not be felt."""
    watch = CodeWatch()
    before = time.process_time()
    for _ in range(10):
        watch()
    assert (time.process_time() - before) / 10 < 0.05
