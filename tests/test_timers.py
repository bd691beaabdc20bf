"""Things due at a time."""
import random
from bisect import insort
from heapq import heappop, heappush

import pytest

from core_world import things_of
from gearman_std import timers as timers_module
from gearman_std.timers import Timers, growing_pause

from samples import few


def test_things_come_when_due_the_earliest_first():
    timers = Timers()
    for when in (3.0, 1.0, 2.0):
        timers.add(when, "at %d" % when)
    assert timers.next_time() == 1.0 and timers.pop_due(0.9) is None
    assert [timers.pop_due(2.5), timers.pop_due(2.5), timers.pop_due(2.5)] == ["at 1", "at 2", None]
    assert len(timers) == 1 and timers.next_time() == 3.0


def test_equal_times_keep_the_order_of_adding():
    timers = Timers()
    for name in "abcdef":
        timers.add(1.0, name)
    assert "".join(timers.pop_due(1.0) for _ in range(6)) == "abcdef"


def test_what_was_taken_back_never_comes():
    timers = Timers()
    first, second = timers.add(1.0, "first"), timers.add(2.0, "second")
    timers.cancel(first)
    assert len(timers) == 1 and timers.next_time() == 2.0
    timers.cancel(second)
    assert len(timers) == 0 and timers.next_time() is None and timers.pop_due(9.0) is None


def test_a_thing_taken_back_is_let_go_of_at_once_and_its_entry_before_long():
    timers = Timers()
    entries = [timers.add(float(when), object()) for when in range(10000)]
    for entry in entries[1:]:
        timers.cancel(entry)
        assert entry[2] is None
    assert len(timers) == 1 and len(timers.entries) <= 34


def pop_patiently(timers, now):
    """What is due, asked for as often as `next_time` says."""
    thing = timers.pop_due(now)
    while thing is None and timers.next_time() is not None and timers.next_time() <= now:
        thing = timers.pop_due(now)
    return thing


@pytest.mark.parametrize("sweep", few((1, 3, 64)))
@pytest.mark.parametrize("chance_of_cancel", (0.8, 0.95))
def test_it_agrees_with_a_sorted_list(monkeypatch, sweep, chance_of_cancel):
    """Whether it is filled, emptied, or has most of its timers taken back."""
    monkeypatch.setattr(timers_module, "_SWEEP", sweep)
    chance = random.Random(1)
    timers, model = Timers(), []
    for step in range(5000):
        what = chance.random()
        if what < (0.5 if step // 500 % 2 else 0.7):
            when = chance.randrange(50)
            insort(model, (when, step, timers.add(float(when), step)))
        elif what < chance_of_cancel and model:
            timers.cancel(model.pop(chance.randrange(len(model)))[2])
        else:
            now = chance.randrange(50)
            wanted = model.pop(0)[1] if model and model[0][0] <= now else None
            assert pop_patiently(timers, float(now)) == wanted
        assert len(timers) == len(model) and bool(timers.entries) >= bool(model)
        if model:
            assert timers.next_time() <= model[0][0]
        if not step % 50:
            assert things_of(timers) == [thing for _, thing, _ in model]


def test_taking_one_back_never_looks_at_all_the_others(monkeypatch):
    looks = []
    monkeypatch.setattr(timers_module, "heappush", lambda heap, entry: looks.append(1) or heappush(heap, entry))
    timers, entries = Timers(), []
    for when in range(4000):
        entries.append(timers.add(float(when), when))
    most = 0
    for count, entry in enumerate(reversed(entries[10:])):
        del looks[:]
        timers.cancel(entry)
        most = max(most, len(looks))
        assert len(timers) == 4000 - count - 1
    assert 0 < most <= 64 and things_of(timers) == list(range(10)) and len(timers.entries) < 100


@pytest.mark.parametrize("taken_back", (range(1999), range(2001, 4000)), ids=("first", "last"))
def test_no_call_takes_out_very_many_that_were_taken_back(monkeypatch, taken_back):
    """Though fewer than half are, and all of them come first, or are all that is left."""
    looks = []
    for name, function in (("heappush", heappush), ("heappop", heappop)):
        monkeypatch.setattr(timers_module, name, lambda *arguments, function=function: looks.append(1) or function(*arguments))
    timers = Timers()
    entries = [timers.add(float(when), when) for when in range(4000)]
    for when in reversed(taken_back):
        timers.cancel(entries[when])
    left = [when for when in range(4000) if when not in taken_back]
    most = 0
    while left:
        del looks[:]
        when = timers.next_time()
        most = max(most, len(looks))
        del looks[:]
        thing = timers.pop_due(4000.0)
        most = max(most, len(looks))
        assert when <= left[0] and thing in (None, left[0])
        left[:1] = [] if thing is not None else left[:1]
    for _ in range(100):
        del looks[:]
        timers.next_time()
        most = max(most, len(looks))
    assert most <= 4 * 64 and len(timers) == 0 and timers.next_time() is None and timers.pop_due(4000.0) is None


def test_repr_shows_how_many():
    timers = Timers()
    timers.add(1.0, None or "x")
    assert repr(timers) == "<Timers: 1 set>"


def test_pauses_grow_up_to_the_longest():
    assert [growing_pause(0.5, 30.0, failures) for failures in (0, 1, 3, 6, 10 ** 9)] == [0.5, 1.0, 4.0, 30.0, 30.0]
