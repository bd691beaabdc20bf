"""Exceptions at every point of the client, as a signal's handler may raise them, and calls from within it."""
import os
import sys
import threading
import time

import pytest

from client_tools import LONG
from gearman_std.client import guard as client_guard
from gearman_std.errors import ServerLost
from gearman_std.wire.protocol import (ECHO_REQ, ECHO_RES, GET_STATUS, GET_STATUS_UNIQUE, JOB_CREATED, STATUS_RES,
                                       STATUS_RES_UNIQUE, SUBMIT_JOB_BG, WORK_COMPLETE, WORK_DATA, WORK_STATUS, WORK_WARNING,
                                       pack_response)

FOLDER = os.path.dirname(os.path.dirname(client_guard.__file__))
# Where exceptions are raised: a sample of all lines; with SWEEP=lines all of them, with SWEEP=opcodes every instruction.
SWEEP = os.environ.get("SWEEP", "")
STEP = 1 if SWEEP else 7


class Interrupt(KeyboardInterrupt):
    """What a signal's handler raises."""


class InterruptAt:
    """Raises at the n-th line, or instruction, that this thread runs of the package."""

    def __init__(self, count):
        self.left = count
        self.place = None

    def __enter__(self):
        sys.settrace(self.call)
        return self

    def __exit__(self, *exception):
        sys.settrace(None)

    def call(self, frame, event, argument):
        if not frame.f_code.co_filename.startswith(FOLDER):
            return None
        if SWEEP == "opcodes":
            frame.f_trace_opcodes = True
        return self.step

    def step(self, frame, event, argument):
        if event == ("opcode" if SWEEP == "opcodes" else "line"):
            self.left -= 1
            if self.left == 0:
                sys.settrace(None)
                self.place = "%s:%d" % (os.path.basename(frame.f_code.co_filename), frame.f_lineno)
                raise Interrupt
        return self.step


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
    "run": lambda client: client.run("f", b"x", timeout=LONG),
    "attempts": lambda client: client.run("f", b"x", timeout=LONG, attempts=3, backoff=0),
    "background": lambda client: client.submit("f", b"x", background=True),
    "handle": lambda client: client.submit("f", b"x").handle,
    "large": lambda client: client.submit("f", bytes(300000)).result(LONG),
    "submit_many": lambda client: [task.result(LONG) for task in client.submit_many([("f", b"1"), ("f", b"2")])],
    "map": lambda client: list(client.map("f", [b"1", b"2", b"3"], in_flight=2)),
    "wait": lambda client: client.wait(client.submit_many([("f", b"1"), ("f", b"2")]), LONG),
    "as_completed": lambda client: list(client.as_completed(client.submit_many([("f", b"1"), ("f", b"2")]), LONG)),
    "stream": lambda client: list(client.submit("f", b"x").stream(LONG)),
    "task.status": lambda client: client.submit("f", b"x").status(),
    "status": lambda client: client.status("H:1"),
    "status_unique": lambda client: client.status_unique("u"),
    "ping": lambda client: client.ping(),
    "callbacks": use_callbacks,
    "executor": use_executor,
}


def check(client, task, where):
    """What was under way before has its result or a named error; what comes next has its own result."""
    error = task.exception(LONG)
    assert error is None and task.result() == b"before" or isinstance(error, ServerLost), where
    tasks = [client.submit("f", b"after %d" % number) for number in range(3)]
    assert [task.result(LONG) for task in tasks] == [b"after %d" % number for number in range(3)], where


@pytest.mark.parametrize("name", sorted(CALLS))
def test_after_an_exception_anywhere_the_client_is_as_good_as_before(serve, make_client, name):
    client = make_client(serve(tell_all), command_timeout=LONG)
    count, interrupted = 1, True
    while interrupted:
        client.run("f", b"connected", timeout=LONG)
        task = client.submit("f", b"before")
        interrupted = False
        with InterruptAt(count) as interrupt:
            try:
                CALLS[name](client)
            except Interrupt:
                interrupted = True
        interrupted = interrupted or interrupt.place is not None
        check(client, task, interrupt.place)
        network = client._network
        assert (network._turn, network._reading, network._others, network._changing) == ({}, None, [], None), interrupt.place
        count += STEP
    assert count > (10 if name == "executor" else 100)


@pytest.mark.parametrize("name", ["run", "submit_many", "background", "callbacks"])
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
            with InterruptAt(count) as interrupt:
                try:
                    CALLS[name](client)
                except Interrupt:
                    interrupted = True
                except ServerLost:
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
