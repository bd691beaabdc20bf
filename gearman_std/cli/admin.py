"""The command `admin`: one administrative command after the other, answered as gearadmin does, or as JSON."""
import os

from ..client.admin import AdminClient
from ..client.client import Client
from ..errors import NoServer, ServerError, ServerLost
from ..net.addresses import join_address
from .common import address_options, find_servers, find_tls
from .console import DONE, FAILED, UNREACHABLE, Console
from .listings import USUAL_ROWS, Listings
from .options import CommandLine, OneOf, Option, Parsed, UsageError, read_seconds, whole_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, List, Sequence, Set, Tuple

_ADMIN_ABOUT = """
Ask a job server, or steer it.  Several actions are sent over one connection in the order in which they are given, and all of
them are, even if the server refuses one.  All options of gearadmin work as they do there, also cut short, and print the same.
Of several servers, each is asked in turn, and named before what it says; the exit status is the worst.
"""
_ADMIN_EXAMPLES = """
gearman-std admin --status
gearman-std admin -h queue.example -p 4730 --server-version --workers
gearman-std admin --show-jobs --json
gearman-std admin --job H:queue:17 --watch
gearman-std admin --jobs=resize --limit 20 --history=resize --schedules
gearman-std admin --create-function resize --max-queue resize=1000
gearman-std admin --cancel-job H:queue:17
"""
_ADMIN_STATUSES = """
0  the server did all that was asked
1  a server refused something, or no server knows the --job
2  the command line makes no sense
3  a server cannot be reached, or did not answer in time
130  interrupted by Ctrl-C
"""

# What is sent for an action; the word given with it comes last.
_PLAIN_ACTIONS = {
    "server_version": "version", "server_verbose": "verbose", "getpid": "getpid", "create_function": "create function",
    "cancel_job": "cancel job", "cancel_unique": "cancel unique", "cancel_function": "cancel function",
    "pause": "pause function", "resume": "resume function", "drain": "drain", "run_job": "run job",
}
# Listings: what is sent, and the method of AdminClient for JSON.
_LISTING_ACTIONS = {
    "status": ("status", "status"), "priority_status": ("prioritystatus", "priority_status"), "workers": ("workers", "workers"),
    "show_jobs": ("show jobs", "jobs"), "show_unique_jobs": ("show unique jobs", "unique_jobs"),
    "show_aside": ("show aside", "aside_details"), "show_functions": ("show functions json", "function_details"),
    "show_totals": ("show totals", "totals"), "servers": ("show servers", "servers"),
}

_TABLES = ("jobs", "history", "schedules")

_GEARADMIN = ("--help", "--host", "--port", "--server-version", "--server-verbose", "--create-function", "--cancel-job",
              "--drop-function", "--show-unique-jobs", "--show-jobs", "--getpid", "--status", "--priority-status", "--workers",
              "--ssl")


def _read_limits(text: str) -> "Tuple[bytes, List[int]]":
    """FUNCTION=LIMIT or FUNCTION=HIGH,NORMAL,LOW."""
    function, equals, limits = text.rpartition("=")
    words = limits.split(",")
    if not equals or not function or len(words) not in (1, 3) or not all(word.isdigit() for word in words):
        raise ValueError("%r is not FUNCTION=LIMIT or FUNCTION=HIGH,NORMAL,LOW" % text)
    return os.fsencode(function), [int(word) for word in words]


def make_admin_line() -> CommandLine:
    """The options of `admin`."""
    return CommandLine("admin", ["admin [-h HOST] [-p PORT] ACTION..."], _ADMIN_ABOUT, [
        address_options(),
        ("Questions", [
            Option("--status", "", "each function: jobs that wait or run, jobs that run, workers"),
            Option("--priority-status", "", "each function: waiting jobs of high, normal and low priority, workers"),
            Option("--workers", "", "each connection: number, address, client id, functions"),
            Option("--show-jobs", "", "each job: handle, lost attempts, whether it is of no use any more, whether it is a "
                   "background job"),
            Option("--show-unique-jobs", "", "each job's unique"),
            Option("--show-aside --show-set-aside", "", "each job that was set aside: handle, function, unique, attempts, "
                   "error *"),
            Option("--show-functions", "", "all about each function, also whether it is paused, as JSON *"),
            Option("--show-totals", "", "what the server has counted *"),
            Option("--servers", "", "each server of the same database: name, whether it lives, ended, is silent or was "
                   "adopted, for how many seconds it has been silent, which server has adopted its jobs *"),
            Option("--job", "HANDLE", "all about a job: state, since when, worker, progress, attempts, last error, next time, "
                   "or how it ended *", os.fsencode),
            Option("--watch", "", "--job: again and again, until it ends"),
            Option("--jobs", "FUNCTION", "a table of jobs, of all functions or of one *", os.fsencode, default_word=""),
            Option("--history", "FUNCTION", "a table of how the last jobs ended, the newest first *", os.fsencode,
                   default_word=""),
            Option("--schedules", "FUNCTION", "a table of the jobs that recur, or wait for a date or for their next attempt, "
                   "the next first *", os.fsencode, default_word=""),
            Option("--limit", "N", "the rows of such a table at most, 0 for all (default: %d)" % USUAL_ROWS, whole_number(),
                   default=USUAL_ROWS),
            Option("--server-version", "", "the server's version"),
            Option("--server-verbose", "", "the server's log level"),
            Option("--getpid", "", "the server's process id"),
            Option("--ping", "", "the milliseconds that the server takes to answer"),
        ]),
        ("Orders", [
            Option("--create-function", "FUNCTION", "have the server know a function", os.fsencode),
            Option("--drop-function", "FUNCTION", "have the server forget a function that nobody can do", os.fsencode),
            Option("--force", "", "--drop-function: even if jobs wait, which are set aside *"),
            Option("--cancel-job", "HANDLE", "cancel a job", os.fsencode),
            Option("--cancel-unique", "UNIQUE", "cancel the jobs with a unique *", os.fsencode),
            Option("--cancel-function", "FUNCTION", "cancel all jobs of a function *", os.fsencode),
            Option("--max-queue", "FUNCTION=N", "refuse jobs of a function that has N of them already, 0 for no limit; "
                   "HIGH,NORMAL,LOW for N gives each priority its own limit", _read_limits),
            Option("--pause", "FUNCTION", "accept jobs of a function, but give none to workers *", os.fsencode),
            Option("--resume", "FUNCTION", "end a pause *", os.fsencode),
            Option("--run-job", "HANDLE", "run a job at once that waits for a date, or for its next attempt *", os.fsencode),
            Option("--drain", "on|off", "refuse new jobs, while those that wait are done *",
                   OneOf("on", "off"), default_word="on"),
            Option("--requeue", "HANDLE|all", "give a job that was set aside another try, or all *", os.fsencode),
            Option("--purge", "HANDLE|all", "throw away a job that was set aside, or all *", os.fsencode),
            Option("--shutdown", "graceful", "stop the server at once, or when no job is left *",
                   OneOf("now", "graceful"), default_word="now"),
            Option("--send", "COMMAND", "send any command of one line, print the line that comes back", os.fsencode),
        ]),
        ("Other options", [
            Option("--json", "", "print a JSON document for each question, with the meaning of each figure; --show-jobs tells "
                   "more *"),
            Option("--timeout", "SECONDS", "how long one action may take (default: 10)", read_seconds, default=10.0),
        ]),
    ], [("* Only gearman_std's server can do that", "gearmand refuses what it does not know; of a --job it tells whether it "
                                                    "waits or runs, and its progress, and --show-jobs --json is short there."),
        ("Exit status", _ADMIN_STATUSES), ("Examples", _ADMIN_EXAMPLES)], abbreviated=_GEARADMIN)


def run_admin(console: Console, arguments: "Sequence[str]") -> int:
    """Run `admin`; return the exit status."""
    line = make_admin_line()
    options = line.parse(arguments)
    tables = [index for index, (key, value) in enumerate(options.given) if key in _TABLES]
    if len(options.words) == 1 and len(tables) == 1 and options.given[tables[0]][1] == b"":  # also without an equals sign
        options.given[tables[0]] = options.given[tables[0]][0], os.fsencode(options.words.pop())
    if options.words:
        raise UsageError("an action begins with --, %r does not" % options.words[0])
    modifiers = {"host", "port", "tls", "tls_ca", "tls_certificate", "tls_key", "tls_hostname", "tls_no_verify", "json",
                 "timeout", "force", "watch", "limit"}
    actions = [(key, value) for key, value in options.given if key not in modifiers]
    if not actions:
        raise UsageError("no action was given")
    servers, tls = find_servers(options, os.environ), find_tls(options, os.environ)
    missing = {value for key, value in actions if key == "job"}  # handles that no server has known yet
    status = DONE
    for server in servers:
        with AdminClient([server], options.timeout, tls=tls) as admin, Client(
                [server], connect_timeout=options.timeout, command_timeout=options.timeout, tls=tls) as client:
            if len(servers) > 1:
                console.write(_as_json({"server": join_address(server)}) if options.json else join_address(server) + ":\n")
            try:
                status = max(status, _act_all(admin, client, console, options, actions, missing,
                                              join_address(server) + ": " if len(servers) > 1 else ""))
            except (NoServer, ServerLost) as error:
                console.complain(str(error))
                status = UNREACHABLE
    for handle in sorted(missing):
        console.complain("no job %s is known: it has ended, or never was" % handle.decode("utf-8", "backslashreplace"))
        status = max(status, FAILED)
    return status


def _act_all(admin: AdminClient, client: Client, console: Console, options: Parsed, actions: "Sequence[Tuple[str, Any]]",
             missing: "Set[bytes]", whose: str) -> int:
    """Send all actions to one server; return the exit status."""
    status = DONE
    listings = Listings(admin, client, console, _as_json if options.json else None)
    for key, value in actions:
        try:
            if key in _TABLES:
                listings.table(key, value, options.limit)
            elif key != "job":
                console.write(_act(admin, options, key, value))
            elif listings.job(value, options.watch):
                missing.discard(value)
        except ServerError as error:
            console.warn("%sError: %s\n" % (whose, error.text if error.code == "ERR" else error))
            status = FAILED
    return status


def _act(admin: AdminClient, options: Parsed, key: str, value: "Any") -> "Any":
    """What an action prints."""
    if key in _LISTING_ACTIONS:
        command, method = _LISTING_ACTIONS[key]
        if not options.json:
            return admin.send(command, listing=True)
        return _as_json(_find_details(admin) if key == "show_jobs" else getattr(admin, method)())
    if key == "ping":
        milliseconds = round(admin.ping() * 1000, 3)
        return _as_json(milliseconds) if options.json else "%s\n" % milliseconds
    if key == "send":
        return admin.send(value)
    elif key == "max_queue":
        admin.max_queue(value[0], *value[1])
        answer = ""
    elif key == "drop_function":
        admin.drop_function(value, options.force)
        answer = ""
    elif key == "shutdown":
        admin.shutdown(value == "graceful")
        answer = ""
    elif key in ("requeue", "purge"):
        answer = admin.ask(*([key, "all"] if value == b"all" else [key, "job", value]))
    else:
        answer = admin.ask(*_PLAIN_ACTIONS[key].split() + ([] if isinstance(value, bool) else [value]))
    if options.json:
        return _as_json(int(answer) if answer.isdigit() else answer or "OK")
    return (answer or "OK") + "\n"


def _find_details(admin: AdminClient) -> "List[Any]":
    """All about each job, or what there is to know if the server is not gearman_std's."""
    try:
        return list(admin.job_details())
    except ServerError:
        return list(admin.jobs())


def _as_json(value: "Any") -> str:
    from json import dumps
    return dumps(_plain(value), sort_keys=isinstance(value, dict)) + "\n"


def _plain(value: "Any") -> "Any":
    """Named tuples as dicts, bytes as text."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if hasattr(value, "_asdict"):
        return {name: _plain(part) for name, part in value._asdict().items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    return value
