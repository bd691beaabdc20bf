"""The command `check`: one line and an exit status, as Nagios, Icinga, Zabbix and similar programs expect them from a plugin.

Source: the guidelines of the Monitoring Plugins project for exit statuses, ranges of two numbers and performance data.
"""
import os
import time

from ..client.admin import AdminClient
from ..client.client import Client
from ..errors import GearmanError
from ..net.addresses import join_address
from .common import address_options, ask_figures, find_servers, find_tls
from .console import Console
from .options import CommandLine, Option, Parsed, UsageError, read_seconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple
    Figures = Dict[str, Any]  # the figures of a function, as `show functions json` calls them
    Limit = Tuple[str, Optional[float], float]  # of one function or, with "", of each; the levels of warning and of danger

OK, WARNING, CRITICAL, NOT_TOLD = range(4)  # also the exit statuses
_SEVERITY = (OK, WARNING, NOT_TOLD, CRITICAL)
_CHECK_WORDS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")
_CLOCKS_DIFFER = 60.0  # seconds by which the clocks of two machines may differ
_MOST_SHOWN = 5  # functions that are named for one limit

_CHECK_ABOUT = """
Check a job server, and say in one line and by the exit status how it is.  A limit is for each function, or behind FUNCTION: for
one.  Of two numbers the first warns; of one alone, to reach it is critical.
"""
_CHECK_EXAMPLES = """
gearman-std check --max-waiting 100,1000 --no-worker
gearman-std check --max-age resize:5m --max-aside 1
gearman-std check --late backup=26h
gearman-std check --job reverse hello --expect olleh
"""
_CHECK_STATUSES = """
0  OK
1  WARNING
2  CRITICAL, also if a server does not answer
3  UNKNOWN: the command line makes no sense, or the server does not tell what is to be checked
"""


class Finding:
    """What one check found: a status and a text, and figures for graphs, as (label, value, limit, unit).

    Owner: nobody, it does not change.
    """

    __slots__ = ("status", "text", "figures")

    def __init__(self, status: int, text: str,
                 figures: "Sequence[Tuple[str, float, Optional[Limit], str]]" = ()) -> None:
        self.status = status
        self.text = text
        self.figures = tuple(figures)

    def __repr__(self) -> str:
        return "<Finding %s: %s>" % (_CHECK_WORDS[self.status], self.text)


def _read_limit(read: "Callable[[str], float]") -> "Callable[[str], Limit]":
    """A reader of [FUNCTION:]LIMIT or [FUNCTION:]WARN,CRIT."""
    def read_limit(text: str) -> "Limit":
        function, _, levels = text.rpartition(":")
        words = levels.split(",")
        if len(words) > 2 or not all(words):
            raise ValueError("%r is not [FUNCTION:]LIMIT or [FUNCTION:]WARN,CRIT" % text)
        numbers = [read(word) for word in words]
        if len(numbers) == 2 and numbers[0] > numbers[1]:
            raise ValueError("%r warns later than it is critical" % text)
        return function, numbers[0] if len(numbers) == 2 else None, numbers[-1]
    return read_limit


def _read_count(text: str) -> float:
    if not text.isdigit():
        raise ValueError("%r is not a whole number from 0" % text)
    return int(text)


def _read_late(text: str) -> "Limit":
    """FUNCTION=TIME or FUNCTION=WARN,CRIT."""
    function, equals, times = text.rpartition("=")
    if not equals or not function or ":" in times:
        raise ValueError("%r is not FUNCTION=TIME or FUNCTION=WARN,CRIT" % text)
    _, warning, critical = _read_limit(read_seconds)(times)
    return function, warning, critical


def make_check_line() -> CommandLine:
    """The options of `check`."""
    return CommandLine("check", ["check [-h HOST] [-p PORT] [LIMIT...]"], _CHECK_ABOUT, [
        address_options(),
        ("Limits", [
            Option("--max-waiting", "[FUNCTION:]N", "how many jobs may wait, delayed ones not counted",
                   _read_limit(_read_count), repeat=True),
            Option("--max-age", "[FUNCTION:]TIME", "for how long a job that could run may have waited *",
                   _read_limit(read_seconds), repeat=True),
            Option("--no-worker", "FUNCTION", "critical if nobody can do a function for which jobs wait; with =FUNCTION, "
                   "whether jobs wait or not", repeat=True, default_word=""),
            Option("--max-aside", "[FUNCTION:]N", "how many jobs may have been set aside *", _read_limit(_read_count),
                   repeat=True),
            Option("--max-failed", "[FUNCTION:]N", "how many jobs may have failed in the last 5 minutes *",
                   _read_limit(_read_count), repeat=True),
            Option("--late", "FUNCTION=TIME", "how long ago the last success of a function may be, as of a job that cron "
                   "submits *", _read_late, repeat=True),
        ]),
        ("A job", [
            Option("--job", "FUNCTION", "submit a job, whose data is the next word, and wait for its end"),
            Option("--expect", "TEXT", "--job: what its result is to be"),
        ]),
        ("Other options", [
            Option("--timeout", "SECONDS", "how long one server may take for all that (default: 10)", read_seconds,
                   default=10.0),
        ]),
    ], [("* Only gearman_std's server tells that", "Another one's status is UNKNOWN then."),
        ("Exit status", _CHECK_STATUSES), ("Examples", _CHECK_EXAMPLES)])


def run_check(console: Console, arguments: "Sequence[str]") -> int:
    """Run `check`; return the exit status."""
    status, line = report(_check(arguments))
    try:
        console.write(line)
    except OSError as error:
        console.complain(str(error.strerror))
        return NOT_TOLD
    return status


def _check(arguments: "Sequence[str]") -> "List[Finding]":
    """The findings at all servers; one, if what is wanted makes no sense or this machine lacks something for it."""
    try:
        options = make_check_line().parse(arguments)
        if options.words and (options.job is None or len(options.words) > 1):
            raise UsageError("only the data of a --job goes without an option, not %r" % options.words[-1])
        if options.expect is not None and options.job is None:
            raise UsageError("--expect goes with --job")
        servers, tls = find_servers(options, os.environ), find_tls(options, os.environ)
    except (UsageError, GearmanError, ValueError) as error:
        return [Finding(NOT_TOLD, str(error))]
    except OSError as error:
        return [Finding(NOT_TOLD, error.strerror or str(error))]
    findings = []  # type: List[Finding]
    for server in servers:
        whose = join_address(server) + ": " if len(servers) > 1 else ""
        findings += [Finding(one.status, whose + one.text, [(whose + label, value, limit, unit)
                                                            for label, value, limit, unit in one.figures])
                     for one in _check_server(server, options, tls)]
    return findings


def report(findings: "Sequence[Finding]") -> "Tuple[int, str]":
    """The exit status and the line for all findings: if some are bad, only these are shown, the worst first."""
    status = max((one.status for one in findings), key=_SEVERITY.index)
    worst = sorted((one for one in findings if one.status != OK), key=lambda one: -_SEVERITY.index(one.status)) or findings
    figures = []  # type: List[str]
    for finding in findings:
        for label, value, limit, unit in finding.figures:
            warning, critical = ("" if level is None else _written_out(level) for level in (limit or ("", None, None))[1:])
            label = label.replace("'", "''").replace("=", "_")
            figures.append("'%s'=%s%s;%s;%s;0" % (label, _written_out(value), unit, warning, critical))
    text = "".join(letter if letter.isprintable() else " " for letter in ", ".join(one.text for one in worst))
    data = " | " + " ".join(figures) if figures else ""
    return status, "GEARMAN %s - %s%s\n" % (_CHECK_WORDS[status], text.replace("|", "/"), data)


def _written_out(number: float) -> str:
    """A number as graphs read it: without an exponent, however large."""
    return str(number) if isinstance(number, int) else ("%.3f" % number).rstrip("0").rstrip(".")


def _check_server(server: "Any", options: Parsed, tls: "Any") -> "List[Finding]":
    """The findings at one server."""
    try:
        with AdminClient([server], options.timeout, tls=tls) as admin:
            functions, tells_all = ask_figures(admin)
            uptime = admin.totals().get("uptime") if tells_all else None
        findings = [summarize(functions)] + judge(functions, uptime, options)
        if options.job is not None:
            findings.append(_try_job(server, options, tls))
        return findings
    except GearmanError as error:
        return [Finding(CRITICAL, str(error))]


def summarize(functions: "Sequence[Figures]") -> Finding:
    """The sums over all functions, a finding that is always OK."""
    waiting, running = (int(sum(function[name] for function in functions)) for name in ("waiting", "running"))
    return Finding(OK, "%d waiting, %d running in %d functions" % (waiting, running, len(functions)),
                   [("waiting", waiting, None, ""), ("running", running, None, "")])


def judge(functions: "Sequence[Figures]", uptime: "Optional[float]", options: Parsed,
          wall: "Callable[[], float]" = time.time) -> "List[Finding]":
    """The findings for the limits; `wall` is unix time."""
    findings = []  # type: List[Finding]
    for name, limits, measure, unit, words in (
            ("waiting", options.max_waiting, lambda function: function["waiting"], "", "%s: %d waiting"),
            ("age", options.max_age, lambda function: function["oldest"] or 0, "s", "%s: the oldest waits for %d s"),
            ("aside", options.max_aside, lambda function: function["aside"], "", "%s: %d set aside"),
            ("failed", options.max_failed, lambda function: function["recent"]["failed"], "", "%s: %d failed")):
        for limit in limits:
            if uptime is None and name != "waiting":
                findings.append(Finding(NOT_TOLD, "this server does not tell about %s" % name))
            else:
                findings += _compare(functions, name, limit, measure, unit, words)
    for wanted in options.no_worker:
        chosen = [one for one in functions if one["function"] == wanted or not wanted and one["waiting"]]
        lacking = [one["function"] for one in chosen if not one["workers"]]
        if wanted and not chosen:
            lacking = [wanted]
        findings.append(Finding(CRITICAL if lacking else OK, _without_worker(lacking) if lacking else
                                "workers for %s" % (wanted or "all that waits")))
    for limit in options.late:
        findings.append(_look_at_last_success(functions, uptime, limit, wall()))
    return findings


def _without_worker(names: "Sequence[str]") -> str:
    more = ", and %d more" % (len(names) - _MOST_SHOWN) if len(names) > _MOST_SHOWN else ""
    return "no worker for %s%s" % (", ".join(names[:_MOST_SHOWN]), more)


def _compare(functions: "Sequence[Figures]", name: str, limit: "Limit", measure: "Callable[[Figures], float]", unit: str,
             words: str) -> "List[Finding]":
    """The finding for one limit and one function, or the worst of all functions."""
    wanted, warning, critical = limit
    chosen = [function for function in functions if not wanted or function["function"] == wanted]
    measured = sorted(((measure(function), function["function"]) for function in chosen), reverse=True)
    bad = [Finding(CRITICAL if value >= critical else WARNING, words % (function, value)) for value, function in measured
           if value >= critical or warning is not None and value >= warning]
    most = measured[0][0] if measured else 0
    figures = [("%s_%s" % (wanted, name) if wanted else "max_" + name, most, limit, unit)]
    if not bad:
        return [Finding(OK, words % (wanted or (measured[0][1] if measured else "no function"), most), figures)]
    return [Finding(bad[0].status, bad[0].text, figures)] + bad[1:_MOST_SHOWN]


def _look_at_last_success(functions: "Sequence[Figures]", uptime: "Optional[float]", limit: "Limit",
                          now: float) -> Finding:
    """Whether a function succeeded lately; the server does not know what was before its own start."""
    wanted, warning, critical = limit
    if uptime is None:
        return Finding(NOT_TOLD, "this server does not tell when jobs ended")
    function = next((one for one in functions if one["function"] == wanted), None)
    last = function["last_success"] if function is not None else None
    if last is not None and last["time"] > now + _CLOCKS_DIFFER:
        return Finding(NOT_TOLD, "%s: its last success lies ahead by the clock, which was set back" % wanted)
    age = uptime if last is None else last["age"]
    status = CRITICAL if age >= critical else WARNING if warning is not None and age >= warning else OK
    if status != OK and last is None and function is not None and function["completed"]:
        return Finding(NOT_TOLD, "%s: this server no longer knows when its last success was" % wanted)
    text = ("%s: no success in the %d s since the server began" if last is None else "%s: the last success was %d s ago")
    return Finding(status, text % (wanted, age), [(wanted + "_late", age, limit, "s")])


def _try_job(server: "Any", options: Parsed, tls: "Any") -> Finding:
    """Submit a real job, and wait for its result."""
    data = os.fsencode(options.words[0]) if options.words else b""
    with Client([server], tls=tls, connect_timeout=options.timeout) as client:
        result = client.run(os.fsencode(options.job), data, timeout=options.timeout)
    shown = result.decode("utf-8", "backslashreplace")
    if options.expect is not None and result != os.fsencode(options.expect):
        return Finding(CRITICAL, "%s said %.80r, not %.80r" % (options.job, shown, options.expect))
    return Finding(OK, "%s said %.80r" % (options.job, shown))
