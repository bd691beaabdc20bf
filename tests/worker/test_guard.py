"""Code of the program's own, called so that what it raises costs no thread."""
import logging
import signal
import threading

import pytest

from gearman_std.worker.guard import (LeaveAtOnce, call_hooks, ends_work, exception_text, log_failure, log_safely,
                                      tell_repeats)
from gearman_std.worker.repeats import MOST_KINDS, Repeats
from gearman_std.worker.settings import WorkerSettings


class Speechless(Exception):
    """One whose text cannot be had."""

    def __str__(self):
        raise RuntimeError


@pytest.mark.parametrize("error, text", [
    (ValueError("no"), b"no"), (ValueError(), b"ValueError"), (KeyError("x"), b"KeyError: 'x'"),
    (SystemExit(3), b"SystemExit: 3"), (ValueError("\udcff"), b"\\udcff"),
    (Speechless(), b"Speechless, whose text cannot be had: RuntimeError")])
def test_what_a_client_reads_of_an_exception(error, text):
    assert exception_text(error) == text


def in_thread(call):
    """What a call returns in another thread than the main one."""
    returned = []
    thread = threading.Thread(target=lambda: returned.append(call()))
    thread.start()
    thread.join()
    return returned[0]


def test_what_ends_the_work_and_what_fails_one_job():
    assert ends_work(LeaveAtOnce()) and in_thread(lambda: ends_work(LeaveAtOnce()))
    assert ends_work(KeyboardInterrupt()) and not in_thread(lambda: ends_work(KeyboardInterrupt()))
    assert not ends_work(ValueError()) and not ends_work(SystemExit())


def test_what_the_programs_handler_of_a_signal_raises_ends_the_work():
    class Enough(Exception):
        pass

    def handler(number, frame):
        raise Enough

    def raised():
        try:
            handler(signal.SIGTERM, None)
        except Enough as error:
            return error
    before = signal.signal(signal.SIGTERM, handler)
    try:
        assert ends_work(raised())
    finally:
        signal.signal(signal.SIGTERM, before)
    assert not ends_work(raised()), "it is no handler any more"


def test_a_hook_that_fails_is_logged_and_the_next_one_called(caplog):
    worker, called = WorkerSettings(), []
    worker.hooks["after"] += [lambda job, result: 1 // 0, lambda job, result: called.append((job, result))]
    call_hooks(worker, "after", "job", b"result")
    assert called == [("job", b"result")] and "the hook after failed" in caplog.text and "ZeroDivisionError" in caplog.text


def test_a_hook_that_is_told_to_leave_leaves():
    def leave():
        raise LeaveAtOnce
    worker = WorkerSettings()
    worker.hooks["connected"].append(leave)
    with pytest.raises(LeaveAtOnce):
        call_hooks(worker, "connected")


class Broken(logging.Handler):
    """A handler of the program's that always fails."""

    def emit(self, record):
        raise OSError("the log's server is down")


def test_a_logging_handler_that_fails_is_told_on_standard_error(capsys, monkeypatch):
    logger, handler = logging.getLogger("gearman_std.worker"), Broken()
    logger.addHandler(handler)
    try:
        log_safely(logging.ERROR, "%s happened", "something")
        assert "the log's server is down" in capsys.readouterr().err
        monkeypatch.setattr("sys.stderr", None)
        log_safely(logging.ERROR, "and there is nobody to tell")
    finally:
        logger.removeHandler(handler)


# --- Failures that come again and again.


@pytest.fixture
def no_logging(monkeypatch):
    """As in a program that has not set up logging, which pytest has done."""
    monkeypatch.setattr("gearman_std.worker.guard._has_handler", lambda logger: False)


def fail(repeats, text="no\ngood", what="resize"):
    try:
        raise ValueError(text)
    except ValueError as error:
        log_failure(repeats, what, error, "%s of %s failed", "H:1", what)


def test_without_logging_a_kind_of_failure_has_its_traceback_once(no_logging, capsys):
    repeats = Repeats()
    for _ in range(12):
        fail(repeats)
    tell_repeats(repeats)
    tell_repeats(repeats)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "H:1 of resize failed" and lines[1].startswith("Traceback")
    assert lines[-5:-3] == ["ValueError: no", "good"]
    place = "(ValueError, %s, line " % __file__
    assert [line[:line.index(place)] for line in lines[-3:-1]] == [
        "H:1 of resize failed again, as 1 did before ", "H:1 of resize failed again, as 9 did before "]
    assert lines[-3].endswith(
        "): no good; of such failures the 10th, 100th and so on are told, and at the end how many there were")
    assert lines[-2].endswith("): no good")
    assert lines[-1].startswith("resize failed 2 more times with ValueError (%s, line " % __file__)


def test_a_kind_that_is_forgotten_is_told_before(no_logging, capsys):
    repeats = Repeats()
    for _ in range(3):
        fail(repeats)
    capsys.readouterr()
    for number in range(MOST_KINDS):
        fail(repeats, what="function %d" % number)
    told = capsys.readouterr().err
    assert told.count("Traceback") == MOST_KINDS and told.count("\nresize failed once more with ValueError (") == 1


def test_a_hook_that_fails_again_and_again_is_told_so(no_logging, capsys):
    worker = WorkerSettings()
    worker.hooks["after"].append(lambda job, result: 1 // 0)
    for _ in range(5):
        call_hooks(worker, "after", "job", b"result")
    tell_repeats(worker.repeats)
    told = capsys.readouterr().err
    assert told.count("Traceback") == 1 and "the hook after failed 3 more times with ZeroDivisionError" in told


def test_with_logging_every_failure_is_logged_in_full(caplog):
    repeats = Repeats()
    for _ in range(5):
        fail(repeats)
    tell_repeats(repeats)
    assert [(record.getMessage(), record.exc_info[0]) for record in caplog.records] == [
        ("H:1 of resize failed", ValueError)] * 5


def test_what_is_to_be_silent_is(no_logging, capsys, monkeypatch):
    logger = logging.getLogger("gearman_std.worker")
    monkeypatch.setattr(logger, "level", logging.CRITICAL)
    getattr(logger, "_cache", {}).clear()  # what a logger is enabled for is remembered
    repeats = Repeats()
    for _ in range(5):
        fail(repeats)
    tell_repeats(repeats)
    getattr(logger, "_cache", {}).clear()
    assert capsys.readouterr().err == ""
