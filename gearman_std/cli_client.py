"""The command `client`: data from the command line or standard input become jobs, their results standard output."""
import os
import time
from collections import deque
from contextlib import ExitStack

from .cli_common import (DONE, FAILED, CommandLine, Console, Option, Quit, UsageError, address_options, find_servers,
                         find_tls, read_seconds, status_of, terminate, whole_number)
from .cli_worker import run_worker_mode
from .client import Client
from .client_task import HIGH, LOW, NORMAL
from .daemon import PidFile, SignalHandlers, detach
from .errors import JobError, JobFailed, JobTimeout, NoServer, NoWorker, ServerError, ServerLost
from .timers import growing_pause

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Deque, Iterator, List, Optional, Sequence
    from .cli_common import Parsed
    from .client_task import Task

_CLIENT_ABOUT = """
Submit jobs, one for each DATA, else one with all of standard input, and print their results as they are, byte for byte.  All
options of the program gearman work as they do there.
"""
_CLIENT_STATUSES = """
0    every job was done, or accepted if in the background
1    a job failed or was refused; its text is on standard error
2    the command line makes no sense
3    no server can be reached, or the connection was lost
4    a job took longer than -t allows
130  interrupted by Ctrl-C; 141 the reader of standard output went away; 143 terminated
"""
_CLIENT_EXAMPLES = """
gearman-std client -f wc < file                     standard input is the job's data
gearman-std client -f wc "some data" "some more"    each word is one job's data
gearman-std client -n -f resize < list-of-files     each line is one job's data
gearman-std client -b -f resize -u photo-17 -- data
gearman-std client -h one,two:4731 -t 5000 -f reverse hello
gearman-std client -w -f wc -- wc -c                a worker; see gearman-std worker --help
"""
_CONNECT_TIMEOUT = 5.0
_UNIQUE_OF_DATA = "#"


def make_client_line() -> CommandLine:
    """The options of `client`."""
    usage = ["client [OPTIONS] -f FUNCTION [--] [DATA...]", "client -w [OPTIONS] -f FUNCTION [--] [COMMAND...]"]
    return CommandLine("client", usage, _CLIENT_ABOUT, [
        address_options(),
        ("Jobs", [
            Option("-f --function", "FUNCTION", "function that is to do the job; if given several times, each of them does it",
                   repeat=True),
            Option("-n --lines", "", "each line of standard input is a job, with its line end"),
            Option("-N --lines-stripped", "", "the same without its line end"),
            Option("-s --empty", "", "one job without data; standard input is not read"),
            Option("-b --background", "", "do not wait for the result, which nobody gets"),
            Option("-I --high", "", "high priority"),
            Option("-L --low", "", "low priority"),
            Option("-u --unique", "UNIQUE", "key of the job: while a job of the same function and key waits or runs, this one "
                   "joins it; # makes the key of the data, - has the server take the data for the key (default: a new key for "
                   "each job)"),
            Option("--at", "UNIXTIME", "do the job at that time, in the background", read_seconds),
            Option("--delay", "SECONDS", "do the job after that time, in the background", read_seconds),
            Option("--reducer", "FUNCTION", "submit a reduce job", os.fsencode),
            Option("--require-worker", "", "fail at once if no worker can do the function"),
        ]),
        ("Waiting and output", [
            Option("-t --timeout", "MS", "wait that many milliseconds for each result, -1 for ever (default: -1)",
                   whole_number(-1)),
            Option("-j --parallel", "N", "have up to N jobs at a time; the results still come in order (default: 1)",
                   whole_number(1), default=1),
            Option("--attempts", "N", "submit a job again that failed, was refused or lost, up to N times in all",
                   whole_number(1), default=1),
            Option("-P --prefix", "", "begin each piece of output with the function's name"),
            Option("-v --verbose", "", "print each job's handle", repeat=True),
        ]),
        ("The program", [
            Option("-i --pid-file", "FILE", "write the process id to a file, which goes at the end"),
            Option("-d --daemon", "", "go on in the background once all data is read"),
            Option("-w --worker", "", "be a worker, as gearman -w is: its options are -f -c -n -N -t -i -d"),
            Option("-c --count", "N", "-w: end after N jobs", whole_number(0)),
        ]),
    ], [("Output", "The result as it is, without a line end; N% Complete for a job's progress; warnings on standard error."),
        ("Exit status", _CLIENT_STATUSES), ("Examples", _CLIENT_EXAMPLES)])


def run_client(console: Console, arguments: "Sequence[str]") -> int:
    """Run `client`; return the exit status."""
    options = make_client_line().parse(arguments)
    if not options.function:
        raise UsageError("no function was given, with -f")
    if options.worker:
        return run_worker_mode(console, options)
    if options.high and options.low:
        raise UsageError("-I and -L contradict each other")
    servers, tls = find_servers(options, os.environ), find_tls(options, os.environ)
    detached = detach() if options.daemon else None
    with ExitStack() as stack:
        if options.pid_file:
            stack.enter_context(PidFile(options.pid_file))
        stack.enter_context(SignalHandlers({"SIGTERM": terminate}))
        workloads = _find_workloads(console, options)
        if detached is not None:
            workloads = iter(list(workloads))
            detached.ready(keep_output=True)
        client = stack.enter_context(Client(servers, connect_timeout=_connect_timeout(options), tls=tls))
        return _Submitter(client, console, options).run(workloads)


def _connect_timeout(options: "Parsed") -> float:
    return _CONNECT_TIMEOUT if options.timeout in (None, -1) else min(_CONNECT_TIMEOUT, options.timeout / 1000.0)


def _find_workloads(console: Console, options: "Parsed") -> "Iterator[bytes]":
    """The data of each job: the words, or standard input, which is read no further than it is needed."""
    if options.words:
        for word in options.words:
            yield os.fsencode(word)
    elif options.empty:
        yield b""
    elif options.lines or options.lines_stripped:
        while True:
            line = console.read_line()
            if not line:
                return
            yield line[:-1] if options.lines_stripped and line.endswith(b"\n") else line
    else:
        yield console.read()


def make_unique(wanted: "Optional[str]", workload: bytes, random: "Callable[[int], bytes]" = os.urandom) -> bytes:
    """The unique of a job: the one wanted, one made of the data for `#`, or a new UUID."""
    if wanted is None:
        # A key of its own lets the job be submitted again after a broken connection without running twice.
        from uuid import UUID
        return str(UUID(bytes=random(16), version=4)).encode()
    if wanted == _UNIQUE_OF_DATA:
        # gearman has 32 bits here, where different data too often have the same key.
        from hashlib import sha256
        return b"%d" % int.from_bytes(sha256(workload).digest()[:16], "big")
    return os.fsencode(wanted)


class _Submission:
    """One job: its task, and what it has said that is not printed yet because it is not its turn.

    Owner: the thread that runs the command.
    """

    __slots__ = ("function", "workload", "attempt", "task", "live", "_held", "_print", "_clock", "_began")

    def __init__(self, function: str, workload: bytes, print_event: "Callable[[str, Any], None]",
                 clock: "Callable[[], float]" = time.monotonic) -> None:
        self.function = function
        self.workload = workload
        self.attempt = 0
        self.task = None  # type: Any
        self.live = False
        self._held = []   # type: List[Any]
        self._print = print_event
        self._clock = clock
        self._began = 0.0

    def __repr__(self) -> str:
        return "<_Submission of %s, attempt %d>" % (self.function, self.attempt)

    def begin(self, submit: "Callable[..., Any]") -> None:
        """Submit it, for the first time or again."""
        self.attempt += 1
        self._began = self._clock()
        self.task = submit(self, on_status=lambda *numbers: self._hear("status", numbers),
                           on_data=lambda data: self._hear("data", data),
                           on_warning=lambda data: self._hear("warning", data))

    def left(self, timeout_ms: "Optional[int]") -> "Optional[float]":
        """The seconds that are left for its result."""
        if timeout_ms is None or timeout_ms < 0:
            return None
        return max(0.0, self._began + timeout_ms / 1000.0 - self._clock())

    def go_live(self) -> None:
        """Its turn has come: print what it has said, and from now on at once."""
        self.live = True
        held, self._held = self._held, []
        for kind, value in held:
            self._print(kind, value)

    def _hear(self, kind: str, value: "Any") -> None:
        if self.live:
            self._print(kind, value)
        else:
            self._held.append((kind, value))


class _Submitter:
    """Submits jobs, and prints what becomes of them in their order.

    Owner: the thread that runs the command.
    """

    def __init__(self, client: Client, console: Console, options: "Parsed",
                 sleep: "Callable[[float], None]" = time.sleep) -> None:
        self._client = client
        self._console = console
        self._options = options
        self._sleep = sleep
        self._status = DONE
        self._background = options.background or options.at is not None or options.delay is not None
        self._priority = HIGH if options.high else LOW if options.low else NORMAL

    def __repr__(self) -> str:
        return "<_Submitter for %r, status %d>" % (self._client, self._status)

    def run(self, workloads: "Iterator[bytes]") -> int:
        """Submit a job of each function for each workload; return the exit status."""
        options = self._options
        under_way = deque()  # type: Deque[_Submission]
        for workload in workloads:
            for function in options.function:
                submission = _Submission(function, workload, self._printer(function))
                if self._begin(submission):
                    under_way.append(submission)
                if len(under_way) >= options.parallel:
                    self._finish(under_way.popleft())
        while under_way:
            self._finish(under_way.popleft())
        return self._status

    def _begin(self, submission: _Submission) -> bool:
        """Submit a job; return whether it is under way."""
        while True:
            try:
                submission.begin(self._submit)
                return True
            except (ServerError, NoWorker, NoServer, ServerLost) as error:
                if not self._may_try_again(submission, error):
                    return False

    def _submit(self, submission: _Submission, **callbacks: "Any") -> "Task":
        options = self._options
        arguments = dict(callbacks, function=os.fsencode(submission.function), workload=submission.workload,
                         unique=make_unique(options.unique, submission.workload), priority=self._priority,
                         background=self._background, at=options.at, delay=options.delay, reducer=options.reducer)
        if self._background and options.parallel > 1 and not options.require_worker:
            return self._client.submit_many([arguments])[0]  # which does not wait until it is accepted
        return self._client.submit(require_worker=options.require_worker, **arguments)

    def _finish(self, submission: _Submission) -> None:
        """Wait for a job and print its result, its error, or try again."""
        options = self._options
        while True:
            try:
                if options.verbose:
                    self._console.write("Task created: %s\n" % submission.task.handle.decode("utf-8", "backslashreplace"))
                submission.go_live()
                if self._background:
                    submission.task.handle  # waits until it is accepted
                else:
                    self._printer(submission.function)("data", submission.task.result(submission.left(options.timeout)))
                return
            except (ServerError, JobError, NoServer, ServerLost) as error:
                if not self._may_try_again(submission, error) or not self._begin(submission):
                    return

    def _may_try_again(self, submission: _Submission, error: "Any") -> bool:
        """Whether to submit a job again; otherwise, tell what is wrong with it."""
        if submission.attempt < self._options.attempts:
            self._sleep(growing_pause(0.5, 60.0, submission.attempt - 1))
            submission.live = False
            return True
        if isinstance(error, (NoServer, ServerLost)):
            raise error  # and be done: the next job would fare no better
        if isinstance(error, JobFailed):
            told = error.exception in error.warnings  # by the callback, when it came
            text = b": " + error.exception.rstrip() if error.exception and not told else b""
            self._console.warn(self._prefix(submission.function) + b"Job failed" + text + b"\n")
        elif isinstance(error, JobTimeout):
            self._console.complain("no result of %s within %d ms" % (submission.function, self._options.timeout))
        else:
            self._console.complain(str(error))
        if self._status == DONE:
            self._status = status_of(error)
        return False

    def _prefix(self, function: str) -> bytes:
        return os.fsencode(function) + b": " if self._options.prefix else b""

    def _printer(self, function: str) -> "Callable[[str, Any], None]":
        """What prints the data, the warnings and the progress of a function's jobs."""
        prefix, console = self._prefix(function), self._console

        def print_event(kind: str, value: "Any") -> None:
            try:
                if kind == "data":
                    console.write(prefix + value if prefix else value)
                elif kind == "warning":
                    console.warn(prefix + value)
                else:
                    console.write(b"%s%d%% Complete\n" % (prefix, value[0] * 100 // value[1] if value[1] else 0))
            except OSError as error:  # in a callback, an ordinary exception would go no further than the log
                console.complain(str(error.strerror))
                raise Quit(FAILED) from None
        return print_event
