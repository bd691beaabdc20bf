"""What is kept of jobs that have ended: their size, their time, and what is forgotten."""
from gearman_std.core.jobs import FunctionPolicy
from gearman_std.core.kept import KEPT_SIZE, Results
from gearman_std.core.ledger import KEEP, KeepRecord
from gearman_std.core.statistics import END_COMPLETED


def test_results_know_their_size():
    results = Results(0)
    policy = FunctionPolicy(keep=1)

    def record(handle, size):
        return KeepRecord(KEEP, handle, b"f", b"", END_COMPLETED, 0.0, 0.0, 0.0, 0, b"", b"", b"x" * size)
    assert results.keep(record(b"H:1", 10), policy, 0.0, 1.0) == []
    results.keep(record(b"H:1", 30), policy, 0.0, 2.0)
    results.keep(record(b"H:2", 5), policy, 0.0, 1.0)
    assert (len(results), results.size) == (2, 2 * KEPT_SIZE + 35)
    assert repr(results) == "<Results of 2 jobs, %d bytes>" % results.size
    assert repr(results._shelves[b"f"]) == "<_Shelf of 2 jobs, %d bytes>" % results.size
    results.forget(b"H:1")
    results.forget(b"H:1")
    assert (len(results), results.size) == (1, KEPT_SIZE + 5)
    assert results.pop_overdue(0.5) == [] and results.pop_overdue(1.0) == [b"H:2"]
    assert (len(results), results.size, results.overdue(9.0)) == (0, 0, False)
