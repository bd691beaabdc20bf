"""What is kept of jobs that have ended: their size, their time, and what is forgotten."""
from gearman_std.core import tables
from gearman_std.core.jobs import FunctionPolicy
from gearman_std.core.kept import KEPT_SIZE, Results
from gearman_std.core.ledger import KEEP, KeepRecord
from gearman_std.core.statistics import END_COMPLETED
from gearman_std.core.turns import STEP


def record(handle, size, function=b"f"):
    return KeepRecord(KEEP, handle, function, b"", END_COMPLETED, 0.0, 0.0, 0.0, 0, b"", b"", b"x" * size)


def handles(results):
    return [record.handle for record in results.records()]


def test_results_know_their_size():
    results = Results(0)
    policy = FunctionPolicy(keep=1)
    results.keep(record(b"H:1", 10), policy, 1.0)
    results.keep(record(b"H:1", 30), policy, 2.0)
    results.keep(record(b"H:2", 5), policy, 1.0)
    assert (len(results), results.size, results.crowded, results.make_room()) == (2, 2 * KEPT_SIZE + 35, False, [])
    assert repr(results) == "<Results of 2 jobs, %d bytes>" % results.size
    assert repr(results._shelves[b"f"]) == "<_Shelf of %d bytes>" % results.size
    assert repr(results._all[b"H:2"]) == "<_Kept H:2, %d bytes>" % (KEPT_SIZE + 5)
    results.forget(b"H:1")
    results.forget(b"H:1")
    assert (len(results), results.size) == (1, KEPT_SIZE + 5)
    assert results.pop_overdue(0.5) == [] and results.pop_overdue(1.0) == [b"H:2"]
    assert (len(results), results.size, results.overdue(9.0), results._shelves) == (0, 0, False, {})


def test_the_oldest_go_first_those_of_a_function_with_too_many_before_those_of_all():
    results = Results(6 * KEPT_SIZE)
    generous, mean = FunctionPolicy(keep=1), FunctionPolicy(keep=1, keep_bytes=2 * KEPT_SIZE)
    for handle in (b"g1", b"f1", b"g2", b"f2", b"g1", b"g3"):
        results.keep(record(handle, 0, handle[:1]), mean if handle[:1] == b"f" else generous, 1.0)
    assert handles(results) == [b"f1", b"g2", b"f2", b"g1", b"g3"] and not results.crowded
    results.keep(record(b"f3", 0), mean, 1.0)
    assert results.crowded and results.make_room() == [b"f1"] and not results.crowded
    results.keep(record(b"g4", KEPT_SIZE, b"g"), generous, 1.0)
    assert results.crowded and results.make_room() == [b"g2"]
    assert handles(results) == [b"f2", b"g1", b"g3", b"f3", b"g4"] and results.size == 6 * KEPT_SIZE


def test_what_goes_by_itself_makes_room_too():
    results, policy = Results(0), FunctionPolicy(keep=1, keep_bytes=KEPT_SIZE)
    for handle in (b"1", b"2"):
        results.keep(record(handle, 0), policy, 1.0)
    assert results.crowded
    results.forget(b"1")
    assert not results.crowded and handles(results) == [b"2"]
    results.keep(record(b"3", 0), policy, 1.0)
    results.forget(b"2"), results.forget(b"3")
    assert not results.crowded and results.make_room() == [] and results.size == 0


def test_a_large_one_takes_the_place_of_many_some_at_a_time():
    results, policy = Results(0), FunctionPolicy(keep=1, keep_bytes=1000 * KEPT_SIZE)
    for number in range(1000):
        results.keep(record(b"%d" % number, 0), policy, 1.0)
    assert not results.crowded
    results.keep(record(b"large", 899 * KEPT_SIZE), policy, 1.0)
    counts = []
    while results.crowded:
        counts.append(len(results.make_room()))
    assert sum(counts) == 900 and max(counts) == STEP
    assert handles(results)[0] == b"900" and results.size == 1000 * KEPT_SIZE


def test_a_table_of_very_many_never_takes_long_to_grow(monkeypatch):
    monkeypatch.setattr(tables, "LARGE_TABLE", 100)
    results, policy = Results(0), FunctionPolicy(keep=1)
    for number in range(500):
        results.keep(record(b"%d" % number, 0), policy, 1.0)
    assert isinstance(results._all, tables.PartedTable) and len(results) == 500
    assert results.find(b"499", 0.5).handle == b"499" and results.find(b"499", 1.0) is None


def test_a_walk_along_what_is_kept_goes_on_when_some_go():
    results, policy = Results(0), FunctionPolicy(keep=1)
    for number in range(200):
        results.keep(record(b"%d" % number, 0), policy, 1.0)
    walk = results.records()
    assert next(walk).handle == b"0"
    for number in range(64, 199):
        results.forget(b"%d" % number)
    results.keep(record(b"new", 0), policy, 1.0)
    assert [one.handle for one in walk][63:] == [b"199"]


def test_room_is_made_although_the_store_is_written_anew_meanwhile():
    results = Results(100 * KEPT_SIZE)
    policy = FunctionPolicy(keep=100)
    for number in range(100):
        results.keep(record(b"H:%d" % number, 0), policy, 1.0)
    written = results.records()
    first = [next(written) for _ in range(10)]
    for number in range(100, 200):
        results.keep(record(b"H:%d" % number, 0), policy, 1.0)
        while results.crowded:
            results.make_room()
    assert [one.handle for one in first] == [b"H:%d" % number for number in range(10)]
    assert handles(results) == [b"H:%d" % number for number in range(100, 200)]
