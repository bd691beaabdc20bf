"""The worker's half of the protocol, one object per connection.

A session has no socket: bytes to send are in `outgoing`, packets that arrived go into `receive`.
"""
from collections import namedtuple

from ..errors import ProtocolError, ServerError
from .protocol import (CAN_DO, CAN_DO_TIMEOUT, CANT_DO, ECHO_REQ, ECHO_RES, ERROR, EXCEPTION_ENDS_JOB, GRAB_JOB,
                       GRAB_JOB_ALL, GRAB_JOB_UNIQ, JOB_ASSIGN, JOB_ASSIGN_ALL, JOB_ASSIGN_UNIQ, LARGE_BODY, NO_JOB, NOOP,
                       OPTION_REQ, OPTION_RES, PRE_SLEEP, SET_CLIENT_ID, TOO_LARGE, WORK_COMPLETE, WORK_DATA, WORK_EXCEPTION,
                       WORK_FAIL, WORK_STATUS, WORK_WARNING, pack_request, packet_name, request_head, show_beginnings,
                       unexpected)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, Iterable, List, Optional, Sequence, Set, Tuple, Union
    from .protocol import Data

Assignment = namedtuple("Assignment", "handle function unique reducer workload")
Assignment.__doc__ = """A job as the server hands it out; all bytes, but a large workload is a memoryview, and one that was
skipped, because it is too large, is None."""

# The ways to ask for a job; the one whose answer tells most comes first.  gearmand knows all, gear's server the second, Perl's
# the last.
GRAB_TYPES = (GRAB_JOB_ALL, GRAB_JOB_UNIQ, GRAB_JOB)
SESSION_AWAKE, DRY, SESSION_ASLEEP, RETIRING = SESSION_STATES = ("awake", "dry", "asleep", "retiring")
FINDS_NONE, MISSES, SERVED, WAKES, RETIRES = "finds none", "misses", "served", "wakes", "retires"

SESSION_ARROWS = {
    (SESSION_AWAKE, FINDS_NONE): SESSION_ASLEEP, (SESSION_AWAKE, MISSES): DRY, (SESSION_AWAKE, RETIRES): RETIRING,
    (DRY, FINDS_NONE): SESSION_ASLEEP, (DRY, MISSES): DRY, (DRY, SERVED): SESSION_AWAKE, (DRY, RETIRES): RETIRING,
    (SESSION_ASLEEP, WAKES): SESSION_AWAKE, (SESSION_ASLEEP, RETIRES): RETIRING,
}  # type: Dict[Tuple[str, str], str]

_NOT_UNDERSTOOD = ("INVALID_COMMAND", "UNKNOWN_COMMAND", "SERVER_ERROR")  # codes of such a refusal, in capitals
_NO_SUCH_OPTION = _NOT_UNDERSTOOD + ("UNKNOWN_OPTION",)


class WorkerSession:
    """What a worker can do for one server, what it has asked of it, and which of its jobs it has.

    Whether it may ask for jobs:

        awake ─finds none─> asleep ─wakes─> awake
        awake ─misses─> dry ─misses─> dry ─finds none─> asleep
        dry ─served─> awake
        awake ─retires─> retiring
        dry ─retires─> retiring
        asleep ─retires─> retiring

    Awake: it may.  Misses: a grab got no job while other grabs are unanswered.  Dry: it waits for those answers.  Served: the
    last answer was a job.  Finds none: the last answer was that there is no job.  Asleep: the server wakes it with a NOOP.
    Retiring: it asks for no more jobs, and withdraws its abilities as their jobs end.

    The number of grabs that may be unanswered grows by one with each job, and falls back to one when there is no job, so that
    not every free thread asks an idle server.

    The text of an exception is sent in such a form that the job ends for every client: as WORK_EXCEPTION if the server knows
    the option EXCEPTION_ENDS_JOB, for which each connection asks; else as WORK_WARNING and WORK_FAIL; at Perl's server, which
    knows no warnings, as WORK_EXCEPTION and WORK_FAIL.

    Owner: whoever owns the connection.
    """

    __slots__ = ("outgoing", "grabs", "grab_type", "confirmed", "state", "farewells", "_window", "_running", "_abilities",
                 "_withdrawn", "_exceptions")

    def __init__(self, abilities: "Iterable[Tuple[bytes, int]]", client_id: bytes = b"", grab_type: int = GRAB_JOB_ALL,
                 confirmed: bool = False) -> None:
        """`abilities` are functions, each with its time limit in milliseconds, 0 for none; `confirmed` says that this server is
        known to understand `grab_type`."""
        self.outgoing = []  # type: List[Data]
        self.grabs = 0      # grabs without an answer
        self.grab_type = grab_type
        self.confirmed = confirmed
        self.state = SESSION_AWAKE
        self.farewells = 0  # echoes without an answer
        self._window = 1    # how many grabs may be without an answer
        self._running = {}    # type: Dict[bytes, int] # jobs of each function
        self._abilities = []  # type: List[bytes]
        self._withdrawn = set()  # type: Set[bytes] # abilities that go as soon as no job of theirs runs
        self._exceptions = None  # type: Optional[bool] # whether WORK_EXCEPTION is enough; None until the server has answered
        self.outgoing.append(_ASK_FOR_EXCEPTIONS)
        if client_id:
            self.outgoing.append(pack_request(SET_CLIENT_ID, client_id))
        for function, timeout_ms in abilities:
            self.can_do(function, timeout_ms)

    def __repr__(self) -> str:
        return "<WorkerSession: %s, %d grabs unanswered, %d jobs>" % (self.state, self.grabs, sum(self._running.values()))

    @property
    def can_grab(self) -> bool:
        """Whether it makes sense to ask for one more job now."""
        return (self.grabs < self._window and self.state is SESSION_AWAKE
                and not (self._withdrawn and self._withdrawn - self._running.keys()))  # those go when no grab is open

    @property
    def busy(self) -> bool:
        """Whether it has jobs, or has asked for one."""
        return bool(self.grabs or self._running)

    def grab(self) -> None:
        """Ask for a job."""
        self.outgoing.append(_GRABS[self.grab_type])
        self.grabs += 1

    def can_do(self, function: bytes, timeout_ms: int = 0) -> None:
        """Tell the server that the worker can do a function; `timeout_ms` is its time limit, 0 for none."""
        if timeout_ms:
            self.outgoing.append(pack_request(CAN_DO_TIMEOUT, function, b"%d" % timeout_ms))
        else:
            self.outgoing.append(pack_request(CAN_DO, function))
        self._withdrawn.discard(function)
        if function not in self._abilities:
            self._abilities.append(function)
        self.rouse()  # gearmand does not wake a sleeper for jobs that it has only now learned to do

    def receive(self, packet_type: int, arguments: "Sequence[Data]") -> "Optional[Union[Assignment, ServerError]]":
        """Take a packet; return its job, or its error, or None if it has neither.

        Raises ProtocolError for a packet that no server sends to a worker, or not now.
        """
        if packet_type == NOOP:
            self.rouse()
        elif packet_type == JOB_ASSIGN_UNIQ:
            handle, function, unique, workload = arguments
            return self._assign(handle, function, unique, b"", workload)
        elif packet_type == NO_JOB:
            self._answered(packet_type, arguments)
            self._window = 1
            if self.state is not RETIRING:
                self._move(MISSES if self.grabs else FINDS_NONE)
        elif packet_type == JOB_ASSIGN_ALL:
            handle, function, unique, reducer, workload = arguments
            return self._assign(handle, function, unique, reducer, workload)
        elif packet_type == JOB_ASSIGN:
            handle, function, workload = arguments
            return self._assign(handle, function, b"", b"", workload)
        elif packet_type == ERROR:
            return self._receive_error(arguments)
        elif packet_type == TOO_LARGE:
            return self._assign_too_large(int(arguments[0]), arguments[2:])
        elif packet_type == ECHO_RES and self.farewells:
            self.farewells -= 1
        elif packet_type == OPTION_RES and self._exceptions is None:
            self._exceptions = True
        else:
            raise unexpected(packet_type, arguments)
        return None

    def _answered(self, packet_type: int, arguments: "Sequence[Data]") -> None:
        if not self.grabs:
            raise ProtocolError("%s without a grab: %r" % (packet_name(packet_type), show_beginnings(arguments)))
        self.grabs -= 1
        self.confirmed = True
        if self._withdrawn or self.state is RETIRING:
            self._withdraw()

    def rouse(self) -> None:
        """Be awake, even without a NOOP, in case one was lost."""
        if self.state is SESSION_ASLEEP:
            self._move(WAKES)

    def _move(self, event: str) -> None:
        self.state = SESSION_ARROWS[self.state, event]
        if self.state is SESSION_ASLEEP:
            self.outgoing.append(_PRE_SLEEP)

    def _assign_too_large(self, packet_type: int, fields: "Sequence[Data]") -> Assignment:
        empty = {JOB_ASSIGN: 2, JOB_ASSIGN_UNIQ: 1, JOB_ASSIGN_ALL: 0}.get(packet_type)
        if empty is None or len(fields) + empty != 4:
            raise ProtocolError("%s that is too large: %r" % (packet_name(packet_type), show_beginnings(fields)))
        handle, function, unique, reducer = list(fields) + [b""] * empty
        return self._assign(handle, function, unique, reducer, None)

    def _assign(self, handle: "Data", function: "Data", unique: "Data", reducer: "Data", workload: "Optional[Data]"
                ) -> Assignment:
        if not handle:
            raise ProtocolError("a job without a handle: %r" % show_beginnings((function, unique, reducer)))
        job = Assignment(bytes(handle), bytes(function), bytes(unique), bytes(reducer), workload)
        self._running[job.function] = self._running.get(job.function, 0) + 1
        self._answered(JOB_ASSIGN, (handle, function))
        self._window += 1
        if self.state is DRY and not self.grabs:
            self._move(SERVED)
        return job

    def _receive_error(self, arguments: "Sequence[Data]") -> "Optional[ServerError]":
        code, text = (bytes(argument).decode("utf-8", "replace") for argument in arguments)
        if self._exceptions is None and code.upper() in _NO_SUCH_OPTION:
            self._exceptions = False
            return None
        if not self.grabs or self.confirmed or code.upper() not in _NOT_UNDERSTOOD:
            return ServerError(code, text)
        if self.grab_type == GRAB_TYPES[-1]:
            raise ProtocolError("the server does not understand GRAB_JOB: %s" % ServerError(code, text))
        self.grab_type = GRAB_TYPES[GRAB_TYPES.index(self.grab_type) + 1]
        self.grabs -= 1
        if self.state is RETIRING:
            self._withdraw()
        else:
            self.grab()
        return None

    def status(self, job: Assignment, numerator: bytes, denominator: bytes) -> None:
        """Send how far a job is."""
        self.outgoing.append(pack_request(WORK_STATUS, job.handle, numerator, denominator))

    def data(self, job: Assignment, data: "Data") -> None:
        """Send a part of a job's result."""
        self._put(WORK_DATA, job, data)

    def warning(self, job: Assignment, data: "Data") -> None:
        """Send a warning."""
        self._put(WORK_WARNING, job, data)

    def complete(self, job: Assignment, data: "Data") -> None:
        """Send a job's result, which ends it."""
        self._put(WORK_COMPLETE, job, data)
        self.release(job)

    def fail(self, job: Assignment) -> None:
        """End a job without a result."""
        self.outgoing.append(pack_request(WORK_FAIL, job.handle))
        self.release(job)

    def exception(self, job: Assignment, text: bytes) -> None:
        """End a job with the text of an exception."""
        self._put(WORK_EXCEPTION if self._exceptions or self.grab_type == GRAB_JOB else WORK_WARNING, job, text)
        if not self._exceptions:
            self.outgoing.append(pack_request(WORK_FAIL, job.handle))
        self.release(job)

    def release(self, job: Assignment) -> None:
        """Forget a job without telling the server, which keeps it for this worker until told otherwise."""
        count = self._running.get(job.function, 0)
        if count > 1:
            self._running[job.function] = count - 1
        else:
            self._running.pop(job.function, None)
            if self._withdrawn or self.state is RETIRING:
                self._withdraw()

    def retire(self) -> None:
        """Grab no more, and withdraw the abilities as their jobs end."""
        if self.state is not RETIRING:
            self._move(RETIRES)
        self._withdraw()

    def withdraw(self, functions: "Iterable[bytes]") -> None:
        """Take no more jobs of some functions, and withdraw each when its jobs have ended."""
        self._withdrawn.update(functions)
        self._withdraw()

    def farewell(self) -> None:
        """Ask for an echo: when it comes, everything that was sent before has arrived."""
        self.outgoing.append(pack_request(ECHO_REQ, b"bye"))
        self.farewells += 1

    def _withdraw(self) -> None:
        """Send CANT_DO where that takes no job away: gearmand gives the jobs of a withdrawn function to others."""
        if self.grabs:
            return
        going = [function for function in self._abilities
                 if function not in self._running and (function in self._withdrawn or self.state is RETIRING)]
        for function in going:
            self.outgoing.append(pack_request(CANT_DO, function))
            self._abilities.remove(function)
            self._withdrawn.discard(function)

    def _put(self, packet_type: int, job: Assignment, data: "Data") -> None:
        if len(data) < LARGE_BODY:
            self.outgoing.append(pack_request(packet_type, job.handle, data))
        else:
            self.outgoing.append(request_head(packet_type, len(data), job.handle))
            self.outgoing.append(data)


_GRABS = {packet_type: pack_request(packet_type) for packet_type in GRAB_TYPES}
_PRE_SLEEP = pack_request(PRE_SLEEP)
_ASK_FOR_EXCEPTIONS = pack_request(OPTION_REQ, EXCEPTION_ENDS_JOB)
