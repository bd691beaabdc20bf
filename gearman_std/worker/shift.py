"""One call of `Worker.work`: connecting, grabbing, running, reporting, trying again, leaving.

One thread waits in a selector, receives and assigns; each job thread runs one job at a time, and sends the result together with
the next grab itself, which saves a change of threads for each job.  What they share is the shift's lock's, which is never held
while something waits, nor while a function, a hook or a logging handler runs.

The main thread never is the one that waits in the selector: signals, and what their handlers raise, come to it, and could come
anywhere.  If it made the call, it runs the jobs of a worker of one thread, and else waits for the end.
"""
import logging
import os
import selectors
import socket
import threading
from collections import deque

from ..errors import ProtocolError, ServerError, ServerLost
from ..net.connection import LONGEST_WAIT
from ..net.forks import end_child, leave_in_children
from ..net.threads import start_thread
from ..timers import Timers
from ..wire.protocol import LARGEST_SIZE, MAX_PACKET_SIZE, told_limit
from ..wire.worker_session import GRAB_TYPES
from .connector import Connector
from .held import HeldJobs
from .job import RETRY, Ability, WorkerJob, log_safely, room_for, show_name
from .link import Lane, WorkerLink, WorkerServer
from .notices import Notices
from .threads import JobThread, MainThread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Deque, List, Optional, Set, Tuple
    from ..wire.worker_session import Assignment, WorkerSession
    from .worker import Worker

PROBE_TIMEOUT = 3.0      # seconds for the first answer to a way of grabbing that the server may not know and ignore
ANSWER_TIMEOUT = 60.0    # seconds without a byte for every other answer to a grab, and for a server to take what is sent
SLEEP_TIMEOUT = 60.0     # seconds without a byte after which a sleeper asks for a job unbidden
FAREWELL_TIMEOUT = 1.0   # seconds for the last results to be confirmed when a worker leaves
UNSENT_LIMIT = 1048576   # bytes of data for one server after which `WorkerJob.send_data` waits
HELD_PER_THREAD = 16     # jobs of a function to be tried again, for each thread, after which no more of it are grabbed
WATCH_INTERVAL = 1.0     # seconds between two questions to `watch`


class Shift:
    """One call of `Worker.work`.

    Owner: its lock, but for the selector, which is the thread's that waits in it.
    """

    def __init__(self, worker: "Worker") -> None:
        self.worker = worker
        self.leaving = False
        self.ended = False  # nothing is connected any more
        self._process = os.getpid()
        self._main = None     # type: Optional[MainThread] # if that made the call
        self.attended = False  # a thread waits in the selector, and will end the shift
        self._unfinished = 0
        self._failure = None  # type: Optional[BaseException] # what has ended the thread that waits in the selector
        self.lock = threading.RLock()  # lest a signal handler waits for what its own thread has
        self._drained = threading.Condition(self.lock)  # notified when a connection has sent something, or is lost
        self._selector = worker._system.make_selector()
        self.waker, self._woken = socket.socketpair()
        self.waker.setblocking(False)
        self._woken.setblocking(False)
        self._clock = worker._system.clock
        self._servers = [WorkerServer(address) for address in worker.addresses]
        self._open_lane = Lane(None)
        self._lanes = []       # type: List[Lane]
        self._links = deque()  # type: Deque[WorkerLink] # the one to be asked next is the first
        self._idle = []        # type: List[JobThread]
        self._free = worker.threads   # threads without a job, and without a grab on their behalf
        self._quota = worker.max_jobs  # jobs that may still be grabbed
        self._running = set()  # type: Set[WorkerJob]
        self._held = HeldJobs()
        self._limits = Timers()  # when running jobs take too long
        self._connector = Connector(self)
        self._attention = deque()  # type: Deque[WorkerLink] # links that a pool thread could not send to
        self.notices = Notices(worker)
        self._leave_by = None      # type: Optional[float] # when to leave whatever runs
        self._farewell_by = None   # type: Optional[float] # when to leave without the servers' confirmation
        self.over = False
        self._retire_at = None if worker.max_age is None else (
            self._clock() + worker.max_age + worker.splay * worker._system.random())
        self._watch_at = self._clock() + WATCH_INTERVAL
        for ability in worker.abilities.values():
            self._put_in_lane(ability)
        leave_in_children(self)

    def __repr__(self) -> str:
        return "<Shift: %d free, %d running, %d connections%s>" % (
            self._free, len(self._running), len(self._links), ", leaving" if self.leaving else "")

    # --- Called by the thread that made the call.

    def run(self) -> int:
        """Work until the shift is over; return how many jobs are left unfinished."""
        if threading.current_thread() is threading.main_thread():
            self._main = MainThread(self)
            self._main.make_call()
        else:
            self.attend_to_all()
        if self._failure is not None:
            raise self._failure
        return self._unfinished

    def break_off(self) -> None:
        """Have the shift end at once.

        This thread may have the lock still, as an interrupt at the end of a `with` statement may leave it.
        """
        self.over = True
        try:
            while True:
                self.lock.release()
        except RuntimeError:
            pass  # it has it no more
        self.wake()

    def close_waker(self) -> None:
        """To be called when signals no longer write to it, which the interpreter would complain of."""
        with self.lock:
            self._woken.close()
            self.waker.close()

    # --- Called by the thread that waits in the selector.

    def attend_to_all(self) -> None:
        self.attended = True
        try:
            self._selector.register(self._woken, selectors.EVENT_READ, None)
            self._start_threads()
            self._loop()
        except BaseException as error:  # of `watch`; it is raised again by the thread that made the call
            end_child(self._process, error)
            self._failure = error
        finally:
            self._unfinished = self.end()
            if self._main is not None:
                self._main.urge_home()

    def _loop(self) -> None:
        while True:
            with self.lock:
                delay = self._advance(self._clock())
            if self._connector.connect_without_threads():
                delay = 0.0
            self.notices.announce()
            if self.over:
                break
            if self.worker.watch is not None and not self.leaving:
                self._ask_watch(self.worker.watch)
            events = self._selector.select(None if delay is None else min(delay, LONGEST_WAIT))
            with self.lock:
                for key, mask in events:
                    if key.data is None:
                        self._drain_wakes()
                    elif not key.data.lost:
                        self._serve(key.data, mask)

    def _start_threads(self) -> None:
        if self._main is not None and self.worker.threads == 1 and self._main.takes_jobs:
            with self.lock:
                self._idle.append(self._main)
            return
        for number in range(self.worker.threads):
            thread = JobThread(self)
            thread.thread = start_thread(thread.run_jobs, "gearman_std job %d" % (number + 1))
            self._idle.append(thread)

    def _advance(self, now: float) -> "Optional[float]":
        """Do whatever is due; return the seconds until the next thing is, or None."""
        arrivals = self._connector.arrivals
        while arrivals:
            self._welcome(*arrivals.popleft(), now)
        while self._attention:
            self._attend(self._attention.popleft(), now)
        due = []  # type: List[float]
        for link in list(self._links):
            self._check_link(link, now, due)
        if not self.leaving:
            self._look_for_reason_to_leave(now)
        if self.leaving:
            self._leave(now, due)
        else:
            self._connect_due(now, due)
            if self._retire_at is not None:
                due.append(self._retire_at)
            if self.worker.watch is not None:
                due.append(self._watch_at)
        self._note_limits(now, due)
        self._retry_held(now, due)
        self._grab(now)
        for link in self._links:
            patience = self._patience(link) if link.moved == now else None
            if patience is not None:
                due.append(now + patience)  # for the answer to what was asked just now
        return max(0.0, min(due) - self._clock()) if due and not self.over else None

    def _connect_due(self, now: float, due: "List[float]") -> None:
        for server in self._servers:
            if server.connecting or all(lane in server.links for lane in self._lanes):
                continue
            if now < server.retry_at:
                due.append(server.retry_at)
                continue
            self._connector.connect(server, [lane for lane in self._lanes if lane not in server.links])

    def _check_link(self, link: WorkerLink, now: float, due: "List[float]") -> None:
        """Give a connection up if an answer, or the sending of what is to be sent, takes too long; wake who sleeps long."""
        session = link.session
        patience = self._patience(link)
        if link.lane not in self._lanes and not link.busy:
            self._drop(link)  # its functions were withdrawn
            del link.server.links[link.lane]
        elif patience is None:
            if session.can_grab and link.rest_until > now:
                due.append(link.rest_until)
        elif now - link.moved < patience:
            due.append(link.moved + patience)
        elif link.connection.unsent or session.grabs:
            self._give_up(link, now)
        else:
            session.rouse()

    def _patience(self, link: WorkerLink) -> "Optional[float]":
        """For how many seconds nothing needs to move on a connection, None for ever."""
        if link.connection.unsent:
            return ANSWER_TIMEOUT
        if link.session.grabs:
            return ANSWER_TIMEOUT if link.session.confirmed and not self.leaving else PROBE_TIMEOUT
        return SLEEP_TIMEOUT if link.session.asleep and not self.leaving else None

    def _welcome(self, server: WorkerServer, lanes: "List[Lane]", outcome: "Any", now: float) -> None:
        """Take the connections made for these lanes, or the exception instead."""
        server.connecting = False
        if isinstance(outcome, Exception):
            self._fail(server, str(outcome), now)
            return
        for lane, connection in zip(lanes, outcome):
            link = WorkerLink(server, lane, connection, self.worker.client_id, now)
            server.links[lane] = link
            self._links.appendleft(link)
            self._selector.register(connection, selectors.EVENT_READ, link)
            if self.leaving:
                link.session.retire()
            self._send(link)
        if not server.doubtful:
            self._greet(server)

    def _greet(self, server: WorkerServer) -> None:
        """Say once that a server is there."""
        if not server.up:
            server.up = True
            self.notices.say(logging.INFO, "connected to %s", server.name)
            self.notices.tell_hooks("connected", server.name)

    def _serve(self, link: WorkerLink, mask: int) -> None:
        """Send and receive what the selector says can be sent and received."""
        now = self._clock()
        if mask & selectors.EVENT_WRITE:
            link.moved = now
            self._send(link)
            while link.results and link.results[0][0] <= link.connection.sent:
                self.worker.totals[link.results.popleft()[2]] += 1
            self._drained.notify_all()
            self._attend(link, now)
        if mask & selectors.EVENT_READ and not link.lost:
            try:
                while self._receive(link, now) and link.connection.pending:
                    pass
            except (ServerLost, ProtocolError) as error:
                self._lose(link, str(error), now)
            except MemoryError:
                self._lose(link, "%s sends more than there is memory for" % link.name, now)
        if not self._held.due(now):
            self._grab(now)
        if not link.lost and link.session.outgoing:
            self._send(link)

    def _receive(self, link: WorkerLink, now: float) -> bool:
        reader = link.reader
        room = reader.room()
        received = link.connection.receive(room)
        if received is None:
            return False
        link.moved = now
        packets = reader.feed(received) if isinstance(received, bytes) else reader.filled(received)
        session, lane = link.session, link.lane
        for packet_type, arguments in packets:
            grabs = session.grabs
            outcome = session.receive(packet_type, arguments)
            if outcome is None:
                if session.grabs != grabs:  # there was no job
                    self._free += 1
                    lane.taken -= 1
                    if self._quota is not None:
                        self._quota += 1
                    if session.asleep:
                        link.found_no_job(now)
            elif isinstance(outcome, ServerError):
                self._note_refusal(link, outcome, now)
            else:
                self._assign(link, outcome, now)
        if reader.error is not None:
            raise reader.error
        if session.confirmed and not link.server.confirmed:
            link.server.grab_type, link.server.confirmed = session.grab_type, True
        if packets and not link.heard:
            link.heard = True
            link.server.doubtful = False
            self._greet(link.server)
        return True

    def _assign(self, link: WorkerLink, assignment: "Assignment", now: float) -> None:
        ability = link.abilities.get(assignment.function)
        self.worker.totals["grabbed"] += 1
        if ability is None or assignment.workload is None:
            self._free += 1
            link.lane.taken -= 1
            self.worker.totals["failed"] += 1
            if ability is None:
                link.session.fail(assignment)
                self.notices.say(logging.ERROR, "%s sent a job of %s, which was never registered", link.name,
                                 show_name(assignment.function))
            else:
                link.session.exception(assignment, b"the workload is larger than the worker takes")
                self.notices.say(
                    logging.ERROR, "%s of %s from %s failed: its workload is larger than %d bytes, or than memory",
                    show_name(assignment.handle), show_name(ability.name), link.name, MAX_PACKET_SIZE)
            return
        link.fruitless = 0
        job = WorkerJob(self, link, ability, assignment)
        if ability.timeout is not None:
            job._due = now + ability.timeout
        self._begin(job, now)

    def _begin(self, job: WorkerJob, now: float) -> None:
        """Have a thread run a job; that one is idle is what the count of free ones promises."""
        job._started = now
        if job._due is not None:
            job._limit = self._limits.add(job._due, job)
        self._running.add(job)
        thread = self._idle.pop()
        thread.job = job
        thread.wake()

    def _note_refusal(self, link: WorkerLink, error: ServerError, now: float) -> None:
        """Count what a server refused, and tell it, but not for each word of a job that the server took away long ago."""
        limit = told_limit(error)
        if limit is not None:
            link.largest, link.told_limit = limit, True
        gone = error.code == "JOB_NOT_FOUND"
        self.worker.totals["refused"] += gone
        if now - link.refused_at < 1.0:
            return
        link.refused_at = now
        if gone:
            self.notices.say(logging.WARNING, "%s has no use for a result any more: %s", link.name, error)
        else:
            self.notices.say(logging.ERROR, "%s refused something: %s", link.name, error)

    def _note_limits(self, now: float, due: "List[float]") -> None:
        when = self._limits.next_time()
        while when is not None and when <= now:
            job = self._limits.pop_due(now)
            assert job is not None
            job._limit = None
            self.notices.say(logging.WARNING, "%r still runs after its time limit of %s s", job, job._ability.timeout)
            when = self._limits.next_time()
        if when is not None:
            due.append(when)

    def _retry_held(self, now: float, due: "List[float]") -> None:
        """Try jobs again whose time has come, as long as there are threads for them."""
        held = self._held
        for _ in range(held.count_ready(now)):
            if not self._free or self.leaving:
                break
            lane = held.first_ready()._link.lane
            if lane.limit is not None and lane.taken >= lane.limit:
                held.postpone()
                continue
            job = held.take()
            self._free -= 1
            lane.taken += 1
            job.attempt += 1
            self._begin(job, now)
        when = held.next_time()
        if when is not None:
            due.append(when)

    def _attend(self, link: WorkerLink, now: float) -> None:
        """Watch for room to send if there is something to be sent, or lose the link if sending failed."""
        if link.lost:
            return
        if link.error is not None:
            self._lose(link, str(link.error), now)
            return
        writing = link.connection.unsent
        if writing != link.writing:
            link.writing = writing
            self._selector.modify(link.connection, selectors.EVENT_READ | (selectors.EVENT_WRITE if writing else 0), link)

    def _give_up(self, link: WorkerLink, now: float) -> None:
        """Drop a connection on which nothing moves."""
        if not link.session.confirmed:
            # gear's server says nothing to packets that it does not know; it knows the second way.
            link.server.grab_type = GRAB_TYPES[1] if link.session.grab_type == GRAB_TYPES[0] else GRAB_TYPES[0]
        self._lose(link, "%s did not answer" % link.name, now)

    def _lose(self, link: WorkerLink, reason: str, now: float) -> None:
        if link.lost:
            return
        self._drop(link)
        server = link.server
        del server.links[link.lane]
        if not link.heard:
            server.doubtful = True
        server.largest = link.largest if link.told_limit else LARGEST_SIZE  # one that begins anew may take more
        if not self.leaving:
            self._fail(server, reason, now, now - link.since if link.heard else 0.0)

    def _drop(self, link: WorkerLink) -> None:
        """Forget a connection; the jobs of it that still run will find nobody who wants their results."""
        link.lost = True
        self._selector.unregister(link.connection)
        link.connection.close()
        self._links.remove(link)
        self._free += link.session.grabs
        link.lane.taken -= link.session.grabs
        if self._quota is not None:
            self._quota += link.session.grabs
        self._held.forget(link)
        self._drained.notify_all()
        for end, job, counted in link.results:
            if end > link.connection.sent:
                self._note_loss(job)
            else:
                self.worker.totals[counted] += 1
        link.results.clear()

    def _note_loss(self, job: WorkerJob) -> None:
        self.worker.totals["lost"] += 1
        self.notices.say(logging.WARNING, "the end of %r is of no use, its server is lost", job)

    def _fail(self, server: WorkerServer, reason: str, now: float, lived: float = 0.0) -> None:
        """Wait before a server is tried again; say so once."""
        server.back_off(now, self.worker._system.random, lived)
        if server.up is not False:
            was_up, server.up = server.up, False
            self.notices.say(logging.WARNING, "%s; %s is tried again until it answers", reason, server.name)
            if was_up:
                self.notices.tell_hooks("disconnected", server.name, reason)

    def _look_for_reason_to_leave(self, now: float) -> None:
        if self.worker.stops:
            self._start_leaving("asked to", now)
        elif self._retire_at is not None and now >= self._retire_at:
            self._start_leaving("%s s old" % self.worker.max_age, now)
        elif self._quota == 0 and not self._running and not self._held and not any(link.session.grabs for link in self._links):
            self._start_leaving("%d jobs done" % (self.worker.max_jobs or 0), now)

    def _start_leaving(self, reason: str, now: float) -> None:
        """Grab no more; give back what waits to be tried again; let go of what does not run."""
        self.leaving = True
        self._leave_by = None if self.worker.grace is None else now + self.worker.grace
        self.notices.say(logging.INFO, "leaving, %s; jobs still running: %d", reason, len(self._running))
        for job in self._held.clear():
            job._link.session.release(job._assignment)
        for link in list(self._links):
            link.session.retire()
            self._send(link)

    def _leave(self, now: float, due: "List[float]") -> None:
        """Come closer to the end, which is there when nothing runs and every server has confirmed the last result."""
        links = self._links
        if self.worker.stops > 1 or self._leave_by is not None and now >= self._leave_by:
            self.over = True
        elif self._running or any(link.session.grabs or link.connection.unsent for link in links):
            if self._leave_by is not None:
                due.append(self._leave_by)
        elif self._farewell_by is None:
            self._farewell_by = now + FAREWELL_TIMEOUT
            due.append(self._farewell_by)
            for link in list(links):
                link.session.farewell()
                self._send(link)
            self.over = not links
        elif now >= self._farewell_by or not any(link.session.farewells for link in links):
            self.over = True
        else:
            due.append(self._farewell_by)

    def _ask_watch(self, watch: "Callable[[], bool]") -> None:
        now = self._clock()
        if now < self._watch_at:
            return
        changed = watch()
        end_child(self._process)
        with self.lock:
            self._watch_at = now + WATCH_INTERVAL
            if changed and not self.leaving:
                self._start_leaving("the watch says so", now)
                self.wake()

    def _drain_wakes(self) -> None:
        try:
            while True:
                if self._woken.recv(4096).strip(b"\0") and self._main is not None:
                    self._main.wake()  # a signal has come, whose handler only the main thread can run
        except BlockingIOError:
            pass

    def end(self) -> int:
        with self.lock:
            self.over = self.leaving = True
            for link in list(self._links):
                self._drop(link)
            for connection in self._connector.connections():
                connection.close()
            idle, self._idle = self._idle, []
            abandoned = list(self._running)
            self.ended = True
            for thread in idle + ([self._main] if self._main is not None else []):
                thread.wake()
        self._selector.close()
        if self._main is None:
            self.close_waker()
        for thread in idle:
            if thread.thread is not None:
                thread.thread.join(FAREWELL_TIMEOUT)  # it may still be calling a hook
        self.notices.announce()
        for job in abandoned:
            log_safely(logging.ERROR, "%r was left unfinished", job)
        for ability in {job._ability for job in abandoned}:
            if ability.abandon is not None:
                ability.abandon()
        return len(abandoned)

    # --- Called by pool threads.

    def finish(self, thread: JobThread, job: WorkerJob, outcome: "Any", data: "Any") -> str:
        """Send a job's end and, in the same breath, ask for the next one; return how it ended."""
        link, worker = job._link, self.worker
        session, totals = link.session, worker.totals
        now = self._clock()
        self._running.discard(job)
        if job._limit is not None:
            self._limits.cancel(job._limit)
            job._limit = None
        self._idle.append(thread)
        self._free += 1
        link.lane.taken -= 1
        if outcome is RETRY and job._due is not None and now + data >= job._due:
            text = "to be tried again after its time limit of %s s" % job._ability.timeout
            self.notices.say(logging.ERROR, "%r failed: %s", job, text)
            outcome, data = False, text.encode()
        end, counted = "failed", ""
        if link.lost:
            self._note_loss(job)
            end = "is lost with its server"
        elif outcome is RETRY:
            totals["retried"] += 1
            end = "is to be tried again in %s s" % data
            if self.leaving:
                session.release(job._assignment)
            else:
                self._hold(job, now + data)
        elif outcome:
            counted = "completed"
            session.complete(job._assignment, data)
            end = "is done"
        else:
            counted = "failed"
            session.exception(job._assignment, data[:room_for(job)])
        if self.leaving or session.retiring or self._quota == 0 or self._held.due(now):
            self.wake()
        else:
            self._grab(now, link)
        if not link.lost and session.outgoing:
            self._send(link)
            if counted and link.connection.unsent:  # it counts when all of it has left
                link.results.append((link.connection.queued, job, counted))
                return end
        if counted:
            totals[counted] += 1
        return end

    def _hold(self, job: WorkerJob, when: float) -> None:
        """Keep a job that is to be tried again; if that makes too many of its function, grab no more of that."""
        lane = job._link.lane
        most = HELD_PER_THREAD * self.worker.threads
        if self._held.hold(job, when) == most:
            self.notices.say(
                logging.WARNING, "%d jobs of %s wait to be tried again; no more of it are taken while that is so", most,
                show_name(job.function))
            if len(lane.abilities) > 1 and job.function in lane.abilities:
                # The connections that have these jobs stay, but grab no more; the other functions get connections of their own.
                others = lane.part(job.function)
                self._lanes.append(others)
                if lane is self._open_lane:
                    self._open_lane = others
                for link in self._links:
                    if link.lane is lane:
                        link.session.withdraw(others.abilities)
                        self._send(link)
        self.wake()

    def tell(self, job: WorkerJob, put: "Callable[[WorkerSession], None]") -> None:
        """Send something about a running job, unless its server is lost."""
        link = job._link
        if self._process != os.getpid():
            return  # a child of a fork, whose parent's job it is
        with self.lock:
            while not link.lost and link.connection.queued - link.connection.sent > UNSENT_LIMIT:
                self._drained.wait()
            if not link.lost and job in self._running:
                put(link.session)
                self._send(link)

    # --- Called by any thread.

    def wake(self) -> None:
        """Have the thread that works look around."""
        try:
            self.waker.send(b"\0")
        except OSError:
            pass  # full means that it is awake already, closed that it has gone home

    @property
    def at_work(self) -> bool:
        """Whether it goes on, in this process."""
        return not self.ended and self._process == os.getpid()

    def leave(self) -> None:
        """In a child of a fork: close this process's sockets without a word; the shift goes on in the other process."""
        self.leaving = self.ended = self.over = True
        for link in self._links:
            link.lost = True
        for connection in [link.connection for link in self._links] + self._connector.connections():
            connection.leave()
        for thing in (self._selector, self._woken, self.waker):
            thing.close()

    def learn(self, ability: Ability) -> None:
        """Do one more function from now on."""
        with self.lock:
            lane = self._put_in_lane(ability)
            for link in [link for link in self._links if link.lane is lane]:
                link.learn(ability)
                self._send(link)
        self.wake()

    def forget(self, name: bytes) -> None:
        """Do a function no more; its jobs that were taken are done.

        Its connections end when that is so, and the functions that shared them get others: gearmand would give the jobs of a
        function that is withdrawn to other workers, and hand out more of them as long as it is not.
        """
        with self.lock:
            [lane] = [lane for lane in self._lanes if name in lane.abilities]
            others = lane.part(name)
            self._lanes.remove(lane)
            if others.abilities:
                self._lanes.append(others)
            if lane is self._open_lane:
                self._open_lane = others
            for link in [link for link in self._links if link.lane is lane]:
                link.session.retire()
                self._send(link)
        self.wake()

    def health(self) -> "Tuple[Any, ...]":
        """What `Worker.health` says of the present."""
        with self.lock:
            now = self._clock()
            connected = tuple(server.name for server in self._servers if server.links)
            down = tuple(server.name for server in self._servers if not server.links)
            running = tuple((job.function, job.handle, job.server, now - job._started) for job in self._running)
            return connected, down, running, len(self._held)

    def _put_in_lane(self, ability: Ability) -> Lane:
        limited = ability.limit is not None and ability.limit < self.worker.threads
        lane = Lane(ability.limit) if limited else self._open_lane
        lane.abilities[ability.name] = ability
        if lane not in self._lanes:
            self._lanes.append(lane)
        return lane

    def _grab(self, now: float, about_to_send: "Optional[WorkerLink]" = None) -> None:
        """Ask for as many jobs as there are free threads, of each server in its turn."""
        links = self._links
        tries = len(links)
        if self.leaving:
            return
        while tries and self._free and self._quota != 0:
            link = links[0]
            links.rotate(-1)
            session, lane = link.session, link.lane
            if (session.can_grab and (lane.limit is None or lane.taken < lane.limit) and not link.connection.unsent
                    and link.rest_until <= now and not (lane.held and self._holds_too_many(lane))):
                if not session.grabs:
                    link.moved = now
                session.grab()
                self._free -= 1
                lane.taken += 1
                if self._quota is not None:
                    self._quota -= 1
                tries = len(links)
                if link is not about_to_send:
                    self._send(link)
            else:
                tries -= 1

    def _holds_too_many(self, lane: Lane) -> bool:
        return max(lane.held.values()) >= HELD_PER_THREAD * self.worker.threads

    def _send(self, link: WorkerLink) -> None:
        """Send what the session has to say, as far as that is possible at once."""
        session, connection = link.session, link.connection
        if session.outgoing:
            connection.put(*session.outgoing)
            session.outgoing = []
        try:
            if connection.flush() or link.writing:
                return
        except ServerLost as error:
            link.error = error
        self._attention.append(link)
        self.wake()
