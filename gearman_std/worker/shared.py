"""What the threads of a shift share: its lock, how far it is, what they send, and how to wake the one in the selector."""
import logging
import os
import socket
import threading
from collections import deque

from ..errors import ServerLost
from .job import Reporter
from .notices import Notices

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Deque, Dict
    from .job import WorkerJob
    from .link import WorkerLink
    from .running import Run
    from .settings import WorkerSettings

UNSENT_LIMIT = 1048576   # bytes of data for one server after which `WorkerJob.send_data` waits


class Shared:
    """What the threads of a shift share.

    Owner: its lock.
    """

    def __init__(self, worker: "WorkerSettings") -> None:
        self.worker = worker
        self.lock = threading.RLock()  # so that a signal handler does not wait for its own thread
        self.leaving = False  # nothing is grabbed any more
        self.over = False     # the shift ends at once
        self.ended = False    # nothing is connected any more
        self.running = {}  # type: Dict[WorkerJob, Run]
        self.notices = Notices(worker)
        self.clock = worker._system.clock
        self.process = os.getpid()
        self.drained = threading.Condition(self.lock)  # notified when a connection has sent something, or is lost
        self.attention = deque()  # type: Deque[WorkerLink] # links that a thread could not send to
        self.waker, self.woken = socket.socketpair()
        self.waker.setblocking(False)
        self.woken.setblocking(False)

    def __repr__(self) -> str:
        return "<%s: %d running%s>" % (
            type(self).__name__, len(self.running),
            ", ended" if self.ended else ", over" if self.over else ", leaving" if self.leaving else "")

    @property
    def at_work(self) -> bool:
        """Whether it goes on, in this process."""
        return not self.ended and self.process == os.getpid()

    def wake(self) -> None:
        """Make the thread that waits in the selector look around; for any thread, with or without the lock."""
        try:
            self.waker.send(b"\0")
        except OSError:
            pass  # full means that it is awake already, closed that the shift is over

    def send(self, link: "WorkerLink") -> None:
        """Send what the session has to say, as far as that is possible at once; called with the lock."""
        session, connection = link.session, link.connection
        if link.error is not None:
            return  # it is about to be ended
        if session.outgoing:
            connection.put(*session.outgoing)
            session.outgoing = []
        try:
            if connection.flush() or link.writing:
                return
        except ServerLost as error:
            link.error = error
        self.attention.append(link)
        self.wake()

    def report(self, link: "WorkerLink", put: "Callable[..., None]", *arguments: "Any") -> None:
        """Put something into the session's output and send it; called with the lock."""
        whole = False
        try:
            put(link.session, *arguments)
            self.send(link)
            whole = True
        finally:
            if not whole:  # the function may catch what has interrupted this, such as a time limit of its own, and go on
                self.give_up(link, "a report to %s was interrupted" % link.name)

    def give_up(self, link: "WorkerLink", reason: str) -> None:
        """Send no more on a connection that may be out of step, and have it ended; called with the lock."""
        link.error = ServerLost(reason)
        self.attention.append(link)
        self.wake()

    def note_loss(self, job: "WorkerJob") -> None:
        """Count and log a job whose server is lost, so that nobody wants to know how it ended."""
        self.worker.totals["lost"] += 1
        self.notices.say(logging.WARNING, "the end of %r is of no use, its server is lost", job)


class LinkReporter(Reporter):
    """Sends what the jobs of one connection say.

    Owner: the shift's lock.
    """

    __slots__ = ("link", "_shared")

    def __init__(self, shared: Shared, server: str, largest: int) -> None:
        super().__init__(server, largest, shared.worker.serializer)
        self.link = None  # type: Any # is set when there is one
        self._shared = shared

    def __repr__(self) -> str:
        return "<LinkReporter to %s%s>" % (self.server, ", lost" if self.lost else "")

    @property
    def lost(self) -> bool:
        return bool(self.link.lost)

    @property
    def stopping(self) -> bool:
        return self._shared.leaving

    def say(self, job: "WorkerJob", put: "Callable[..., None]", *arguments: "Any") -> None:
        """Send something about a job that runs, unless its server is lost; wait first while the server is slow to read."""
        shared, link = self._shared, self.link
        if shared.process != os.getpid():
            return  # a child of a fork, whose parent's job it is
        connection = link.connection
        with shared.lock:
            while connection.queued - connection.sent > UNSENT_LIMIT and not link.lost:
                shared.drained.wait()
            run = shared.running.get(job)
            if run is not None and not link.lost:
                shared.report(link, put, run.assignment, *arguments)
