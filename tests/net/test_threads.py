"""Starting threads, also where there are none left."""
import threading

import pytest

from gearman_std.net.threads import start_thread


def test_a_thread_runs_and_keeps_nobody_from_ending():
    heard = []
    thread = start_thread(lambda *words: heard.append(words), "a name", 1, 2)
    thread.join(20)
    assert heard == [(1, 2)] and thread.name == "a name" and thread.daemon


def test_where_there_are_no_more_threads_is_an_error_of_the_system(monkeypatch):
    def fail(_):
        raise RuntimeError("can't start new thread")
    monkeypatch.setattr(threading.Thread, "start", fail)
    with pytest.raises(OSError) as caught:
        start_thread(print, "the watchdog")
    assert str(caught.value) == "there may be no more threads, as the watchdog needs one: can't start new thread"
