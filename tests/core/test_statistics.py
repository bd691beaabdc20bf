"""What is kept of durations, ends and history: of fixed size, and right at the edges."""
import pytest

from core_world import World
from gearman_std.core.facts import function_facts, function_story
from gearman_std.core.functions import Statistics
from gearman_std.core.jobs import FunctionPolicy
from gearman_std.core.peers import MOST_TAKEN_AWAY
from gearman_std.core.turns import STEP
from gearman_std.core.statistics import (BUCKETS, END_FAILED, END_LOST, HISTORY, MAX_TEXT_SIZE, End, Histogram, History,
                                         RowRing)
from gearman_std.wire.protocol import CAN_DO, CAN_DO_TIMEOUT, WORK_COMPLETE, WORK_EXCEPTION, WORK_FAIL


def test_a_histogram_counts_a_bound_in_its_own_bucket():
    histogram = Histogram()
    histogram.observe([BUCKETS[-1], BUCKETS[0] * 1.001])
    histogram.observe([0.0, BUCKETS[0], BUCKETS[-1] + 1])
    assert histogram.counts[:2] == [2, 1] and histogram.counts[-2:] == [1, 1]
    assert histogram.cumulative()[:2] == [2, 3] and histogram.cumulative()[-2:] == [4, 5]
    assert histogram.seconds == pytest.approx(2.001 * BUCKETS[0] + 2 * BUCKETS[-1] + 1)
    assert repr(histogram).startswith("<Histogram of 5, ")


def test_a_ring_keeps_the_last_rows():
    ring = RowRing(3, 2)
    assert list(ring.rows()) == []
    for number in range(5):
        ring.add((number, 0xffffffff))
        assert list(ring.rows()) == [(one, 0xffffffff) for one in range(max(0, number - 2), number + 1)]
        assert len(ring) == min(number + 1, 3)
        assert [tuple(row) for row in zip(ring.column(0), ring.column(1))] == list(ring.rows())
    assert repr(ring) == "<RowRing of 3 rows>"


def test_a_history_has_a_row_for_each_step_in_which_something_happened():
    history = History()
    history.note(10.2, (0, 0, 0), 0)
    history.note(11.0, (3, 1, 0), 2)
    history.note(11.9, (9, 9, 9), 9)  # the same step goes on
    history.note(15.0, (4, 1, 1), 7)
    history.note(16.0, (4, 1, 1), 7)  # nothing happened in 15
    history.note(61.0, (5, 1, 1), 3)
    assert list(history.rows(0)) == [(10, 3, 1, 0, 2), (11, 1, 0, 1, 7), (16, 1, 0, 0, 3)]
    assert list(history.rows(1)) == [(0, 5, 1, 1, 3)]
    assert history.recent(61.5, 300) == [5, 1, 1] and history.recent(61.5, 50) == [1, 0, 0]
    line = history.line(70.0, HISTORY[0][1], 0)
    assert len(line) == HISTORY[0][1] and sum(line) == 5 and line[-61:-54] == [3, 1, 0, 0, 0, 0, 1]
    assert history.line(15.0 + HISTORY[0][0] * HISTORY[0][1], 3, 0) == [1, 0, 0], "what was before is out of the picture"
    assert repr(history) == "<History of 3 and 1 steps>"


def test_a_history_of_a_day_does_not_grow():
    history = History()
    for step in range(2000):
        history.note(step * 60.0, (step, step, 0), 1)
    assert [len(list(history.rows(index))) for index in (0, 1)] == [length for _, length in HISTORY]
    assert list(history.rows(1))[-1] == (1998, 1, 1, 0, 1)


def ends(world, function=b"f"):
    return [End._make(end) for end in world.core.functions[function].statistics.ends]


def test_how_a_job_went(world):
    client, worker = world.connects(), world.connects()
    worker.says(CAN_DO, b"f")
    handle = client.submits(unique=b"u")
    world.passes(2.0)
    assert worker.grabs() == handle
    world.passes(3.0)
    worker.says(WORK_COMPLETE, handle, b"r")
    client.takes()
    (end,) = ends(world)
    assert end == End(handle, b"u", "completed", world.wall, 2.0, 3.0, (worker.peer.number, b"127.0.0.1", b"-"), b"")
    statistics = world.core.functions[b"f"].statistics
    assert sum(statistics.waited.counts) == sum(statistics.ran.counts) == 1
    assert (statistics.waited.seconds, statistics.ran.seconds) == (2.0, 3.0)
    assert End._make(statistics.last_success) == end and statistics.last_failure is None
    assert worker.peer.completed == 1 and worker.peer.heard == world.now


@pytest.mark.parametrize("packet, text", [((WORK_FAIL,), b"the worker failed it"), ((WORK_EXCEPTION, b"x" * 300), b"x" * 200)])
def test_how_a_job_failed(world, packet, text):
    client, worker = world.connects(), world.connects()
    worker.says(CAN_DO, b"f")
    handle = client.submits()
    worker.grabs()
    world.passes(1.0)
    worker.says(packet[0], handle, *packet[1:])
    client.takes()
    (end,) = ends(world)
    assert (end.outcome, end.ran, end.text) == ("failed", 1.0, text) and len(text) <= MAX_TEXT_SIZE
    statistics = world.core.functions[b"f"].statistics
    assert statistics.last_success is None and End._make(statistics.last_failure) == end
    assert sum(statistics.ran.counts) == 0
    assert worker.peer.failed == 1 and worker.peer.completed == 0


def test_a_cancelled_job_is_neither_a_success_nor_a_failure(world):
    client = world.connects()
    handle = client.submits_bg()
    assert client.asks(b"cancel job " + handle) == b"OK\r\n"
    (end,) = ends(world)
    assert (end.outcome, end.worker) == ("cancelled", None)
    statistics = world.core.functions[b"f"].statistics
    assert statistics.last_success is statistics.last_failure is None


def test_only_the_functions_that_did_something_last_have_statistics(world):
    world.core.statistics = Statistics(functions=2, ends=1)
    client = world.connects()
    for name in (b"a", b"b"):
        client.submits_bg(name)
    world.passes(1.0)
    client.submits_bg(b"a")
    client.submits_bg(b"c")
    known = {name for name, function in world.core.functions.items() if function.statistics is not None}
    assert known == {b"a", b"c"}
    world.passes(1.0)
    client.submits_bg(b"b")
    assert world.core.functions[b"b"].statistics is not None
    assert repr(world.core.statistics) == "<Statistics of 2 functions>"


def test_to_look_at_a_function_is_nothing_that_it_did(world):
    world.core.statistics = Statistics(functions=2, ends=1)
    client = world.connects()
    client.submits_bg(b"a")
    client.submits_bg(b"b")
    world.passes(2.0)
    assert function_facts(world.core, world.core.functions[b"a"], 0)["recent"]["submitted"] == 1
    assert function_story(world.core, world.core.functions[b"a"])["history"][0]["rows"]
    client.submits_bg(b"c")
    assert {name for name, function in world.core.functions.items() if function.statistics is not None} == {b"b", b"c"}


def test_a_function_that_is_forgotten_takes_its_statistics_along(world):
    client = world.connects()
    handle = client.submits_bg()
    client.asks(b"cancel job " + handle)
    assert client.asks(b"drop function f") == b"OK\r\n"
    assert repr(world.core.statistics) == "<Statistics of 0 functions>"


def test_of_a_function_whose_statistics_made_room_for_others_a_job_goes_on_without(world):
    client, worker = world.connects(), world.worker(b"f")
    handles = [client.submits_bg() for _ in range(3)]
    assert [worker.grabs() for _ in range(2)] == handles[:2]
    function = world.core.functions[b"f"]
    world.core.statistics.forget(function)
    function.noted = world.core.second  # as when it was forgotten in the same second
    assert worker.grabs() == handles[2]
    worker.says(WORK_COMPLETE, handles[0], b"").says(WORK_FAIL, handles[1]).hears()
    assert function.statistics is None and (function.totals.completed, function.totals.failed) == (1, 1)


def test_what_is_known_of_a_function_shows_how_much_that_is(world):
    client, worker = world.connects(), world.worker(b"f")
    handle = client.submits_bg()
    assert worker.grabs() == handle
    worker.says(WORK_COMPLETE, handle, b"").hears()
    assert repr(world.core.functions[b"f"].statistics) == (
        "<FunctionStatistics: <Histogram of 1, 0.000 s in all> waited, <Histogram of 1, 0.000 s in all> ran>")


# --------------------------------------------------------------------------------------------------------- of jobs in a core

def work(world, outcome=WORK_COMPLETE, function=b"f", unique=b""):
    worker = world.worker(function)
    handle = world.connects().submits_bg(function, unique)
    assert worker.grabs() == handle
    worker.says(outcome, handle, *([b""] if outcome == WORK_COMPLETE else []))
    worker.leaves()
    return handle


def test_a_second_is_over_though_nothing_happens_in_the_next(world):
    """What waits is told as it was at the end of the second, before a worker takes it."""
    client = world.connects()
    for _ in range(3):
        client.submits_bg()
    world.passes(1.0)
    world.worker(b"f").grabs()
    world.passes(5.0)
    function = world.core.functions[b"f"]
    function.update_statistics(world.core.now)
    assert [row[1:] for row in function.statistics.history.rows(0)] == [(3, 0, 0, 3)]


def test_steps_of_very_many_functions_are_ended_in_turns(world):
    client = world.connects()
    for number in range(300):
        client.submits_bg(b"f%d" % number)
    world.core.tick(world.now + 1, world.wall + 1)
    assert world.does_chores() >= 4
    assert all(len(list(function.statistics.history.rows(0))) == 1 for function in world.core.functions.values())


def test_the_last_success_outlives_failures_and_the_bound_of_all_ends():
    world = World(statistics=Statistics(ends=3, end_bytes=1000))
    world.connects().submits_bg(b"none ended")
    world.passes(1.0)
    good = work(world)
    for _ in range(5):
        work(world, WORK_FAIL)
    statistics = world.core.functions[b"f"].statistics
    assert [end[2] for end in statistics.ends] == [END_FAILED] * 3 and statistics.last_success[0] == good
    for number in range(5):
        work(world, function=b"g%d" % number)
    world.passes(1.0)
    assert world.core.statistics.size <= 1000
    assert list(statistics.ends) == [] and statistics.last_success[0] == good and statistics.last_failure[2] == END_FAILED
    assert [len(world.core.functions[b"g%d" % number].statistics.ends) for number in range(5)] == [0, 0, 1, 1, 1]


@pytest.mark.parametrize("settings", [{"ends": 0}, {"functions": 0}])
def test_no_ends_or_no_statistics_at_all(settings):
    world = World(statistics=Statistics(**settings))
    handle = work(world)
    world.passes(1.0)
    statistics = world.core.functions[b"f"].statistics
    assert (statistics is None) is ("functions" in settings)
    if statistics is not None:
        assert list(statistics.ends) == [] and statistics.last_success[0] == handle
    assert world.core.statistics.size == 0


def test_a_result_that_comes_after_its_job_was_taken_away_is_late():
    world = World(policy=FunctionPolicy(retries=9))
    slow, quick, client = world.connects().says(CAN_DO_TIMEOUT, b"f", b"1000"), world.worker(b"f"), world.connects()
    handle, other = client.submits_bg(), client.submits_bg()
    slow.grabs()
    slow.grabs()
    world.passes(1.0)
    assert quick.grabs() == handle
    quick.says(WORK_COMPLETE, handle, b"")
    for late in (handle, handle, b"H:nix:1"):
        slow.says(WORK_COMPLETE, late, b"").hears_error(b"JOB_NOT_FOUND")
    slow.says(WORK_FAIL, other + b"\0").hears_error(b"JOB_NOT_FOUND")
    totals = world.core.functions[b"f"].totals
    assert (totals.lost, totals.late, totals.completed) == (2, 2, 1)
    assert world.core.counters["late_results"] == 4


def test_a_worker_remembers_the_last_jobs_that_were_taken_away(world):
    worker, admin, client = world.worker(b"f"), world.connects(), world.connects()
    for _ in range(MOST_TAKEN_AWAY + 5):
        handle = client.submits_bg()
        worker.grabs()
        admin.asks(b"cancel job " + handle)
    assert len(worker.peer.taken_away) == MOST_TAKEN_AWAY and handle in worker.peer.taken_away


def test_a_job_that_was_set_aside_has_failed(world):
    world.connects().submits_bg()
    world.loses(5)
    statistics, totals = world.core.functions[b"f"].statistics, world.core.functions[b"f"].totals
    assert (totals.failed, totals.set_aside, totals.lost) == (1, 1, 5)
    assert (statistics.last_failure[2], statistics.last_failure[7]) == (END_LOST, b"the worker was lost")
    assert statistics.waited.count == 5


def test_functions_that_are_forgotten_in_the_second_in_which_they_did_something_are_let_go_of_one_by_one(world):
    """To free very many of them at once takes long."""
    statistics = world.core.statistics
    functions = [world.core.add_function(b"f%d" % number) for number in range(3 * STEP)]
    for function in functions:
        statistics.note(function, world.core.second, world.core.now)
    active = statistics.active
    steps = statistics.end_steps(world.now + 1)
    left = []
    for _ in steps:
        left.append(len(active))
    assert len(left) >= 2 and left == sorted(left, reverse=True) and 0 < left[0] < len(functions) and not active
