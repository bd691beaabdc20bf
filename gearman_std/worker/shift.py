"""One call of `Worker.work`: its loop, its threads and its jobs, until it leaves.

One thread waits in a selector, receives and assigns; each job thread runs one job at a time, and sends the result together with
the next grab itself, which saves a change of threads for each job.  They share one lock, which is never held while something
waits, nor while a function, a hook or a logging handler runs.

The main thread is never the one that waits in the selector, since handlers of signals run in it and may raise at any point.  If
it made the call, it runs the jobs of a worker of one thread, or else waits for the end.
"""
import logging
import selectors
import threading

from ..net.connection import LONGEST_WAIT
from ..net.forks import end_child, leave_in_children
from ..net.signals import WokenBySignals
from ..net.threads import start_thread
from ..timers import Timers
from ..wire.protocol import MAX_PACKET_SIZE
from ..wire.worker_session import RETIRING
from .departure import FAREWELL_TIMEOUT, LEFT, PARTING, Departure
from .guard import LeaveAtOnce, log_safely, tell_repeats
from .held import HeldJobs
from .job import Ability, WorkerJob, room_for, show_name
from .link import ANSWER_TIMEOUT, UNKNOWN, UP
from .links import Links
from .running import RETRY, Run
from .shared import Shared
from .slots import Slots
from .threads import JobThread, MainThread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, List, Optional, Tuple
    from ..wire.worker_session import Assignment
    from .link import WorkerLink, WorkerServer
    from .settings import WorkerSettings

WATCH_INTERVAL = 1.0  # seconds between two questions to `watch`


class Shift(Shared):
    """One call of `Worker.work`.

    Owner: its lock.
    """

    def __init__(self, worker: "WorkerSettings") -> None:
        super().__init__(worker)
        self.failure = None    # type: Optional[BaseException] # what has ended the thread that waits in the selector
        self._main = None      # type: Optional[MainThread] # if that made the call
        self._attended = False  # a thread waits in the selector, and will end the shift
        self._unfinished = 0
        self.slots = Slots(worker.threads, worker.max_jobs)
        self.links = Links(self, self.slots, self._assign, self._note_drop, self._note_state)
        self._idle = []        # type: List[JobThread]
        self._held = HeldJobs()
        self._limits = Timers()  # when running jobs take too long
        self._departure = Departure(worker, self.clock())
        self._watch_at = self.clock() + WATCH_INTERVAL
        for ability in worker.abilities.values():
            self.slots.learn(ability)
        leave_in_children(self)

    def __repr__(self) -> str:
        return "<Shift: %d free, %d running, %d connections%s>" % (
            self.slots.free, len(self.running), len(self.slots.links), ", leaving" if self.leaving else "")

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

        This thread may still hold the lock: an interrupt at the end of a `with` statement may leave it locked.
        """
        self.over = True
        try:
            while True:
                self.lock.release()
        except RuntimeError:
            pass  # this thread does not hold it
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
            self.links.selector.register(self.woken, selectors.EVENT_READ, None)
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
        links, slots, held = self.links, self.slots, self._held
        while True:
            with self.lock:
                delay = self._advance(self.clock())
            if links.connector.unmade:
                links.connector.connect_without_threads()
                delay = 0.0
            if self.notices.waiting:
                self.notices.announce()
            if self.over:
                break
            if self.worker.watch is not None and not self.leaving:
                self._ask_watch(self.worker.watch)
            events = links.selector.select(None if delay is None else min(delay, LONGEST_WAIT))
            with self.lock:
                for key, mask in events:
                    link = key.data
                    if link is None:
                        self._drain_wakes()
                    elif not link.lost:
                        now = self.clock()
                        links.serve(link, mask, now)
                        if slots.free and not self.leaving and not held.due(now):
                            slots.grab(now, self.send)
                        if link.session.outgoing and not link.lost:
                            self.send(link)

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
        """Do what is due; return the seconds until something else is due, None if nothing is."""
        due = []  # type: List[float]
        links = self.links
        if self.attention or links.connector.arrivals:
            links.advance(now)
        if not self.leaving:
            used_up = self.slots.quota == 0 and not self.running and not self._held.runs and self.slots.used_up
            reason = self._departure.reason(now, used_up, due)
            if reason:
                self._start_leaving(reason, now)
        links.check(now, due)
        if self.leaving:
            self._leave(now, due)
        else:
            links.connect(now, due)
            if self.worker.watch is not None:
                due.append(self._watch_at)
        if self._limits.entries:
            self._note_limits(now, due)
        if self._held.runs:
            self._retry_held(now, due)
        if self.slots.free and not self.leaving:
            self.slots.grab(now, self.send)
            for link in self.slots.links:
                if link.moved == now and link.session.grabs:  # a job was asked for just now
                    due.append(now + link.patience(self.leaving))
        if due and not self.over:
            return max(0.0, min(due) - self.clock())
        return ANSWER_TIMEOUT if self.running else None  # who ends a job asks for the next without waking this thread

    def _assign(self, link: "WorkerLink", assignment: "Assignment", now: float) -> None:
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

    def _note_limits(self, now: float, due: "List[float]") -> None:
        when = self._limits.next_time()
        while when is not None and when <= now:
            run = self._limits.pop_due(now)
            if run is not None:
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

    def _start_leaving(self, reason: str, now: float) -> None:
        """Grab no more jobs; give those back that wait to be tried again; withdraw the functions as their jobs end."""
        self.leaving = True
        self._departure.begin(now)
        self.notices.say(logging.INFO, "leaving, %s; jobs still running: %d", reason, len(self.running))
        for run in self._held.clear():
            run.link.session.release(run.assignment)
        for link in list(self.slots.links):
            link.session.retire()
            self.send(link)

    def _leave(self, now: float, due: "List[float]") -> None:
        """End if nothing runs any more and every server has confirmed the last result, or if there is no more time."""
        links, departure = self.slots.links, self._departure
        busy = bool(self.running) or any(link.session.grabs or link.connection.unsent for link in links)
        before = departure.state
        state = departure.advance(now, busy, any(link.session.farewells for link in links), due)
        if state is PARTING and state is not before:
            for link in list(links):
                link.session.farewell()
                self.send(link)
        if state is LEFT or state is PARTING and not links:
            self.over = True

    def _note_drop(self, link: "WorkerLink") -> None:
        """Forget the jobs of a connection that is lost, which their server gives to another worker."""
        self._held.forget(link)

    def _note_state(self, server: "WorkerServer", event: str, before: str, after: str, reason: str) -> None:
        """Log, and tell the hooks, when a server has come or gone."""
        if after is UP:
            if before is not UP:
                self.notices.say(logging.INFO, "connected to %s", server.name)
                self.notices.tell_hooks("connected", server.name)
        elif before is UP or before is UNKNOWN:
            self.notices.say(logging.WARNING, "%s; %s is tried again until it answers", reason, server.name)
            if before is UP:
                self.notices.tell_hooks("disconnected", server.name, reason)

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
            self.links.close()
            idle, self._idle = self._idle, []
            abandoned = list(self.running.values())
            self.ended = True
            for thread in idle + ([self._main] if self._main is not None else []):
                thread.wake()
        self.links.selector.close()
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
        """Send how a job ended and, in the same send, ask for the next one; return how it ended, for the log.

        Where there is no memory for that, the connection ends, and the server gives its jobs to another worker.
        """
        link, job, slots = run.link, run.job, self.slots
        now = self.clock()
        del self.running[job]
        if run.limit is not None:
            self._limits.cancel(run.limit)
            run.limit = None
        self._idle.append(thread)
        slots.end(link.lane)
        try:
            return self._report(run, outcome, data, now)
        except MemoryError:
            self.note_loss(job)
            self.give_up(link, "there is no memory to tell %s how a job ended" % link.name)
            return "is lost, as there is no memory"

    def _report(self, run: Run, outcome: "Any", data: "Any", now: float) -> str:
        """Send how a job ended, and ask for the next one."""
        link, job = run.link, run.job
        session, slots, held, totals = link.session, self.slots, self._held, self.worker.totals
        if outcome is RETRY and run.due is not None and now + data >= run.due:
            text = "to be tried again after its time limit of %s s" % run.ability.timeout
            self.notices.say(logging.ERROR, "%r failed: %s", job, text)
            outcome, data = False, text.encode()
        end, counted = "failed", ""
        if link.lost:
            self.note_loss(job)
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
        self.links.leave()
        self.woken.close()
        self.waker.close()

    def learn(self, ability: Ability) -> None:
        """Do one more function from now on."""
        with self.lock:
            for link in self.slots.links_of(self.slots.learn(ability)):
                link.learn(ability)
                self.send(link)
        self.wake()

    def forget(self, name: bytes) -> None:
        """Take no more jobs of a function; those that were taken are finished.

        Its connections end when those have ended, and the functions that shared them get others.  gearmand leaves no other way:
        as long as the function stands, it hands out more jobs, and when it is withdrawn, it gives running ones to others.
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
            connected = tuple(server.name for server in self.links.servers if server.links)
            down = tuple(server.name for server in self.links.servers if not server.links)
            running = tuple((job.function, job.handle, job.server, now - run.started) for job, run in self.running.items())
            return connected, down, running, len(self._held.runs)
