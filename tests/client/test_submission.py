"""A submitted job: its states and what leads from one to the other, whom it tells, and what an interrupt may leave."""
import inspect
import re

import pytest

from gearman_std.client import submission as submission_module
from gearman_std.client.link import Link
from gearman_std.client.plan import Sharing, plan_job
from gearman_std.client.submission import (SUBMISSION_ARROWS, SUBMISSION_ENDED, SUBMISSION_STATES, UNPLACED, Callbacks,
                                           Finished, Submission)
from gearman_std.errors import JobFailed, NoServer
from gearman_std.net.system import REAL_SYSTEM
from pictures import drawn

LINK = Link(("h", 4730))
# How each arrow is called, and the attributes by which one sees that it was.
CALLS = {"placed": ((LINK,), {"link": LINK}), "displaced": ((3, None), {"link": None, "failures": 3, "moves": 1}),
         "created": ((b"H:1",), {"handle": b"H:1", "workload": b""}), "accepted": ((b"H:1",), {"handle": b"H:1"}),
         "completed": ((memoryview(b"result"),), {"outcome": b"result", "error": None}),
         "failed": ((b"why",), {"outcome": b""}), "refused": ((NoServer("none"),), {})}


def submit(face=None, **options):
    return Submission(plan_job(Sharing(REAL_SYSTEM, None, None), "f", **options), b"w", face)


def in_state(state):
    """A submission to which no more has happened than that leads to a state."""
    ways = {UNPLACED: ()}
    while state not in ways:
        for (start, event), end in SUBMISSION_ARROWS.items():
            if start in ways and end not in ways:
                ways[end] = ways[start] + (event,)
    submission = submit()
    for event in ways[state]:
        getattr(submission, event)(*CALLS[event][0])
    return submission


def test_the_picture_shows_the_arrows_and_no_others(sources):
    assert drawn(submission_module) == SUBMISSION_ARROWS


def test_each_state_can_be_reached_and_each_but_the_ends_be_left():
    assert {in_state(state).state for state in SUBMISSION_STATES} == set(SUBMISSION_STATES)
    assert {start for start, _ in SUBMISSION_ARROWS} == set(SUBMISSION_STATES) - SUBMISSION_ENDED


@pytest.mark.parametrize("state", SUBMISSION_STATES)
@pytest.mark.parametrize("event", sorted(CALLS))
def test_nothing_but_what_is_drawn_changes_the_state(state, event):
    arguments, attributes = CALLS[event]
    submission = in_state(state)
    assert submission.ended is (state in SUBMISSION_ENDED) and repr(submission) == "<Submission of b'f': %s>" % state
    if (state, event) not in SUBMISSION_ARROWS:
        with pytest.raises(KeyError):
            getattr(submission, event)(*arguments)
        assert submission.state == state
        return
    getattr(submission, event)(*arguments)
    assert submission.state == SUBMISSION_ARROWS[state, event]
    assert {name: getattr(submission, name) for name in attributes} == attributes
    if submission.ended:
        assert submission.workload == b"", "it is of no more use, and may be large"


def test_no_line_but_those_of_the_arrows_sets_a_state():
    source = inspect.getsource(Submission)
    setters = re.findall(r"self\.state = (.*)", source)
    assert setters[0].split()[0] == "UNPLACED"
    assert sorted(setters[1:]) == sorted('SUBMISSION_ARROWS[self.state, "%s"]' % event for event in CALLS)


@pytest.mark.parametrize("warnings, exception, text", [
    ([], None, "f failed"), ([b"hot", b"hotter"], None, "f failed: hotter"), ([b"hot"], b"fire", "f failed: fire")])
def test_a_failure_says_what_is_known_of_it(warnings, exception, text):
    submission = in_state("created")
    for warning in warnings:
        submission.warned(warning)
    submission.failed(exception)
    error = submission.error
    assert isinstance(error, JobFailed) and (str(error), error.handle, error.warnings) == (text, b"H:1", tuple(warnings))


def test_whoever_listens_is_told_once_of_an_end_and_again_where_that_was_interrupted():
    submission, finished = in_state("created"), Finished([])
    submission.listeners = [finished, finished]
    submission.completed(b"")
    assert (list(finished.done), submission.listeners) == ([submission, submission], [])
    submission.listeners = [finished]  # as an interrupt before `tell` leaves it
    submission.tell()
    assert len(finished.done) == 3


def test_a_queue_of_finished_jobs_shows_its_state():
    finished = Finished("ab")
    finished.told("a")
    assert (repr(finished), list(finished.done), finished.left) == ("<Finished: 2 jobs, 1 to come>", ["a"], {"b"})
    finished.over = True
    assert repr(finished).endswith(", over>")


def test_data_is_kept_for_who_takes_it_unless_there_is_a_callback():
    submission = submit()
    assert submission.callbacks is None and submission.chunks is None
    submission.received(memoryview(b"part"))
    submission.progressed(1, 2)
    assert (list(submission.chunks), submission.progress) == ([b"part"], (1, 2))


@pytest.mark.parametrize("pass_task, before", [(False, ()), (True, ("face",))])
def test_callbacks_are_kept_in_their_order_and_the_network_is_told(pass_task, before):
    rung = []
    submission = submit("face", on_status=max, on_data=len, on_warning=repr, pass_task=pass_task)
    submission.callbacks.note = rung.append
    assert repr(submission.callbacks) == "<Callbacks: 0 to be called>"
    submission.progressed(1, 2)
    submission.received(memoryview(b"part"))
    submission.warned(b"!")
    assert list(submission.callbacks.calls) == [(max, before + (1, 2)), (len, before + (b"part",)), (repr, before + (b"!",))]
    assert rung == [submission] * 3 and submission.chunks is None
    submission.refused(NoServer("none"))
    assert submission.callbacks.face is None, "they would hold one another"
    submission.callbacks.caller[0] = 7
    assert repr(submission.callbacks) == "<Callbacks: 3 to be called, which somebody does>"


def test_callbacks_are_of_the_thread_that_made_them():
    import threading
    made = []
    thread = threading.Thread(target=lambda: made.append(Callbacks(None)))
    thread.start()
    thread.join(20)
    assert made[0].thread != Callbacks(None).thread == threading.get_ident()
