"""Asking a job server for status, workers, jobs and version; steering it.

The text protocol has no frame: what a reply looks like follows from the command.  An order or a question is answered with one
line, a listing with lines up to one that holds a single dot; a refusal of either is one line that begins with ERR.
"""
import os
import re
from binascii import a2b_base64
from collections import namedtuple

from ..arguments import check_number
from ..errors import CommandTimeout, ProtocolError, ServerLost
from ..net.addresses import join_address, split_servers
from ..net.connection import (LONGEST_REFUSAL, Deadline, check_timeout, check_tls_kind, is_refusal, read_refusal)
from ..net.system import REAL_SYSTEM
from ..wire.protocol import MAX_LINE_SIZE, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Iterator, List, Optional, Set, Tuple, Type, TypeVar, Union
    from types import TracebackType
    from ..net.connection import Connection
    from ..net.system import System
    Text = Union[str, bytes]
    AdminType = TypeVar("AdminType", bound="AdminClient")

_LONGEST_NAME = 4 * MAX_LINE_SIZE
_NUMBER = re.compile(rb"-?\d{1,20}\Z")  # Python refuses to read numbers of thousands of digits
_PEER_START = re.compile(rb"\d{1,20} \S* ")
_PEER_LINE = re.compile(rb"(\d{1,20}) (\S*) (.*?) :(?: (.*))?\Z", re.DOTALL)


class FunctionStatus(namedtuple("FunctionStatus", "function total running workers")):
    """A line of `status`: `total` counts the jobs that wait and those that run, `workers` who can do it."""

    __slots__ = ()
    function: "bytes"
    total: "int"
    running: "int"
    workers: "int"


class PriorityStatus(namedtuple("PriorityStatus", "function high normal low workers")):
    """A line of `prioritystatus`: how many jobs wait in each priority; those that run are not counted."""

    __slots__ = ()
    function: "bytes"
    high: "int"
    normal: "int"
    low: "int"
    workers: "int"


class ConnectedPeer(namedtuple("ConnectedPeer", "number address client_id functions")):
    """A line of `workers`, which lists every connection, those of clients too, and the one that asks.

    `address` is a str without a port.  A function whose name holds a blank looks like several: the reply has nothing but blanks
    between the names.
    """

    __slots__ = ()
    number: "int"
    address: "str"
    client_id: "bytes"
    functions: "Tuple[bytes, ...]"


class QueuedJob(namedtuple("QueuedJob", "handle attempts ignored stored")):
    """A line of `show jobs`: `attempts` were lost so far; `ignored` says that nobody wants it any more, `stored` that it is a
    background job."""

    __slots__ = ()
    handle: "bytes"
    attempts: "int"
    ignored: "bool"
    stored: "bool"


class JobAside(namedtuple("JobAside", "handle function unique attempts error")):
    """A job that gearman_std's server has set aside because its attempts are used up, with its last error."""

    __slots__ = ()
    handle: "bytes"
    function: "bytes"
    unique: "bytes"
    attempts: "int"
    error: "bytes"


class AdminClient:
    """The administrative commands of one job server; connects at the first of them, and again after a broken connection.

        with AdminClient("localhost") as admin:
            for function in admin.status():
                print(function.function, function.total)

    `server` is an address, by default the first of GEARMAN_SERVERS or else localhost:4730.  `timeout` is in seconds and for a
    whole command, connecting included; None is no limit.  `tls` is as for `open_connection`.  Names, handles and uniques are
    bytes; as arguments, str is taken as UTF-8.

    Every command raises ValueError, before anything is sent, for what a text command cannot carry, such as a name with a blank;
    NoServer, ConnectTimeout, CommandTimeout or ServerLost; ServerError if the server refuses it; ProtocolError for a reply that
    makes no sense.

    Owner: the thread that uses it.
    """

    def __init__(self, server: "Any" = None, timeout: "Optional[float]" = 10.0, *, tls: "Any" = None,
                 _system: "System" = REAL_SYSTEM) -> None:
        addresses = split_servers(server, os.environ, "server")
        if server is not None and len(addresses) > 1:
            raise ValueError("server is %r, of which one AdminClient can ask only one" % (server,))
        self.address = addresses[0]
        self.timeout = check_timeout("timeout", timeout)
        check_tls_kind(tls)
        self._tls = tls
        self._system = _system
        self._connection = None  # type: Optional[Connection]

    def __repr__(self) -> str:
        return "<AdminClient of %s%s>" % (join_address(self.address), "" if self._connection else ", not connected")

    def __enter__(self: "AdminType") -> "AdminType":
        return self

    def __exit__(self, kind: "Optional[Type[BaseException]]", error: "Optional[BaseException]",
                 traceback: "Optional[TracebackType]") -> None:
        self.close()

    @property
    def connected(self) -> bool:
        """Whether there is a connection, as far as is known."""
        return self._connection is not None

    def connect(self) -> None:
        """Connect, unless it is connected, as the first command would."""
        if self._connection is None:
            self._connection = self._system.connect(self.address, self.timeout, self._tls)

    def close(self) -> None:
        """Close the connection; the next command opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    # --- Questions.

    def status(self) -> "List[FunctionStatus]":
        """Each function's jobs and workers."""
        return [FunctionStatus(words[0], *map(int, words[1:])) for words in self._table("status", 4)]

    def priority_status(self) -> "List[PriorityStatus]":
        """Each function's waiting jobs by priority, and its workers."""
        return [PriorityStatus(words[0], *map(int, words[1:])) for words in self._table("prioritystatus", 5)]

    def workers(self) -> "List[ConnectedPeer]":
        """Every connection, with the functions that it can do."""
        peers = []  # type: List[ConnectedPeer]
        for line in _peer_lines(self.listing("workers")):
            match = _PEER_LINE.match(line)
            if match is None:
                raise ProtocolError("the line %r in the list of workers makes no sense" % line[:200])
            number, address, client_id, functions = match.groups()
            peers.append(ConnectedPeer(int(number), address.decode("utf-8", "backslashreplace"), client_id,
                                       tuple(filter(None, (functions or b"").split(b" ")))))
        return peers

    def jobs(self) -> "List[QueuedJob]":
        """Every job that waits or runs."""
        return [QueuedJob(handle, int(attempts), ignored != b"0", stored != b"0")
                for handle, attempts, ignored, stored in self._table("show jobs", 4)]

    def unique_jobs(self) -> "List[bytes]":
        """The uniques of all jobs that wait or run; b"" for a job that has none."""
        return self.listing("show unique jobs")

    def version(self) -> str:
        """The server's version."""
        line = self.send(b"version")
        if line[:1] == b"v":
            line = b"OK " + line  # which Perl's server leaves out
        return _without_ok(line, "version")

    def verbose(self) -> str:
        """The server's log level: FATAL, ALERT, CRITICAL, ERROR, WARNING, NOTICE, INFO or DEBUG."""
        return self.ask("verbose")

    def getpid(self) -> int:
        """The server's process id."""
        answer = self.ask("getpid")
        if not _NUMBER.match(answer.encode()):
            raise ProtocolError("%r is no process id" % answer[:200])
        return int(answer)

    def ping(self) -> float:
        """The seconds that the server takes to answer."""
        began = self._system.clock()
        self.ask("version")
        return self._system.clock() - began

    # --- Orders.

    def max_queue(self, function: "Text", limit: "Optional[int]" = None, normal: "Optional[int]" = None,
                  low: "Optional[int]" = None) -> None:
        """Refuse jobs of a function when it has `limit` of them; None or 0 is no limit.

        With `normal` and `low`, `limit` is for jobs of high priority, and each priority's own limit is compared with all jobs
        of the function.
        """
        limits = [limit, normal, low]
        for name, one in zip(("limit", "normal", "low"), limits):
            if one is not None:
                check_number(name, one, 0, whole=True)
        if normal is None and low is None:
            self.order("maxqueue", function, *([] if limit is None else [b"%d" % limit]))
        else:
            self.order("maxqueue", function, *[b"%d" % (one or 0) for one in limits])

    def create_function(self, function: "Text") -> None:
        """Make a function known to the server before a worker or a job names it."""
        self.order("create", "function", function)

    def drop_function(self, function: "Text", force: bool = False) -> None:
        """Make the server forget a function that no worker can do.

        gearmand throws away the jobs that wait; gearman_std's server refuses if there are any, and sets them aside with
        `force`, which gearmand does not know.
        """
        self.order("drop", "function", function, *(["force"] if _is_true("force", force) else []))

    def cancel_job(self, handle: "Text") -> None:
        """End a job as a failure; a worker that runs it goes on in vain."""
        self.order("cancel", "job", handle)

    def shutdown(self, graceful: bool = False) -> None:
        """Stop the server, at once or when no job is left.  gearmand does not know this command."""
        self.order("shutdown", *(["graceful"] if _is_true("graceful", graceful) else []))
        self.close()

    # --- What only gearman_std's server knows.

    def job_details(self, limit: "Optional[int]" = None, function: "Optional[Text]" = None) -> "List[Dict[str, Any]]":
        """All about every job that waits or runs, or the first `limit`, of one function or of all: function, unique, priority,
        state, age, attempts, worker, size and more."""
        return self._json(*_some_of("show jobs json", limit, function))

    def schedules(self, limit: "Optional[int]" = None, function: "Optional[Text]" = None) -> "List[Dict[str, Any]]":
        """The same about the jobs that recur, or wait for a date or for their next attempt."""
        return self._json(*_some_of("show schedules", limit, function))

    def history(self, limit: "Optional[int]" = None, function: "Optional[Text]" = None) -> "List[Dict[str, Any]]":
        """How the last attempts ended that the server remembers, of one function or of all, the newest first: function, handle,
        unique, outcome, time, waited, ran, worker, text.

        Those of several functions are in the order of time only with a limit, which is 1,000 at most.
        """
        return self._json(*_some_of("show history", limit, function))

    def servers(self) -> "List[Dict[str, Any]]":
        """The servers of the database that the server shares with others: server, state, silent, adopted_by and more; none if
        it shares none."""
        return self._json("show servers json")

    def aside_details(self) -> "List[Dict[str, Any]]":
        """The same about every job that was set aside."""
        return self._json("show aside json")

    def function_details(self) -> "List[Dict[str, Any]]":
        """All about every function: whether it is paused, its limits, its jobs and their bytes, its workers, and what has
        happened to its jobs."""
        return self._json("show functions json")

    def result(self, handle: "Text") -> "Dict[str, Any]":
        """All about a job, whether it is to run, runs or has ended, as long as its function's policy keeps that.

        Under "keep" stands for how many seconds, None if not at all, and under "end" how the job, or the last run of one that
        recurs, has ended, None if it has not, or that is not kept: "outcome" ("completed", "failed" or "cancelled"), "text" and
        so on; "data" and "result" are bytes, None if they were too large.  Raises ServerError with the code UNKNOWN_JOB.
        """
        story = self._json(*_command_line(("result", handle)).split(b" "))
        if len(story) != 1 or not isinstance(story[0], dict):
            raise ProtocolError("the reply to result makes no sense: %.200r" % (story,))
        end = story[0].get("end") or {}
        for name in ("data", "result"):
            if end.get(name) is not None:
                end[name] = a2b_base64(end[name])
        return story[0]

    def aside(self) -> "List[JobAside]":
        """The jobs that were set aside because their attempts are used up."""
        rows = [handle.partition(b"\t")[::2] + (unique, attempts, error)
                for handle, unique, attempts, error in self._table("show aside", 4, 2, 3)]
        # A tab may be of the function's name, or of the unique.
        known = {line.function for line in self.status()} if any(b"\t" in row[1] for row in rows) else set()
        jobs = []  # type: List[JobAside]
        for handle, function, unique, attempts, error in rows:
            function, unique = _split_name(function, unique, known)
            jobs.append(JobAside(handle, function, unique, int(attempts), error))
        return jobs

    def totals(self) -> "Dict[str, int]":
        """What the server has counted since its start, and how much it has of what."""
        return {name.decode("utf-8", "backslashreplace"): int(figure) for name, figure in self._table("show totals", 2)}

    def pause(self, function: "Text") -> None:
        """Accept jobs of a function, but give none to workers."""
        self.order("pause", "function", function)

    def resume(self, function: "Text") -> None:
        """End a pause."""
        self.order("resume", "function", function)

    def drain(self, on: bool = True) -> None:
        """Refuse all new jobs, while those that wait are done; with False, accept them again."""
        self.order("drain", "on" if _is_true("on", on) else "off")

    def cancel_unique(self, unique: "Text", function: "Optional[Text]" = None) -> int:
        """Cancel the jobs with a unique, of one function or of all; return how many there were."""
        return self._count("cancel", "unique", unique, *([] if function is None else [function]))

    def cancel_function(self, function: "Text") -> int:
        """Cancel all jobs of a function; return how many there were."""
        return self._count("cancel", "function", function)

    def requeue(self, handle: "Optional[Text]" = None, function: "Optional[Text]" = None) -> int:
        """Give the job with a handle, those of a function, or all that were set aside another try; return how many there
        were."""
        return self._count("requeue", *_which_jobs(handle, function))

    def purge(self, handle: "Optional[Text]" = None, function: "Optional[Text]" = None) -> int:
        """Throw away the job with a handle, those of a function, or all that were set aside; return how many there were."""
        return self._count("purge", *_which_jobs(handle, function))

    def run_job(self, handle: "Text") -> None:
        """Have a job run at once that waits for a date, or for its next attempt."""
        self.order("run", "job", handle)

    # --- What the commands are made of; also for commands of other servers.

    def ask(self, *words: "Text") -> str:
        """Send a command that is answered with one line; return that without its OK."""
        return _without_ok(self.send(_command_line(words)), words[0])

    def order(self, *words: "Text") -> None:
        """Send a command that is answered with OK."""
        self.ask(*words)

    def listing(self, *words: "Text") -> "List[bytes]":
        """Send a command that is answered with lines up to a dot; return them without their ends and without the dot."""
        reply = self.send(_command_line([word for part in words for word in encode(part).split(b" ")]), listing=True)
        return reply.split(b"\n")[:-2]

    def send(self, line: "Text", listing: bool = False) -> bytes:
        """Send one command and return the reply as it comes, with the dot's line at the end of a listing.

        Raises ServerError for a reply that begins with ERR.
        """
        command = encode(line)
        if not command.strip() or b"\n" in command or b"\0" in command or len(command) > MAX_LINE_SIZE - 2:
            raise ValueError("a command that does not fit into a line: %r" % command[:80])
        deadline = Deadline(self.timeout, self._system.clock)
        self._notice_end()
        try:
            if self._connection is None:
                self._connection = self._system.connect(self.address, deadline.left(), self._tls)
            reply = self._exchange(self._connection, command + b"\r\n", listing, deadline)
        except BaseException:
            self.close()  # a reply that comes too late must not be taken for the next one's
            raise
        if is_refusal(reply, listing):
            raise read_refusal(reply)
        return reply

    def _notice_end(self) -> None:
        """Let go of a connection that the server has closed since the last command, or on which it spoke unasked, or that is
        the parent's of this process."""
        try:
            if self._connection is not None and self._connection.inherited:
                self.close()
            elif self._connection is not None and self._connection.receive() is not None:
                self.close()
        except ServerLost:
            self.close()

    def _exchange(self, connection: "Connection", command: bytes, listing: bool, deadline: Deadline) -> bytes:
        connection.put(command)
        reply = bytearray()
        while True:
            connection.flush()
            received = connection.receive()
            if isinstance(received, bytes):
                reply += received
                # Only at the end of all that has arrived is a dot the end: a job's unique may be a dot too.
                ended = reply == b".\n" or reply.endswith(b"\n.\n") if listing else reply.endswith(b"\n")
                if ended or is_refusal(reply, listing):
                    return bytes(reply)
                if not listing and len(reply) > LONGEST_REFUSAL:
                    raise ProtocolError("a reply of one line that does not end: %r…" % bytes(reply[:200]))
            if deadline.over:
                raise CommandTimeout("%s did not answer within %s s" % (join_address(self.address), self.timeout),
                                     "unconfirmed")
            if received is None:
                connection.wait(deadline.left())

    def _table(self, command: str, columns: int, first_number: int = 1,
               numbers: "Optional[int]" = None) -> "Iterator[List[bytes]]":
        """The rows of a listing whose columns have tabs between them; the first column may hold tabs and line ends too."""
        def is_row(line: bytes) -> bool:
            words = line.rsplit(b"\t", columns - 1)
            return len(words) == columns and all(map(_NUMBER.match, words[first_number:numbers]))
        for line in _whole_lines(self.listing(command), is_row):
            if not is_row(line):
                raise ProtocolError("the line %r in the reply to %s makes no sense" % (line[:200], command))
            yield line.rsplit(b"\t", columns - 1)

    def _json(self, *words: "Text") -> "List[Dict[str, Any]]":
        from json import loads
        try:
            return [loads(line.decode("utf-8")) for line in self.listing(*words)]
        except (ValueError, RecursionError) as error:
            raise ProtocolError("the reply to %s is not JSON: %s" % (encode(words[0]).decode(), error)) from None

    def _count(self, *words: "Text") -> int:
        answer = self.ask(*words)
        return int(answer) if _NUMBER.match(answer.encode()) else 0


def _without_ok(line: bytes, command: "Text") -> str:
    if line[:2].upper() != b"OK":
        raise ProtocolError("%r is no reply to %r" % (line[:200], command))
    return line[2:].strip().decode("utf-8", "backslashreplace")


def _command_line(words: "Any") -> bytes:
    """The words as a line, which only blanks separate.

    Raises ValueError or TypeError for a word that cannot be one.
    """
    encoded = []  # type: List[bytes]
    for word in words:
        try:
            encoded.append(encode(word))
        except TypeError as error:
            raise TypeError("%r cannot be a word of the command %s: %s" % (word, words[0], error)) from None
        except UnicodeEncodeError:
            raise ValueError("%r is no text; bytes can be any (see os.fsencode)" % (word,)) from None
        if not encoded[-1] or any(byte in encoded[-1] for byte in (b" ", b"\n", b"\0")):
            raise ValueError("the text protocol cannot carry %r, which is empty or holds a blank, a line end or a NUL" % (
                encoded[-1][:80],))
    if encoded[-1].endswith(b"\r"):
        raise ValueError("the text protocol cannot carry %r, whose end is taken for that of the line" % encoded[-1][:80])
    return b" ".join(encoded)


def _is_true(name: str, value: "Any") -> bool:
    """A switch; raises TypeError for what is neither True nor False, as "off"."""
    if value not in (True, False):
        raise TypeError("%s is %r, not True or False" % (name, value))
    return bool(value)


def _split_name(function: bytes, unique: bytes, known: "Set[bytes]") -> "Tuple[bytes, bytes]":
    """A function's name and a unique that have a tab between them: the longest name that is a function's, else all."""
    rest = [unique]
    name = function
    while name not in known and b"\t" in name:
        name, _, part = name.rpartition(b"\t")
        rest.insert(0, part)
    return (name, b"\t".join(rest)) if name in known else (function, unique)


def _some_of(command: str, limit: "Optional[int]", function: "Optional[Text]") -> "List[Text]":
    """The words of a listing of some of all; None is no limit, and all functions."""
    if limit is not None:
        check_number("limit", limit, 1, whole=True)
    words = list(command.split())  # type: List[Text]
    if limit is not None or function is not None:
        words.append(b"%d" % (limit or 0))
    return words if function is None else words + [_command_line((function,))]


def _which_jobs(handle: "Optional[Text]", function: "Optional[Text]") -> "Tuple[Text, ...]":
    if handle is not None and function is not None:
        raise ValueError("a handle or a function, not both")
    if handle is not None:
        return "job", handle
    return ("all",) if function is None else ("function", function)


def _peer_lines(lines: "List[bytes]") -> "List[bytes]":
    """The lines of a list of connections, those put together again that a line end in a client id or a name has cut."""
    rows = []  # type: List[List[bytes]]
    whole = True
    for line in lines:
        if not rows or whole and _PEER_START.match(line):
            rows.append([line])
            whole = _PEER_LINE.match(line) is not None
        else:
            rows[-1].append(line)
            whole = whole or b" :" in line
    return [b"\n".join(row) for row in rows]


def _whole_lines(lines: "List[bytes]", is_whole: "Callable[[bytes], Any]") -> "Iterator[bytes]":
    """The lines, those put together again that a line end inside a name has cut."""
    held = b""
    for line in lines:
        line = held + line
        if is_whole(line) or len(line) > _LONGEST_NAME:
            held = b""
            yield line
        else:
            held = line + b"\n"
    if held:
        yield held[:-1]
