"""The book of jobs: what it finds again, and what it forgets."""
from gearman_std.trace import jobs
from gearman_std.trace.jobs import JobBook, tell_assigned, tell_over, tell_worked


def test_the_same_handle_at_two_servers_is_two_jobs():
    book = JobBook()
    first = book.created("a", b"H:1", book.submitted(0.0, "client 1", b"f", b""))[0]
    second = book.created("b", b"H:1", book.submitted(0.0, "client 2", b"f", b""))[0]
    assert book.find("a", b"H:1") is first and book.find("b", b"H:1") is second
    assert book.find("a", b"H:2") is None


def test_the_oldest_jobs_are_forgotten_first(monkeypatch):
    monkeypatch.setattr(jobs, "MOST_TRACED", 3)
    book = JobBook()
    for number in range(5):
        book.created("a", b"%d" % number, book.submitted(0.0, "client 1", b"f", b""))
    assert [number for number in range(5) if book.find("a", b"%d" % number)] == [2, 3, 4]


def test_what_is_told_where_not_all_was_seen():
    job = JobBook().assigned(1.0, "a", "worker 1", b"H:1", b"f", b"")
    assert tell_assigned(job) == "job 1"
    assert tell_worked(job) == "job 1"
    assert tell_over(job, 2.0) == "job 1"
    assert job.facts() == {"number": 1, "handle": "H:1", "function": "f", "unique": ""}
