"""One call of `Worker.work`: its loop, and what it does with servers and jobs until it leaves.

One thread waits in a selector, receives and assigns; each job thread runs one job at a time, and sends the result together with
the next grab itself, which saves a change of threads for each job.  They share one lock, which is never held while something
waits, nor while a function, a hook or a logging handler runs.

The main thread is never the one that waits in the selector, since handlers of signals run in it and may raise at any point.  If
it made the call, it runs the jobs of a worker of one thread, or else waits for the end.
"""
import logging
import selectors
import threading

from ..errors import ProtocolError, ServerError, ServerLost
from ..net.connection import LONGEST_WAIT
from ..net.forks import end_child, leave_in_children
from ..net.signals import WokenBySignals
from ..net.threads import start_thread
from ..timers import Timers
from ..wire.protocol import LARGEST_SIZE, MAX_PACKET_SIZE, told_limit
from ..wire.worker_session import SESSION_ASLEEP, GRAB_TYPES, RETIRING
from .connector import Connector
from .guard import LeaveAtOnce, log_safely, tell_repeats
from .held import HeldJobs
from .job import Ability, WorkerJob, room_for, show_name
from .link import CONNECTED, CUT, DROPPED, HEARD, SILENT, UNKNOWN, UP, Lane, WorkerLink, WorkerServer
from .running import RETRY, Run
from .shared import LinkReporter, Shared
from .slots import Slots
from .threads import JobThread, MainThread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, List, Optional, Tuple
    from ..wire.worker_session import Assignment
    from .settings import WorkerSettings

PROBE_TIMEOUT = 3.0      # seconds for the first answer to a way of grabbing that the server may not know and ignore
ANSWER_TIMEOUT = 60.0    # seconds without a byte for every other answer to a grab, and for a server to take what is sent
SLEEP_TIMEOUT = 60.0     # seconds without a byte after which a sleeper asks for a job unbidden
FAREWELL_TIMEOUT = 1.0   # seconds for the last results to be confirmed when a worker leaves
FOR_EVER = float("inf")
WATCH_INTERVAL = 1.0     # seconds between two questions to `watch`


class Shift(Shared):
    """One call of `Worker.work`.

    Owner: its lock, but for the selector, which is the thread's that waits in it.
    """

    def __init__(self, worker: "WorkerSettings") -> None:
        super().__init__(worker)
        self.failure = None    # type: Optional[BaseException] # what has ended the thread that waits in the selector
        self._main = None      # type: Optional[MainThread] # if that made the call
        self._attended = False  # a thread waits in the selector, and will end the shift
        self._unfinished = 0
        self._selector = worker._system.make_selector()
        self.servers = [WorkerServer(address) for address in worker.addresses]
        self.slots = Slots(worker.threads, worker.max_jobs)
        self._links = self.slots.links
        self._idle = []        # type: List[JobThread]
        self._held = HeldJobs()
        self._limits = Timers()  # when running jobs take too long
        self._connector = Connector(self)
        self._leave_by = None      # type: Optional[float] # when to leave whatever runs
        self._farewell_by = None   # type: Optional[float] # when to leave without the servers' confirmation
        self._retire_at = None if worker.max_age is None else (
            self.clock() + worker.max_age + worker.splay * worker._system.random())
        self._watch_at = self.clock() + WATCH_INTERVAL
        for ability in worker.abilities.values():
            self.slots.learn(ability)
        leave_in_children(self)

    def __repr__(self) -> str:
        return "<Shift: %d free, %d running, %d connections%s>" % (
            self.slots.free, len(self.running), len(self._links), ", leaving" if self.leaving else "")

    # --- Called by the thread that made the call.

    def run(self) -> int:
        """Work until the shift is over; return how many jobs are left unfinished."""
        if threading.current_thread() is threading.main_thread():
            self._main = MainThread(self, self._finish)
            self._run_in_main_thread(self._main)
        else:
            self.attend_to_all()
        if self.failure is not None:
            raise self.failure
        return self._unfinished

    def _run_in_main_thread(self, main: MainThread) -> None:
        """Let another thread wait in the selector; run jobs here, or wait; clean up, whatever signal handlers raise."""
        attendant = None  # type: Optional[threading.Thread]
        try:
            with WokenBySignals(self.waker.fileno()), main.urgent:
                attendant = start_thread(self.attend_to_all, "gearman_std worker")
                main.run_jobs()
        except LeaveAtOnce:
            pass
        finally:
            main.away.set()
            self.break_off()
            if attendant is not None:
                attendant.join()
            elif not self._attended:
                self.end()
            self._close_waker()

    def break_off(self) -> None:
        """End the shift at once.

        This thread may have the lock still, as an interrupt at the end of a `with` statement may leave it.
        """
        self.over = True
        try:
            while True:
                self.lock.release()
        except RuntimeError:
            pass  # it has it no more
        self.wake()

    def _close_waker(self) -> None:
        """Close the waker; the interpreter, which writes to it at each signal, must have been told not to before."""
        with self.lock:
            self.woken.close()
            self.waker.close()

    # --- Called by the thread that waits in the selector.

    def attend_to_all(self) -> None:
        self._attended = True
        try:
            self._selector.register(self.woken, selectors.EVENT_READ, None)
            self._start_threads()
            self._loop()
        except BaseException as error:  # of `watch`; it is raised again by the thread that made the call
            end_child(self.process, error)
            self.failure = error
        finally:
            self._unfinished = self.end()
            if self._main is not None:
                self._main.urge_to_leave()

    def _loop(self) -> None:
        while True:
            with self.lock:
                delay = self._advance(self.clock())
            if self._connector.unmade:
                self._connector.connect_without_threads()
                delay = 0.0
            if self.notices.waiting:
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
            thread = JobThread(self, self._finish)
            thread.thread = start_thread(thread.run_jobs, "gearman_std job %d" % (number + 1))
            self._idle.append(thread)

    def _advance(self, now: float) -> "Optional[float]":
        """Do what is due; return the seconds until something else is, None for no time at all."""
        arrivals = self._connector.arrivals
        while arrivals:
            self._welcome(*arrivals.popleft(), now)
        while self.attention:
            self._attend(self.attention.popleft(), now)
        due = []  # type: List[float]
        if not self.leaving:
            self._look_for_reason_to_leave(now)
        for link in list(self._links):
            self._check_link(link, now, due)
        if self.leaving:
            self._leave(now, due)
        else:
            self._connect_due(now, due)
            if self._retire_at is not None:
                due.append(self._retire_at)
            if self.worker.watch is not None:
                due.append(self._watch_at)
        if self._limits.entries:
            self._note_limits(now, due)
        if self._held.runs:
            self._retry_held(now, due)
        if self.slots.free and not self.leaving:
            self.slots.grab(now, self.send)
            for link in self._links:
                if link.moved == now and link.session.grabs:  # which was asked just now
                    due.append(now + self._patience(link))
        if due and not self.over:
            return max(0.0, min(due) - self.clock())
        return ANSWER_TIMEOUT if self.running else None  # who ends a job asks for the next without waking this thread

    def _connect_due(self, now: float, due: "List[float]") -> None:
        lanes = self.slots.lanes
        for server in self.servers:
            if server.connecting:
                continue
            for lane in lanes:
                if lane not in server.links:
                    break
            else:
                continue  # it has all its connections
            if now < server.retry_at:
                due.append(server.retry_at)
                continue
            self._connector.connect(server, [lane for lane in lanes if lane not in server.links])

    def _check_link(self, link: WorkerLink, now: float, due: "List[float]") -> None:
        """Give up a connection on which nothing has moved for too long; ask for a job on one that has slept for long."""
        session = link.session
        patience = self._patience(link)
        if link.lane not in self.slots.lanes and not link.busy:
            self._drop(link)  # its functions were withdrawn
            del link.server.links[link.lane]
        elif now - link.moved < patience:
            if patience < FOR_EVER:
                due.append(link.moved + patience)
            elif link.rest_until > now:
                due.append(link.rest_until)
        elif link.connection.unsent or session.grabs:
            self._give_up(link, now)
        else:
            session.rouse()

    def _patience(self, link: WorkerLink) -> float:
        """How many seconds a connection may stand still."""
        if link.connection.unsent:
            return ANSWER_TIMEOUT
        if link.session.grabs:
            return ANSWER_TIMEOUT if link.session.confirmed and not self.leaving else PROBE_TIMEOUT
        return SLEEP_TIMEOUT if link.session.state is SESSION_ASLEEP and not self.leaving else FOR_EVER

    def _welcome(self, server: WorkerServer, lanes: "List[Lane]", outcome: "Any", now: float) -> None:
        """Take the new connections to a server, one for each of these lanes, or the exception that came instead."""
        server.connecting = False
        if isinstance(outcome, Exception):
            self._fail(server, DROPPED, str(outcome), now)
            return
        for lane, connection in zip(lanes, outcome):
            reporter = LinkReporter(self, server.name, server.largest)
            reporter.link = link = WorkerLink(server, lane, connection, self.worker.client_id, now, reporter)
            server.links[lane] = link
            self._links.appendleft(link)
            self._selector.register(connection, selectors.EVENT_READ, link)
            if self.leaving:
                link.session.retire()
            self.send(link)
        self._note_state(server, CONNECTED)

    def _note_state(self, server: WorkerServer, event: str, reason: str = "") -> None:
        """Move a server on to its next state; log, and tell the hooks, when it has come or gone."""
        before, after = server.move(event)
        if after is UP:
            if before is not UP:
                self.notices.say(logging.INFO, "connected to %s", server.name)
                self.notices.tell_hooks("connected", server.name)
        elif before is UP or before is UNKNOWN:
            self.notices.say(logging.WARNING, "%s; %s is tried again until it answers", reason, server.name)
            if before is UP:
                self.notices.tell_hooks("disconnected", server.name, reason)

    def _serve(self, link: WorkerLink, mask: int) -> None:
        """Send and receive what the selector says can be sent and received."""
        now = self.clock()
        if mask & selectors.EVENT_WRITE:
            link.moved = now
            self.send(link)
            while link.results and link.results[0][0] <= link.connection.sent:
                self.worker.totals[link.results.popleft()[2]] += 1
            self.drained.notify_all()
            self._attend(link, now)
        if mask & selectors.EVENT_READ and not link.lost:
            try:
                while self._receive(link, now) and link.connection.pending:
                    pass
            except (ServerLost, ProtocolError) as error:
                self._lose(link, str(error), now)
            except MemoryError:
                self._lose(link, "%s sends more than there is memory for" % link.name, now)
        if self.slots.free and not self.leaving and not self._held.due(now):
            self.slots.grab(now, self.send)
        if link.session.outgoing and not link.lost:
            self.send(link)

    def _receive(self, link: WorkerLink, now: float) -> bool:
        reader = link.reader
        room = reader.room()
        received = link.connection.receive(room)
        if received is None:
            return False
        link.moved = now
        packets = reader.feed(received) if isinstance(received, bytes) else reader.filled(received)
        session = link.session
        for packet_type, arguments in packets:
            grabs = session.grabs
            outcome = session.receive(packet_type, arguments)
            if outcome is None:
                if session.grabs != grabs:  # there was no job
                    self.slots.give_back(link.lane, 1)
                    if session.state is SESSION_ASLEEP:
                        link.found_no_job(now)
            elif isinstance(outcome, ServerError):
                self._note_refusal(link, outcome, now)
            else:
                self._assign(link, outcome, now)
        if reader.error is not None:
            raise reader.error
        if session.confirmed and not link.server.confirmed:
            link.server.grab_type, link.server.confirmed = session.grab_type, True
        if link.state is SILENT and packets:
            link.move(HEARD)
            self._note_state(link.server, HEARD)
        return True

    def _assign(self, link: WorkerLink, assignment: "Assignment", now: float) -> None:
        ability = link.abilities.get(assignment.function)
        self.worker.totals["grabbed"] += 1
        if ability is None or assignment.workload is None:
            self.slots.end(link.lane)
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
        self._begin(Run(WorkerJob(assignment, link.reporter), assignment, ability, link, now))

    def _begin(self, run: Run) -> None:
        """Give a job to an idle thread; there is one, as a job is only asked for when a slot is free."""
        if run.due is not None:
            run.limit = self._limits.add(run.due, run)
        self.running[run.job] = run
        thread = self._idle.pop()
        thread.run = run
        thread.wake()

    def _note_refusal(self, link: WorkerLink, error: ServerError, now: float) -> None:
        """Count and log what a server refused; log once a second at most, since a job that was taken away may go on talking."""
        limit = told_limit(error)
        if limit is not None:
            link.reporter.largest, link.told_limit = limit, True
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
            run = self._limits.pop_due(now)
            assert run is not None
            run.limit = None
            self.notices.say(logging.WARNING, "%r still runs after its time limit of %s s", run.job, run.ability.timeout)
            when = self._limits.next_time()
        if when is not None:
            due.append(when)

    def _retry_held(self, now: float, due: "List[float]") -> None:
        """Try jobs again whose time has come, as long as there are threads for them."""
        held = self._held
        for _ in range(held.count_ready(now)):
            if not self.slots.free or self.leaving:
                break
            if not self.slots.resume(held.first_ready().link.lane):
                held.postpone()
                continue
            run = held.take()
            run.job.attempt += 1
            run.started = now
            self._begin(run)
        when = held.next_time()
        if when is not None:
            due.append(when)

    def _attend(self, link: WorkerLink, now: float) -> None:
        """Have the selector tell when more can be sent, if something is left; drop the connection if sending failed."""
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
        """Drop a connection on which nothing moves; ask in another way next time, if this server has never answered."""
        if not link.session.confirmed:
            # gear's server says nothing to packets that it does not know; it knows the second way.
            link.server.grab_type = GRAB_TYPES[1] if link.session.grab_type == GRAB_TYPES[0] else GRAB_TYPES[0]
        self._lose(link, "%s did not answer" % link.name, now)

    def _lose(self, link: WorkerLink, reason: str, now: float) -> None:
        if link.lost:
            return
        silent = link.state is SILENT
        self._drop(link)
        server = link.server
        del server.links[link.lane]
        server.largest = link.reporter.largest if link.told_limit else LARGEST_SIZE  # one that begins anew may take more
        if not self.leaving:
            self._fail(server, CUT if silent else DROPPED, reason, now, 0.0 if silent else now - link.since)

    def _drop(self, link: WorkerLink) -> None:
        """Forget a connection; nobody wants the results of its jobs that still run."""
        link.move(DROPPED)
        self._selector.unregister(link.connection)
        link.connection.close()
        self._links.remove(link)
        self.slots.give_back(link.lane, link.session.grabs)
        self._held.forget(link)
        self.drained.notify_all()
        for end, job, counted in link.results:
            if end > link.connection.sent:
                self._note_loss(job)
            else:
                self.worker.totals[counted] += 1
        link.results.clear()

    def _note_loss(self, job: WorkerJob) -> None:
        self.worker.totals["lost"] += 1
        self.notices.say(logging.WARNING, "the end of %r is of no use, its server is lost", job)

    def _fail(self, server: WorkerServer, event: str, reason: str, now: float, lived: float = 0.0) -> None:
        """Wait before a server is tried again; say so once."""
        server.back_off(now, self.worker._system.random, lived)
        self._note_state(server, event, reason)

    def _look_for_reason_to_leave(self, now: float) -> None:
        if self.worker.stops:
            self._start_leaving("asked to", now)
        elif self._retire_at is not None and now >= self._retire_at:
            self._start_leaving("%s s old" % self.worker.max_age, now)
        elif self.slots.quota == 0 and not self.running and not self._held.runs and self.slots.used_up:
            self._start_leaving("%d jobs done" % (self.worker.max_jobs or 0), now)

    def _start_leaving(self, reason: str, now: float) -> None:
        """Grab no more; give back what waits to be tried again; let go of what does not run."""
        self.leaving = True
        self._leave_by = None if self.worker.grace is None else now + self.worker.grace
        self.notices.say(logging.INFO, "leaving, %s; jobs still running: %d", reason, len(self.running))
        for run in self._held.clear():
            run.link.session.release(run.assignment)
        for link in list(self._links):
            link.session.retire()
            self.send(link)

    def _leave(self, now: float, due: "List[float]") -> None:
        """End if nothing runs any more and every server has confirmed the last result, or if there is no more time."""
        links = self._links
        if self.worker.stops > 1 or self._leave_by is not None and now >= self._leave_by:
            self.over = True
        elif self.running or any(link.session.grabs or link.connection.unsent for link in links):
            if self._leave_by is not None:
                due.append(self._leave_by)
        elif self._farewell_by is None:
            self._farewell_by = now + FAREWELL_TIMEOUT
            due.append(self._farewell_by)
            for link in list(links):
                link.session.farewell()
                self.send(link)
            self.over = not links
        elif now >= self._farewell_by or not any(link.session.farewells for link in links):
            self.over = True
        else:
            due.append(self._farewell_by)

    def _ask_watch(self, watch: "Callable[[], bool]") -> None:
        now = self.clock()
        if now < self._watch_at:
            return
        changed = watch()
        end_child(self.process)
        with self.lock:
            self._watch_at = now + WATCH_INTERVAL
            if changed and not self.leaving:
                self._start_leaving("the watch says so", now)
                self.wake()

    def _drain_wakes(self) -> None:
        try:
            while True:
                if self.woken.recv(4096).strip(b"\0") and self._main is not None:
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
            abandoned = list(self.running.values())
            self.ended = True
            for thread in idle + ([self._main] if self._main is not None else []):
                thread.wake()
        self._selector.close()
        if self._main is None:
            self._close_waker()
        for thread in idle:
            if thread.thread is not None:
                thread.thread.join(FAREWELL_TIMEOUT)  # it may still be calling a hook
        self.notices.announce()
        for run in abandoned:
            log_safely(logging.ERROR, "%r was left unfinished", run.job)
        tell_repeats(self.worker.repeats)
        for ability in {run.ability for run in abandoned}:
            if ability.abandon is not None:
                ability.abandon()
        return len(abandoned)

    # --- Called by pool threads.

    def _finish(self, thread: JobThread, run: Run, outcome: "Any", data: "Any") -> str:
        """Send how a job ended and, in the same send, ask for the next one; return how it ended, for the log."""
        link, job = run.link, run.job
        session, slots, held, totals = link.session, self.slots, self._held, self.worker.totals
        now = self.clock()
        del self.running[job]
        if run.limit is not None:
            self._limits.cancel(run.limit)
            run.limit = None
        self._idle.append(thread)
        slots.end(link.lane)
        if outcome is RETRY and run.due is not None and now + data >= run.due:
            text = "to be tried again after its time limit of %s s" % run.ability.timeout
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
                session.release(run.assignment)
            else:
                self._hold(run, now + data)
        elif outcome:
            counted = "completed"
            session.complete(run.assignment, data)
            end = "is done"
        else:
            counted = "failed"
            session.exception(run.assignment, data[:room_for(job)])
        if self.leaving or session.state is RETIRING or slots.quota == 0 or held.runs and held.due(now):
            self.wake()
        else:
            slots.grab(now, self.send, link)
        if session.outgoing and not link.lost:
            self.send(link)
            if counted and link.connection.unsent:  # it counts when all of it has left
                link.results.append((link.connection.queued, job, counted))
                return end
        if counted:
            totals[counted] += 1
        return end

    def _hold(self, run: Run, when: float) -> None:
        """Keep a job that is to be tried again; grab no more jobs of its function if too many wait like that."""
        lane, function = run.link.lane, run.ability.name
        most = self.slots.most_held
        if self._held.hold(run, when) == most:
            self.notices.say(
                logging.WARNING, "%d jobs of %s wait to be tried again; no more of it are taken while that is so", most,
                show_name(function))
            if len(lane.abilities) > 1 and function in lane.abilities:
                # The connections that have these jobs stay, but grab no more; the other functions get connections of their own.
                others = self.slots.part(lane, function)
                for link in self.slots.links_of(lane):
                    link.session.withdraw(others.abilities)
                    self.send(link)
        self.wake()

    # --- Called by any thread.

    def leave(self) -> None:
        """In a child of a fork: close this process's sockets without a word; the shift goes on in the other process."""
        self.leaving = self.ended = self.over = True
        for link in self._links:
            link.move(DROPPED)
        for connection in [link.connection for link in self._links] + self._connector.connections():
            connection.leave()
        for thing in (self._selector, self.woken, self.waker):
            thing.close()

    def learn(self, ability: Ability) -> None:
        """Do one more function from now on."""
        with self.lock:
            for link in self.slots.links_of(self.slots.learn(ability)):
                link.learn(ability)
                self.send(link)
        self.wake()

    def forget(self, name: bytes) -> None:
        """Take no more jobs of a function; those that were taken are finished.

        Its connections end when that is so, and the functions that shared them get others: gearmand would give the jobs of a
        function that is withdrawn to other workers, and hand out more of them as long as it is not.
        """
        with self.lock:
            for link in self.slots.links_of(self.slots.forget(name)):
                link.session.retire()
                self.send(link)
        self.wake()

    def health(self) -> "Tuple[Any, ...]":
        """What `Worker.health` says of the present."""
        with self.lock:
            now = self.clock()
            connected = tuple(server.name for server in self.servers if server.links)
            down = tuple(server.name for server in self.servers if not server.links)
            running = tuple((job.function, job.handle, job.server, now - run.started) for job, run in self.running.items())
            return connected, down, running, len(self._held.runs)
