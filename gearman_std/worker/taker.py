"""Taking jobs one by one, to run each where one likes and to end it by a call."""
import os
import threading
from collections import deque

from ..net.addresses import join_address
from ..net.connection import LONGEST_WAIT, Deadline
from ..net.threads import start_thread
from ..wire.protocol import SET_CLIENT_ID, encode_data, pack_request
from ..wire.worker_session import WorkerSession
from .job import check_size, room_for
from .link import CONNECTED, HEARD
from .shift import Shift

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Deque, Dict, Optional
    from ..net.addresses import Address
    from .job import WorkerJob
    from .link import WorkerLink, WorkerServer
    from .running import Run
    from .worker import Worker


class Taker(Shift):
    """A shift that runs no functions: whoever asks is given a job, and ends it by a call.  No job is grabbed before one asks.

        taker = Taker(worker)
        taker.begin()
        job = taker.take(10.0)
        if job is not None:
            taker.complete(job, job.workload[::-1])
        taker.close()

    The functions that were registered at the worker are not called; what else it knows of them, and its servers, count.  One
    thread waits in the selector; any number of others may take and end jobs.

    Owner: as `Shift`.
    """

    def __init__(self, worker: "Worker") -> None:
        super().__init__(worker)
        self.slots.free = 0        # for jobs that are wanted, and have not been asked for
        self._worker = worker
        self._changed = threading.Condition(self.lock)  # notified when there is a job, or news
        self._ready = deque()      # type: Deque[Run] # of jobs that are assigned, and not taken
        self._takers = 0           # who waits in `take`
        self._troubles = {}        # type: Dict[str, str] # why a server is not connected, by its name; "" if it is
        self._thread = None        # type: Optional[threading.Thread]
        self.news = 0              # how often a server has come or gone, or could not be reached, or `tell_news` was called
        self._connect_anyway()

    def __repr__(self) -> str:
        return "<Taker: %d to be taken, %d running, %d connections%s>" % (
            len(self._ready), len(self.running) - len(self._ready), len(self.slots.links), ", leaving" if self.leaving else "")

    # --- Called by any thread.

    def begin(self) -> None:
        """Connect.  Raises OSError if the system allows no more threads."""
        self._worker._shift = self
        self._thread = start_thread(self.attend_to_all, "gearman_std worker")

    def close(self, at_once: bool = False) -> None:
        """Leave when the jobs that were taken have ended, or at once; the servers give other workers what has not ended."""
        if at_once:
            self.break_off()
        elif not self._worker.stops:
            self._worker.stop()
        if self._thread is not None:
            self._thread.join()
        self._worker._shift = None
        self._worker.stops = 0

    def take(self, timeout: "Optional[float]" = None, news: "Optional[int]" = None) -> "Optional[WorkerJob]":
        """Wait for a job; None if `timeout` seconds are over first, the shift is, or `news` are not the latest."""
        deadline = Deadline(timeout)
        with self._changed:
            self._takers += 1
            try:
                left = timeout  # all of it at first, however long the lock was waited for
                while not self._ready:
                    if self.leaving or not self.at_work or left == 0 or news is not None and news != self.news:
                        break
                    self._want(self._takers)
                    self._changed.wait(LONGEST_WAIT if left is None else min(left, LONGEST_WAIT))
                    left = deadline.left()
                if self.failure is not None:
                    raise self.failure
                return self._ready.popleft().job if self._ready else None
            finally:
                self._takers -= 1

    def wait_for_news(self, news: int, timeout: "Optional[float]" = None) -> None:
        """Wait until `news` are not the latest, or the shift is over, at most `timeout` seconds; no job is asked for."""
        deadline = Deadline(timeout)
        with self._changed:
            while self.news == news and self.at_work and not self.leaving:
                left = deadline.left()
                if left == 0:
                    break
                self._changed.wait(LONGEST_WAIT if left is None else min(left, LONGEST_WAIT))

    def tell_news(self) -> None:
        """Wake the threads that wait, so that they look around."""
        with self.lock:
            self._tell_news()

    def complete(self, job: "WorkerJob", data: "Any") -> bool:
        """End a job with its result; return whether anybody may still want it.  Raises ValueError as `WorkerJob.send_data`."""
        part = encode_data(data)
        check_size(job, "the result", part)
        return self._end(job, "completed", WorkerSession.complete, part)

    def fail(self, job: "WorkerJob") -> bool:
        """End a job without a result; return whether anybody may still want to know."""
        return self._end(job, "failed", WorkerSession.fail)

    def exception(self, job: "WorkerJob", text: "Any") -> bool:
        """End a job with the text of an exception; return whether anybody may still want to know."""
        part = encode_data(text)
        return self._end(job, "failed", WorkerSession.exception, bytes(part[:room_for(job)]))

    def trouble(self, address: "Address") -> "Optional[str]":
        """Why a server is not connected; "" if it is, None if that is not known yet."""
        return self._troubles.get(join_address(address))

    def change_client_id(self, client_id: bytes) -> None:
        """Tell the servers what the worker is called from now on."""
        with self.lock:
            self.worker.client_id = client_id
            for link in list(self.slots.links):
                link.session.outgoing.append(pack_request(SET_CLIENT_ID, client_id))
                self.send(link)

    def forget(self, name: bytes) -> None:
        super().forget(name)
        self._connect_anyway()
        self.wake()

    # --- Called with the lock.

    def _connect_anyway(self) -> None:
        """Be connected also while no function is registered."""
        with self.lock:
            if self.slots.open_lane not in self.slots.lanes:
                self.slots.lanes.append(self.slots.open_lane)

    def _want(self, count: int) -> None:
        """See that so many jobs are asked for."""
        missing = count - self.slots.free - sum(link.session.grabs for link in self.slots.links)
        if missing > 0:
            self.slots.free += missing
            self.slots.grab(self.clock(), self.send)

    def _end(self, job: "WorkerJob", counted: str, put: "Callable[..., None]", *arguments: "Any") -> bool:
        with self.lock:
            if job not in self.running or self.process != os.getpid():
                return False  # it has ended already, or is the parent's of this process
            run = self.running.pop(job)
            link = run.link
            link.lane.taken -= 1
            if link.lost:
                self.note_loss(job)
                return False
            put(link.session, run.assignment, *arguments)
            self.send(link)
            if link.connection.unsent:
                link.results.append((link.connection.queued, job, counted))
            else:
                self.worker.totals[counted] += 1
            if self.leaving:
                self.wake()
            return True

    # --- What is otherwise than in a shift that runs functions.

    def _start_threads(self) -> None:
        """Nobody here runs jobs."""

    def _begin(self, run: "Run") -> None:
        self.running[run.job] = run
        self._ready.append(run)
        if self.leaving:
            self._hand_back()
        self._changed.notify_all()

    def _start_leaving(self, reason: str, now: float) -> None:
        self._hand_back()
        super()._start_leaving(reason, now)
        self._changed.notify_all()

    def _hand_back(self) -> None:
        """Let go of the jobs that nobody has taken: their server gives them to others when the connection ends."""
        while self._ready:
            run = self._ready.popleft()
            del self.running[run.job]
            run.link.lane.taken -= 1
            if not run.link.lost:
                run.link.session.release(run.assignment)

    def _note_drop(self, link: "WorkerLink") -> None:
        super()._note_drop(link)
        for run in [run for run in self._ready if run.link is link]:
            self._ready.remove(run)  # its server gives it to another worker
            del self.running[run.job]
            link.lane.taken -= 1
        self._tell_news()

    def _note_state(self, server: "WorkerServer", event: str, before: str, after: str, reason: str) -> None:
        """Tell those who wait for news, not the log and the hooks."""
        if event is CONNECTED or reason:
            self._troubles[server.name] = reason
        if event is not HEARD or before is not after:
            self._tell_news()

    def _tell_news(self) -> None:
        self.news += 1
        self._changed.notify_all()

    def end(self) -> int:
        unfinished = super().end()
        with self.lock:
            self._changed.notify_all()
        return unfinished
