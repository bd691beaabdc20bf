"""Every exception is a GearmanError, sorted by who is to blame, and carries what a program needs to decide."""
import pickle

import pytest

import gearman_std
from gearman_std import errors
from gearman_std.errors import (ClientBusy, CommandTimeout, ConnectTimeout, Deposed, GearmanError, JobError, JobFailed,
                                JobTimeout, NoServer, NoWorker, ProtocolError, QueueFull, ResultNotKept, ServerError,
                                ServerLost, StoreError, StoreInUse)

TREE = {
    ProtocolError: GearmanError,
    NoServer: GearmanError,
    ConnectTimeout: NoServer,
    ServerLost: GearmanError,
    CommandTimeout: ServerLost,
    ServerError: GearmanError,
    QueueFull: ServerError,
    JobError: GearmanError,
    JobFailed: JobError,
    JobTimeout: JobError,
    ResultNotKept: JobError,
    NoWorker: JobError,
    ClientBusy: GearmanError,
    StoreError: GearmanError,
    StoreInUse: StoreError,
    Deposed: StoreError,
}


@pytest.mark.parametrize("error", sorted(TREE, key=lambda error: error.__name__))
def test_each_error_is_below_the_one_it_refines(error):
    assert error.__bases__ == (TREE[error],)
    assert error.__doc__


def test_all_of_them_are_public():
    assert {error.__name__ for error in TREE} | {"GearmanError"} <= set(gearman_std.__all__)


def test_there_are_no_others_in_their_module(sources):
    """In the single-file build it is that of all modules."""
    found = {value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, GearmanError)}
    assert found == set(TREE) | {GearmanError}


def test_protocol_error_has_the_code_that_an_error_packet_would_carry():
    assert ProtocolError("too long", b"ARGUMENT_TOO_LARGE").code == b"ARGUMENT_TOO_LARGE"
    assert ProtocolError("bad magic").code == b""


def test_server_lost_tells_how_far_a_submit_had_come():
    assert ServerLost("gone").sent == "never"
    assert ServerLost("gone", "unconfirmed").sent == "unconfirmed"
    assert CommandTimeout("slow", sent="confirmed").sent == "confirmed"


def test_server_error_shows_code_and_text_and_neither_twice():
    assert str(ServerError("UNKNOWN_OPTION", "what is that")) == "UNKNOWN_OPTION: what is that"
    assert str(ServerError("QUEUE_ERROR", "QUEUE_ERROR")) == "QUEUE_ERROR"
    assert str(ServerError("QUEUE_ERROR", "")) == "QUEUE_ERROR"
    error = QueueFull("QUEUE_ERROR", "Job queue is full")
    assert (error.code, error.text, error.function) == ("QUEUE_ERROR", "Job queue is full", None)


def test_server_error_names_the_function_of_the_job_that_was_refused():
    assert str(QueueFull("QUEUE_ERROR", "Job queue is full", b"mail")) == "QUEUE_ERROR: Job queue is full (function mail)"
    assert str(ServerError("QUEUE_ERROR", "", b"\xff")) == "QUEUE_ERROR (function \ufffd)"


def test_job_errors_name_the_job():
    assert JobError("no").handle is None
    assert JobTimeout("late", b"H:host:1").handle == b"H:host:1"
    assert NoWorker("nobody").handle is None


def test_job_failed_has_the_workers_words():
    error = JobFailed("failed", b"H:host:1", b"ValueError: x", [b"watch out"])
    assert (error.handle, error.exception, error.warnings) == (b"H:host:1", b"ValueError: x", (b"watch out",))
    assert JobFailed("failed").exception is None


@pytest.mark.parametrize("error", [ProtocolError("m", b"C"), ServerLost("m", "confirmed"), ServerError("C", "text"),
                                   QueueFull("QUEUE_ERROR", "Job queue is full", b"f"), JobTimeout("m", b"H:1"),
                                   JobFailed("m", b"H:1", b"e", [b"w"])], ids=lambda error: type(error).__name__)
def test_errors_survive_pickling(error):
    """They cross process boundaries in pools of processes."""
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)
