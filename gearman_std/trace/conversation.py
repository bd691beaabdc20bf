"""One connection as a row of records: each is made of bytes, their time and direction, and tells to what it belongs."""
from collections import deque
from struct import Struct

from ..wire.meanings import ERROR_MEANINGS, MEANINGS, SERVER, TEXT_MEANINGS
from ..wire.protocol import (ALL_YOURS, ERROR, GRAB_JOB, GRAB_JOB_ALL, GRAB_JOB_UNIQ, HEADER_SIZE, JOB_ASSIGN, JOB_ASSIGN_ALL,
                             JOB_ASSIGN_UNIQ, JOB_CREATED, MAX_FIELD_SIZE, MAX_HANDLE_SIZE, MAX_LINE_SIZE, MAX_PACKET_SIZE,
                             MAX_UNIQUE_SIZE, NOOP, PACKETS, PRE_SLEEP, REQUEST, REQUEST_MAGIC, RESPONSE, SET_CLIENT_ID,
                             SUBMIT_JOB_SCHED, SUBMIT_REDUCE_JOB, SUBMIT_REDUCE_JOB_BACKGROUND, WORK_COMPLETE, WORK_DATA,
                             WORK_EXCEPTION, WORK_FAIL, WORK_STATUS, WORK_WARNING, packet_name)
from .jobs import JobBook, milliseconds, tell_assigned, tell_over, tell_worked
from .records import CONNECTS, ENDS, EVENT, FAILS, OVER, RESETS, TraceRecord, plain_text
from .units import HTTP_MESSAGE, LINE, PACKET, TLS, Unit, UnitReader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Deque, Dict, List, Optional, Tuple
    from .jobs import TracedJob
    from .units import Chunk

AS_ADMIN, AS_WEB, UNKNOWN_ROLE = "admin", "http", "peer"  # roles beside client and worker

_FIRST_FIELDS = Struct(">4sII")
_ENDS_OF_JOBS = frozenset((WORK_COMPLETE, WORK_FAIL, WORK_EXCEPTION))
_OF_JOBS = _ENDS_OF_JOBS | {WORK_STATUS, WORK_DATA, WORK_WARNING}
_TO_WORKERS = frozenset((JOB_ASSIGN, JOB_ASSIGN_UNIQ, JOB_ASSIGN_ALL))
_BY_GRABS = frozenset((GRAB_JOB, GRAB_JOB_UNIQ, GRAB_JOB_ALL))
_ALL_SUBMITS = frozenset(number for number, meaning in MEANINGS.items() if JOB_CREATED in meaning.answers)
_EVERY_ANSWER = frozenset(answer for meaning in MEANINGS.values() for answer in meaning.answers)
_REDUCES = (SUBMIT_REDUCE_JOB, SUBMIT_REDUCE_JOB_BACKGROUND)
_MAY_BE_WITHOUT_DATA = (WORK_COMPLETE, WORK_DATA, WORK_WARNING, WORK_EXCEPTION)
_OFTEN_REFUSED = (ALL_YOURS, SUBMIT_JOB_SCHED)  # by servers that do not know them
_MOST_REMEMBERED = 16  # of the requests that have no answer, which an ERROR may be about


def _only_roles(to_server: bool) -> "Dict[int, str]":
    """The role of the client's end by packet type, for those types to or from the server that only one role uses."""
    roles = {}
    for number, meaning in MEANINGS.items():
        found = {sender if to_server else receiver for sender, receiver in meaning.ways
                 if (receiver if to_server else sender) == SERVER}
        if len(found) == 1:
            roles[number] = str(found.pop())
    return roles


_ROLES = {True: _only_roles(True), False: _only_roles(False)}  # True: of packets that the client's end sends


class Question:
    """A request that has no answer yet.

    Owner: its conversation.
    """

    __slots__ = ("type", "time", "job", "odd")

    def __init__(self, packet_type: int, time: float, job: "Optional[TracedJob]", odd: bool) -> None:
        self.type = packet_type
        self.time = time
        self.job = job
        self.odd = odd  # a server is expected to refuse it

    def __repr__(self) -> str:
        return "<Question %s>" % packet_name(self.type)


class TextCommandAsked:
    """A text command whose answer has not come, or not all of it.

    Owner: its conversation.
    """

    __slots__ = ("name", "time", "begun")

    def __init__(self, name: str, time: float) -> None:
        self.name = name
        self.time = time
        self.begun = False

    def __repr__(self) -> str:
        return "<TextCommandAsked %s>" % self.name


class Conversation:
    """What passes on one connection.

    `number` is the connection's number and `server` the server's address.  An answer that takes longer than `slow` seconds is
    marked; at most the first `keep` bytes of a packet are kept.

    Owner: the tracer.
    """

    def __init__(self, number: int, server: str, book: JobBook, slow: float, keep: int) -> None:
        self.number = number
        self.server = server
        self.role = UNKNOWN_ROLE
        self.client_id = b""
        self.label = "%s %d" % (UNKNOWN_ROLE, number)
        self._book = book
        self._slow = slow
        methods = deque()  # type: Deque[bytes]
        self._readers = {True: UnitReader(True, keep, methods), False: UnitReader(False, keep, methods)}
        self._questions = deque()  # type: Deque[Question]
        self._unanswerable = deque(maxlen=_MOST_REMEMBERED)  # type: Deque[Question]
        self._commands = deque()   # type: Deque[TextCommandAsked]
        self._requests = deque()   # type: Deque[float] # when the requests of HTTP came that have no response
        self._woken = None         # type: Optional[float] # when NOOP was sent

    def __repr__(self) -> str:
        return "<Conversation of %s with %s>" % (self.label, self.server)

    # --------------------------------------------------------------------------------------------------------------- events

    def opened(self, time: float, address: str) -> TraceRecord:
        """The client has connected, from an address."""
        record = self._event(time, CONNECTS, True)
        record.arguments = [("from", address.encode("utf-8", "surrogateescape")), ("to", self.server.encode())]
        return record

    def failed(self, time: float, reason: str) -> TraceRecord:
        """The server cannot be reached."""
        record = self._event(time, FAILS, False)
        record.marks.append(reason)
        return record

    def took(self, from_client: bool, time: float, data: "Chunk") -> "List[TraceRecord]":
        """Bytes passed; return the records that they complete."""
        return [self._make(from_client, time, unit) for unit in self._readers[from_client].feed(data)]

    def ended(self, from_client: bool, time: float, reset: bool = False) -> "List[TraceRecord]":
        """One end has ended its sending; with `reset`, it has broken the connection."""
        records = [self._make(from_client, time, unit) for unit in self._readers[from_client].end()]
        record = self._event(time, RESETS if reset else ENDS, from_client)
        missing = len(self._questions) + len(self._commands)
        if missing and (reset or not from_client):
            record.marks.append("%d requests without an answer" % missing if missing > 1 else "a request without an answer")
        return records + [record]

    def closed(self, time: float) -> TraceRecord:
        """The connection is over."""
        return self._event(time, OVER, True)

    def _event(self, time: float, name: str, from_client: bool) -> TraceRecord:
        return self._sign(TraceRecord(time, EVENT, name, from_client))

    def _sign(self, record: TraceRecord) -> TraceRecord:
        """Note on a record which connection it belongs to."""
        record.connection = self.number
        record.server = self.server
        record.role = self.role
        record.peer = self.label
        record.client_id = self.client_id
        return record

    def _be(self, role: str) -> None:
        """The first thing that the client's end did shows its role."""
        self.role = role
        self._name()

    def _name(self) -> None:
        self.label = "%s %d" % (self.role, self.number)
        if self.client_id:
            self.label += " (%s)" % plain_text(self.client_id[:40])

    # -------------------------------------------------------------------------------------------------------------- records

    def _make(self, from_client: bool, time: float, unit: Unit) -> TraceRecord:
        kind = unit.kind
        if kind == PACKET and unit.size >= HEADER_SIZE:
            return self._make_packet(from_client, time, unit)
        if kind == LINE:
            return self._make_line(from_client, time, unit)
        if kind == HTTP_MESSAGE:
            return self._make_message(from_client, time, unit)
        record = TraceRecord(time, kind, {TLS: "TLS", PACKET: "packet"}.get(kind, "bytes"), from_client, *unit[1:])
        record.arguments = [("bytes", unit.data)]
        record.last_size = unit.size
        record.marks.append({TLS: "TLS, which cannot be read here; all that follows passes unseen",
                             PACKET: "cut off in its header"}.get(kind, "no packet"))
        return self._sign(record)

    def _make_packet(self, from_client: bool, time: float, unit: Unit) -> TraceRecord:
        data, size = unit.data, unit.size
        magic, packet_type, declared = _FIRST_FIELDS.unpack_from(data)
        shape = PACKETS.get(packet_type)
        name, direction, names = shape or (packet_name(packet_type), "", ("bytes",))
        record = TraceRecord(time, PACKET, name, from_client, data, size, unit.whole)
        record.type = packet_type
        marks = record.marks
        if shape is None:
            marks.append("no packet has this type, so servers close the connection")
        if (magic == REQUEST_MAGIC) != from_client:
            marks.append("marked as a request" if magic == REQUEST_MAGIC else "marked as a response")
        if direction == (RESPONSE if from_client else REQUEST):
            marks.append("no server takes this" if from_client else "no server sends this")
        if not unit.whole:
            marks.append("cut off: %d bytes of %d" % (size, HEADER_SIZE + declared))
        elif declared > MAX_PACKET_SIZE:
            marks.append("larger than servers take")
        count = len(names)
        if count:
            values = data[HEADER_SIZE:].split(b"\0", count - 1)
            if len(values) != count:
                values = self._odd_arguments(record, packet_type, values, count)
            record.arguments = list(zip(names, values))
            record.last_size = size - len(data) + len(values[-1])
            if len(data) > MAX_UNIQUE_SIZE:
                _check_sizes(record)
        elif declared:
            marks.append("%d bytes where none are expected" % declared)
            record.arguments = [("bytes", data[HEADER_SIZE:])]
            record.last_size = declared
        if self.role == UNKNOWN_ROLE and packet_type in _ROLES[from_client]:
            self._be(_ROLES[from_client][packet_type])
        if from_client:
            self._on_request(record, packet_type, values if count else [])
        else:
            self._on_response(record, packet_type, values if count else [])
        return self._sign(record)

    @staticmethod
    def _odd_arguments(record: TraceRecord, packet_type: int, values: "List[bytes]", count: int) -> "List[bytes]":
        """Note or mark that a packet has too few arguments; return the arguments.  Some programs are known to leave one out."""
        if packet_type in _REDUCES and len(values) == count - 1:
            record.notes.append("without the aggregator that libgearman sends")
            return values[:3] + [b""] + values[3:]
        if packet_type in _MAY_BE_WITHOUT_DATA and len(values) == count - 1:
            record.notes.append("without the NUL before the data, as Perl's worker sends it")
        elif len(record.data) == record.size:
            record.marks.append("%d arguments of %d" % (len(values), count))
        return values

    # ------------------------------------------------------------------------------------------------------------- requests

    def _on_request(self, record: TraceRecord, packet_type: int, values: "List[bytes]") -> None:
        """Find the job that a packet from the client's end belongs to, and remember the packet until its answer comes."""
        time, job = record.time, None
        meaning = MEANINGS.get(packet_type)
        if packet_type in _ALL_SUBMITS and len(values) > 1:
            record.function = values[0]
            job = self._book.submitted(time, self.label, values[0], values[1])
            record.notes.append("job %d" % job.number)
        elif packet_type in _OF_JOBS and values:
            job = self._book.find(self.server, values[0].rstrip(b"\0"))
            if job is not None:
                if packet_type in _ENDS_OF_JOBS:
                    job.ended = time
                    record.notes.append(tell_worked(job))
                else:
                    record.notes.append("job %d" % job.number)
        elif record.arguments and record.arguments[0][0] == "function":
            record.function = values[0]
        elif packet_type == SET_CLIENT_ID:
            self.client_id = values[0]
            self._name()
        elif record.arguments and record.arguments[0][0] == "handle":
            job = self._book.find(self.server, values[0])
        if self._woken is not None and packet_type in _BY_GRABS:
            self._measure(record, self._woken)
        if packet_type in _BY_GRABS or packet_type == PRE_SLEEP:
            self._woken = None
        record.job = job
        if job is not None and not record.function:
            record.function = job.function
        question = Question(packet_type, time, job, bool(record.marks) or packet_type in _OFTEN_REFUSED)
        (self._questions if meaning is not None and meaning.answers else self._unanswerable).append(question)

    # ------------------------------------------------------------------------------------------------------------ responses

    def _on_response(self, record: TraceRecord, packet_type: int, values: "List[bytes]") -> None:
        """Find the request and the job that a packet from the server belongs to."""
        question = None  # type: Optional[Question]
        if packet_type == ERROR:
            question = self._refused(record, values)
        elif packet_type in _EVERY_ANSWER:
            question = self._answered(packet_type)
            if question is None and packet_type not in _TO_WORKERS:  # after ALL_YOURS, jobs come without a request
                record.marks.append("no request waits for this")
        if packet_type in _TO_WORKERS and len(values) > 1:
            unique = values[2] if packet_type != JOB_ASSIGN and len(values) > 3 else b""
            record.job = self._book.assigned(record.time, self.server, self.label, values[0], values[1], unique)
            record.function = values[1]
            record.notes.append(tell_assigned(record.job))
        elif packet_type == JOB_CREATED and question is not None and question.job is not None:
            record.job, joined = self._book.created(self.server, values[0], question.job)
            record.notes.append("job %d" % record.job.number)
            if joined:
                record.notes[-1] += ", which was there already: job %d has joined it" % question.job.number
        elif values and record.arguments[0][0] == "handle":
            record.job = self._book.find(self.server, values[0].rstrip(b"\0"))
            if record.job is not None:
                over = packet_type in _ENDS_OF_JOBS
                record.notes.append(tell_over(record.job, record.time) if over else "job %d" % record.job.number)
        elif packet_type == NOOP:
            self._woken = record.time
        if record.job is not None and not record.function:
            record.function = record.job.function
        if question is not None:
            self._measure(record, question.time)

    def _measure(self, record: TraceRecord, since: float) -> None:
        """Note how long an answer took; mark it if that was too long."""
        taken = max(0.0, record.time - since)
        if taken > self._slow:
            record.marks.append("slow: after %s" % milliseconds(taken))
        else:
            record.notes.append("after %s" % milliseconds(taken))

    def _answered(self, packet_type: int) -> "Optional[Question]":
        """Take the oldest request that this packet can answer, or None."""
        questions = self._questions
        for index, question in enumerate(questions):
            if packet_type in MEANINGS[question.type].answers:
                del questions[index]
                return question
        return None

    def _refused(self, record: TraceRecord, values: "List[bytes]") -> "Optional[Question]":
        """Take the request that an ERROR is most likely about, judged by its code, or None."""
        code = values[0].decode("ascii", "backslashreplace") if values else ""
        record.marks.append("refused: %s" % ERROR_MEANINGS.get(code, "for a reason that only this server knows"))
        found = None  # type: Optional[Tuple[Deque[Question], int]]
        for questions in (self._questions, self._unanswerable):
            for index, question in enumerate(questions):
                meaning = MEANINGS.get(question.type)
                if question.odd and code.startswith("INVALID") or meaning is not None and code in meaning.errors:
                    if found is None or question.time < found[0][found[1]].time:
                        found = questions, index
                    break
        if found is None and self._questions and code != "JOB_NOT_FOUND":
            found = self._questions, 0
        if found is None:
            return None
        question = found[0][found[1]]
        del found[0][found[1]]
        record.notes.append("about %s" % packet_name(question.type))
        record.job = question.job
        return question

    # ----------------------------------------------------------------------------------------------------------------- text

    def _make_line(self, from_client: bool, time: float, unit: Unit) -> TraceRecord:
        line = unit.data.rstrip(b"\r\n")
        words = line.split()
        if from_client:
            if self.role == UNKNOWN_ROLE:
                self._be(AS_ADMIN)
            name = words[0].decode("ascii", "backslashreplace").lower() if words else ""
            known = name in TEXT_MEANINGS
            record = TraceRecord(time, LINE, name if known else "text", True, *unit[1:])
            if not known:
                record.marks.append("servers do not know this command" if words else "an empty line")
            elif unit.whole:
                self._commands.append(TextCommandAsked(name, time))
            if unit.size > MAX_LINE_SIZE:
                record.marks.append("longer than servers take")
        else:
            record = self._make_reply(time, unit, line)
        if not unit.whole:
            record.marks.append("cut off: a line without an end")
        record.arguments = [("line", line)]
        record.last_size = max(len(line), unit.size - 1 if unit.size > len(unit.data) else 0)
        return self._sign(record)

    def _make_reply(self, time: float, unit: Unit, line: bytes) -> TraceRecord:
        command = self._commands[0] if self._commands else None
        record = TraceRecord(time, LINE, command.name if command is not None else "text", False, *unit[1:])
        if command is None:
            if line[:4].rstrip() != b"ERR":
                record.marks.append("no command waits for this")
            return record
        first, command.begun = not command.begun, True
        refused = first and line[:4].rstrip() == b"ERR" and b"\t" not in line
        if refused:
            record.marks.append("refused")
        if first:
            self._measure(record, command.time)
        if refused or not TEXT_MEANINGS[command.name].listing or line == b".":
            self._commands.popleft()
        return record

    # ----------------------------------------------------------------------------------------------------------------- HTTP

    def _make_message(self, from_client: bool, time: float, unit: Unit) -> TraceRecord:
        if self.role == UNKNOWN_ROLE:
            self._be(AS_WEB)
        record = TraceRecord(time, HTTP_MESSAGE, "HTTP", from_client, *unit[1:])
        head, found, body = unit.data.partition(b"\r\n\r\n")
        if not found:
            head, found, body = unit.data.partition(b"\n\n")
        lines = head.splitlines()
        record.arguments = [("request" if from_client else "status", lines[0] if lines else b"")]
        for line in lines[1:]:
            name, _, value = line.partition(b":")
            if name.lower().startswith(b"x-gearman-"):
                record.arguments.append((name.decode("ascii", "backslashreplace").lower(), value.strip()))
                if name.lower() == b"x-gearman-job-handle":
                    record.job = self._book.find(self.server, value.strip())
        record.arguments.append(("body", body))
        record.last_size = unit.size - len(head) - len(found)
        if not unit.whole:
            record.marks.append("cut off")
        if from_client:
            self._requests.append(time)
            words = lines[0].split() if lines else []
            record.function = words[1].lstrip(b"/") if len(words) > 1 else b""
        else:
            status = lines[0][9:12] if lines else b""
            if self._requests and not status.startswith(b"1"):
                record.notes.append("after %s" % milliseconds(time - self._requests.popleft()))
            if status[:1] in (b"4", b"5"):
                record.marks.append("refused")
        if record.job is not None:
            record.function = record.job.function
            record.notes.insert(0, "job %d" % record.job.number)
        return self._sign(record)


def _check_sizes(record: TraceRecord) -> None:
    """Mark arguments that are longer than servers take."""
    for name, value in record.arguments[:-1] if len(record.arguments) > 1 else record.arguments:
        limit = {"unique": MAX_UNIQUE_SIZE, "handle": MAX_HANDLE_SIZE}.get(name, MAX_FIELD_SIZE if name != "data" else None)
        if limit is not None and len(value) > limit:
            record.marks.append("a %s of more than %d bytes" % (name, limit))
