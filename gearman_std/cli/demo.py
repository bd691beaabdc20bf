"""The command `demo`: a server and workers, each a separate process, count the words of files over real sockets."""
import os
import sys
import time
from collections import namedtuple
from contextlib import ExitStack

from ..client.admin import AdminClient
from ..client.client import Client
from ..errors import GearmanError
from ..net.addresses import DEFAULT_PORT, show_address, split_address
from ..net.threads import start_thread
from ..server.listeners import open_listeners
from ..trace.lines import LineMaker
from ..trace.proxy import Proxy, Upstream
from ..trace.tracer import Tracer
from ..wire.protocol import MAX_PACKET_SIZE
from ..worker.worker import Worker
from .common import own_command, terminate
from .console import DONE, FAILED, Console
from .options import CommandLine, Option, read_seconds, whole_number
from .daemon import SignalHandlers
from .supervisor import Supervised, start_child

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Iterator, List, Sequence, Tuple
    from ..trace.records import TraceRecord

_FUNCTION = "gearman_std demo: count words"
_LARGEST_FILE = MAX_PACKET_SIZE - 65536
_PATIENCE = 30.0     # seconds for the processes to start
_LAST_WORDS = 5.0    # seconds for a process to end
_SLOWEST_JOB = 600.0
_EXPLAINED_FILES = 2  # whose jobs are explained, if no files are named
_EXPLAINED_SIZE = 1000  # bytes that such a file has at least
_EXPLAINED_WIDTH = 40   # bytes that are shown of a value
_DEMO_NOTES = """
1. starts a job server, on a free port of this machine,
2. starts worker processes, which register one function with it,
3. submits one job for each file, with the file's content as data,
4. prints what comes back, and stops everything.
With --explain, all connections lead through a proxy like that of `trace`.
When all is done, what has passed is shown, a packet at a time.
Without a FILE, two files are counted then.
"""
_DEMO_STATUSES = """
0  all files were counted
1  some were not, or the demo broke down
2  the command line makes no sense
130  interrupted by Ctrl-C; 143 terminated
"""
_DEMO_EXAMPLES = """
gearman-std demo
gearman-std demo --workers 4 *.txt
gearman-std demo --explain
"""

FileCount = namedtuple("FileCount", "path lines words bytes worker error")
FileCount.__doc__ = """What the demo knows of one file: `worker` is the process id of the worker that counted."""


def make_demo_line() -> CommandLine:
    """The options of `demo`."""
    return CommandLine("demo", ["demo [OPTIONS] [FILE...]"], (
        "Count the lines, words and bytes of files, or of this program's own source files, by farming them out."), [
        ("Options", [
            Option("--workers", "N", "worker processes (default: 2)", whole_number(1, 256), default=2),
            Option("--explain", "", "show each packet that passed, with what it says and what is expected of who gets it"),
            Option("--pause", "SECONDS", "with --explain, from one packet to the next (default: 0.5)", read_seconds,
                   default=0.5),
            Option("--serve-as-worker", "ADDRESS", ""),
        ])], [("What it does", _DEMO_NOTES), ("Exit status", _DEMO_STATUSES),
              ("Examples", _DEMO_EXAMPLES)], help_names="-h -H --help")


def run_demo(console: Console, arguments: "Sequence[str]") -> int:
    """Run `demo`; return the exit status."""
    options = make_demo_line().parse(arguments)
    if options.serve_as_worker:
        return _serve_as_worker(options.serve_as_worker)
    paths = options.words or own_sources()
    if options.explain and not options.words:
        paths = [path for path in paths if os.path.getsize(path) >= _EXPLAINED_SIZE][:_EXPLAINED_FILES]
    passed = []  # type: List[TraceRecord]
    with ExitStack() as stack:
        stack.enter_context(SignalHandlers({"SIGTERM": terminate}))
        began = time.monotonic()
        address = _start_server(stack)
        way = _start_proxy(stack, console, address, passed.append) if options.explain else address
        workers = [_start(stack, ["demo", "--serve-as-worker", way]) for _ in range(options.workers)]
        _wait_for_workers(address, workers)
        client = stack.enter_context(Client(way, job_timeout=_SLOWEST_JOB))
        console.write("server on %s, %d workers, ready after %.1f s\n" % (address, options.workers, time.monotonic() - began))
        began = time.monotonic()
        counts = {}  # type: Dict[int, FileCount]
        for index, count in count_files(client, paths, in_flight=4 * options.workers):
            counts[index] = count
            _show_progress(console, len(counts), len(paths))
        seconds = time.monotonic() - began
    maker = LineMaker(_EXPLAINED_WIDTH, explain=True)
    for record in passed:
        console.write(maker.make(record))
        time.sleep(options.pause)
    console.write(format_table([counts[index] for index in range(len(paths))], seconds))
    return FAILED if any(count.error for count in counts.values()) else DONE


def own_sources() -> "List[str]":
    """The package's source files, or the single file."""
    path = os.path.abspath(getattr(sys.modules[Console.__module__], "__file__", "") or "")
    if not Console.__module__.endswith(".cli.console"):
        return [path]
    package = os.path.dirname(os.path.dirname(path))
    while not os.path.exists(package):  # it is in an archive
        package = os.path.dirname(package)
    return sorted(os.path.join(folder, name) for folder, _, names in os.walk(package)
                  for name in names if name.endswith(".py")) or [package]


def count_words(job: "Any") -> str:
    """The function that the workers run."""
    from json import dumps
    workload = job.workload
    return dumps({"lines": workload.count(b"\n"), "words": len(workload.split()), "bytes": len(workload),
                  "worker": os.getpid()})


def count_files(client: Client, paths: "Sequence[str]", in_flight: int) -> "Iterator[Tuple[int, FileCount]]":
    """Let workers count the words of files, at most `in_flight` at a time; yields each file's place in the list, and its count,
    as they come."""
    from json import loads
    waiting = list(reversed(list(enumerate(paths))))
    under_way = {}  # type: Dict[Any, Tuple[int, str]]
    while waiting or under_way:
        while waiting and len(under_way) < in_flight:
            index, path = waiting.pop()
            try:
                under_way[client.submit(_FUNCTION, _read_file(path))] = index, path
            except OSError as error:
                yield index, FileCount(path, 0, 0, 0, 0, error.strerror or str(error))
        if not under_way:
            return
        done, _ = client.wait(under_way, timeout=client.job_timeout, return_when="first")
        for task in done or list(under_way):
            index, path = under_way.pop(task)
            try:
                result = loads(task.result(0).decode())
                yield index, FileCount(path, result["lines"], result["words"], result["bytes"], result["worker"], "")
            except GearmanError as error:
                yield index, FileCount(path, 0, 0, 0, 0, str(error))


def _read_file(path: str) -> bytes:
    data = bytearray()
    with open(path, "rb") as file:
        for piece in iter(lambda: file.read(65536), b""):  # as PyPy makes room for all that it is asked for
            data += piece
            if len(data) > _LARGEST_FILE:
                raise OSError("more than %d bytes" % _LARGEST_FILE)
    return bytes(data)


def format_table(counts: "Sequence[FileCount]", seconds: float) -> str:
    """The table that the demo prints."""
    lines = ["%10s %10s %12s %8s  %s" % ("lines", "words", "bytes", "worker", "file")]
    for count in counts:
        if count.error:
            lines.append("%42s  %s: %s" % ("", count.path, count.error))
        else:
            lines.append("%10d %10d %12d %8d  %s" % (count.lines, count.words, count.bytes, count.worker, count.path))
    done = [count for count in counts if not count.error]
    lines.append("%10d %10d %12d %8s  %s" % (sum(count.lines for count in done), sum(count.words for count in done),
                                             sum(count.bytes for count in done), "", "total"))
    shares = sorted({count.worker: sum(one.worker == count.worker for one in done) for count in done}.items())
    lines.append("")
    lines.append("%d jobs in %.3f s, %.0f jobs per second%s" % (len(done), seconds, len(done) / max(seconds, 1e-9), "".join(
        ", %d by worker %d" % (jobs, worker) for worker, jobs in shares)))
    return "\n".join(lines) + "\n"


def _show_progress(console: Console, done: int, total: int) -> None:
    """On a terminal, one line that is overwritten again and again; elsewhere, a line for each tenth."""
    if getattr(console.stdout, "isatty", bool)():
        console.write("\r%d of %d files%s" % (done, total, "\n" if done == total else ""))
    elif done == total or done * 10 // total != (done - 1) * 10 // total:
        console.write("%d of %d files\n" % (done, total))


# --- The processes.


def _start_server(stack: ExitStack) -> str:
    """Start a server; return its address."""
    process = _start(stack, ["server", "-p", "0", "-L", "127.0.0.1", "--print-address"], read=True)
    address = process.stdout.readline().decode().strip()
    if not address:
        raise GearmanError("the server did not start")
    return str(address)


def _start_proxy(stack: ExitStack, console: Console, address: str, take: "Callable[[TraceRecord], None]") -> str:
    """Start a thread that passes connections on to the server, and records what passes; return where to connect to."""
    upstream = Upstream(split_address(address, DEFAULT_PORT))
    listeners = open_listeners([(("127.0.0.1", 0), False, "")], 1024)
    proxy = Proxy([(listener, upstream) for listener in listeners], Tracer([take]), console.complain)
    stack.callback(proxy.close)
    thread = start_thread(proxy.run, "gearman_std demo")
    stack.callback(thread.join)
    stack.callback(proxy.stop)
    return show_address(listeners[0].address)


def _start(stack: ExitStack, arguments: "List[str]", read: bool = False) -> "Any":
    """Start this program once more; it ends with the stack, and by itself if this process dies."""
    process = start_child(own_command() + arguments, read)
    stack.callback(_end_process, process)
    return process


def _end_process(process: "Any") -> None:
    from subprocess import TimeoutExpired
    try:
        process.stdin.close()  # this tells it to leave
        process.wait(_LAST_WORDS)
    except TimeoutExpired:
        process.kill()
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _wait_for_workers(address: str, workers: "Sequence[Any]") -> None:
    """Wait until all workers have registered their function."""
    deadline = time.monotonic() + _PATIENCE
    with AdminClient(address, _PATIENCE) as admin:
        while True:
            ready = sum(function.workers for function in admin.status())
            if ready >= len(workers):
                return
            if time.monotonic() > deadline or any(worker.poll() is not None for worker in workers):
                raise GearmanError("only %d of %d workers did start" % (ready, len(workers)))
            time.sleep(0.01)


def _serve_as_worker(address: str) -> int:
    """Run a worker in its process."""
    worker = Worker(address)
    worker.register(_FUNCTION, count_words)
    Supervised(worker.stop).listen()
    worker.work(signals=False)
    return DONE
