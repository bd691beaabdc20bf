"""The command `trace`: a proxy that shows what passes between Gearman programs, and plays it again."""
import os
import threading
import time
from contextlib import ExitStack

from ..net.addresses import DEFAULT_PORT, show_address, split_address
from ..net.connection import open_connection
from ..net.signals import WokenBySignals
from ..server.listeners import open_listeners
from ..trace.drawing import Drawing
from ..trace.lines import LineMaker
from ..trace.outlet import Outlet, TraceFile, show_gap_in_words
from ..trace.pcap import Capture
from ..trace.proxy import Proxy, Upstream
from ..trace.records import SHOWN_BYTES, gap_to_json, record_from_json, record_to_json
from ..trace.replaying import Replay
from ..trace.tracer import KEPT, SLOW, Sieve, Tracer
from .common import address_options, find_tls, name_servers
from .console import DONE, FAILED, Console
from .daemon import SignalHandlers, allow_descriptors
from .options import CommandLine, Option, Parsed, UsageError, read_seconds, read_size, some_text, whole_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple
    from ..net.addresses import Address
    from ..trace.records import TraceRecord

_TRACE_PORT = DEFAULT_PORT + 1
_BACKLOG = 1024
_LAST_BYTES = 1.0  # seconds that connections may still take when the command has ended
_NOT_FOUND, _NOT_RUN = 127, 126  # as shells have it

_TRACE_ABOUT = """
Show what passes between Gearman programs and a job server, each packet on a line, without changing it: as a proxy that they
connect to, or for one command that is started with GEARMAN_SERVERS and GEARMAN_SERVER set to the proxy.
"""
_TRACE_SERVERS = """
HOST:PORT, the path of a Unix socket, or several with commas between
without it  GEARMAN_SERVER, else GEARMAN_SERVERS, else localhost:4730
It listens without TLS, so that programs have to speak without it here; with --tls it speaks TLS with the server.
"""
_TRACE_NOTES = """
12:00:00.123456 worker 2 > WORK_FAIL handle=H:a:1  # job 1, ran 12.3 ms
who  client, worker, admin or http, the number of the connection, and the client id if it has one
> <  to the server, from the server
#  what it belongs to: its job, how long that waited and ran, how long an answer took
!!  what is wrong or slow
"""
_TRACE_STATUSES = """
0  it was ended by Ctrl-C or SIGTERM
1  it cannot listen, or could not write its files; a replay found differences
2  the command line makes no sense
126, 127  the command cannot be run, or is not there
With a command, the exit status is the command's, and 128 and the signal's number if one ended it.
"""
_TRACE_EXAMPLES = """
gearman-std trace -L 4731 queue1:4730
gearman-std trace -- gearman -f wc < file
gearman-std trace --function resize --explain -- ./worker
gearman-std trace --json -o talk.json -- ./client
gearman-std trace --replay talk.json other:4730
"""


def make_trace_line() -> CommandLine:
    """The options of `trace`."""
    return CommandLine("trace", ["trace [OPTIONS] [HOST:PORT]", "trace [OPTIONS] [HOST:PORT] -- COMMAND [ARG...]",
                                 "trace --replay FILE [--patience SECONDS] [HOST:PORT]"],
                       _TRACE_ABOUT, [
        ("Where", [
            Option("-L --listen", "ADDRESS", "where programs connect to: PORT, HOST:PORT or the path of a Unix socket; repeat "
                   "it for several servers (default: 127.0.0.1:%d, with a command a free port)" % _TRACE_PORT, repeat=True),
        ]),
        ("Job server", address_options()[1][2:]),
        ("What is shown", [
            Option("-o --output", "FILE", "write the lines there (default: standard output, with a command standard error)",
                   some_text),
            Option("--width", "BYTES", "how much is shown of a value (default: %d)" % SHOWN_BYTES, whole_number(1),
                   default=SHOWN_BYTES),
            Option("--hex", "", "show each field's bytes below, and what they mean"),
            Option("--explain", "", "show below what a packet says, and what is expected of who gets it"),
            Option("--json", "", "write a JSON object a line instead, with all bytes"),
            Option("--pcap", "FILE", "write all that passes as a capture for Wireshark, too", some_text),
            Option("--svg", "FILE", "draw what passes, too, at the end", some_text),
            Option("--slow", "SECONDS", "mark answers that take longer (default: %s)" % SLOW, read_seconds, default=SLOW),
            Option("--keep", "SIZE", "bytes of a packet that are looked at and recorded (default: 1M)", read_size,
                   default=KEPT),
        ]),
        ("Play again", [
            Option("--replay", "FILE", "send what clients and workers sent in a recording of --json to the server, and tell "
                   "where its answers differ; handles are those of the same jobs now", some_text),
            Option("--patience", "SECONDS", "how long an answer may take then (default: 5)", read_seconds, default=5.0),
        ]),
        ("Only records (each option can be repeated, and then one of its words is enough)", [
            Option("--job", "JOB", "of a job: its number in the trace, its handle or its unique", repeat=True),
            Option("--function", "NAME", "of a function, or of its jobs", repeat=True),
            Option("--packet", "NAME", "of packets of this name, or type; of a text command; HTTP", repeat=True),
            Option("--peer", "WHO", "of connections: client, worker, admin, http; one with its number, as in \"client 1\"; a "
                   "client id", repeat=True),
        ])], [("The server", _TRACE_SERVERS), ("A line", _TRACE_NOTES), ("Exit status", _TRACE_STATUSES),
              ("Examples", _TRACE_EXAMPLES)], help_names="-h -H --help")


def run_trace(console: Console, arguments: "Sequence[str]") -> int:
    """Run `trace`; return the exit status."""
    words = list(arguments)
    command = None  # type: Optional[List[str]]
    if "--" in words:
        position = words.index("--")
        words, command = words[:position], words[position + 1:]
        if not command:
            raise UsageError("no command follows --")
    options = make_trace_line().parse(words)
    if len(options.words) > 1:
        raise UsageError("one HOST:PORT is enough, and a command follows --: %s" % " ".join(options.words))
    if options.replay is not None and command is not None:
        raise UsageError("a recording is played, or a command is run")
    servers = name_servers(options.words[0] if options.words else None, None, os.environ)
    if options.replay is not None:
        return _replay(console, options, servers[0])
    places = _find_places(options, len(servers), command is not None)
    tls = find_tls(options, os.environ)
    upstreams = [Upstream(address, tls) for address in servers]
    files = []  # type: List[TraceFile]
    with ExitStack() as stack:
        ways = []  # type: List[Tuple[Any, Upstream]]
        for address, upstream in zip(places, upstreams):
            place = (address, False, "")  # type: Tuple[Address, bool, str]
            listeners = open_listeners([place], _BACKLOG)
            for listener in listeners:
                stack.callback(listener.close)
            ways += [(listener, upstream) for listener in listeners]

        def keep(name: str, write: "Callable[[Any], Any]", close: "Callable[[], Any]" = lambda: None) -> TraceFile:
            file = TraceFile(name, write, console.complain, close)
            files.append(file)
            stack.callback(file.close)
            return file

        outlet = _open_outlet(console, options, keep, command is not None)
        takers = [_make_taker(options, outlet)]
        drawing = Drawing()
        if options.svg is not None:
            picture = open(options.svg, "w", encoding="utf-8")
            shown = keep(options.svg, picture.write, picture.close)
            takers.append(drawing.take)
            stack.callback(lambda: shown.write(drawing.draw()))
        captures = []  # type: List[Capture]
        if options.pcap is not None:
            capture = open(options.pcap, "wb")
            captures.append(Capture(keep(options.pcap, capture.write, capture.close).write))
        sieve = Sieve(options.job, options.function, options.packet, options.peer)
        tracer = Tracer(takers, sieve, options.slow, max(options.keep, 1024), captures)
        proxy = Proxy(ways, tracer, console.complain)
        stack.callback(proxy.close)
        status = _trace_all(console, proxy, outlet) if command is None else _trace_command(console, proxy, outlet, command)
    return FAILED if command is None and any(file.failed for file in files) else status


def _find_places(options: Parsed, count: int, for_command: bool) -> "List[Address]":
    """Where to listen for each of so many servers.  Raises UsageError."""
    if not options.listen:
        return [("127.0.0.1", 0 if for_command else _TRACE_PORT + index) for index in range(count)]
    if len(options.listen) != count:
        raise UsageError("there are %d servers and %d times --listen" % (count, len(options.listen)))
    try:
        places = [split_address("127.0.0.1:" + word if word.isdigit() else word, _TRACE_PORT) for word in options.listen]
    except ValueError as error:
        raise UsageError("--listen: %s" % error) from None
    return places


def _open_outlet(console: Console, options: Parsed, keep: "Callable[..., TraceFile]", for_command: bool) -> Outlet:
    """Where the lines go."""
    show_gap = _show_gap_in_json if options.json else show_gap_in_words
    if options.output is not None:
        file = open(options.output, "wb", buffering=0)
        outlet = Outlet(keep(options.output, _write_all(file), file.close).write, file.fileno(), show_gap)
    elif for_command:
        outlet = Outlet(console.warn, _descriptor(console.stderr), show_gap)
    else:
        outlet = Outlet(keep("standard output", console.write).write, _descriptor(console.stdout), show_gap)
    return outlet


def _show_gap_in_json(count: int) -> str:
    from json import dumps
    return dumps(gap_to_json(count)) + "\n"


def _write_all(file: "Any") -> "Callable[[bytes], None]":
    def write(data: bytes) -> None:
        while data:
            data = data[file.write(data):]
    return write


def _descriptor(stream: "Any") -> "Optional[int]":
    try:
        return int(stream.fileno())
    except (AttributeError, OSError, ValueError):
        return None


def _make_taker(options: Parsed, outlet: Outlet) -> "Callable[[TraceRecord], None]":
    """What makes lines of records."""
    if options.json:
        from json import JSONEncoder
        encode = JSONEncoder(check_circular=False).encode

        def take(record: "TraceRecord") -> None:
            outlet.put(encode(record_to_json(record, options.width)) + "\n")
    else:
        maker = LineMaker(options.width, options.hex, options.explain)

        def take(record: "TraceRecord") -> None:
            outlet.put(maker.make(record))
    return take


# --- Running.

def _replay(console: Console, options: Parsed, server: "Address") -> int:
    """Play a recording; return the exit status."""
    from json import loads
    tls = find_tls(options, os.environ)
    replay = Replay(lambda: open_connection(server, options.patience, tls), lambda words: console.write(words + "\n"),
                    time.sleep, options.patience)
    with open(options.replay, encoding="utf-8") as file:
        replay.play(record_from_json(loads(line)) for line in file if line.strip())
    console.write("%d differences\n" % replay.differences)
    return FAILED if replay.differences else DONE


def _trace_all(console: Console, proxy: Proxy, outlet: Outlet) -> int:
    """Be a proxy until a signal ends it."""
    allow_descriptors()
    for listener, upstream in proxy.ways:
        console.warn("%s: %s leads to %s\n" % (console.label, show_address(listener.address), upstream.label))
    with SignalHandlers({"SIGINT": proxy.stop, "SIGTERM": proxy.stop, "SIGHUP": proxy.stop}), WokenBySignals(proxy.waker):
        proxy.run(outlet.flush)
    outlet.close()  # which waits for a slow reader, unless a second signal ends that
    return DONE


def _trace_command(console: Console, proxy: Proxy, outlet: Outlet, command: "List[str]") -> int:
    """Be a proxy for a command; return its exit status."""
    from subprocess import Popen
    addresses = [show_address(listener.address) for listener, _ in proxy.ways]
    environment = dict(os.environ, GEARMAN_SERVERS=",".join(addresses), GEARMAN_SERVER=addresses[0])  # type: Dict[str, str]
    started = []  # type: List[Any]
    early = []    # type: List[bool] # a signal that came before the command's process was known

    def terminate_command() -> None:
        early.append(True)
        for process in started:
            process.terminate()

    def wait() -> None:
        started[0].wait()
        proxy.finish(_LAST_BYTES)

    waiter = threading.Thread(target=wait, name="gearman_std trace", daemon=True)
    # Ctrl-C is for the command, which gets it from the terminal.
    with SignalHandlers({"SIGINT": lambda: None, "SIGTERM": terminate_command, "SIGHUP": terminate_command}), \
            WokenBySignals(proxy.waker):
        try:
            process = Popen(command, env=environment, close_fds=False)
        except OSError as error:
            console.complain("cannot run %s: %s" % (command[0], os.strerror(error.errno or 0)))
            return _NOT_FOUND if isinstance(error, FileNotFoundError) else _NOT_RUN
        started.append(process)
        if early:
            process.terminate()
        allow_descriptors()  # which the command does not inherit
        waiter.start()
        proxy.run(outlet.flush)
        waiter.join()
    outlet.close()
    return process.returncode if process.returncode >= 0 else 128 - process.returncode
