"""The client's and the worker's half of the protocol, one object per connection.

A session has no socket: bytes to send are in `outgoing`, packets that arrived go into `receive`.
"""
from collections import deque, namedtuple

from ..errors import ProtocolError, QueueFull, ServerError
from .protocol import (CAN_DO, CAN_DO_TIMEOUT, CANT_DO, ECHO_REQ, ECHO_RES, ERROR, EXCEPTION_ENDS_JOB, GET_STATUS,
                       GET_STATUS_UNIQUE, GRAB_JOB, GRAB_JOB_ALL, GRAB_JOB_UNIQ, JOB_ASSIGN, JOB_ASSIGN_ALL, JOB_ASSIGN_UNIQ,
                       JOB_CREATED, LARGE_BODY, NO_JOB, NOOP, OPTION_REQ, OPTION_RES, PRE_SLEEP, SET_CLIENT_ID, STATUS_RES,
                       STATUS_RES_UNIQUE, TOO_FEW_ARGUMENTS, TOO_LARGE, WORK_COMPLETE, WORK_DATA, WORK_EXCEPTION, WORK_FAIL,
                       WORK_STATUS, WORK_WARNING, WRONG_MAGIC, pack_request, packet_name, request_head)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Deque, Dict, Iterable, List, Optional, Sequence, Set, Tuple, Union
    from .protocol import Data, Packet


class ClientSession:
    """What a client has asked of one server, and who waits for which answer.

    A server answers commands in their order, so an answer belongs to the oldest command without one; only the packets of a job
    carry its handle.  Whoever submits passes a task, an object with the methods `created(handle)`, `refused(error)`,
    `progressed(numerator, denominator)`, `received(data)`, `warned(data)`, `completed(data)` and `failed(exception or None)`.
    Whoever asks passes a request, an object with `answered(arguments)` and `refused(error)`.

    Owner: whoever owns the connection.
    """

    __slots__ = ("outgoing", "answered", "late", "_expected", "_tasks", "_turns")

    def __init__(self) -> None:
        self.outgoing = [pack_request(OPTION_REQ, b"exceptions")]  # type: List[Data]
        self.answered = 0         # commands that the server has answered
        self.late = 0             # packets for jobs that nobody here waits for (any longer)
        self._expected = deque()  # type: Deque[Tuple[int, Any, bool]] # answer's type, task or request, whether more follows
        self._tasks = {}          # type: Dict[bytes, List[Any]] # by handle; several if a submit joined another of this session
        self._turns = {}          # type: Dict[bytes, int] # which of several tasks the next packet of a handle is for
        self._expected.append((OPTION_RES, None, False))

    def __repr__(self) -> str:
        return "<ClientSession: %d commands unanswered, %d jobs open>" % (len(self._expected), len(self._tasks))

    @property
    def unanswered(self) -> int:
        """How many commands the server has not answered."""
        return len(self._expected)

    def submit(self, task: "Any", packet_type: int, leading: "Iterable[bytes]", workload: "Data", background: bool) -> None:
        """Send a SUBMIT_JOB packet of any type."""
        self.outgoing.append(request_head(packet_type, len(workload), *leading))
        if len(workload) < LARGE_BODY:
            self.outgoing[-1] += workload  # type: ignore[operator]
        else:
            self.outgoing.append(workload)
        self._expected.append((JOB_CREATED, task, not background))

    def ask_status(self, request: "Any", handle: bytes) -> None:
        """Send GET_STATUS."""
        self._ask(request, STATUS_RES, pack_request(GET_STATUS, handle))

    def ask_status_unique(self, request: "Any", unique: bytes) -> None:
        """Send GET_STATUS_UNIQUE."""
        self._ask(request, STATUS_RES_UNIQUE, pack_request(GET_STATUS_UNIQUE, unique))

    def ask_echo(self, request: "Any", data: bytes) -> None:
        """Send ECHO_REQ."""
        self._ask(request, ECHO_RES, pack_request(ECHO_REQ, data))

    def _ask(self, request: "Any", answer_type: int, packet: bytes) -> None:
        self.outgoing.append(packet)
        self._expected.append((answer_type, request, False))

    def receive(self, packets: "Iterable[Packet]") -> None:
        """Hand packets to whoever waits for them.

        Raises ProtocolError for a packet that no server sends to a client, or not now.
        """
        for packet_type, arguments in packets:
            if packet_type == JOB_CREATED:
                handle = bytes(arguments[0])
                if not handle:
                    raise ProtocolError("a job without a handle: %r" % _show(arguments))
                _, task, followed = self._expect(packet_type, arguments)
                if followed:
                    self._tasks.setdefault(handle, []).append(task)
                task.created(handle)
                self._expected.popleft()
            elif packet_type in _JOB_PACKETS:
                self._receive_for_job(packet_type, arguments)
            elif packet_type in (STATUS_RES, STATUS_RES_UNIQUE, ECHO_RES, OPTION_RES):
                _, request, _ = self._expect(packet_type, arguments)
                if request is not None:
                    request.answered(arguments)
                self._expected.popleft()
            elif packet_type == ERROR:
                self._receive_error(arguments)
            elif packet_type == TOO_FEW_ARGUMENTS:
                raise ProtocolError("too few arguments in %s" % bytes(arguments[0]).decode())
            elif packet_type == WRONG_MAGIC:
                raise ProtocolError("a packet with the magic of a request, b'\\0REQ', from a server")
            elif packet_type != NOOP:
                raise ProtocolError("unexpected %s: %r" % (packet_name(packet_type), _show(arguments)))

    def waiting(self) -> "List[Tuple[Any, bool]]":
        """Everybody who still waits, each with whether it is a confirmed task; for when the connection is lost."""
        everybody = [(task, True) for tasks in self._tasks.values() for task in tasks]
        return everybody + [(waiting, False) for _, waiting, _ in self._expected if waiting is not None]

    def _expect(self, packet_type: int, arguments: "Any") -> "Tuple[int, Any, bool]":
        """What a packet answers; it is to be forgotten only when who waits has been told, lest an interrupt lose it."""
        if packet_type != OPTION_RES and self._expected and self._expected[0][0] == OPTION_RES:
            self._expected.popleft()  # a server that knows no options leaves the request unanswered
        if not self._expected or self._expected[0][0] != packet_type:
            raise ProtocolError("unexpected %s: %r" % (packet_name(packet_type), _show(arguments)))
        self.answered += 1
        return self._expected[0]

    def _receive_error(self, arguments: "Any") -> None:
        code, text = (bytes(argument).decode("utf-8", "replace") for argument in arguments)
        error = (QueueFull if code == "QUEUE_ERROR" else ServerError)(code, text)
        if isinstance(error, QueueFull) and len(self._expected) > 1 and self._expected[0][0] == OPTION_RES:
            self._expected.popleft()
        if not self._expected:
            raise ProtocolError("an error that answers nothing: %s" % error)
        self.answered += 1
        waiting = self._expected[0][1]
        if waiting is not None:
            waiting.refused(error)
        self._expected.popleft()

    def _receive_for_job(self, packet_type: int, arguments: "Any") -> None:
        handle = bytes(arguments[0])
        if packet_type == WORK_FAIL:
            handle = handle.rstrip(b"\0")  # gearmand 1.1.20 sends one for an exception
        tasks = self._tasks.get(handle)
        if tasks is None:
            self.late += 1
            return
        if packet_type in (WORK_COMPLETE, WORK_FAIL, WORK_EXCEPTION):
            # For tasks that joined one another the server sends as many; the first is enough, the others come late.
            for task in tasks:
                if packet_type == WORK_COMPLETE:
                    task.completed(arguments[1])
                else:
                    task.failed(bytes(arguments[1]) if packet_type == WORK_EXCEPTION else None)
            del self._tasks[handle]
            self._turns.pop(handle, None)
            return
        task = tasks[0]
        if len(tasks) > 1:
            turn = self._turns.get(handle, 0)
            self._turns[handle] = turn + 1
            task = tasks[turn % len(tasks)]
        if packet_type == WORK_DATA:
            task.received(arguments[1])
        elif packet_type == WORK_WARNING:
            task.warned(bytes(arguments[1]))
        else:
            task.progressed(*(read_number(argument) for argument in arguments[1:]))


_JOB_PACKETS = frozenset((WORK_COMPLETE, WORK_FAIL, WORK_EXCEPTION, WORK_DATA, WORK_WARNING, WORK_STATUS))


def read_number(argument: "Data") -> int:
    """A number as a worker reported it and the server relays it; 0 for what is none, or none that a machine counts to."""
    text = bytes(argument)
    return int(text) if text.isdigit() and len(text) < 20 else 0


def _show(arguments: "Iterable[Data]") -> "List[bytes]":
    return [bytes(argument[:64]) for argument in arguments]


Assignment = namedtuple("Assignment", "handle function unique reducer workload")
Assignment.__doc__ = """A job as the server hands it out; all bytes, but a large workload is a memoryview, and one that was
skipped, because it is too large, is None."""

# The ways to ask for a job, the most telling first: gearmand knows them all, gear's server the second, Perl's the last.
GRAB_TYPES = (GRAB_JOB_ALL, GRAB_JOB_UNIQ, GRAB_JOB)
_NOT_UNDERSTOOD = ("INVALID_COMMAND", "UNKNOWN_COMMAND", "SERVER_ERROR")  # codes of such a refusal, in capitals
_NO_SUCH_OPTION = _NOT_UNDERSTOOD + ("UNKNOWN_OPTION",)


class WorkerSession:
    """What a worker can do for one server, what it has asked of it, and which of its jobs it has.

    A worker that is awake may grab; when there is no job it goes to sleep, and a NOOP wakes it.  How many grabs may be
    unanswered grows by one with each job and falls back to one when there is none, so that an idle server is not asked by every
    free thread.

    A job fails with the text of an exception in the form of which it ends for every client: WORK_EXCEPTION where the server
    knows the option EXCEPTION_ENDS_JOB, for which each connection asks, else WORK_WARNING and WORK_FAIL; Perl's server knows no
    warnings, and there WORK_FAIL follows WORK_EXCEPTION.

    Owner: whoever owns the connection.
    """

    __slots__ = ("outgoing", "grabs", "grab_type", "confirmed", "asleep", "retiring", "farewells", "_window", "_dry",
                 "_running", "_abilities", "_withdrawn", "_exceptions")

    def __init__(self, abilities: "Iterable[Tuple[bytes, int]]", client_id: bytes = b"", grab_type: int = GRAB_JOB_ALL,
                 confirmed: bool = False) -> None:
        """`abilities` are functions, each with its time limit in milliseconds or 0; `confirmed` tells that this server is known
        to understand `grab_type`."""
        self.outgoing = []  # type: List[Data]
        self.grabs = 0      # grabs without an answer
        self.grab_type = grab_type
        self.confirmed = confirmed
        self.asleep = False
        self.retiring = False
        self.farewells = 0  # echoes without an answer
        self._window = 1    # how many grabs may be without an answer
        self._dry = False   # there was no job for a grab, and others are without an answer
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
        state = "retiring" if self.retiring else "asleep" if self.asleep else "awake"
        return "<WorkerSession: %s, %d grabs unanswered, %d jobs>" % (state, self.grabs, sum(self._running.values()))

    @property
    def can_grab(self) -> bool:
        """Whether it makes sense to ask for one more job now."""
        return (self.grabs < self._window and not (self.asleep or self._dry or self.retiring)
                and not (self._withdrawn and self._withdrawn - self._running.keys()))  # which go when no grab is unanswered

    @property
    def busy(self) -> bool:
        """Whether it has jobs, or has asked for one."""
        return bool(self.grabs or self._running)

    def grab(self) -> None:
        """Ask for a job."""
        self.outgoing.append(_GRABS[self.grab_type])
        self.grabs += 1

    def can_do(self, function: bytes, timeout_ms: int = 0) -> None:
        """Tell that the worker can do a function, within a time limit if that is not 0."""
        if timeout_ms:
            self.outgoing.append(pack_request(CAN_DO_TIMEOUT, function, b"%d" % timeout_ms))
        else:
            self.outgoing.append(pack_request(CAN_DO, function))
        self._withdrawn.discard(function)
        if function not in self._abilities:
            self._abilities.append(function)
        self.asleep = False  # gearmand does not wake a sleeper for jobs that it has only now learned to do

    def receive(self, packet_type: int, arguments: "Sequence[Data]") -> "Optional[Union[Assignment, ServerError]]":
        """Take a packet; return the job if it is one, the error if it is one, else None.

        Raises ProtocolError for a packet that no server sends to a worker, or not now.
        """
        if packet_type == NOOP:
            self.asleep = False
        elif packet_type == JOB_ASSIGN_UNIQ:
            handle, function, unique, workload = arguments
            return self._assign(handle, function, unique, b"", workload)
        elif packet_type == NO_JOB:
            self._answered(packet_type, arguments)
            self._window = 1
            self._dry = self.grabs > 0
            if not self.grabs and not self.retiring:
                self.outgoing.append(_PRE_SLEEP)
                self.asleep = True
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
        elif packet_type == TOO_FEW_ARGUMENTS:
            raise ProtocolError("too few arguments in %s" % bytes(arguments[0]).decode())
        elif packet_type == WRONG_MAGIC:
            raise ProtocolError("a packet with the magic of a request, b'\\0REQ', from a server")
        else:
            raise ProtocolError("unexpected %s: %r" % (packet_name(packet_type), _show(arguments)))
        return None

    def _answered(self, packet_type: int, arguments: "Sequence[Data]") -> None:
        if not self.grabs:
            raise ProtocolError("%s without a grab: %r" % (packet_name(packet_type), _show(arguments)))
        self.grabs -= 1
        self.confirmed = True
        if self.retiring or self._withdrawn:
            self._withdraw()

    def rouse(self) -> None:
        """Be awake though no NOOP came, in case that one was lost."""
        self.asleep = False

    def _assign_too_large(self, packet_type: int, fields: "Sequence[Data]") -> Assignment:
        empty = {JOB_ASSIGN: 2, JOB_ASSIGN_UNIQ: 1, JOB_ASSIGN_ALL: 0}.get(packet_type)
        if empty is None or len(fields) + empty != 4:
            raise ProtocolError("%s that is too large: %r" % (packet_name(packet_type), _show(fields)))
        handle, function, unique, reducer = list(fields) + [b""] * empty
        return self._assign(handle, function, unique, reducer, None)

    def _assign(self, handle: "Data", function: "Data", unique: "Data", reducer: "Data", workload: "Optional[Data]"
                ) -> Assignment:
        if not handle:
            raise ProtocolError("a job without a handle: %r" % _show((function, unique, reducer)))
        job = Assignment(bytes(handle), bytes(function), bytes(unique), bytes(reducer), workload)
        self._running[job.function] = self._running.get(job.function, 0) + 1
        self._answered(JOB_ASSIGN, (handle, function))
        self._window += 1
        if not self.grabs:
            self._dry = False
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
        if not self.retiring:
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
        """Forget a job without a word to the server, which keeps it for this worker until told otherwise."""
        count = self._running.get(job.function, 0)
        if count > 1:
            self._running[job.function] = count - 1
        else:
            self._running.pop(job.function, None)
            if self.retiring or self._withdrawn:
                self._withdraw()

    def retire(self) -> None:
        """Grab no more, and withdraw the abilities as their jobs end."""
        self.retiring = True
        self._withdraw()

    def withdraw(self, functions: "Iterable[bytes]") -> None:
        """Take no more jobs of some functions, and withdraw each when its jobs have ended."""
        self._withdrawn.update(functions)
        self._withdraw()

    def farewell(self) -> None:
        """Ask for an echo: when it comes, all that was sent before it has arrived."""
        self.outgoing.append(pack_request(ECHO_REQ, b"bye"))
        self.farewells += 1

    def _withdraw(self) -> None:
        """Send CANT_DO where that takes no job away: gearmand gives the jobs of a withdrawn function to others."""
        if self.grabs:
            return
        going = [function for function in self._abilities
                 if function not in self._running and (self.retiring or function in self._withdrawn)]
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
