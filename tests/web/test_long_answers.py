"""No answer holds the server's loop for more than five milliseconds, with 10,000 functions and as many workers, each busy."""
import gc
import time

import pytest

from gearman_std.core.core import Core
from gearman_std.core.peers import Peer
from gearman_std.wire.protocol import CAN_DO, GRAB_JOB, SUBMIT_JOB_BG, TEXT_LINE, WORK_COMPLETE
from samples import unmeasured
from web_tools import HOST, Browser

pytestmark = [pytest.mark.long, unmeasured]

SIZE = 10000
MOST = 0.005  # seconds of CPU time


class Crowd:
    """A core with so many functions, each with a worker that has done a job and runs another, while a third one waits."""

    def __init__(self):
        self.core = core = Core(b"H:x")
        core.tick(1000.0, 1.6e9)
        client = Peer(1, b"127.0.0.1")
        core.connect(client)
        for number in range(SIZE):
            name = b"f%d" % number
            worker = Peer(1000 + number, b"127.0.0.1")
            core.connect(worker)
            core.receive(client, [(SUBMIT_JOB_BG, [name, b"", b"w"])] * 3)
            core.receive(worker, [(CAN_DO, [name]), (GRAB_JOB, []), (GRAB_JOB, [])])
            core.receive(worker, [(WORK_COMPLETE, [next(iter(worker.running)), b""])])
            worker.outgoing.clear()
        client.outgoing.clear()
        for second in range(30):  # so that there is a history
            core.tick(1000.0 + second, 1.6e9 + second)
            while core.turns.chores:
                core.turns.work()
        core.unsent.clear()

    def longest_turn(self, peer, packets):
        """What peer and packets ask for: the seconds of the longest turn that it takes, and how many turns."""
        longest, turns = 0.0, 0
        while packets:
            begin = time.process_time()
            packets = self.core.receive(peer, packets)
            longest, turns = max(longest, time.process_time() - begin), turns + 1
        return longest, turns

    def ask(self, question):
        """The same of a path, or of a text command."""
        if question.startswith("/"):
            browser = Browser(self)
            peer, packets = browser.peer, browser.session.feed(
                b"GET %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (question.encode(), HOST))
        else:
            peer, packets = Peer(900, b"127.0.0.1"), [(TEXT_LINE, (question.encode(),))]
            self.core.connect(peer)
        longest, turns = self.longest_turn(peer, packets)
        assert sum(map(len, peer.outgoing)) > 100, question
        self.core.disconnect(peer)
        self.core.unsent.clear()
        return longest, turns


@pytest.fixture(scope="module")
def crowd():
    crowd = Crowd()
    gc.collect()
    gc.disable()  # as the server, which looks for garbage when it is idle
    yield crowd
    gc.enable()


@pytest.mark.parametrize("question", [
    "/", "/?sort=oldest", "/?search=9", "/functions/f1", "/metrics", "/api/functions?limit=1000", "/api/functions/f1",
    "/api/jobs?limit=1000", "/api/jobs?state=running&limit=1000", "/api/workers?limit=1000", "status", "prioritystatus",
    "workers", "show functions json", "show jobs json", "show history 100", "show totals"])
def test_no_turn_takes_long(crowd, question):
    longest = []
    while not longest or longest[-1] >= MOST:
        longest.append(crowd.ask(question)[0])
        assert len(longest) <= 5 or min(longest) < MOST, longest
