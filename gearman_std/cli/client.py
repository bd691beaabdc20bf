"""The command `client`: makes jobs of the words of the command line or of standard input, and prints their results."""
import os
import time
from collections import deque
from contextlib import ExitStack
from struct import iter_unpack

from ..client.admin import AdminClient
from ..client.client import Client
from ..client.plan import HIGH, LOW, NORMAL
from ..errors import (CommandTimeout, ConnectTimeout, GearmanError, JobError, JobFailed, JobTimeout, NoServer, NoWorker,
                      ServerError, ServerLost)
from ..schedule import read_crontab
from ..timers import growing_pause
from ..wire.protocol import MAX_UNIQUE_SIZE
from .common import address_options, find_servers, find_tls, status_of, terminate
from .console import DONE, FAILED, TOO_LATE, Console, Quit, is_terminal, show
from .following import follow_anywhere, show_following
from .options import CommandLine, Option, UsageError, did_you_mean, read_seconds, whole_number
from .progress import Inputs, Progress, is_file
from .daemon import PidFile, SignalHandlers, detach

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Deque, Dict, Iterator, List, Optional, Sequence, Set, Tuple
    from ..client.task import Task
    from ..net.addresses import Address
    from .options import Parsed

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
5    --follow: the job has ended, or never was, and its server does not tell how
130  interrupted by Ctrl-C; 141 the reader of standard output went away; 143 terminated
"""
_CLIENT_EXAMPLES = """
gearman-std client -f wc < file                     standard input is the job's data
gearman-std client -f wc "some data" "some more"    each word is one job's data
gearman-std client -n -f resize < list-of-files     each line is one job's data
gearman-std client -n -f resize -j 8 --progress --failed again < list-of-files
gearman-std client -b -f resize -u photo-17 -- data
gearman-std client -f thumbnails -u thumbnails --cron '*/5 8-18 * * mon-fri' -- /srv/photos
gearman-std client -h one,two:4731 -t 5000 -f reverse hello
gearman-std client -w -f wc -- wc -c                a worker; see gearman-std worker --help
"""
_CONNECT_TIMEOUT = 5.0
_COMMAND_TIMEOUT = 10.0
_NOBODY_WAIT = 3.0  # seconds without a result after which a person at a terminal is told that no worker can do the function
_UNIQUE_OF_DATA = "#"


def make_client_line() -> CommandLine:
    """The options of `client`."""
    usage = ["client [OPTIONS] -f FUNCTION [--] [DATA...]", "client [OPTIONS] --follow HANDLE",
             "client -w [OPTIONS] -f FUNCTION [--] [COMMAND...]"]
    return CommandLine("client", usage, _CLIENT_ABOUT, [
        address_options(),
        ("Jobs", [
            Option("-f --function", "FUNCTION", "function that is to do the job; if given several times, each of them does it, "
                   "the last one first", repeat=True),
            Option("-n --lines", "", "each line of standard input is a job, with its line end"),
            Option("-N --lines-stripped", "", "the same without its line end"),
            Option("-s --empty", "", "one job without data; standard input is not read"),
            Option("-b --background", "", "do not wait for the result, which nobody gets"),
            Option("-I --high", "", "high priority"),
            Option("-L --low", "", "low priority"),
            Option("-u --unique", "UNIQUE", "key of the job: while a job of the same function and key waits or runs, this one "
                   "joins it; - has the server take the data for the key; # makes a number of 32 bits of the data, which other "
                   "data may share (default: a new key for each job)"),
            Option("--at", "UNIXTIME", "do the job at that time, in the background", _read_unix_time),
            Option("--delay", "SECONDS", "do the job after that time, in the background", read_seconds),
            Option("--cron", "SCHEDULE", "do the job again and again, in the background, as the five fields of a crontab say, "
                   "'*/5 * * * *', or its words, @daily (only at gearman_std's server)", _read_schedule),
            Option("--reducer", "FUNCTION", "submit a reduce job", os.fsencode),
            Option("--require-worker", "", "fail at once if no worker can do the function"),
        ]),
        ("Waiting and output", [
            Option("-t --timeout", "MS", "wait that many milliseconds for each result, or in the background until the job is "
                   "accepted, -1 for ever (default: -1)", whole_number(None)),
            Option("-j --parallel", "N", "have up to N jobs at a time; the results still come in order (default: 1)",
                   whole_number(1), default=1),
            Option("--attempts", "N", "submit a job again that failed, was refused or lost, up to N times in all",
                   whole_number(1), default=1),
            Option("-P --prefix", "", "begin each piece of output with the function's name"),
            Option("-v --verbose", "", "print each job's handle", repeat=True),
            Option("--follow", "HANDLE", "wait for a background job that was submitted before, and end as if it had been in "
                   "the foreground; its result is printed if its function's policy keeps that", os.fsencode),
            Option("--progress", "", "show on standard error how many jobs are done, failed and left, how fast, and which "
                   "inputs failed"),
            Option("--failed", "FILE", "-n or -N: write the lines that failed, and when interrupted those that are not done, "
                   "to a file, which can be the input of the same command"),
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
    if options.follow is not None:
        return _follow(console, options)
    if not options.function:
        raise UsageError("no function was given, with -f")
    if options.worker:
        from .worker import run_worker_mode
        return run_worker_mode(console, options)
    servers, tls = find_servers(options, os.environ), find_tls(options, os.environ)
    detached = detach() if options.daemon else None
    with ExitStack() as stack:
        if options.pid_file:
            stack.enter_context(PidFile(options.pid_file))
        stack.enter_context(SignalHandlers({"SIGTERM": terminate}))
        workloads = _find_workloads(console, options)
        if options.failed is not None and (options.words or not (options.lines or options.lines_stripped)):
            raise UsageError("--failed is for the lines of standard input, with -n or -N")
        inputs = None
        if options.progress or options.failed is not None:
            inputs = Inputs(console, options.failed, options.lines_stripped, len(options.function))
        if detached is not None:
            workloads = iter(list(workloads))
            detached.ready(keep_output=True)
        limit = float("inf") if options.timeout is None or options.timeout < 0 else options.timeout / 1000.0
        # In the background, a handle is waited for only in order to print it.
        command_timeout = min(_COMMAND_TIMEOUT, limit if _is_background(options) or options.verbose else _COMMAND_TIMEOUT)
        client = stack.enter_context(Client(servers, connect_timeout=min(_CONNECT_TIMEOUT, limit),
                                            command_timeout=command_timeout, tls=tls))
        progress = None
        if options.progress:
            workloads, total = _count_workloads(console, options, workloads)
            progress = Progress(console, total)
        return _Submitter(client, console, options, servers, tls, progress=progress, inputs=inputs).run(workloads)


def _follow(console: Console, options: "Parsed") -> int:
    """Run `client --follow`; return the exit status."""
    if options.words or options.function:
        raise UsageError("--follow takes a handle, and no function or data")
    servers, tls = find_servers(options, os.environ), find_tls(options, os.environ)
    limit = float("inf") if options.timeout is None or options.timeout < 0 else options.timeout / 1000.0
    end = time.monotonic() + limit

    def sleep(seconds: float) -> None:
        if time.monotonic() >= end:
            name = show(os.fsdecode(options.follow))
            raise JobTimeout("%s did not end within %d ms" % (name, options.timeout), options.follow)
        time.sleep(min(seconds, max(0.0, end - time.monotonic())))
    with ExitStack() as stack:
        stack.enter_context(SignalHandlers({"SIGTERM": terminate}))
        admins = [stack.enter_context(AdminClient([server], _COMMAND_TIMEOUT, tls=tls)) for server in servers]
        client = stack.enter_context(Client(servers, connect_timeout=_CONNECT_TIMEOUT, command_timeout=_COMMAND_TIMEOUT,
                                            tls=tls))
        return show_following(console, follow_anywhere(admins, client, options.follow, sleep), options.follow)


def _is_background(options: "Parsed") -> bool:
    return bool(options.background) or any(when is not None for when in (options.at, options.delay, options.cron))


def _read_schedule(text: str) -> str:
    read_crontab(text)  # raises ValueError
    return text


def _read_unix_time(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError("%r is not a unix time, the seconds since 1970, such as %d" % (text, time.time())) from None


def _find_workloads(console: Console, options: "Parsed") -> "Iterator[bytes]":
    """The data of each job: the words, or standard input, which is read only as far as needed."""
    by_line = options.lines or options.lines_stripped
    if not options.words and not options.empty and is_terminal(console.stdin):
        console.complain("reading %s from the terminal, up to Ctrl-D" % ("a job of each line" if by_line else "the data"))
    if options.words:
        for word in options.words:
            yield os.fsencode(word)
    elif options.empty:
        yield b""
    elif by_line:
        while True:
            line = console.read_line()
            if not line:
                return
            yield line[:-1] if options.lines_stripped and line.endswith(b"\n") else line
    else:
        yield console.read()


def _count_workloads(console: Console, options: "Parsed",
                     workloads: "Iterator[bytes]") -> "Tuple[Iterator[bytes], Optional[int]]":
    """The data of each job, and how many jobs there are; None if that cannot be known without waiting for more input."""
    if (options.lines or options.lines_stripped) and not options.words and not is_file(console.stdin):
        return workloads, None
    all_of_them = list(workloads)
    return iter(all_of_them), len(all_of_them) * len(options.function)


def make_unique(wanted: "Optional[str]", workload: bytes, random: "Callable[[int], bytes]" = os.urandom) -> bytes:
    """The unique of a job: the given one; for `#`, one made of the data; or a new UUID."""
    if not wanted:
        # A random UUID, as gearman has it: whoever lists the jobs' uniques can tell one from the other.  It is not made by the
        # module uuid, which starts other programs when Python 3.6 loads it.
        digits = random(16).hex()
        variant = "89ab"[int(digits[16], 16) & 3]
        return "-".join((digits[:8], digits[8:12], "4" + digits[13:16], variant + digits[17:20], digits[20:])).encode()
    if wanted == _UNIQUE_OF_DATA:
        return b"%d" % _murmur3(workload, (0xDEADBEEF * len(workload)) & 0xFFFFFFFF)
    unique = os.fsencode(wanted)
    return unique[:MAX_UNIQUE_SIZE - 1] if len(unique) == MAX_UNIQUE_SIZE else unique  # as the server would cut it


def _murmur3(data: bytes, seed: int) -> int:
    """The hash MurmurHash3_x86_32, from which gearman makes the unique for `#`."""
    whole = len(data) & ~3
    blocks = [number for number, in iter_unpack("<I", data[:whole])]
    result = seed
    for number in blocks:
        number = number * 0xCC9E2D51 & 0xFFFFFFFF
        result ^= (number << 15 | number >> 17) * 0x1B873593 & 0xFFFFFFFF
        result = ((result << 13 | result >> 19) * 5 + 0xE6546B64) & 0xFFFFFFFF
    number = int.from_bytes(data[whole:], "little") * 0xCC9E2D51 & 0xFFFFFFFF
    result ^= (number << 15 | number >> 17) * 0x1B873593 & 0xFFFFFFFF
    result ^= len(data)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
        result = (result ^ result >> shift) * factor & 0xFFFFFFFF
    return result


class _Submission:
    """One job: its task, and the output that is not printed yet because it is not the job's turn.

    Owner: the thread that runs the command.
    """

    __slots__ = ("function", "workload", "number", "attempt", "task", "live", "_held", "_print", "_began")

    def __init__(self, function: str, workload: bytes, print_event: "Callable[[str, Any], None]") -> None:
        self.function = function
        self.workload = workload
        self.number = 0  # the number of its input, if inputs are counted
        self.attempt = 0
        self.task = None  # type: Any
        self.live = False
        self._held = []   # type: List[Any]
        self._print = print_event
        self._began = 0.0

    def __repr__(self) -> str:
        return "<_Submission of %s, attempt %d>" % (show(self.function), self.attempt)

    def begin(self, submit: "Callable[..., Any]") -> None:
        """Submit it, for the first time or again."""
        self.attempt += 1
        self._began = time.monotonic()
        self.task = submit(self, on_status=lambda *numbers: self._hear("status", numbers),
                           on_data=lambda data: self._hear("data", data),
                           on_warning=lambda data: self._hear("warning", data))

    def left(self, timeout_ms: "Optional[int]") -> "Optional[float]":
        """The seconds that are left for its result."""
        if timeout_ms is None or timeout_ms < 0:
            return None
        return max(0.0, self._began + timeout_ms / 1000.0 - time.monotonic())

    def go_live(self) -> None:
        """Its turn has come: print its output so far, and from now on print at once."""
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
    """Submits jobs, and prints their output in the order of the jobs.

    Owner: the thread that runs the command.
    """

    def __init__(self, client: Client, console: Console, options: "Parsed", servers: "Sequence[Address]" = (),
                 tls: "Any" = None, progress: "Optional[Progress]" = None,
                 inputs: "Optional[Inputs]" = None) -> None:
        self._client = client
        self._servers = servers
        self._tls = tls
        self._console = console
        self._options = options
        self._progress = progress
        self._inputs = inputs
        self._status = DONE
        self._guesses = {}  # type: Dict[str, str] # what to say behind a function that nobody can do
        self._background = _is_background(options)
        priorities = [HIGH if key == "high" else LOW for key, _ in options.given if key in ("high", "low")]
        self._priority = priorities[-1] if priorities else NORMAL

    def __repr__(self) -> str:
        return "<_Submitter for %r, status %d>" % (self._client, self._status)

    def run(self, workloads: "Iterator[bytes]") -> int:
        """Submit a job of each function for each workload; return the exit status."""
        if self._inputs is None:
            return self._run(workloads)
        try:
            return self._run(self._inputs.count(workloads))
        finally:
            if self._progress is not None:
                self._progress.end()
            self._inputs.close(workloads)

    def _run(self, workloads: "Iterator[bytes]") -> int:
        options = self._options
        under_way = deque()  # type: Deque[_Submission]
        for workload in workloads:
            for function in reversed(options.function):  # as gearman does
                submission = _Submission(function, workload, self._printer(function))
                if self._inputs is not None:
                    submission.number = self._inputs.last
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
                         background=self._background, at=options.at, delay=options.delay, schedule=options.cron,
                         reducer=options.reducer)
        if self._background and options.parallel > 1 and not options.require_worker:
            return self._client.submit_many([arguments])[0]  # this does not wait until the job is accepted
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
                    self._tell_if_nobody_can(submission)
                    self._printer(submission.function)("data", submission.task.result(submission.left(options.timeout)))
                self._count(submission, False)
                return
            except (ServerError, JobError, NoServer, ServerLost) as error:
                if not self._may_try_again(submission, error) or not self._begin(submission):
                    return

    def _may_try_again(self, submission: _Submission, error: "Any") -> bool:
        """Whether to submit a job again; if not, say what is wrong with it."""
        options = self._options
        if submission.attempt < options.attempts:
            time.sleep(growing_pause(0.5, 60.0, submission.attempt - 1))
            submission.live = False
            return True
        # The shortest time-out counts, so that the time-out of any step may be that of -t.
        left = submission.left(options.timeout)
        late = isinstance(error, (JobTimeout, ConnectTimeout, CommandTimeout)) and left is not None and left < 0.001
        if isinstance(error, (NoServer, ServerLost)) and not late:
            raise error  # this ends the command: the next job would fare no better
        if self._progress is not None:
            self._progress.hide()
        if isinstance(error, JobFailed):
            told = error.exception in error.warnings  # the callback has told it when it came
            text = b": " + error.exception.rstrip() if error.exception and not told else b""
            self._console.warn(self._prefix(submission.function) + b"Job failed" + text + b"\n")
        elif late:
            reason = ""
            if isinstance(error, JobTimeout) and self._nobody_can(submission.function):
                reason = "; no worker can do it" + self._meant(submission.function)
            self._console.complain("no %s of %s within %d ms%s" % (
                "answer to a job" if self._background else "result", show(submission.function), options.timeout, reason))
        else:
            self._console.complain(str(error) + (self._meant(submission.function) if isinstance(error, NoWorker) else ""))
        if self._status == DONE:
            self._status = TOO_LATE if late else status_of(error)
        self._count(submission, True)
        return False

    def _count(self, submission: _Submission, failed: bool) -> None:
        """A job has ended for good."""
        if self._inputs is None:
            return
        if failed:
            self._inputs.fail(submission.number)
        else:
            self._inputs.done(submission.number)
        if self._progress is not None:
            self._progress.note(failed)

    def _tell_if_nobody_can(self, submission: _Submission) -> None:
        """Tell a person at a terminal that there is no result yet because there is no worker."""
        left = submission.left(self._options.timeout)
        if not is_terminal(self._console.stderr) or left is not None and left < _NOBODY_WAIT:
            return
        if not submission.task.wait(_NOBODY_WAIT) and self._nobody_can(submission.function):
            self._console.complain("waiting for a worker that can do %s%s" % (
                show(submission.function), self._meant(submission.function)))

    def _nobody_can(self, function: str) -> bool:
        """Whether all servers say that none has a worker for a function, or runs a job of it; False if one cannot tell."""
        known = self._functions_done()
        return known is not None and bool(self._servers) and os.fsencode(function) not in known

    def _meant(self, function: str) -> str:
        """What to say behind a function that nobody can do, if somebody can do one of a similar name."""
        if function not in self._guesses:
            known = [show(os.fsdecode(name)) for name in sorted(self._functions_done() or ())]
            self._guesses[function] = did_you_mean(show(function), known)
        return self._guesses[function]

    def _functions_done(self) -> "Optional[Set[bytes]]":
        """The functions that some worker can do, or does, at any of the servers; None if one does not tell."""
        known = set()  # type: Set[bytes]
        for server in self._servers:
            try:
                with AdminClient([server], _NOBODY_WAIT, tls=self._tls) as admin:
                    known.update(line.function for line in admin.status() if line.workers or line.running)
            except GearmanError:
                return None
        return known

    def _prefix(self, function: str) -> bytes:
        return os.fsencode(function) + b": " if self._options.prefix else b""

    def _printer(self, function: str) -> "Callable[[str, Any], None]":
        """A function that prints the data, the warnings and the progress of a function's jobs."""
        prefix, console = self._prefix(function), self._console

        def print_event(kind: str, value: "Any") -> None:
            if self._progress is not None:
                self._progress.hide()
            try:
                if kind == "data":
                    console.write(prefix + value if prefix else value)
                elif kind == "warning":
                    console.warn(prefix + value)
                else:
                    console.write(b"%s%d%% Complete\n" % (prefix, value[0] * 100 // value[1] if value[1] else 0))
            except OSError as error:  # an ordinary exception in a callback would only be logged
                console.complain(str(error.strerror))
                raise Quit(FAILED) from None
        return print_event
