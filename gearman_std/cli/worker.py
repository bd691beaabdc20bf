"""The command `worker`: runs a program, or Python functions, for jobs; also what `client -w` does."""
import io
import logging
import os
import select
import signal
import sys
import threading
from contextlib import ExitStack

from ..net.addresses import machine_name
from ..net.forks import exit_at_once
from ..net.logs import own_logger
from ..worker.command import Command
from ..worker.job import Retry
from ..worker.worker import Worker
from .callables import load_callable, logical_folder
from .common import address_options, find_servers, find_tls, own_command
from .console import DONE, FAILED, INTERRUPTED, USAGE, Console, Quit
from .options import CommandLine, OneOf, Option, UsageError, read_seconds, some_text, whole_number
from .daemon import PidFile, SignalHandlers, become_user, detach, let_go_of_streams, notify_manager, open_log
from .supervisor import AT_WORK, LEAVING, CodeWatch, Supervised, Supervisor, is_supervised, start_child

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple
    from ..worker.job import WorkerJob
    from .options import Parsed

_logger_output = own_logger("gearman_std.output")

_WORKER_ABOUT = """
Do jobs.  With -f, COMMAND is run for each job, with the job's data as its standard input; its standard output is the result,
and if it ends with a status other than 0 the job fails with what it said on standard error; without COMMAND, the data is
printed.  Without -f, a Python callable of a file, or of a module in the current folder or installed, is called with a
WorkerJob, and what it returns is the result.
"""
_WORKER_STATUSES = """
0    it was stopped by SIGTERM, or has done all that --max-jobs or --max-age allow
1    it could not start: a file, a user or the background cannot be had
2    the command line makes no sense, or a function cannot be imported
130  interrupted by Ctrl-C
A server that cannot be reached does not end a worker: it is tried again and again.
"""
_WORKER_SIGNALS = """
SIGTERM, SIGINT  take no more jobs, finish what runs (for at most --grace), leave; the second time, leave at once
SIGHUP           open the log file again
"""
_WORKER_EXAMPLES = """
gearman-std worker -f wc -- wc -c                      a program: data on its input, output is the result
gearman-std worker -f resize -c 1 -- ./resize.sh
gearman-std worker ./mymodule.py:reverse
gearman-std worker mymodule:reverse --threads 8        def reverse(job): return job.workload[::-1]
gearman-std worker rev=mymodule:reverse mymodule:count --processes 4 --reload
"""


def make_worker_line() -> CommandLine:
    """The options of `worker`."""
    usage = ["worker [OPTIONS] -f FUNCTION [--] [COMMAND...]", "worker [OPTIONS] [NAME=]MODULE:CALLABLE..."]
    return CommandLine("worker", usage, _WORKER_ABOUT, [
        address_options(),
        ("Jobs", [
            Option("-f --function", "FUNCTION", "function whose jobs the command does (may be repeated)", repeat=True),
            Option("-T --threads", "N", "jobs at a time (default: 1)", whole_number(1), default=1),
            Option("--limit", "N", "jobs of one function at a time (default: --threads)", whole_number(1)),
            Option("--timeout", "SECONDS", "a command that runs longer is killed, with all that it has started; a callable's "
                   "job is taken away by the server", read_seconds),
            Option("-t", "MS", "accepted, as gearman -w does; there is no need to wake up", whole_number(-1)),
            Option("-n --lines", "", "send each line of a command's output as data as soon as it is there"),
            Option("-N --lines-stripped", "", "the same without its line end"),
            Option("--serializer", "NAME", "what a callable's job.value and result are: bytes, json, or pickle, which is only "
                   "for clients that are trusted (default: bytes)", OneOf("bytes", "json", "pickle")),
        ]),
        ("Life", [
            Option("--processes", "N", "so many worker processes under a parent that starts a new one for each that ends",
                   whole_number(1)),
            Option("-c --max-jobs --count", "N", "end after N jobs", whole_number(0)),
            Option("--max-age", "SECONDS", "end after that time", read_seconds),
            Option("--splay", "SECONDS", "and after up to so many more, at random, so that not all workers end at once",
                   read_seconds, default=0.0),
            Option("--reload", "", "start anew when the code changes"),
            Option("--grace", "SECONDS", "when told to leave, give running jobs so much time (default: no limit)",
                   read_seconds),
        ]),
        ("The program", [
            Option("--client-id", "ID", "name of this worker in the server's list of workers", os.fsencode),
            Option("-v --verbose", "", "log more; -vv much more", repeat=True),
            Option("-l --log-file", "FILE", "log there (default: stderr; none for no log)", default="stderr"),
            Option("-i -P --pid-file", "FILE", "write the process id to a file, which goes at the end"),
            Option("-d --daemon", "", "go on in the background"),
            Option("--user", "NAME", "become another user, if started by root", some_text),
        ]),
    ], [("Signals", _WORKER_SIGNALS), ("Exit status", _WORKER_STATUSES), ("Examples", _WORKER_EXAMPLES)])


def run_worker(console: Console, arguments: "Sequence[str]") -> int:
    """Run `worker`; return the exit status."""
    line = make_worker_line()
    options = line.parse(arguments)
    if not options.function and not options.words:
        raise UsageError("no function was given: -f FUNCTION -- COMMAND, or MODULE:CALLABLE")
    if options.function:
        _look_for_program(options.words)
    word = is_supervised()
    supervised = word is not None
    pid_file = None  # type: Optional[PidFile]
    with ExitStack() as stack:
        log_file = open_log(("WARNING", "INFO", "DEBUG")[min(options.verbose, 2)], options.log_file)
        if not options.function:
            _log_everything(stack, options.log_file == "none")
            _guard_output(stack)
        detached = detach() if options.daemon and not supervised else None
        stops = _Stops()
        stack.enter_context(SignalHandlers(_handlers(stops, log_file, bool(options.function))))
        if supervised:
            Supervised(stops.stop).listen()
        else:
            if options.pid_file:
                pid_file = stack.enter_context(PidFile(options.pid_file))
            if options.user:
                if log_file is not None:
                    log_file.give_to(options.user)
                become_user(options.user)
        servers, tls = find_servers(options, os.environ), find_tls(options, os.environ)
        if (options.processes or options.reload) and not supervised:
            folder = logical_folder() or None
            supervisor = Supervisor(own_command() + ["worker"] + list(arguments), options.processes or 1, hopeless=USAGE,
                                    start=lambda argv: start_child(argv, folder=folder),
                                    begun=None if detached is None else detached.ready)
            stops.reach(supervisor.stop)
            _run_for_manager(supervisor.run)
            return stops.status or supervisor.status
        worker = Worker(servers, threads=options.threads, grace=options.grace,
                        client_id=options.client_id or "%s:%d" % (machine_name()[:100], os.getpid()),
                        max_jobs=options.max_jobs or None, max_age=options.max_age, splay=options.splay,
                        # A command's output and printed data are bytes, whatever a callable's are.
                        serializer="bytes" if options.function else options.serializer, tls=tls)
        printer = _Printer(console, worker)
        if options.function:
            _register_command(worker, options, printer)
        else:
            if options.reload:
                sys.dont_write_bytecode = True  # Python tells newer code from a .pyc file only by second and size
            for path in options.words:
                name, function = load_function(path)
                worker.register(name, function, options.timeout, options.limit)

            def end() -> None:
                if pid_file is not None:
                    pid_file.__exit__(None, None, None)
                if word is not None:
                    word.give(LEAVING)
                exit_at_once(DONE if supervised else stops.status, logging.shutdown)
            worker.when_stuck = end
        if options.reload:
            worker.watch = CodeWatch()  # it notes what has been imported by now
        if detached is not None:
            detached.ready()
        stops.reach(worker.stop)
        if word is not None:
            if options.daemon:  # the first process ends when it hears the word; the parent lets go of its own streams
                let_go_of_streams()
            word.give(AT_WORK)
            unfinished = worker.work(signals=False)
            word.give(LEAVING)
        else:
            unfinished = _run_for_manager(lambda: worker.work(signals=False))
    status = DONE if supervised else stops.status
    if unfinished and not options.function:  # the interpreter would wait for threads and processes that they have started
        exit_at_once(status, logging.shutdown)
    return status or printer.status


def run_worker_mode(console: Console, options: "Parsed") -> int:
    """Run `client -w` with the options of `client`; return the exit status."""
    _look_for_program(options.words)
    with ExitStack() as stack:
        open_log("INFO" if options.verbose else "WARNING")
        detached = detach() if options.daemon else None
        stops = _Stops()
        stack.enter_context(SignalHandlers(_handlers(stops, None, True)))
        if options.pid_file:
            stack.enter_context(PidFile(options.pid_file))
        servers, tls = find_servers(options, os.environ), find_tls(options, os.environ)
        worker = Worker(servers, max_jobs=options.count or None, tls=tls)
        printer = _Printer(console, worker)
        _register_command(worker, options, printer)
        if detached is not None:
            detached.ready()
        stops.reach(worker.stop)
        _run_for_manager(lambda: worker.work(signals=False))
    return stops.status or printer.status


def _look_for_program(words: "Sequence[str]") -> None:
    from shutil import which
    if words and which(words[0]) is None:
        raise UsageError("there is no program %s" % words[0])


def _register_command(worker: Worker, options: "Parsed", printer: "_Printer") -> None:
    """Register the functions: the command does their jobs, or the data are printed if there is no command."""
    timeout = options.timeout if hasattr(options, "threads") else None  # the --timeout of `client` is something else
    for function in map(os.fsencode, options.function):
        if options.words:
            command = Command(options.words, timeout, options.lines or options.lines_stripped, options.lines_stripped)
            worker.register(function, command, limit=getattr(options, "limit", None), abandon=command.kill)
        else:
            worker.register(function, printer)


class _Stops:
    """What SIGTERM and SIGINT do: until there is something to stop, they end the program, even in the middle of an import.

    Owner: the main thread, whose signal handlers it has; a parent process's stop comes by another thread.
    """

    def __init__(self) -> None:
        self.status = DONE
        self._target = None  # type: Optional[Callable[[], Any]]
        self._early = 0

    def __repr__(self) -> str:
        return "<_Stops of %r, status %d>" % (self._target, self.status)

    def reach(self, target: "Callable[[], Any]") -> None:
        """Stop `target` from now on; at once if a stop has come already, during an import that went on."""
        self._target = target
        for _ in range(self._early):
            target()

    def interrupt(self) -> None:
        """Stop, and note that it was Ctrl-C."""
        self.status = INTERRUPTED
        self.stop()

    def stop(self) -> None:
        """Stop."""
        if self._target is not None:
            self._target()
            return
        self._early += 1
        if threading.current_thread() is threading.main_thread():
            raise Quit(self.status)


def _handlers(stops: _Stops, log_file: "Any", runs_command: bool) -> "Dict[str, Callable[[], Any]]":
    """What signals do to a worker; SIGHUP never ends one.

    If it is ignored, for nohup, it stays ignored in programs that Python functions start; a command has a session of its own.
    """
    handlers = {"SIGTERM": stops.stop, "SIGINT": stops.interrupt}  # type: Dict[str, Callable[[], Any]]
    if hasattr(signal, "SIGHUP") and (runs_command or signal.getsignal(signal.SIGHUP) != signal.SIG_IGN):
        handlers["SIGHUP"] = log_file.reopen if log_file is not None else lambda: None
    return handlers


def _run_for_manager(run: "Callable[[], Any]") -> "Any":
    """Run something, and tell the service manager about it; return what it returns."""
    notify_manager("READY=1")
    result = run()
    notify_manager("STOPPING=1")
    return result


def _log_everything(stack: ExitStack, silent: bool) -> None:
    """Send what functions log, by any logger, to the worker's own log, at the same levels."""
    root, package = logging.root, logging.getLogger("gearman_std")
    handlers = [logging.NullHandler()] if silent else [
        handler for handler in package.handlers if not isinstance(handler, logging.NullHandler)]  # type: List[logging.Handler]
    stack.callback(root.setLevel, root.level)
    root.setLevel(package.level)
    for handler in handlers:
        package.removeHandler(handler)
        root.addHandler(handler)
        stack.callback(root.removeHandler, handler)


def _guard_output(stack: ExitStack) -> None:
    """Make sure that printing in functions never fails, whatever happens to standard output and error."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        try:
            raw = _Forgiving(os.open(os.devnull, os.O_WRONLY) if stream is None else stream.fileno(), name)
        except (OSError, AttributeError, ValueError):  # it is not a file, but an object of the calling program
            continue
        unbuffered = isinstance(getattr(stream, "buffer", None), io.RawIOBase)
        buffer = raw if unbuffered else io.BufferedWriter(raw)  # type: Any
        guarded = io.TextIOWrapper(buffer, getattr(stream, "encoding", "utf-8"), getattr(stream, "errors", "replace"),
                                   write_through=unbuffered, line_buffering=name == "stderr" or raw.isatty())
        stack.callback(setattr, sys, name, stream)
        stack.callback(guarded.flush)
        setattr(sys, name, guarded)


class _Forgiving(io.RawIOBase):
    """Writes to a descriptor; what cannot be written is lost, which is logged once.

    Owner: the stream above it.
    """

    def __init__(self, descriptor: int, name: str) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._name = name
        self._noted = False

    def __repr__(self) -> str:
        return "<_Forgiving %s>" % self._name

    def writable(self) -> bool:
        """As every file's."""
        return True

    def isatty(self) -> bool:
        """As every file's."""
        return os.isatty(self._descriptor)

    def fileno(self) -> int:
        """As every file's."""
        return self._descriptor

    def write(self, data: "Any") -> int:
        """As every file's, but it always takes all."""
        rest = memoryview(data)
        try:
            while rest:
                try:
                    rest = rest[os.write(self._descriptor, rest):]
                except BlockingIOError:  # another program has made it non-blocking
                    select.select([], [self._descriptor], [])
        except OSError as error:
            if not self._noted:
                self._noted = True
                _logger_output.warning("what functions write to %s is lost: %s", self._name, error.strerror)
        return len(data)


class _Printer:
    """A function that prints the data of its jobs and returns empty results.

    Owner: the worker's thread.
    """

    def __init__(self, console: Console, worker: Worker) -> None:
        self.status = DONE
        self._console = console
        self._worker = worker

    def __repr__(self) -> str:
        return "<_Printer, status %d>" % self.status

    def __call__(self, job: "WorkerJob") -> None:
        """Print a job's data; if that fails, leave at once, so that the server gives the job to another worker."""
        try:
            self._console.write(job.workload)
        except (Quit, OSError) as error:
            self.status = error.status if isinstance(error, Quit) else FAILED
            self._worker.stop()
            self._worker.stop()
            raise Retry() from None


def load_function(word: str) -> "Tuple[bytes, Any]":
    """The name and the callable of `[NAME=]MODULE:CALLABLE`; the default name is the callable's.

    Raises UsageError if it cannot be imported.
    """
    name, equals, path = word.rpartition("=")
    found = load_callable("" if equals and not name else path, word, "[NAME=]MODULE:CALLABLE")
    return os.fsencode(name or path.rpartition(":")[2].rpartition(".")[2]), found
