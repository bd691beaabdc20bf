"""The options of the command `server`, in the command line, a config file and the environment, and the settings they make."""
import os
import socket
from collections import OrderedDict

from ..core.jobs import FunctionPolicy
from ..core.limits import Limits
from ..core.functions import Statistics
from ..net.addresses import join_address
from ..server.access import Access
from ..server.listeners import SCHEMES, Listener, read_places
from ..server.settings import BYTES, LARGEST_NUMBER, MODE, NUMBER, PORT, SECONDS, SETTINGS, Setting
from ..store.gearmand_queue import GEARMAND_TABLE
from ..store.store import EXIT
from ..version import VERSION
from .common import need_module
from .daemon import LOG_LEVELS
from .options import CommandLine, OneOf, Option, UsageError, read_port, read_seconds, read_size, some_text, whole_number
from .stores import DATABASE_TYPES, QueueType, is_database_option, server_store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple
    from .options import Parsed

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
                    tcp, https, http, webs or web says what is spoken there
NOTIFY_SOCKET, WATCHDOG_USEC
                    how systemd wants to hear from a service of Type=notify or notify-reload
"""
_SERVER_EXAMPLES = """
gearman-std server -L 127.0.0.1
gearman-std server -d -P /run/gearmand.pid -l /var/log/gearmand.log -u gearman
gearman-std server -q sqlite3 --sqlite3-db /var/lib/gearman/jobs.db
gearman-std server -q sqlite3 --sqlite3-db /var/lib/gearman/jobs.db --standby
gearman-std server -q sqlite3 --sqlite3-db jobs.db --import-gearmand /var/lib/gearman/old.sqlite
gearman-std server -L tcp:127.0.0.1 -L tls::4731 --tls-certificate server.pem --tls-ca ca.pem --allow-work cert:worker
gearman-std server -L 127.0.0.1 -r http --http-port 8080
gearman-std server -L 127.0.0.1 -L unix:/run/gearman.sock --policy resize:coalescing=rerun,attempts=3,backoff=10
"""

_DEFAULT_CONFIG = "/etc/gearmand.conf"
DAEMON_LOG = "/var/log/gearmand.log"
LEAST_SILENCE = 1  # seconds; a shorter one could be a pause of any program
LEAST_DESCRIPTORS = 16  # with fewer the server could not do its work
_HTTP_PORT = 8080

# Options that are accepted only so that service files go on working, and why they have no effect.
_NOT_NEEDED = {
    "threads": "there is one thread, which is enough", "hashtable_buckets": "hash tables grow by themselves",
    "round_robin": "functions of the same priority always take turns", "keepalive": "it is always on",
}
_OTHER_STORES = ("--libmemcached-servers --libmemcached-prefix --redis-server --redis-port --redis-password "
                 "--redis-prefix").split()
_TABLES_OF_GEARMAND = ["--libpq-table", "--mysql-table"]


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
    """A backlog; -1 is as many as the system allows."""
    number = whole_number(-1, LARGEST_NUMBER)(text)
    return LARGEST_NUMBER if number == -1 else number


def _read_wakeup(text: str) -> int:
    """How many workers to wake; 0 and -1 are all."""
    return max(0, whole_number(-1)(text))


def _reader(setting: Setting) -> "Callable[[str], Any]":
    """The function that turns the text for a setting into its value."""
    if setting.choices:
        return OneOf(*setting.choices)
    if setting.unit == NUMBER:
        return whole_number(setting.least, setting.most)
    return {BYTES: read_size, SECONDS: read_seconds, PORT: read_port, MODE: _read_mode}.get(setting.unit, str)


def _read_policy(text: str) -> "Tuple[Optional[bytes], Dict[str, Any]]":
    """[FUNCTION:]NAME=VALUE,…"""
    function, colon, rest = text.rpartition(":")
    readers = {setting.part.replace("_", "-"): _reader(setting) for setting in _parts_of("policy")}
    readers["retries"] = lambda text: max(0, whole_number(-1)(text))  # where no limit is -1, as in gearmand, or 0
    settings = {}  # type: Dict[str, Any]
    for word in rest.split(","):
        name, _, value = word.partition("=")
        if name not in readers:
            raise ValueError("%r is not %s, each with =VALUE" % (word, ", ".join(sorted(readers))))
        settings[name.replace("-", "_")] = readers[name](value)
    FunctionPolicy(**settings)  # raises ValueError for what cannot be
    return (os.fsencode(function) if colon else None), settings


# Options whose text is read otherwise than their unit says; gearmand's have a -1 for no limit, or for the default.
_READERS = {
    "backlog": _read_backlog,
    "keepalive.idle": whole_number(-1, SETTINGS["keepalive.idle"].most),
    "keepalive.interval": whole_number(-1, SETTINGS["keepalive.interval"].most),
    "keepalive.count": whole_number(-1, SETTINGS["keepalive.count"].most),
    "handle_prefix": os.fsencode,
    "policy.retries": whole_number(-1),
    "store.path": some_text,
    "verbosity": OneOf(*LOG_LEVELS),
    "wakeup": _read_wakeup,
}  # type: Dict[str, Callable[[str], Any]]


def _parts_of(keyword: str) -> "List[Setting]":
    return [setting for setting in SETTINGS.values() if setting.part and setting.keyword == keyword]


def setting_option(name: str) -> Option:
    """The option that sets a setting of the server."""
    setting = SETTINGS[name]
    return Option(setting.options, setting.unit, setting.help, _READERS.get(name) or _reader(setting), setting.repeat)


def make_server_line() -> CommandLine:
    """The options of `server`."""
    return CommandLine("server", ["server [OPTIONS]"], _SERVER_ABOUT, [
        ("Where it listens", [
            setting_option("port"),
            setting_option("listen"),
            Option("-r --protocol", "NAME", "http: take jobs by HTTP, too, on the same hosts, with TLS where they have it; "
                   "gear: Gearman's own, which is always spoken", OneOf("http", "gear")),
            Option("--http-port", "PORT", "port of HTTP, with -r http (default: %d)" % _HTTP_PORT, read_port),
            Option("--web", "[HOST:]PORT", "show the server to people, with a browser, and to monitors; may be repeated "
                   "(default host: 127.0.0.1)", repeat=True),
            setting_option("socket_mode"),
            setting_option("backlog"),
        ] + list(map(setting_option, ("keepalive.idle", "keepalive.interval", "keepalive.count"))) + [
            Option("--print-address", "", "print each address on standard output when it listens"),
        ]),
        ("TLS, for addresses with tls: before them", [
            Option("--tls --ssl", "", "for all others, too, but those with tcp: and Unix sockets"),
        ] + list(map(setting_option, ("tls.certificate", "tls.key", "tls.ca", "tls.required")))),
        ("Who may do what; each may be repeated, see below", list(map(setting_option, (
            "access.submit", "access.work", "access.admin", "access.steer")))),
        ("Jobs", [
            setting_option("policy.retries"),
            Option("--policy", "[FUNCTION:]NAME=VALUE,...", "how the jobs of a function are treated, or of all that have no "
                   "policy of their own: coalescing=join, rerun, replace or reject; retries=N as -j, 0 for no limit, too; "
                   "attempts=N of a background job that fails, with backoff=SECONDS before the second, twice as long each time "
                   "up to backoff-max=SECONDS; keep=SECONDS for which the end of a background job, and its result, can be "
                   "fetched, of all of them keep-bytes=BYTES", _read_policy, repeat=True),
            setting_option("wakeup"),
            Option("-R --round-robin", "", "accepted: functions of the same priority always take turns"),
            setting_option("exceptions"),
            setting_option("handle_prefix"),
        ]),
        ("Background jobs on disk", [
            Option("-q --queue-type", "TYPE", "builtin: in memory only; sqlite3: on disk, too (default: sqlite3 if a file is "
                   "named, else builtin); postgres, mysql: in a database, see below; MODULE:FACTORY: in the Store that this "
                   "Python callable makes of the durability", QueueType("builtin", "sqlite3", "libsqlite3", *DATABASE_TYPES)),
            setting_option("store.path"),
            setting_option("store.durability"),
            Option("--take-over", "AFTER", "in a database that several servers share: take over the jobs of one that has been "
                   "silent for so long, by the clock of the database, if it has this option, too", read_seconds),
            Option("--check-store", "", "read the whole file at the start to see whether it is damaged, which takes a while"),
            Option("--standby", "", "if another server has the store, wait until that ends, and only then listen and serve"),
            Option("--store-queue-on-shutdown", "", "the same as --durability exit"),
            Option("--import-gearmand", "FILE[:TABLE]", "take over the jobs that a gearmand's libsqlite3 queue left, once; the "
                   "table (default: %s) is renamed; with -q postgres and mysql only TABLE, which is in the same "
                   "database" % GEARMAND_TABLE, some_text),
            Option("--libsqlite3-table", "TABLE", "gearmand's table, for --import-gearmand"),
        ]),
        ("Background jobs in PostgreSQL or MySQL, by a driver that pip installs", [
            Option("--server-name", "NAME", "what this server is called in the database, where several may have jobs "
                   "(default: its HOST:PORT)", some_text),
            Option("--libpq-conninfo", "TEXT", "where PostgreSQL is, such as host=db.example.org dbname=jobs, or a URI; what "
                   "it does not say is in PGHOST, PGUSER, PGPASSWORD and so on, or in ~/.pgpass"),
            Option("--mysql-host", "HOST", "where MySQL or MariaDB is, or its Unix socket; what these options do not say is in "
                   "the group client of ~/.my.cnf, and the password in MYSQL_PWD", some_text),
            Option("--mysql-port", "PORT", "its port", read_port),
            Option("--mysql-user", "NAME", "who connects to it"),
            Option("--mysql-password", "TEXT", "a password, which everybody can see who lists processes, unless it is given in "
                   "the config file"),
            Option("--mysql-db", "NAME", "the database"),
        ]),
        ("Limits; 0 is no limit", list(map(setting_option, (
            "max_packet_size", "max_line_size", "max_unsent", "max_connections", "limits.jobs", "limits.job_bytes",
            "limits.function_jobs", "limits.function_job_bytes", "limits.functions", "limits.name_bytes", "limits.abilities",
            "limits.kept_bytes", "limits.unstored_jobs", "limits.unstored_job_bytes", "statistics.ends",
            "statistics.end_bytes", "stall_timeout"))) + [
            Option("-f --file-descriptors", "N", "open files, somewhat more than connections and at least %d (default: as many "
                   "as allowed)" % LEAST_DESCRIPTORS, whole_number(0, LARGEST_NUMBER)),
        ]),
        ("The program", [
            Option("-d --daemon", "", "go on in the background; the exit status tells whether it listens"),
            Option("-P --pid-file", "FILE", "write the process id to a file, which goes at the end"),
            Option("-u --user", "NAME", "become another user, if started by root", some_text),
            Option("-l --log-file", "FILE", "log there (default: stderr; with -d %s; none for no log)" % DAEMON_LOG),
            Option("--syslog", "", "log to syslog, too"),
            setting_option("verbosity"),
            Option("--config-file", "FILE", "read options from a file; those of the command line win (default: %s)"
                   % _DEFAULT_CONFIG),
            Option("--check-args", "", "only look whether the options make sense"),
            Option("--coredump", "", "let the system write a core file when the interpreter crashes"),
        ]),
        ("Accepted, and of no effect", [
            Option("-t --threads", "N", "the server has one thread", whole_number()),
            Option("--hashtable-buckets", "N", "hash tables grow by themselves", whole_number(1)),
            Option("--keepalive", "", "TCP keepalive is always on"),
        ] + [Option(name, "TEXT", "of a store that is not here") for name in _OTHER_STORES + _TABLES_OF_GEARMAND]),
    ], [("Who", _SERVER_WHO), ("Signals", _SERVER_SIGNALS), ("Files and environment", _SERVER_FILES),
        ("Exit status", _SERVER_STATUSES), ("Examples", _SERVER_EXAMPLES)], help_names="-h -H --help", once=True,
        version_names="-V --version")


def options_without_effect(options: "Parsed") -> "List[str]":
    """Notes for the log about options that are given and change nothing."""
    notes = []  # type: List[str]
    for key, _ in options.given:
        name = "--" + key.replace("_", "-")
        if key == "http_port" and options.protocol != "http":
            notes.append("%s has no effect without -r http" % name)
        elif key in _NOT_NEEDED:
            notes.append("%s has no effect: %s" % (name, _NOT_NEEDED[key]))
        elif name in _TABLES_OF_GEARMAND:
            notes.append("%s has no effect: the tables' names begin with gearman_std_; --import-gearmand TABLE takes "
                         "over those of a gearmand" % name)
        elif name in _OTHER_STORES or is_database_option(key) and not is_database_option(key, options.queue_type or ""):
            notes.append("%s has no effect: that store is not in use" % name)
    return notes


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
    """The keywords for `Server`; `inherited` are names and sockets.  Raises UsageError."""
    given = _find_settings(options, environment)

    def parts(keyword: str) -> "Dict[str, Any]":
        return {setting.part: given[setting.name] for setting in _parts_of(keyword) if setting.name in given}
    settings = {name: given.get(name, setting.default) for name, setting in SETTINGS.items() if not setting.part}
    default = parts("policy")
    if "retries" in default:
        default["retries"] = {-1: 0, 0: 1}.get(default["retries"], default["retries"])
    policies = {}  # type: Dict[bytes, Dict[str, Any]]
    for function, policy in options.policy:
        (default if function is None else policies.setdefault(function, {})).update(policy)
    settings["policy"] = FunctionPolicy(**default)
    settings["policies"] = {function: FunctionPolicy(**dict(default, **policy)) for function, policy in policies.items()}
    settings["listen"] = _places(options, inherited)
    settings["keepalive"] = tuple(_keepalive(given))
    settings["tls"] = _tls(options, {setting.part: given.get(setting.name, setting.default) for setting in _parts_of("tls")},
                           inherited)
    settings["access"] = _access(parts("access"))
    settings["limits"] = Limits(**parts("limits"))
    settings["statistics"] = Statistics(**parts("statistics"))
    settings["store"] = server_store(options)
    _let_take_over(options, settings["store"])
    settings["version"] = VERSION
    return settings


def _let_take_over(options: "Parsed", store: "Any") -> None:
    """Tell a store how long the silence of another server may last.  Raises UsageError."""
    if options.take_over is None:
        return
    if store is None or not store.is_shared:
        raise UsageError("--take-over needs a database that several servers share")
    if store.durability == EXIT:
        raise UsageError("--take-over is of no use with --durability exit: there is nothing to be taken over")
    if options.take_over < LEAST_SILENCE:
        raise UsageError("--take-over is at least %d" % LEAST_SILENCE)
    store.take_over = options.take_over


def _find_settings(options: "Parsed", environment: "Mapping[str, str]") -> "Dict[str, Any]":
    """By name: the settings that the options give, or else the environment."""
    given = {}
    for name, setting in SETTINGS.items():
        if not setting.options:
            continue
        option = setting_option(name)
        value = getattr(options, option.key)
        text = environment.get(setting.variable)
        if text and not value and (value is None or isinstance(value, str)) and not (
                name == "port" and is_service_address(environment)):
            try:
                value = option.convert(text)
            except ValueError as error:
                raise UsageError("%s: %s" % (setting.variable, error)) from None
        if value is not None and value != []:
            given[name] = value
    return given


def is_service_address(environment: "Mapping[str, str]") -> bool:
    """Whether GEARMAND_PORT is not for us, but set by Kubernetes or Docker to the address of a service "gearmand"."""
    return "://" in environment.get("GEARMAND_PORT", "")


def _speaks_tls(options: "Parsed", inherited: "Sequence[Tuple[str, Any]]") -> bool:
    """Whether any address is to speak TLS."""
    words = options.listen + [name + ":" for name, _ in inherited]
    return bool(options.tls or any(tls and word.startswith(scheme) for word in words for scheme, (tls, _) in SCHEMES.items()))


def _places(options: "Parsed", inherited: "Sequence[Tuple[str, Any]]") -> "Tuple[Any, ...]":
    """Where to listen; without --tls, TLS is spoken only where the address, or the name of the inherited socket, says so."""
    plain = _speaks_tls(options, inherited) and not options.tls
    places = []  # type: List[Any]
    for name, listening in inherited:
        over_tcp = listening.family != getattr(socket, "AF_UNIX", None)
        speaks, http = SCHEMES.get(name + ":", (bool(options.tls), ""))
        places.append(Listener(listening, over_tcp and speaks, http=http))
    for address in options.listen:
        marked = address.startswith(tuple(SCHEMES) + ("unix:", "/"))
        places.append("tcp:" + address if plain and not marked else address)
    if options.protocol == "http":
        places = places or [""]
        places += _http_places(places, options.tls, _HTTP_PORT if options.http_port is None else options.http_port)
    if options.web:
        places = places or [""]
        places += [("webs:" if options.tls else "web:") + address for address in options.web]
    return tuple(places)


def _http_places(places: "Sequence[Any]", tls: bool, port: int) -> "List[str]":
    """The addresses for HTTP: the same hosts, with TLS where TLS is spoken already."""
    hosts = OrderedDict()  # type: OrderedDict[str, bool]
    spoken = False
    for place in read_places(places, 0, tls):
        if isinstance(place, Listener):
            host = "/" if isinstance(place.address, (str, bytes)) else place.address[0]
            secure, http = place.secure, place.http
        else:
            (host, _), secure, http = place
        spoken = spoken or bool(http)
        if not http and not host.startswith("/"):
            hosts[host] = secure or hosts.get(host, False)
    if not hosts and not spoken:
        raise UsageError("-r http needs a host, and there are only Unix sockets")
    if "" in hosts:  # every address
        hosts = OrderedDict({"": hosts[""]})
    return ["%s:%s" % ("https" if secure else "http", join_address((host, port))) for host, secure in hosts.items()]


def _tls(options: "Parsed", settings: "Dict[str, Any]", inherited: "Sequence[Tuple[str, Any]]") -> "Optional[Dict[str, Any]]":
    """The settings of TLS, None if it is spoken nowhere."""
    if not _speaks_tls(options, inherited):
        if settings["required"]:
            raise UsageError("--tls-require-certificate needs --tls, or tls: before an address")
        return None
    need_module("ssl", "TLS")
    if not settings["certificate"]:
        raise UsageError("TLS needs --tls-certificate, or GEARMAND_SERVER_PEM")
    if settings["required"] and not settings["ca"]:
        raise UsageError("--tls-require-certificate needs --tls-ca, or GEARMAND_CA_CERTIFICATE")
    return settings


def _certificate_word(word: str) -> str:
    """A WHO with letters as certificates have them: its bytes read as UTF-8, else in the locale's encoding, else as Latin-1."""
    data = os.fsencode(word)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1") if any("\ud800" <= letter <= "\udfff" for letter in word) else word


def _access(words: "Mapping[str, Sequence[str]]") -> Access:
    lists = {}  # type: Dict[str, Any]
    for right in words:
        try:
            lists[right] = [_certificate_word(word) for word in words[right]]
            Access(**lists)
        except ValueError as error:
            raise UsageError("--allow-%s: %s" % (right, error)) from None
    return Access(**lists)


def _keepalive(given: "Mapping[str, int]") -> "Iterator[int]":
    """The three numbers; 0 and -1 stand for the defaults."""
    for setting in _parts_of("keepalive"):
        number = given.get(setting.name, 0)
        yield number if number > 0 else setting.default
