"""Servers as a worker keeps them in mind: when one that failed is tried again."""
from gearman_std.worker_link import FIRST_RETRY, LAST_RETRY, Lane, WorkerLink, WorkerServer


def test_tries_become_rarer_up_to_a_limit():
    server = WorkerServer(("a", 4730))
    waits = []
    for _ in range(30):
        server.back_off(0.0, lambda: 1.0)
        waits.append(server.retry_at)
    assert waits[:3] == [FIRST_RETRY, 2 * FIRST_RETRY, 4 * FIRST_RETRY]
    assert waits == sorted(waits) and waits[-1] == LAST_RETRY


def test_half_of_a_wait_is_random():
    """So that a thousand workers of a restarted server do not all come at once."""
    server = WorkerServer(("a", 4730))
    server.failures = 40
    for random, wait in ((0.0, 0.5 * LAST_RETRY), (0.5, 0.75 * LAST_RETRY), (1.0, LAST_RETRY)):
        server.back_off(0.0, lambda: random)
        assert server.retry_at == wait


def test_reprs_show_the_state():
    server, lane = WorkerServer(("::1", 4730)), Lane(2)
    link = WorkerLink(server, lane, None, b"", 0.0)
    assert repr(server) == "<WorkerServer [::1]:4730: 0 connections, 0 failures>"
    assert repr(lane) == "<Lane []: 0 of 2 taken>"
    assert repr(link) == "<WorkerLink to [::1]:4730: <WorkerSession: awake, 0 grabs unanswered, 0 jobs>>"
