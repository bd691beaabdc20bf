"""The command `server`: runs a job server with gearmand's options and its own."""
import gc
import logging
import os
import socket
import threading
import time
from collections import OrderedDict
from contextlib import ExitStack

from ..core.jobs import FunctionPolicy
from ..core.limits import Limits
from ..errors import GearmanError
from ..net.addresses import DEFAULT_PORT, join_address, show_address
from ..net.streams import KEEPALIVE, MOST_KEEPALIVE
from ..net.threads import start_thread
from ..server.access import Access
from ..server.listeners import Listener, read_places
from ..server.server import Server
from ..server.tls import ServerTLS
from ..store.sqlite import DURABILITIES, GEARMAND_TABLE, JobStore
from ..version import VERSION
from .common import need_module
from .console import DONE, FAILED, Console, Quit, is_terminal
from .options import CommandLine, Option, UsageError, one_of, read_port, read_seconds, read_size, some_text, whole_number
from .daemon import (LOG_LEVELS, PidFile, SignalHandlers, allow_core_dump, allow_descriptors, become_user, detach,
                     inherited_sockets, notify_manager, open_log, watchdog_interval)
from .opening import check_link
from .supervisor import Supervised, is_supervised

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple
    from .options import Parsed

_logger_cli = logging.getLogger("gearman_std.cli")

_DEFAULT_CONFIG = "/etc/gearmand.conf"
_HTTP_PORT = 8080
_KEPT_MEMORY = 8 * 1024 * 1024
_MOST = 0x7fffffff  # the largest number that every system call takes
_LEAST_DESCRIPTORS = 16  # with fewer the server could not do its work
_TELL_INTERVAL = 1.0  # seconds between two words of a start that takes long
_DAEMON_LOG = "/var/log/gearmand.log"
_SERVER_ABOUT = """
Run a job server.  All options of gearmand are accepted; those that have nothing to do here are noted in the log at level INFO.
"""
_SERVER_STATUSES = """
0  it ended as it was told to, by a signal or the command shutdown
1  it could not start, for example because the port is taken, broke down, or could not store what it was to store at the end
2  the command line or the config file makes no sense
With --daemon the status is known when the server listens, or cannot.
"""
_SERVER_WHO = """
10.0.0.0/8, 192.168.1.7, 2001:db8::/32   a network or an address
loopback                                 127.0.0.0/8 and ::1
unix                                     everybody who can open a Unix socket of the server
uid:1000, uid:www-data                   that user, by a Unix socket
cert:NAME                                who has a certificate with that common or alternative name
any, none
"""
_SERVER_SIGNALS = """
SIGTERM, SIGINT  stop at once; jobs that no store holds are lost
SIGUSR1          accept no more connections, stop when no job is left, or with a store when none runs and no client waits for
                 one; a second one stops at once
SIGHUP           open the log file again, and read the files of TLS again
"""
_SERVER_FILES = """
/etc/gearmand.conf  is read if it is there: options as on the command line, with their dashes, words that end at white
                    space, quotes that belong to them, # for comments
GEARMAND_PORT       port, if the command line and the config file name none
GEARMAND_SERVER_PEM, GEARMAND_SERVER_KEY, GEARMAND_CA_CERTIFICATE
                    certificate, key and authorities of TLS, if the command line and the config file name none
LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES
                    sockets that systemd has opened; the server listens on these and on what --listen names; a name of tls,
                    tcp, https or http says what is spoken there
NOTIFY_SOCKET, WATCHDOG_USEC
                    how systemd wants to hear from a service of Type=notify or notify-reload
"""
_SERVER_EXAMPLES = """
gearman-std server -L 127.0.0.1
gearman-std server -d -P /run/gearmand.pid -l /var/log/gearmand.log -u gearman
gearman-std server -q sqlite3 --sqlite3-db /var/lib/gearman/jobs.db
gearman-std server -q sqlite3 --sqlite3-db jobs.db --import-gearmand /var/lib/gearman/old.sqlite
gearman-std server -L tcp:127.0.0.1 -L tls::4731 --tls-certificate server.pem --tls-ca ca.pem --allow-work cert:worker
gearman-std server -L 127.0.0.1 -r http --http-port 8080
gearman-std server -L 127.0.0.1 -L unix:/run/gearman.sock --policy resize:coalescing=rerun,attempts=3,backoff=10
"""

# What is accepted so that service files go on working, and why nothing comes of it.
_NOT_NEEDED = {
    "threads": "there is one thread, which is enough", "hashtable_buckets": "hash tables grow by themselves",
    "round_robin": "functions of the same priority always take turns", "keepalive": "it is always on",
}
# Modules that are imported when they are needed, by this program or by others of the library, and whose files another user may
# not be allowed to read.
_NEEDED_LATER = ("datetime", "encodings.idna", "ipaddress", "json", "pathlib", "traceback")
_OTHER_STORES = ("--libmemcached-servers --libmemcached-prefix --libpq-conninfo --libpq-table --redis-server --redis-port "
                 "--redis-password --redis-prefix --mysql-host --mysql-port --mysql-user --mysql-password --mysql-db "
                 "--mysql-table")


def _read_policy(text: str) -> "Tuple[Optional[bytes], Dict[str, Any]]":
    """[FUNCTION:]NAME=VALUE,…"""
    function, colon, rest = text.rpartition(":")
    readers = {"coalescing": str, "retries": _read_retries, "attempts": whole_number(1), "backoff": read_seconds,
               "backoff-max": read_seconds}  # type: Dict[str, Any]
    settings = {}  # type: Dict[str, Any]
    for word in rest.split(","):
        name, _, value = word.partition("=")
        if name not in readers:
            raise ValueError("%r is not %s, each with =VALUE" % (word, ", ".join(sorted(readers))))
        settings[name.replace("-", "_")] = readers[name](value)
    FunctionPolicy(**settings)  # raises ValueError for what cannot be
    return (os.fsencode(function) if colon else None), settings


def _read_retries(text: str) -> int:
    """The `retries` of a policy, where no limit is -1, as in gearmand, or 0."""
    return max(0, whole_number(-1)(text))


def _read_mode(text: str) -> int:
    """Permissions in octal."""
    try:
        mode = int(text, 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o777:
        raise ValueError("%r is no mode such as 660" % text)
    return mode


def _read_backlog(text: str) -> int:
    """A backlog as the system takes it, where -1 is as many as it allows."""
    number = whole_number(-1, _MOST)(text)
    return _MOST if number == -1 else number


def _read_wakeup(text: str) -> int:
    """How many workers to wake, where all is 0, or -1."""
    return max(0, whole_number(-1)(text))


def make_server_line() -> CommandLine:
    """The options of `server`."""
    return CommandLine("server", ["server [OPTIONS]"], _SERVER_ABOUT, [
        ("Where it listens", [
            Option("-p --port", "PORT", "port, 0 for a free one (default: GEARMAND_PORT, else %d)" % DEFAULT_PORT, read_port),
            Option("-L --listen", "ADDRESS", "name, address, HOST:PORT, or path of a Unix socket; may be repeated; tls: or "
                   "tcp: before it says whether TLS is spoken there, https: or http: that HTTP is (default: every IPv4 and "
                   "IPv6 address, unless systemd has opened sockets)", repeat=True),
            Option("-r --protocol", "NAME", "http: take jobs by HTTP, too, on the same hosts, with TLS where they have it; "
                   "gear: Gearman's own, which is always spoken", one_of("http", "gear")),
            Option("--http-port", "PORT", "port of HTTP, with -r http (default: %d)" % _HTTP_PORT, read_port),
            Option("--socket-mode", "MODE", "permissions of the files of Unix sockets, such as 660", _read_mode),
            Option("-b --backlog", "N", "connections that may wait to be accepted, -1 for as many as the system allows "
                   "(default: 1024)", _read_backlog, default=1024),
            Option("--keepalive-idle", "SECONDS", "silence after which TCP asks whether the peer is there (default, "
                   "also for 0 and -1: %d)" % KEEPALIVE[0],
                   whole_number(-1, MOST_KEEPALIVE[0])),
            Option("--keepalive-interval", "SECONDS", "how long it waits for the answer (default: %d)" % KEEPALIVE[1],
                   whole_number(-1, MOST_KEEPALIVE[1])),
            Option("--keepalive-count", "N", "how often it asks (default: %d)" % KEEPALIVE[2],
                   whole_number(-1, MOST_KEEPALIVE[2])),
            Option("--print-address", "", "print each address on standard output when it listens"),
        ]),
        ("TLS, for addresses with tls: before them", [
            Option("--tls --ssl", "", "for all others, too, but those with tcp: and Unix sockets"),
            Option("--tls-certificate --ssl-certificate", "FILE", "what the server shows (default: GEARMAND_SERVER_PEM)"),
            Option("--tls-key --ssl-key", "FILE", "key of that certificate (default: GEARMAND_SERVER_KEY, else in the same "
                   "file)"),
            Option("--tls-ca --ssl-ca-file", "FILE", "ask peers for a certificate, which must be of one of these authorities "
                   "(default: GEARMAND_CA_CERTIFICATE)"),
            Option("--tls-require-certificate", "", "turn away those that have none"),
        ]),
        ("Who may do what; each may be repeated, see below", [
            Option("--allow-submit", "WHO", "submit jobs (default: any)", repeat=True),
            Option("--allow-work", "WHO", "be a worker (default: any)", repeat=True),
            Option("--allow-admin", "WHO", "ask with text commands (default: any)", repeat=True),
            Option("--allow-steer", "WHO", "as an admin, change things: maxqueue, cancel, drop, shutdown and so on (default: "
                   "loopback and unix)", repeat=True),
        ]),
        ("Jobs", [
            Option("-j --job-retries", "N", "how often a job's worker may be lost before the job fails, or is set aside if it "
                   "is in the background, when a worker that is too slow counts, too; -1 for no limit (default: %d)"
                   % FunctionPolicy().retries,
                   whole_number(-1)),
            Option("--policy", "[FUNCTION:]NAME=VALUE,...", "how the jobs of a function are treated, or of all that have no "
                   "policy of their own: coalescing=join, rerun, replace or reject; retries=N as -j, 0 for no limit, too; "
                   "attempts=N of a background job that fails, with backoff=SECONDS before the second, twice as long each time "
                   "up to backoff-max=SECONDS", _read_policy, repeat=True),
            Option("-w --worker-wakeup", "N", "sleeping workers to wake for a job, 0 or -1 for all (default: as few as "
                   "needed)", _read_wakeup),
            Option("-R --round-robin", "", "accepted: functions of the same priority always take turns"),
            Option("--exceptions", "", "pass exceptions on to clients that did not ask for them too"),
            Option("--job-handle-prefix", "PREFIX", "beginning of all handles (default: H:HOSTNAME)", os.fsencode),
        ]),
        ("Background jobs on disk", [
            Option("-q --queue-type", "TYPE", "builtin: in memory only; sqlite3: on disk, too (default: sqlite3 if a file is "
                   "named, else builtin)", one_of("builtin", "sqlite3", "libsqlite3")),
            Option("--sqlite3-db --libsqlite3-db", "FILE", "the file, made if it is missing", some_text),
            Option("--durability", "WHEN", "when a job is on disk. every: before it is acknowledged; batch: written before, "
                   "flushed within a second, so that a power failure may cost the last second's jobs; exit: when the server "
                   "stops (default: every). The end of a job is flushed within a second, so that a power failure may have it "
                   "run again", one_of(*DURABILITIES)),
            Option("--store-queue-on-shutdown", "", "the same as --durability exit"),
            Option("--import-gearmand", "FILE[:TABLE]", "take over the jobs that a gearmand's libsqlite3 queue left, once; the "
                   "table (default: %s) is renamed" % GEARMAND_TABLE),
            Option("--libsqlite3-table", "TABLE", "gearmand's table, for --import-gearmand"),
        ]),
        ("Limits; 0 is no limit", [
            Option("--max-packet", "BYTES", "largest packet (default: 256M)", read_size),
            Option("--max-line", "BYTES", "longest line of text (default: 8K)", read_size),
            Option("--max-unsent", "BYTES", "what may wait for one peer to read it (default: 256M)", read_size),
            Option("--max-connections", "N", "connections (default: 0)", whole_number()),
            Option("--max-jobs", "N", "jobs (default: 0)", whole_number()),
            Option("--max-job-bytes", "BYTES", "data of all jobs (default: 0)", read_size),
            Option("--max-function-jobs", "N", "jobs of one function (default: 0)", whole_number()),
            Option("--max-function-job-bytes", "BYTES", "data of all jobs of one function (default: 0)", read_size),
            Option("--max-functions", "N", "functions (default: %d)" % Limits().functions, whole_number()),
            Option("--max-name-bytes", "BYTES", "names of all functions (default: 16M)", read_size),
            Option("--max-abilities", "N", "functions of one worker (default: %d)" % Limits().abilities, whole_number()),
            Option("--stall-timeout", "SECONDS", "how long a peer may leave a packet half sent, or results unread (default: "
                   "60)", read_seconds),
            Option("-f --file-descriptors", "N", "open files, somewhat more than connections and at least %d (default: as many "
                   "as allowed)" % _LEAST_DESCRIPTORS, whole_number(0, _MOST)),
        ]),
        ("The program", [
            Option("-d --daemon", "", "go on in the background; the exit status tells whether it listens"),
            Option("-P --pid-file", "FILE", "write the process id to a file, which goes at the end"),
            Option("-u --user", "NAME", "become another user, if started by root", some_text),
            Option("-l --log-file", "FILE", "log there (default: stderr; with -d %s; none for no log)" % _DAEMON_LOG),
            Option("--syslog", "", "log to syslog, too"),
            Option("--verbose", "LEVEL", "log what is as bad as that or worse: %s (default: ERROR)" % " ".join(LOG_LEVELS),
                   one_of(*LOG_LEVELS), default="ERROR"),
            Option("--config-file", "FILE", "read options from a file; those of the command line win (default: %s)"
                   % _DEFAULT_CONFIG),
            Option("--check-args", "", "only look whether the options make sense"),
            Option("--coredump", "", "let the system write a core file when the interpreter crashes"),
        ]),
        ("Accepted, and of no effect", [
            Option("-t --threads", "N", "the server has one thread", whole_number()),
            Option("--hashtable-buckets", "N", "hash tables grow by themselves", whole_number(1)),
            Option("--keepalive", "", "TCP keepalive is always on"),
        ] + [Option(name, "TEXT", "of a store that is not here") for name in _OTHER_STORES.split()]),
    ], [("Who", _SERVER_WHO), ("Signals", _SERVER_SIGNALS), ("Files and environment", _SERVER_FILES),
        ("Exit status", _SERVER_STATUSES), ("Examples", _SERVER_EXAMPLES)], help_names="-h -H --help", once=True,
        version_names="-V --version")


def parse_server(arguments: "Sequence[str]") -> "Parsed":
    """The options of the command line, and of the config file where the command line says nothing.

    What is no option in the config file is left in `words`.  Raises UsageError, HelpWanted, and OSError for a config file that
    cannot be read.
    """
    line = make_server_line()
    options = line.parse(arguments)
    if options.words:
        raise UsageError("%r is no option" % options.words[0])
    if options.config_file or os.path.exists(_DEFAULT_CONFIG):
        path = options.config_file or _DEFAULT_CONFIG
        with open(path, "rb") as file:
            text = file.read()
        try:
            filed = line.parse(split_config(line, text))
        except UsageError as error:
            raise UsageError("%s: %s" % (path, error)) from None
        for key, _ in filed.given:
            if not options.has(key):
                setattr(options, key, getattr(filed, key))
        options.words = filed.words
    return options


def split_config(line: CommandLine, text: bytes) -> "List[str]":
    """The words of a config file, which end at white space; quotes belong to them, as in gearmand.

    A word that begins with # begins a comment, unless an option waits for its value.  The mark that some editors put in front
    of UTF-8 belongs to no word.
    """
    words = []  # type: List[str]
    if text.startswith(b"\xef\xbb\xbf"):
        text = text[3:]
    for row in text.splitlines():
        for word in map(os.fsdecode, row.split()):  # as words of the command line are read
            if word.startswith("#") and not (words and line.wants_value(words[-1])):
                break
            words.append(word)
    return words


def server_settings(options: "Parsed", environment: "Mapping[str, str]",
                    inherited: "Sequence[Tuple[str, Any]]" = ()) -> "Dict[str, Any]":
    """What `Server` is to be made with; `inherited` are names and sockets.  Raises UsageError."""
    port = options.port
    if port is None:
        try:
            port = DEFAULT_PORT if _is_service_address(environment) else read_port(
                environment.get("GEARMAND_PORT") or "%d" % DEFAULT_PORT)
        except ValueError as error:
            raise UsageError("GEARMAND_PORT: %s" % error) from None
    default = {}  # type: Dict[str, Any]
    if options.job_retries is not None:
        default["retries"] = {-1: 0, 0: 1}.get(options.job_retries, options.job_retries)
    policies = {}  # type: Dict[bytes, Dict[str, Any]]
    for function, policy in options.policy:
        (default if function is None else policies.setdefault(function, {})).update(policy)
    settings = {
        "port": port, "listen": _places(options, inherited), "tls": _tls(options, environment, inherited),
        "backlog": options.backlog, "exceptions": options.exceptions,
        "wakeup": options.worker_wakeup, "handle_prefix": options.job_handle_prefix, "version": VERSION,
        "verbosity": options.verbose, "policy": FunctionPolicy(**default),
        "policies": {function: FunctionPolicy(**dict(default, **policy)) for function, policy in policies.items()},
        "socket_mode": options.socket_mode, "access": _access(options), "keepalive": _keepalive(options),
        "limits": Limits(**_given(options, jobs="max_jobs", job_bytes="max_job_bytes", function_jobs="max_function_jobs",
                                  function_job_bytes="max_function_job_bytes", functions="max_functions",
                                  abilities="max_abilities", name_bytes="max_name_bytes")),
        "store": server_store(options),
    }  # type: Dict[str, Any]
    settings.update(_given(options, max_packet_size="max_packet", max_line_size="max_line", max_unsent="max_unsent",
                           max_connections="max_connections", stall_timeout="stall_timeout"))
    return settings


def _is_service_address(environment: "Mapping[str, str]") -> bool:
    """Whether GEARMAND_PORT is none of ours, but Kubernetes' or Docker's word of where a service "gearmand" is."""
    return "://" in environment.get("GEARMAND_PORT", "")


def _speaks_tls(options: "Parsed", inherited: "Sequence[Tuple[str, Any]]") -> bool:
    """Whether any address is to speak TLS."""
    return bool(options.tls or any(address.startswith(("tls:", "https:")) for address in options.listen)
                or any(name in ("tls", "https") for name, _ in inherited))


def _places(options: "Parsed", inherited: "Sequence[Tuple[str, Any]]") -> "Tuple[Any, ...]":
    """Where to listen; without --tls, TLS is only where the address, or the name of the inherited socket, says it."""
    plain = _speaks_tls(options, inherited) and not options.tls
    places = []  # type: List[Any]
    for name, listening in inherited:
        over_tcp = listening.family != getattr(socket, "AF_UNIX", None)
        secure = over_tcp and (name in ("tls", "https") or options.tls and name not in ("tcp", "http"))
        places.append(Listener(listening, secure, http=name in ("https", "http")))
    for address in options.listen:
        marked = address.startswith(("tls:", "tcp:", "https:", "http:", "unix:", "/"))
        places.append("tcp:" + address if plain and not marked else address)
    if options.protocol == "http":
        places = places or [""]
        places += _http_places(places, options.tls, _HTTP_PORT if options.http_port is None else options.http_port)
    return tuple(places)


def _http_places(places: "Sequence[Any]", tls: bool, port: int) -> "List[str]":
    """Where HTTP is spoken, too: on the same hosts, with TLS where it is spoken already."""
    hosts, spoken = OrderedDict(), False  # type: OrderedDict[str, bool], bool
    for place in read_places(places, 0, tls):
        if isinstance(place, Listener):
            host = "/" if isinstance(place.address, (str, bytes)) else place.address[0]
            secure, http = place.secure, place.http
        else:
            (host, _), secure, http = place
        spoken = spoken or http
        if not http and not host.startswith("/"):
            hosts[host] = secure or hosts.get(host, False)
    if not hosts and not spoken:
        raise UsageError("-r http needs a host, and there are only Unix sockets")
    if "" in hosts:  # every address
        hosts = OrderedDict({"": hosts[""]})
    return ["%s:%s" % ("https" if secure else "http", join_address((host, port))) for host, secure in hosts.items()]


def _tls(options: "Parsed", environment: "Mapping[str, str]",
         inherited: "Sequence[Tuple[str, Any]]") -> "Optional[Dict[str, Any]]":
    """How to speak TLS, None if it is spoken nowhere."""
    if not _speaks_tls(options, inherited):
        if options.tls_require_certificate:
            raise UsageError("--tls-require-certificate needs --tls, or tls: before an address")
        return None
    need_module("ssl", "TLS")
    settings = {"certificate": options.tls_certificate or environment.get("GEARMAND_SERVER_PEM"),
                "key": options.tls_key or environment.get("GEARMAND_SERVER_KEY"),
                "ca": options.tls_ca or environment.get("GEARMAND_CA_CERTIFICATE"),
                "required": options.tls_require_certificate}
    if not settings["certificate"]:
        raise UsageError("TLS needs --tls-certificate, or GEARMAND_SERVER_PEM")
    if settings["required"] and not settings["ca"]:
        raise UsageError("--tls-require-certificate needs --tls-ca, or GEARMAND_CA_CERTIFICATE")
    return settings


def _certificate_word(word: str) -> str:
    """A WHO as certificates have its letters, whatever the locale: in UTF-8, else in the locale's encoding, else in Latin-1."""
    data = os.fsencode(word)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1") if any("\ud800" <= letter <= "\udfff" for letter in word) else word


def _access(options: "Parsed") -> Access:
    lists = {}  # type: Dict[str, Any]
    for right in ("submit", "work", "admin", "steer"):
        name = "allow_" + right
        try:
            lists[right] = [_certificate_word(word) for word in getattr(options, name)] or None
            Access(**lists)
        except ValueError as error:
            raise UsageError("--%s: %s" % (name.replace("_", "-"), error)) from None
    return Access(**lists)


def _keepalive(options: "Parsed") -> "Tuple[int, int, int]":
    idle, interval, count = (given if given is not None and given > 0 else default for given, default in zip(
        (options.keepalive_idle, options.keepalive_interval, options.keepalive_count), KEEPALIVE))
    return idle, interval, count


def server_store(options: "Parsed") -> "Optional[JobStore]":
    """The store that the options ask for, or None.  Raises UsageError."""
    path = options.sqlite3_db
    if (options.queue_type or ("sqlite3" if path else "builtin")) == "builtin":
        if options.durability or options.import_gearmand:
            raise UsageError("--%s needs -q sqlite3" % ("durability" if options.durability else "import-gearmand"))
        return None
    if not path:
        raise UsageError("-q %s needs --sqlite3-db FILE" % options.queue_type)
    need_module("sqlite3", "a queue on disk")
    if options.store_queue_on_shutdown and options.durability not in (None, "exit"):
        raise UsageError("--store-queue-on-shutdown is not --durability %s" % options.durability)
    durability = "exit" if options.store_queue_on_shutdown else options.durability or "every"
    table = options.libsqlite3_table or GEARMAND_TABLE
    gearmand_queue = None
    if options.import_gearmand:
        file = options.import_gearmand
        if ":" in file and not os.path.exists(file):
            file, _, table = file.rpartition(":")
        gearmand_queue = file, table
    return JobStore(path, durability, gearmand_queue)


def _given(options: "Parsed", **keys: str) -> "Dict[str, Any]":
    return {name: getattr(options, key) for name, key in keys.items() if getattr(options, key) is not None}


def _needs_root(settings: "Dict[str, Any]") -> bool:
    """Whether only root may listen where the server is to."""
    places = read_places(settings["listen"] or [""], settings["port"], False)
    return any(not isinstance(place, Listener) and 0 < place[0][1] < 1024 for place in places)


def run_server(console: Console, arguments: "Sequence[str]") -> int:
    """Run `server`; return the exit status."""
    options = parse_server(arguments)
    for word in options.words:
        console.complain("%r in the config file is no option, which begins with --, and is ignored" % word)
    inherited = inherited_sockets(os.environ, os.getpid())
    settings = server_settings(options, os.environ, inherited)
    if options.check_args:
        Server(**settings)  # raises what there is to be said
        return DONE
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        os.environ.pop(name, None)
    supervised = is_supervised()
    with ExitStack() as stack:
        log_file = _open_server_log(console, options)
        _note_what_does_not_apply(options)
        if options.tls_certificate and settings["tls"] is None:
            _logger_cli.warning("the certificate is not used: no address speaks TLS")
        if options.port is None and _is_service_address(os.environ):
            _logger_cli.warning("GEARMAND_PORT is the address of a service, %s, and no port to listen on; it is passed over",
                                os.environ["GEARMAND_PORT"])
        allow_descriptors(max(options.file_descriptors, _LEAST_DESCRIPTORS) if options.file_descriptors else None)
        if options.coredump:
            allow_core_dump()
        detached = detach() if options.daemon else None
        pid_file = PidFile(options.pid_file) if options.pid_file else None
        if pid_file is not None:
            stack.callback(pid_file.discard)
            pid_file.open()  # now, as the user may not be allowed to; what is in it may be the id of a server that goes on
        if settings["tls"] is not None:
            settings["tls"] = ServerTLS(settings["tls"])  # whose files the user may not be allowed to read
        if options.user and not _needs_root(settings):
            _become(options.user, log_file)
        server = Server(**settings)
        stop = _Stop(server)
        handlers = {"SIGTERM": stop, "SIGINT": stop, "SIGUSR1": _Graceful(server),
                    "SIGHUP": _Reload(server, log_file)}  # type: Dict[str, Callable[[], Any]]
        stack.enter_context(SignalHandlers(handlers))
        stack.callback(server.close)
        server.bind()
        if options.user and _needs_root(settings):
            _become(options.user, log_file)
        for suffix in ("", "-lock", "-wal", "-shm", "-new") if options.sqlite3_db else ():
            check_link(options.sqlite3_db + suffix)
        with _Patience(server):
            server.open_store()
        stop.starting = False
        if pid_file is not None:
            stack.enter_context(pid_file)
        if supervised:
            Supervised(server.stop).listen()
        stack.enter_context(_Watchdog(server))
        if options.print_address:
            console.write(b"".join(os.fsencode(show_address(address)) + b"\n" for address in server.addresses))
        notify_manager("READY=1\nSTATUS=listening on %s" % ", ".join(map(show_address, server.addresses)))
        if detached is not None:
            detached.ready()
        elif not (options.print_address or _logger_cli.isEnabledFor(logging.INFO)) and is_terminal(console.stderr):
            console.complain("listening on %s; Ctrl-C ends it" % ", ".join(map(show_address, server.addresses)))
        _collect_rarely()
        _keep_freed_memory()
        try:
            server.serve()
        except ValueError as error:  # which is not about the command line any more
            raise GearmanError("the server broke down: %s" % error) from error
        notify_manager("STOPPING=1")
    return DONE if server.stored else FAILED


def _open_server_log(console: Console, options: "Parsed") -> "Any":
    """Set logging up; return the log file, if there is one."""
    path = options.log_file or (_DAEMON_LOG if options.daemon and not options.syslog else "stderr")
    try:
        return open_log(options.verbose, path, options.syslog)
    except OSError as error:
        if options.log_file or not options.daemon:
            raise
        console.complain("%s; there will be no log" % error.strerror)
        return open_log(options.verbose, "none", options.syslog)


def _note_what_does_not_apply(options: "Parsed") -> None:
    given = [key for key, _ in options.given]
    if options.job_retries == 0:
        _logger_cli.warning("-j 0: a job that loses its worker once gets no second attempt; -1 is no limit")
    for key in given:
        if key == "http_port" and options.protocol != "http":
            _logger_cli.info("--http-port has no effect without -r http")
        elif key in _NOT_NEEDED:
            _logger_cli.info("--%s has no effect: %s", key.replace("_", "-"), _NOT_NEEDED[key])
        elif "--" + key.replace("_", "-") in _OTHER_STORES.split():
            _logger_cli.info("--%s has no effect: that store is not in use", key.replace("_", "-"))


def _become(user: str, log_file: "Any") -> None:
    from importlib import import_module
    for name in _NEEDED_LATER:
        import_module(name)
    if log_file is not None:
        log_file.give_to(user)
    become_user(user)


def _collect_rarely() -> None:
    """Have the cycle collector spare what was made so far, and look at the jobs, which have no cycles, less often.

    By default it takes a fifth of the time of a submit (benchmark: background submit).
    """
    if hasattr(gc, "freeze"):  # not in Python 3.6
        gc.freeze()
    if hasattr(gc, "set_threshold"):  # not in PyPy, which collects in another way
        gc.set_threshold(50000, 20, 20)


def _keep_freed_memory() -> None:
    """Have glibc keep up to twice _KEPT_MEMORY of what large jobs leave free, for the next ones.

    Its measure is the largest block that was freed and that it had had from the system for that block alone (see mallopt(3),
    M_MMAP_THRESHOLD).  To fetch the pages again takes a fifth of the time of a large job (benchmark: round trip, 1 MiB).
    """
    bytes(_KEPT_MEMORY)


class _Stop:
    """Stops a server; one that still starts, and may read its store for long, is left at once.

    Owner: the main thread, whose signal handler it is.
    """

    def __init__(self, server: Server) -> None:
        self.starting = True
        self._server = server

    def __repr__(self) -> str:
        return "<_Stop%s>" % (", starting" if self.starting else "")

    def __call__(self) -> None:
        if self.starting:
            raise Quit(DONE)
        self._server.stop()


class _Graceful:
    """Stops a server when no job is left; called a second time, at once.

    Owner: the main thread, whose signal handler it is.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._calls = 0

    def __repr__(self) -> str:
        return "<_Graceful, called %d times>" % self._calls

    def __call__(self) -> None:
        self._calls += 1
        self._server.stop(graceful=self._calls == 1)


class _Reload:
    """Has a log file opened again, and says so in it; has the files of TLS read again.

    Owner: the main thread, whose signal handler it is.
    """

    def __init__(self, server: Server, log_file: "Any") -> None:
        self._server = server
        self._log_file = log_file

    def __repr__(self) -> str:
        return "<_Reload %r>" % (self._log_file,)

    def __call__(self) -> None:
        call_soon = self._server.call_soon
        call_soon(notify_manager, "RELOADING=1\nMONOTONIC_USEC=%d" % (time.monotonic() * 1e6))
        if self._log_file is not None:
            self._log_file.reopen()
            call_soon(_logger_cli.log, LOG_LEVELS["NOTICE"], "the log file was opened again")
        self._server.reload()
        call_soon(notify_manager, "READY=1")


class _Patience:
    """While it is entered, tells systemd and the log what a start does that takes long, and that it goes on.

    Owner: the thread that enters it.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._over = threading.Event()
        self._thread = None  # type: Optional[threading.Thread]

    def __repr__(self) -> str:
        return "<_Patience of %r>" % self._server

    def __enter__(self) -> None:
        if self._server.starting:
            self._tell()
            self._thread = start_thread(self._go_on, "gearman_std start")

    def __exit__(self, *_: "Any") -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()  # so that what it says does not come after what is said next

    def _go_on(self) -> None:
        count = 0
        while not self._over.wait(_TELL_INTERVAL):
            self._tell()
            count += 1
            if count % 10 == 0:
                _logger_cli.log(LOG_LEVELS["NOTICE"], "starting: %s", self._server.starting)

    def _tell(self) -> None:
        notify_manager("EXTEND_TIMEOUT_USEC=%d\nSTATUS=%s" % (30e6, self._server.starting))


class _Watchdog:
    """While it is entered, tells systemd that the server's loop runs, as often as it wants to know.

    Owner: the thread that enters it.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._interval = watchdog_interval(os.environ, os.getpid())
        self._over = threading.Event()

    def __repr__(self) -> str:
        return "<_Watchdog, every %s s>" % self._interval

    def __enter__(self) -> None:
        if self._interval is not None:
            start_thread(self._bark, "gearman_std watchdog")

    def __exit__(self, *_: "Any") -> None:
        self._over.set()

    def _bark(self) -> None:
        while not self._over.wait(self._interval):
            self._server.call_soon(notify_manager, "WATCHDOG=1")
