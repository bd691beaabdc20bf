"""The states of jobs and their table, queues of a function, priorities, policies, totals."""
import ast
import glob
import importlib
import os
import re

import pytest

from gearman_std.core import core, jobs

from gearman_std.core.jobs import (JOB_ARROWS, COUNTERS, GONE, JOIN, NO_EXTRAS, RUNNING, JOB_STATES, WAITING,
                                   Extras, Function, FunctionPolicy, Job, Totals)


WAYS = ("store", "push", "start", "delay", "hold", "set_aside", "end")  # the methods of Function, as they are in the table


# ------------------------------------------------------------------------------------------------------------------ states

def picture():
    """The table of the states, as it stands in the docstring of the module and in ARCHITECTURE."""
    rows = [("",) + WAYS]
    for state in (None,) + JOB_STATES[:-1]:
        rows.append((state or "(new)",) + tuple(JOB_ARROWS.get((state, way), "") for way in WAYS))
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join("    " + "  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def test_the_picture_of_the_states_is_that_of_the_table(sources):
    assert picture() in jobs.__doc__
    with open(os.path.join(sources, "docs", "ARCHITECTURE.md"), encoding="utf-8") as file:
        assert picture() in file.read()


def test_every_arrow_of_the_table_has_its_method_and_leads_to_one_state():
    assert {way for _, way in JOB_ARROWS} == set(WAYS) <= set(dir(Function))
    for way in WAYS:
        assert len({state for (_, one), state in JOB_ARROWS.items() if one == way}) == 1, way
    assert set(JOB_ARROWS.values()) == set(JOB_STATES) and set(COUNTERS) == set(JOB_STATES) - {GONE}
    assert {state for state, _ in JOB_ARROWS} == set(COUNTERS) | {None}, "nothing leads out of the end"


def test_who_decides_is_named_in_the_core(sources):
    """Each line of the table in its docstring: what happens, which arrows that may be, and the functions."""
    lines = re.findall(r"^    (\S.*?) {2,}(\S.*?)(?: {2,}(\S.*))?$", core.__doc__, re.M)
    assert len(lines) >= 12
    for _, arrows, methods in lines:
        assert set(re.findall(r"\w+", arrows)) & set(WAYS), arrows
        for method in methods.split(", ") if methods else ():
            module, function = method.split(".")
            assert callable(getattr(importlib.import_module("gearman_std.core." + module), function)), method


def test_nobody_but_a_function_changes_the_state_of_a_job_or_its_counters(sources):
    """Each assignment to an attribute of one of these names, of another object than the method's own, stands in Function."""
    counters = {"state", "waiting", "delayed", "dead", "workers"}
    for path in glob.glob(os.path.join(sources, "core", "*.py")) + glob.glob(os.path.join(sources, "store", "*.py")):
        with open(path, encoding="utf-8") as file:
            tree = ast.parse(file.read())
        for node in ast.walk(tree):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AugAssign) else []
            for target in targets:
                of = target.value if isinstance(target, ast.Subscript) else target
                if not isinstance(of, ast.Attribute):
                    continue
                owner = ast.dump(of.value)
                assert "'totals'" not in owner or path.endswith(("jobs.py", "functions.py")), "%s:%d" % (path, node.lineno)
                others = counters | ({"running", "aside", "size"} if "function" in owner else set())
                if of.attr in others and not ("'self'" in owner and "'function'" not in owner):
                    assert path.endswith("jobs.py") and of.attr == "state", "%s:%d" % (path, node.lineno)


@pytest.fixture
def function():
    return Function(b"f", FunctionPolicy())


def pushed(function, number, priority=1):
    job = Job(b"H:x:%d" % number, function, b"", b"", priority, True, 0.0)
    function.push(job)
    return job


def started(function, priority, worker="worker"):
    job = function.start(priority, worker)
    assert job.state is RUNNING and job.worker == worker
    return job


def test_a_queue_is_first_in_first_out(function):
    jobs = [pushed(function, number) for number in range(5)]
    assert list(function.jobs_waiting()) == jobs and function.waiting == [0, 5, 0]
    assert [started(function, 1) for _ in jobs] == jobs and function.waiting == [0, 0, 0]


def test_jobs_waiting_are_listed_in_the_order_of_their_turns(function):
    low, normal, high = pushed(function, 1, 2), pushed(function, 2, 1), pushed(function, 3, 0)
    assert list(function.jobs_waiting()) == [high, normal, low]


@pytest.mark.parametrize("leaver", [0, 1, 2])
def test_a_job_taken_out_of_its_turn_leaves_the_others_in_their_order(function, leaver):
    jobs = [pushed(function, number) for number in range(3)]
    job = jobs.pop(leaver)
    function.release(job)
    function.end(job)
    assert job.state is GONE and job.ahead is job.behind is None and function.waiting == [0, 2, 0]
    assert list(function.jobs_waiting()) == jobs
    jobs.append(pushed(function, 3))
    assert [started(function, 1) for _ in jobs] == jobs and function.waiting == [0, 0, 0]
    assert all(one.ahead is one.behind is None for one in jobs)


def test_a_job_moved_to_another_priority_is_at_its_tail(function):
    moved, other = pushed(function, 1, 2), pushed(function, 2, 0)
    function.release(moved)
    moved.priority = 0
    function.push(moved)
    assert moved.priority == 0 and moved.state is WAITING and function.waiting == [2, 0, 0]
    assert [started(function, 0), started(function, 0)] == [other, moved]


def test_many_jobs_that_left_a_queue_cost_nothing_when_the_next_is_started(function):
    jobs = [pushed(function, number) for number in range(1000)]
    for job in jobs[1:999]:
        function.release(job)
    assert list(function.jobs_waiting()) == [jobs[0], jobs[999]]
    assert jobs[0].behind is jobs[999] and jobs[999].ahead is jobs[0]


def test_total_counts_all_but_what_is_set_aside(function):
    pushed(function, 1)
    function.running, function.delayed[2], function.aside = 2, 3, 100
    assert function.total == 6


def test_pausing_and_resuming_twice_is_as_good_as_once(function):
    pushed(function, 1)
    for _ in range(2):
        function.pause()
    assert function.paused
    for _ in range(2):
        function.resume()
    assert not function.paused


@pytest.mark.parametrize("attempt, seconds", ((1, 2.0), (2, 4.0), (3, 8.0), (4, 10.0), (5, 10.0), (100000, 10.0)))
def test_the_back_off_doubles_up_to_its_maximum(attempt, seconds):
    policy = FunctionPolicy(attempts=9, backoff=2.0, backoff_max=10.0)
    assert policy.delay(attempt, 0.5) == seconds
    assert policy.delay(attempt, 0.0) == 0.75 * seconds and policy.delay(attempt, 1.0) == 1.25 * seconds


@pytest.mark.parametrize("settings", ({"coalescing": "merge"}, {"retries": -1}, {"attempts": 0}, {"backoff": -1.0},
                                      {"backoff_max": -1.0}))
def test_a_policy_that_cannot_be_is_a_value_error(settings):
    with pytest.raises(ValueError):
        FunctionPolicy(**settings)


def test_policies_join_and_limit_attempts_by_default():
    policy = FunctionPolicy()
    assert policy.coalescing == JOIN and 0 < policy.retries < 100 and policy.attempts == 1


def test_totals_add_up():
    totals, others = Totals(), Totals()
    totals.failed, others.failed, others.joined = 1, 2, 3
    totals.add(others)
    assert (totals.failed, totals.joined, totals.completed) == (3, 3, 0)


def test_repr_shows_the_state(function):
    job = pushed(function, 1)
    assert repr(job) == "<Job H:x:1 of f: waiting>"
    assert repr(function) == "<Function f: 1 waiting, 0 running, 0 workers>"
    assert repr(function.queues[0]) == "<_QueueEnd>"
    assert (repr(NO_EXTRAS), repr(Extras())) == ("<Extras of usual jobs>", "<Extras of a job>")
    assert repr(Totals()).startswith("<Totals submitted=0 joined=0 ")
    assert repr(FunctionPolicy()) == ("<FunctionPolicy coalescing=join retries=5 attempts=1 backoff=1.0 backoff_max=3600.0 "
                                      "keep=0.0 keep_bytes=16777216>")


def test_a_job_has_room_of_its_own_only_for_what_is_other_than_usual():
    job, other = [Job(b"H:x:%d" % number, None, b"", b"", 1, True, 0.0) for number in range(2)]
    for name in Extras.__slots__:
        setattr(job, name, getattr(other, name))
    assert job.extras is other.extras is NO_EXTRAS and not hasattr(job, "__dict__")
    for name in Extras.__slots__:
        setattr(job, name, name)
    assert [getattr(job, name) for name in Extras.__slots__] == list(Extras.__slots__)
    assert [other.reducer, other.progress, other.error, other.schedule, other.successor] == [None, None, b"", None, None]
    assert (other.due, other.joins) == (0.0, 0)
    assert other.extras is NO_EXTRAS and len(Job.__slots__) <= 20
    job.successor = None
    assert job.successor is None and job.error == "error"
