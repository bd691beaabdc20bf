"""Code of the program's own, called so that what it raises costs no thread."""
import logging
import signal
import threading

import pytest

from gearman_std.worker.guard import LeaveAtOnce, call_hooks, ends_work, exception_text, log_safely
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
