"""The client's half of the protocol, one object per connection.

A session has no socket: bytes to send are in `outgoing`, packets that arrived go into `receive`.
"""
from collections import deque

from ..errors import ProtocolError, QueueFull, ServerError
from .protocol import (ECHO_REQ, ECHO_RES, ERROR, GET_STATUS, GET_STATUS_UNIQUE, JOB_CREATED, LARGE_BODY, NOOP, OPTION_REQ,
                       OPTION_RES, STATUS_RES, STATUS_RES_UNIQUE, WORK_COMPLETE, WORK_DATA, WORK_EXCEPTION, WORK_FAIL,
                       WORK_STATUS, WORK_WARNING, pack_request, request_head, show_beginnings, unexpected)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Deque, Dict, Iterable, List, Tuple
    from .protocol import Data, Packet


class ClientSession:
    """What a client has asked one server, and who waits for which answer.

    A server answers commands in their order, so an answer belongs to the oldest command without one; only the packets of a job
    carry its handle.  Whoever submits passes a task, an object with the methods `created(handle)`, or `accepted(handle)` in the
    background, `refused(error)`, `progressed(numerator, denominator)`, `received(data)`, `warned(data)`, `completed(data)` and
    `failed(exception or None)`.
    Whoever asks passes a request, an object with `answered(arguments)` and `refused(error)`.

    Owner: whoever owns the connection.
    """

    __slots__ = ("outgoing", "answered", "late", "unanswered", "_tasks", "_turns")

    def __init__(self) -> None:
        self.outgoing = [pack_request(OPTION_REQ, b"exceptions")]  # type: List[Data]
        self.answered = 0          # commands that the server has answered
        self.late = 0              # packets for jobs that nobody here waits for, or no longer
        self.unanswered = deque()  # type: Deque[Tuple[int, Any, bool]] # answer's type, task or request, whether more follows
        self._tasks = {}           # type: Dict[bytes, List[Any]] # by handle; several if a submit joined another one of it
        self._turns = {}           # type: Dict[bytes, int] # which of several tasks the next packet of a handle is for
        self.unanswered.append((OPTION_RES, None, False))

    def __repr__(self) -> str:
        return "<ClientSession: %d commands unanswered, %d jobs open>" % (len(self.unanswered), len(self._tasks))

    def submit(self, task: "Any", packet_type: int, leading: "Iterable[bytes]", workload: "Data", background: bool) -> None:
        """Send a SUBMIT_JOB packet of any type."""
        self.outgoing.append(request_head(packet_type, len(workload), *leading))
        if len(workload) < LARGE_BODY:
            self.outgoing[-1] += workload  # type: ignore[operator]
        else:
            self.outgoing.append(workload)
        self.unanswered.append((JOB_CREATED, task, not background))

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
        self.unanswered.append((answer_type, request, False))

    def receive(self, packets: "Iterable[Packet]") -> None:
        """Hand packets to whoever waits for them.

        Raises ProtocolError for a packet that no server sends to a client, or not now.
        """
        for packet_type, arguments in packets:
            if packet_type == JOB_CREATED:
                handle = bytes(arguments[0])
                if not handle:
                    raise ProtocolError("a job without a handle: %r" % show_beginnings(arguments))
                _, task, followed = self._expect(packet_type, arguments)
                if followed:
                    self._tasks.setdefault(handle, []).append(task)
                    task.created(handle)
                else:
                    task.accepted(handle)
                self.unanswered.popleft()
            elif packet_type in _JOB_PACKETS:
                self._receive_for_job(packet_type, arguments)
            elif packet_type in (STATUS_RES, STATUS_RES_UNIQUE, ECHO_RES, OPTION_RES):
                _, request, _ = self._expect(packet_type, arguments)
                if request is not None:
                    request.answered(arguments)
                self.unanswered.popleft()
            elif packet_type == ERROR:
                self._receive_error(arguments)
            elif packet_type != NOOP:
                raise unexpected(packet_type, arguments)

    def waiting(self) -> "List[Tuple[Any, bool]]":
        """Everything that still waits, each with whether it is a confirmed task; asked when the connection is lost."""
        everybody = [(task, True) for tasks in self._tasks.values() for task in tasks]
        return everybody + [(waiting, False) for _, waiting, _ in self.unanswered if waiting is not None]

    def _expect(self, packet_type: int, arguments: "Any") -> "Tuple[int, Any, bool]":
        """What a packet answers; it is forgotten only after the waiting task has been told, so that no interrupt loses it."""
        if packet_type != OPTION_RES and self.unanswered and self.unanswered[0][0] == OPTION_RES:
            self.unanswered.popleft()  # a server that knows no options leaves the request unanswered
        if not self.unanswered or self.unanswered[0][0] != packet_type:
            raise unexpected(packet_type, arguments)
        self.answered += 1
        return self.unanswered[0]

    def _receive_error(self, arguments: "Any") -> None:
        code, text = (bytes(argument).decode("utf-8", "replace") for argument in arguments)
        error = (QueueFull if code == "QUEUE_ERROR" else ServerError)(code, text)
        if isinstance(error, QueueFull) and len(self.unanswered) > 1 and self.unanswered[0][0] == OPTION_RES:
            self.unanswered.popleft()
        if not self.unanswered:
            raise ProtocolError("an error that answers nothing: %s" % error)
        self.answered += 1
        waiting = self.unanswered[0][1]
        if waiting is not None:
            waiting.refused(error)
        self.unanswered.popleft()

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
    """A number as a worker reported it and the server relays it; 0 for what is not a number, or a far too large one."""
    text = bytes(argument)
    return int(text) if text.isdigit() and len(text) < 20 else 0
