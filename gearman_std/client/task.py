"""A job as its client's user sees it, from the call that submits it to its result."""
from ..errors import JobTimeout
from ..net.addresses import join_address
from ..net.connection import Deadline
from ..timers import growing_pause
from .plan import dump_workload
from .submission import SUBMISSION_ENDED, UNPLACED, Submission

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterator, List, Optional, Tuple
    from ..errors import GearmanError
    from .link import JobStatus
    from .network import Network
    from .plan import Plan
    from .pool import NetworkPool


class Task:
    """A job as its client sees it; made by `Client.submit`.

    `workload` is what the caller gave.

    Owner: the client's lock.
    """

    __slots__ = ("workload", "_plan", "_submission", "_pool", "_network")

    def __init__(self, plan: "Plan", workload: "Any", pool: "NetworkPool") -> None:
        self.workload = workload
        self._plan = plan
        self._pool = pool
        self._network = pool.first
        self._submission = Submission(plan, dump_workload(plan, workload), self)

    def __repr__(self) -> str:
        names = self._submission.handle or b"?", self.function
        return "<Task %s of %s: %s>" % tuple([name.decode("utf-8", "backslashreplace") for name in names] + [self.state])

    # ---------------------------------------------------------------------------------------------------- what it was made of

    @property
    def function(self) -> bytes:
        """The function's name."""
        return self._plan.function

    @property
    def unique(self) -> bytes:
        """The job's unique; b"" if it has none."""
        return self._plan.unique

    @property
    def priority(self) -> str:
        """HIGH, NORMAL or LOW."""
        return self._plan.priority

    @property
    def background(self) -> bool:
        """Whether nobody waits for its result."""
        return self._plan.background

    @property
    def tag(self) -> "Any":
        """What the caller gave as `tag`."""
        return self._plan.tag

    # ----------------------------------------------------------------------------------------- what is known of it here so far

    @property
    def state(self) -> str:
        """How far the job is, as this client knows: "submitted", "created" (its server has it), "done" or "failed"; and
        "accepted" for a background job that its server has, of which nobody hears any more."""
        state = self._submission.state
        return "submitted" if state is UNPLACED else state

    @property
    def failed(self) -> bool:
        """Whether the job failed, or no server took it, as far as this client knows; it does not wait, see `exception`."""
        return self._error is not None and self._submission.ended

    @property
    def progress(self) -> "Optional[Tuple[int, int]]":
        """The last (numerator, denominator) that its worker has sent; None before that."""
        return self._submission.progress

    @property
    def warnings(self) -> "List[bytes]":
        """The warnings that its worker has sent so far."""
        return self._submission.warnings

    @property
    def server(self) -> str:
        """The server that has the job, as `host:port`; "" if none has it."""
        link = self._submission.link
        return join_address(link.address) if link is not None else ""

    @property
    def handle(self) -> bytes:
        """The job's handle; waits for it, as long as the server answers one command after the other in the client's command
        time-out.

        Raises what `Client.submit` raises for a background job.
        """
        self._network.confirm(self._submission, Deadline(None))
        assert self._submission.handle is not None
        return self._submission.handle

    # ---------------------------------------------------------------------------------------------------------- waiting for it

    def done(self) -> bool:
        """Whether the result is there, or the job failed; a background job is done when the server has accepted it.

        Takes in what has arrived, but does not wait.
        """
        return self._is_over() or self.wait(0)

    def wait(self, timeout: "Optional[float]" = None) -> bool:
        """Wait until the job is done and its callbacks have returned, at most `timeout` seconds; return whether it is."""
        return self._network.wait(self._is_over, Deadline(timeout, self._network.clock), (self._submission,))

    def result(self, timeout: "Optional[float]" = None) -> "Any":
        """Wait for the job's result, at most `timeout` seconds, by default the client's job time-out; bytes unless the client
        has a serializer.

        Raises JobFailed, JobTimeout, ServerLost, CommandTimeout, or ServerError (QueueFull) if the server refused it.
        """
        error = self.exception(timeout)
        if error is not None:
            raise error.with_traceback(None)
        return self._value()

    def _value(self) -> "Any":
        return self._plan.sharing.serializer.loads(self._submission.outcome) if not self._plan.background else None

    @property
    def _error(self) -> "Optional[GearmanError]":
        """Why it failed, as far as is known now."""
        return self._submission.error

    def exception(self, timeout: "Optional[float]" = None) -> "Optional[GearmanError]":
        """Wait as `result` does and return the error it would raise, or None.

        Raises JobTimeout.
        """
        if timeout is None:
            timeout = self._plan.sharing.job_timeout
        if not self.wait(timeout):
            name = self.function.decode("utf-8", "replace")
            raise JobTimeout("no result of %s within %s s" % (name, round(timeout or 0.0, 3)), self._submission.handle)
        return self._error

    def stream(self, timeout: "Optional[float]" = None) -> "Iterator[bytes]":
        """The job's WORK_DATA packets as they come, until it is done; `timeout` is in seconds and for each, by default the
        client's job time-out.

        Raises JobTimeout, and at the end what `result` raises.
        """
        if timeout is None:
            timeout = self._plan.sharing.job_timeout
        Deadline(timeout)  # which raises
        return self._stream(timeout)

    def _stream(self, timeout: "Optional[float]") -> "Iterator[bytes]":
        submission = self._submission
        while True:
            deadline = Deadline(timeout, self._network.clock)
            if not self._network.wait(lambda: bool(submission.chunks) or self._is_over(), deadline, (submission,)):
                raise JobTimeout("no data within %s s" % timeout, submission.handle)
            while submission.chunks:
                yield submission.chunks.popleft()
            if self._is_over() and not submission.chunks:
                if submission.error is not None:
                    raise submission.error.with_traceback(None)
                return

    def status(self) -> "JobStatus":
        """Ask the server how far the job is.

        Raises ServerLost, CommandTimeout.
        """
        return self._pool.status(self.handle, self.server)

    def ended(self, timeout: "Optional[float]" = 0.0) -> bool:
        """Whether the job is over, also one in the background: its server is asked, again and again for at most `timeout`
        seconds, until it does not know the job any more.

        How such a job ended the protocol does not tell; `AdminClient.aside` lists those that were set aside.  Raises
        ServerLost, CommandTimeout.
        """
        deadline = Deadline(timeout, self._network.clock)
        asked = 0
        while not (self._submission.ended and not self.background) and self.status().known:
            left = deadline.left()
            if left == 0:
                return False
            pause = growing_pause(0.02, 1.0, asked)
            self._plan.sharing.system.sleep(pause if left is None else min(pause, left))
            asked += 1
        return True

    def _is_over(self) -> bool:
        """Whether it is done, and its callbacks have been called."""
        submission = self._submission
        callbacks = submission.callbacks
        return submission.state in SUBMISSION_ENDED and (
            callbacks is None or self._network.calls_over(submission, callbacks))

    def _move(self, network: "Network") -> None:
        """It is in another network than the first."""
        self._network = network
