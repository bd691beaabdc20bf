"""Faults: counted and logged in the process that serves, and raised in no other."""
import logging
import os

import pytest

from gearman_std.server.faults import Faults


def test_a_fault_is_counted_and_logged_with_its_traceback(caplog):
    counters = {"faults": 0}
    faults = Faults(counters)
    try:
        raise KeyError("odd")
    except KeyError:
        faults.note("a fault of ours with %r", "this")
    assert counters == {"faults": 1} and repr(faults) == "<Faults: 1>"
    (record,) = caplog.records
    assert (record.getMessage(), record.exc_info[0], record.levelno) == ("a fault of ours with 'this'", KeyError, logging.ERROR)


def test_a_fault_that_cannot_be_logged_is_counted_all_the_same(monkeypatch):
    def fail(*arguments):
        raise MemoryError
    monkeypatch.setattr(logging.getLogger("gearman_std.server"), "exception", fail)
    counters = {"faults": 0}
    try:
        raise KeyError("odd")
    except KeyError:
        Faults(counters).note("a fault")
    assert counters == {"faults": 1}


@pytest.mark.parametrize("failures, calls, counted", [(0, 1, 0), (1, 2, 1), (5, 2, 2)])
def test_what_must_be_done_is_tried_twice(failures, calls, counted):
    counters, called = {"faults": 0}, []

    def fail(what):
        called.append(what)
        if len(called) <= failures:
            raise ValueError("odd")
    Faults(counters).surely(fail, "this")
    assert called == ["this"] * calls and counters == {"faults": counted}


def test_in_a_child_of_a_fork_the_exception_goes_on():
    counters = {"faults": 0}
    faults = Faults(counters)
    faults.process = os.getppid()
    with pytest.raises(ValueError):
        faults.surely("x".encode, "no such encoding\0")
    assert counters == {"faults": 0}
