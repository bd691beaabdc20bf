"""The threads of a shift that run jobs, and what is special if the main thread is one of them."""
import logging
import threading

from ..net.signals import Urgent
from .guard import LeaveAtOnce, ends_work, exception_text, log_job, logs_jobs
from .running import run_job

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Optional
    from .running import Run
    from .shared import Shared

URGE_INTERVAL = 1.0  # seconds until a function in the main thread that did not leave at once is told again


class JobThread:
    """A thread that runs jobs, one after the other.  It waits at its gate.  The gate is opened to give it a job, to end it, or
    to have Python run signal handlers in it.

    Owner: the shift's lock while it is idle, else itself.
    """

    __slots__ = ("gate", "run", "open", "running", "thread", "_shared", "_finish")

    def __init__(self, shared: "Shared", finish: "Callable[[JobThread, Run, Any, Any], str]") -> None:
        """`finish` is called at the end of each job, with the lock and what came of the job; it returns how that ended."""
        self.gate = threading.Lock()
        self.gate.acquire()
        self.run = None       # type: Optional[Run] # the job that it is given
        self.open = False     # whether the gate is open
        self.running = False  # whether a job runs
        self.thread = None    # type: Optional[threading.Thread] # None for the main thread
        self._shared = shared
        self._finish = finish

    def __repr__(self) -> str:
        return "<JobThread, %s>" % ("running a job" if self.running else "idle")

    def wake(self) -> None:
        """Open the gate, with the shift's lock held."""
        if not self.open:
            self.open = True
            self.gate.release()

    def caught(self, error: BaseException) -> bool:
        """Whether an exception fails the job that runs, and no more."""
        return True

    def run_jobs(self) -> None:
        """Run the jobs that it is given until the shift is over."""
        shared, finish, caught = self._shared, self._finish, self.caught
        worker, lock, notices, clock = shared.worker, shared.lock, shared.notices, shared.clock
        while True:
            self.gate.acquire()
            self.open = False
            run, self.run = self.run, None
            if run is None:
                if shared.over:
                    return
                continue  # the main thread, in which handlers of signals have run
            told = logs_jobs(logging.INFO)
            if told:
                log_job(logging.DEBUG, "%s has started, attempt %d", run.job, run.job.attempt)
            self.running = True
            try:
                outcome, data = run_job(run.job, run.ability, worker, caught)
            except BaseException as error:  # from logging or a hook, while a failure was told
                if not caught(error):
                    raise
                outcome, data = False, exception_text(error)
            finally:
                self.running = False
            with lock:
                end = finish(self, run, outcome, data)
                over = shared.over
            if told:
                log_job(logging.INFO, "%s " + end + " after %.3f s", run.job, clock() - run.started)
            del run, data
            if notices.waiting:
                notices.announce()
            if over:
                return


class MainThread(JobThread):
    """The main thread, if it made the call: it runs the jobs of a worker of one thread, and else waits for the end.

    Owner: as every `JobThread`.
    """

    __slots__ = ("urgent", "away")

    def __init__(self, shared: "Shared", finish: "Callable[[JobThread, Run, Any, Any], str]") -> None:
        super().__init__(shared, finish)
        self.urgent = Urgent(self._leave_function)
        self.away = threading.Event()  # it runs no more jobs

    def __repr__(self) -> str:
        return "<MainThread, %s>" % ("running a job" if self.running else "away" if self.away.is_set() else "idle")

    @property
    def takes_jobs(self) -> bool:
        """Whether it may run jobs, which it may only if it can be told to leave a function."""
        return self.urgent.entered

    def caught(self, error: BaseException) -> bool:
        return not ends_work(error)

    def urge_to_leave(self) -> None:
        """Make it leave the function that it runs; called by the thread that has ended the shift."""
        while self.running and not self.away.is_set():
            self.urgent.call()
            if not self.away.wait(URGE_INTERVAL) and self._shared.worker.when_stuck is not None:
                self._shared.worker.when_stuck()

    def _leave_function(self) -> None:
        if self.running and self._shared.ended:
            raise LeaveAtOnce
