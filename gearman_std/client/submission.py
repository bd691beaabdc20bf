"""A job that was submitted, as its client's network sees it, from its packet to its end.

    unplaced ─placed─> submitted ─created─> created ─completed─> done
    submitted ─accepted─> accepted
    submitted ─displaced─> unplaced
    created ─failed─> failed
    unplaced ─refused─> failed
    submitted ─refused─> failed
    created ─refused─> failed

Unplaced: no server has it, not yet or not any more.  Submitted: a server was sent it, and has not answered.  Created: that
server has it, and tells what becomes of it.  Accepted: it has it, and tells nothing more, as it is a background job.  It is
displaced when the connection breaks before the server has answered, and refused when no server takes it, or its server is lost.
"""
from collections import deque
from threading import get_ident

from ..errors import JobFailed, ServerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Deque, Dict, Iterable, List, Optional, Set, Tuple
    from ..errors import GearmanError, ServerLost
    from ..net.connection import Deadline
    from ..wire.protocol import Data
    from .link import Link
    from .plan import Plan

SUBMISSION_STATES = UNPLACED, SUBMITTED, _IS_CREATED, _IS_ACCEPTED, _IS_DONE, _HAS_FAILED = (
    "unplaced", "submitted", "created", "accepted", "done", "failed")
SUBMISSION_ENDED = frozenset((_IS_ACCEPTED, _IS_DONE, _HAS_FAILED))

# What a submission is after something has happened to it; each is a method of it.
SUBMISSION_ARROWS = {
    (UNPLACED, "placed"): SUBMITTED, (UNPLACED, "refused"): _HAS_FAILED,
    (SUBMITTED, "displaced"): UNPLACED, (SUBMITTED, "refused"): _HAS_FAILED,
    (SUBMITTED, "created"): _IS_CREATED, (SUBMITTED, "accepted"): _IS_ACCEPTED,
    (_IS_CREATED, "completed"): _IS_DONE, (_IS_CREATED, "failed"): _HAS_FAILED, (_IS_CREATED, "refused"): _HAS_FAILED,
}  # type: Dict[Tuple[str, str], str]

MAX_MOVES = 10  # how often a job is submitted again because a connection broke
_NOT_AGAIN = MAX_MOVES + 1


class Finished:
    """Submissions as they end, for one who waits for them: `left` have not, `done` have, some perhaps twice.

    `over` tells that nobody waits any more.  No lock guards that: the garbage collector may end a wait anywhere.

    Owner: the networks of the submissions, but for `over`, and for taking out of `done`.
    """

    __slots__ = ("all", "left", "done", "over")

    def __init__(self, submissions: "Iterable[Submission]") -> None:
        self.all = dict.fromkeys(submissions)  # type: Dict[Submission, None] # in their order
        self.left = set(self.all)              # type: Set[Submission]
        self.done = deque()                    # type: Deque[Submission]
        self.over = False

    def __repr__(self) -> str:
        return "<Finished: %d jobs, %d to come%s>" % (len(self.all), len(self.left), ", over" if self.over else "")

    def told(self, submission: "Submission") -> None:
        """One has ended."""
        self.done.append(submission)
        self.left.discard(submission)


class Callbacks:
    """The callbacks of a submission: what is to be called, and who calls it just now.

    `face` is the Task that they are called with, None if they are called without one.

    Owner: the client's lock; the calls are taken out by the thread that is in `caller`.
    """

    __slots__ = ("calls", "caller", "thread", "face", "note")

    def __init__(self, face: "Any") -> None:
        self.calls = deque()  # type: Deque[Tuple[Callable[..., Any], Tuple[Any, ...]]]
        self.caller = {}      # type: Dict[int, int] # the thread that calls them, under 0
        self.thread = get_ident()  # which submitted the job
        self.face = face
        self.note = None      # type: Optional[Callable[[Submission], None]] # tells the network that there are calls

    def __repr__(self) -> str:
        return "<Callbacks: %d to be called%s>" % (len(self.calls), ", which somebody does" if self.caller else "")

    def add(self, submission: "Submission", callback: "Callable[..., Any]", *arguments: "Any") -> None:
        """Note a callback that is to be called."""
        self.calls.append((callback, arguments if self.face is None else (self.face,) + arguments))
        assert self.note is not None
        self.note(submission)


class Submission:
    """One job.

    Owner: the client's lock, before it is placed its maker.
    """

    __slots__ = ("plan", "workload", "state", "link", "end", "moves", "loss", "failures", "place_by", "handle", "outcome",
                 "error", "progress", "warnings", "chunks", "listeners", "callbacks")

    def __init__(self, plan: "Plan", workload: "Data", face: "Any" = None) -> None:
        self.plan = plan
        self.workload = workload
        self.state = UNPLACED       # changed by the arrows alone
        self.link = None            # type: Optional[Link] # to the server that has it, or had it last
        self.end = 0                # where its packet ends in what the connection has to send
        self.moves = 0
        self.loss = None            # type: Optional[ServerLost] # why it may have been queued by a server that was lost
        self.failures = 0           # of the network to connect, when its connection broke
        self.place_by = None        # type: Optional[Deadline] # by which it must be placed again
        self.handle = None          # type: Optional[bytes]
        self.outcome = b""
        self.error = None           # type: Optional[GearmanError]
        self.progress = None        # type: Optional[Tuple[int, int]]
        self.warnings = []          # type: List[bytes]
        self.chunks = None          # type: Optional[Deque[bytes]] # data that nobody has taken yet
        self.listeners = None       # type: Optional[List[Finished]]
        self.callbacks = None       # type: Optional[Callbacks] # None if there can be none
        if plan.on_status is not None or plan.on_data is not None or plan.on_warning is not None:
            self.callbacks = Callbacks(face if plan.pass_task else None)

    def __repr__(self) -> str:
        return "<Submission of %r: %s>" % (self.plan.function, self.state)

    @property
    def ended(self) -> bool:
        """Whether it has ended; its callbacks may still be to be called."""
        return self.state in SUBMISSION_ENDED

    def abandoned(self) -> None:
        """The call that submitted it was interrupted, and nobody will have it: it is not submitted again."""
        self.moves = _NOT_AGAIN

    # ------------------------------------------------------------------------------------------ the arrows, and nothing else
    # changes the state.  An exception may come between any two lines, so that comes last; who listens may be told again.

    def placed(self, link: "Link") -> None:
        """Its packet was given to the connection of a server."""
        self.link = link
        self.state = SUBMISSION_ARROWS[self.state, "placed"]

    def displaced(self, failures: int, place_by: "Deadline") -> None:
        """That connection broke, and it goes to another one."""
        self.moves += 1
        self.failures = failures
        self.place_by = place_by
        self.link = None
        self.state = SUBMISSION_ARROWS[self.state, "displaced"]

    def created(self, handle: bytes) -> None:
        """The server has it, and tells what becomes of it."""
        self.handle = handle
        self.state = SUBMISSION_ARROWS[self.state, "created"]
        self.workload = b""

    def accepted(self, handle: bytes) -> None:
        """The server has it, and tells no more of it."""
        self.handle = handle
        self.state = SUBMISSION_ARROWS[self.state, "accepted"]
        self.tell()

    def completed(self, data: "Data") -> None:
        """A worker has done it."""
        self.outcome = data if isinstance(data, bytes) else bytes(data)
        self.state = SUBMISSION_ARROWS[self.state, "completed"]
        self.tell()

    def failed(self, exception: "Optional[bytes]") -> None:
        """A worker has failed it."""
        message = "%s failed" % self.plan.function.decode("utf-8", "replace")
        if exception is None and self.warnings:
            exception = self.warnings[-1]
        if exception is not None:
            message += ": " + exception.decode("utf-8", "replace")
        self.error = JobFailed(message, self.handle, exception, self.warnings)
        self.state = SUBMISSION_ARROWS[self.state, "failed"]
        self.tell()

    def refused(self, error: "GearmanError") -> None:
        """No server takes it, or its server is lost."""
        if isinstance(error, ServerError):
            error.function = self.plan.function  # which the server's text does not name
        self.error = error
        self.state = SUBMISSION_ARROWS[self.state, "refused"]
        self.tell()

    # ------------------------------------------------------------------------------------------ what its server tells meanwhile

    def progressed(self, numerator: int, denominator: int) -> None:
        """A WORK_STATUS."""
        self.progress = numerator, denominator
        if self.plan.on_status is not None and self.callbacks is not None:
            self.callbacks.add(self, self.plan.on_status, numerator, denominator)

    def received(self, data: "Data") -> None:
        """A WORK_DATA."""
        if self.plan.on_data is not None and self.callbacks is not None:
            self.callbacks.add(self, self.plan.on_data, bytes(data))
        else:
            if self.chunks is None:
                self.chunks = deque()
            self.chunks.append(bytes(data))

    def warned(self, data: bytes) -> None:
        """A WORK_WARNING."""
        self.warnings.append(data)
        if self.plan.on_warning is not None and self.callbacks is not None:
            self.callbacks.add(self, self.plan.on_warning, data)

    def tell(self) -> None:
        """Tell those who listen that it has ended; again, if that was interrupted."""
        self.workload = b""
        if self.callbacks is not None:
            self.callbacks.face = None  # which has this one, too
        while self.listeners:
            self.listeners[-1].told(self)
            self.listeners.pop()
