"""What a worker logs and tells its hooks: in order, one at a time, whoever announces it."""
import logging
import threading

from gearman_std.worker.notices import Notices
from gearman_std.worker.worker import Worker

from worker_tools import WAIT


def test_in_order_and_hooks_only_where_there_are_any(caplog):
    worker = Worker()
    caplog.set_level(logging.INFO)
    told = []
    worker.hook("connected", lambda server: told.append((server, [record.getMessage() for record in caplog.records])))
    notices = Notices(worker)
    notices.say(logging.INFO, "%s is there", "a")
    notices.tell_hooks("connected", "a")
    notices.tell_hooks("disconnected", "a", "nobody asked for this")
    notices.say(logging.WARNING, "the end")
    assert repr(notices) == "<Notices: 3 waiting>"
    notices.announce()
    assert told == [("a", ["a is there"])] and not notices.waiting
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("INFO", "a is there"), ("WARNING", "the end")]


def test_who_finds_another_one_announcing_leaves_it_to_that():
    """So a slow hook holds up one thread only, and nothing is told out of order."""
    worker = Worker()
    notices, told = Notices(worker), []
    entered, leave = threading.Event(), threading.Event()

    @worker.hook("connected")
    def connected(server):
        if server == "slow":
            entered.set()
            assert leave.wait(WAIT)
        told.append((server, threading.current_thread()))
    notices.tell_hooks("connected", "slow")
    thread = threading.Thread(target=notices.announce)
    thread.start()
    assert entered.wait(WAIT)
    notices.tell_hooks("connected", "next")
    notices.announce()
    assert told == []
    leave.set()
    thread.join(WAIT)
    assert told == [("slow", thread), ("next", thread)]
