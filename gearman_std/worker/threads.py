"""The threads of a shift that run jobs, and what is special if the main thread is one of them."""
import logging
import threading

from ..net.signals import Urgent, WokenBySignals
from ..net.threads import start_thread
from .job import LeaveAtOnce, ends_work, exception_text, log_job, logs_jobs, run_job

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional
    from .job import WorkerJob
    from .shift import Shift

URGE_INTERVAL = 1.0  # seconds until a function in the main thread that did not leave at once is told again


class JobThread:
    """A thread that runs jobs, one after the other; its gate opens when it is given one, when it is to go home, or to have a
    look at signals.

    Owner: the shift's lock while it is idle, else itself.
    """

    __slots__ = ("gate", "job", "open", "running", "thread", "_shift")

    def __init__(self, shift: "Shift") -> None:
        self.gate = threading.Lock()
        self.gate.acquire()
        self.job = None       # type: Optional[WorkerJob] # the one that it is given
        self.open = False     # the gate is
        self.running = False  # a job is
        self.thread = None    # type: Optional[threading.Thread] # None for the main thread
        self._shift = shift

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
        shift = self._shift
        worker, lock, notices, caught = shift.worker, shift.lock, shift.notices, self.caught
        while True:
            self.gate.acquire()
            self.open = False
            job, self.job = self.job, None
            if job is None:
                if shift.over:
                    return
                continue  # the main thread, which has had a look at signals
            if logs_jobs(logging.DEBUG):
                log_job(logging.DEBUG, "%s has started, attempt %d", job, job.attempt)
            self.running = True
            try:
                outcome, data = run_job(job, worker, caught)
            except BaseException as error:  # of the means to tell of a failure
                if not caught(error):
                    raise
                outcome, data = False, exception_text(error)
            finally:
                self.running = False
            with lock:
                end = shift.finish(self, job, outcome, data)
                over = shift.over
            if logs_jobs(logging.INFO):
                log_job(logging.INFO, "%s " + end + " after %.3f s", job, worker._system.clock() - job._started)
            del job, data
            if notices.waiting:
                notices.announce()
            if over:
                return


class MainThread(JobThread):
    """The main thread, if it made the call: it runs the jobs of a worker of one thread, and else waits for the end.

    Owner: as every `JobThread`.
    """

    __slots__ = ("_urgent", "_home")

    def __init__(self, shift: "Shift") -> None:
        super().__init__(shift)
        self._urgent = Urgent(self._leave_function)
        self._home = threading.Event()  # it has returned

    def __repr__(self) -> str:
        return "<MainThread, %s>" % ("running a job" if self.running else "home" if self._home.is_set() else "idle")

    @property
    def takes_jobs(self) -> bool:
        """Whether it may run jobs, since it can be told to leave a function."""
        return self._urgent.entered

    def caught(self, error: BaseException) -> bool:
        return not ends_work(error)

    def make_call(self) -> None:
        """Have another thread wait in the selector, and run jobs or wait here, whatever signal handlers raise."""
        shift = self._shift
        attendant = None  # type: Optional[threading.Thread]
        try:
            with WokenBySignals(shift.waker.fileno()), self._urgent:
                attendant = start_thread(shift.attend_to_all, "gearman_std worker")
                self.run_jobs()
        except LeaveAtOnce:
            pass
        finally:
            self._home.set()
            shift.break_off()
            if attendant is not None:
                attendant.join()
            elif not shift.attended:
                shift.end()
            shift.close_waker()

    def urge_home(self) -> None:
        """Have it leave the function that it runs, which nobody waits for any more; called by the thread that has ended all."""
        while self.running and not self._home.is_set():
            self._urgent.call()
            if not self._home.wait(URGE_INTERVAL) and self._shift.worker.when_stuck is not None:
                self._shift.worker.when_stuck()

    def _leave_function(self) -> None:
        if self.running and self._shift.ended:
            raise LeaveAtOnce
