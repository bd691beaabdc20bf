"""The settings of the server, each declared once for the keywords of `Server`, their checks, the command line and the help."""
from collections import OrderedDict

from ..arguments import check_kind, check_number
from ..core.jobs import FunctionPolicy
from ..core.limits import Limits
from ..core.functions import Statistics
from ..net.addresses import DEFAULT_PORT, machine_name
from ..net.streams import KEEPALIVE, MOST_KEEPALIVE
from ..store.store import DURABILITIES, EVERY
from ..wire.protocol import MAX_LINE_SIZE, MAX_PACKET_SIZE
from .access import Access

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Mapping, Optional, Sequence, Union
    Check = Callable[[str, Any], None]

# How the help names a value that is a number, which also says how it is written: 64K are BYTES, 5m SECONDS, 660 a MODE.
NUMBER, BYTES, SECONDS, PORT, MODE = NUMBERS = ("N", "BYTES", "SECONDS", "PORT", "MODE")
LARGEST_NUMBER = 0x7fffffff  # the largest number that every system call takes
_LONGEST_PREFIX = 43         # bytes, so that a handle has 64 at most
_MACHINE_NAME_SHARE = 40    # bytes of the machine's name in the usual prefix


class Setting:
    """One setting of a server.

    `name` is the keyword of `Server`, or a part of that keyword's value, as in ``limits.jobs``.  `options` are the options that
    set it, on the command line and in the config file; `unit` is the name of the value in the help, empty for a flag.  In
    `help_text`, ``%s`` is the default as one writes it.  A number is between `least` and `most`; it is a whole number unless
    the default is a float.  `check` looks at other values, if it is given.  `variable` is the environment variable that sets it
    if no option does; with `repeat`, the option may be given several times.

    Owner: nobody, it does not change.
    """

    __slots__ = ("name", "default", "options", "unit", "help_text", "least", "most", "choices", "variable", "repeat", "_check")

    def __init__(self, name: str, default: "Any" = None, options: str = "", unit: str = "", help_text: str = "",
                 least: int = 0, most: "Optional[int]" = None, choices: "Sequence[str]" = (), variable: str = "",
                 repeat: bool = False, check: "Optional[Check]" = None) -> None:
        self.name = name
        self.default = default
        self.options = options
        self.unit = unit
        self.help_text = help_text
        self.least = least
        self.most = most
        self.choices = choices
        self.variable = variable
        self.repeat = repeat
        self._check = check

    def __repr__(self) -> str:
        return "<Setting %s%s>" % (self.name, self.options and ", " + self.options)

    @property
    def keyword(self) -> str:
        """The keyword of `Server` to which it belongs."""
        return self.name.partition(".")[0]

    @property
    def part(self) -> str:
        """Its part of the keyword's value; empty if it is the whole value."""
        return self.name.partition(".")[2]

    @property
    def help(self) -> str:
        """Its text in the help."""
        return self.help_text.replace("%s", self.written_default)

    @property
    def written_default(self) -> str:
        """The default as one would write it on the command line."""
        number = self.default
        if self.unit == BYTES:
            for letter, size in (("M", 1 << 20), ("K", 1 << 10)):
                if number and not number % size:
                    return "%d%s" % (number // size, letter)
        return "%d" % number if isinstance(number, float) and number.is_integer() else str(number)

    def check(self, value: "Any") -> None:
        """Raises ValueError or TypeError, naming the setting, for a value that it cannot have."""
        if value is None and self.default is None:
            return
        if self._check is not None:
            self._check(self.name, value)
        elif self.unit in NUMBERS:
            check_number(self.name, value, self.least, not isinstance(self.default, float), self.most)


def check_settings(values: "Mapping[str, Any]") -> None:
    """Raises ValueError or TypeError for the first keyword of `Server` whose value is not valid."""
    for setting in SETTINGS.values():
        if not setting.part:
            setting.check(values[setting.name])


def pack_prefix(prefix: "Optional[Union[str, bytes]]") -> bytes:
    """The setting `handle_prefix` as the bytes with which handles begin; the default has the machine's name."""
    if prefix is None:
        prefix = "H:" + machine_name()[:_MACHINE_NAME_SHARE]
    check_kind("handle_prefix", prefix, (str, bytes), "a text or bytes")
    packed = prefix.encode("utf-8", "replace") if isinstance(prefix, str) else prefix
    if not packed or len(packed) > _LONGEST_PREFIX or any(byte <= 32 for byte in packed):
        raise ValueError("handle_prefix is %r, which has to have 1 to %d bytes and no blanks" % (prefix, _LONGEST_PREFIX))
    return packed


def _kind(kinds: "Any", what: str) -> "Check":
    """A check that a value has one of these classes."""
    return lambda name, value: check_kind(name, value, kinds, what)


def _check_policies(name: str, policies: "Any") -> None:
    check_kind(name, policies, dict, "a dict of FunctionPolicy by function")
    for function, policy in policies.items():
        check_kind("the policy of %.80r" % (function,), policy, FunctionPolicy, "a FunctionPolicy")


def _check_prefix(_: str, prefix: "Any") -> None:
    pack_prefix(prefix)


def _check_keepalive(name: str, keepalive: "Any") -> None:
    check_kind(name, keepalive, (list, tuple), "three numbers")
    if len(keepalive) != 3:
        raise ValueError("%s is %.80r, not three numbers" % (name, keepalive))
    for number, part in zip(keepalive, ("idle", "interval", "count")):
        setting = SETTINGS["keepalive." + part]
        check_number(name, number, setting.least, whole=True, most=setting.most)


_LIMITS, _POLICY, _STATISTICS = Limits(), FunctionPolicy(), Statistics()

SETTINGS = OrderedDict((setting.name, setting) for setting in (
    # Where it listens.
    Setting("port", DEFAULT_PORT, "-p --port", PORT,
            "port, 0 for a free one (default: GEARMAND_PORT, else %s)", most=65535, variable="GEARMAND_PORT"),
    Setting("listen", (), "-L --listen", "ADDRESS",
            "name, address, HOST:PORT, or path of a Unix socket; may be repeated; tls: or tcp: before it says whether TLS is "
            "spoken there, https: or http: that jobs are taken by HTTP, webs: or web: that the server is shown to people and "
            "monitors (default: every IPv4 and IPv6 address, unless systemd has opened "
            "sockets)", repeat=True, check=_kind((list, tuple), "a list of addresses")),
    Setting("socket_mode", None, "--socket-mode", MODE,
            "permissions of the files of Unix sockets, such as 660", most=0o7777),
    Setting("backlog", 1024, "-b --backlog", NUMBER,
            "connections that may wait to be accepted, -1 for as many as the system allows (default: %s)", most=LARGEST_NUMBER),
    Setting("keepalive", KEEPALIVE, check=_check_keepalive),
    Setting("keepalive.idle", KEEPALIVE[0], "--keepalive-idle", SECONDS,
            "silence after which TCP asks whether the peer is there (default, also for 0 and -1: %s)",
            least=1, most=MOST_KEEPALIVE[0]),
    Setting("keepalive.interval", KEEPALIVE[1], "--keepalive-interval", SECONDS,
            "how long it waits for the answer (default: %s)", least=1, most=MOST_KEEPALIVE[1]),
    Setting("keepalive.count", KEEPALIVE[2], "--keepalive-count", NUMBER,
            "how often it asks (default: %s)", least=1, most=MOST_KEEPALIVE[2]),

    # TLS, and who may do what.
    Setting("tls"),
    Setting("tls.certificate", None, "--tls-certificate --ssl-certificate", "FILE",
            "what the server shows (default: GEARMAND_SERVER_PEM)", variable="GEARMAND_SERVER_PEM"),
    Setting("tls.key", None, "--tls-key --ssl-key", "FILE",
            "key of that certificate (default: GEARMAND_SERVER_KEY, else in the same file)", variable="GEARMAND_SERVER_KEY"),
    Setting("tls.ca", None, "--tls-ca --ssl-ca-file", "FILE",
            "ask peers for a certificate, which must be of one of these authorities (default: GEARMAND_CA_CERTIFICATE)",
            variable="GEARMAND_CA_CERTIFICATE"),
    Setting("tls.required", False, "--tls-require-certificate", "",
            "turn away those that have none"),
    Setting("handshake_timeout", 10.0, unit=SECONDS),
    Setting("access", check=_kind(Access, "an Access")),
    Setting("access.submit", None, "--allow-submit", "WHO",
            "submit jobs (default: any)", repeat=True),
    Setting("access.work", None, "--allow-work", "WHO",
            "be a worker (default: any)", repeat=True),
    Setting("access.admin", None, "--allow-admin", "WHO",
            "ask with text commands (default: any)", repeat=True),
    Setting("access.steer", None, "--allow-steer", "WHO",
            "as an admin, change things: maxqueue, cancel, drop, shutdown and so on (default: loopback and unix)", repeat=True),

    # Jobs.
    Setting("handle_prefix", None, "--job-handle-prefix", "PREFIX",
            "beginning of all handles (default: H:HOSTNAME)", check=_check_prefix),
    Setting("exceptions", False, "--exceptions", "",
            "pass exceptions on to clients that did not ask for them too"),
    Setting("wakeup", None, "-w --worker-wakeup", NUMBER,
            "sleeping workers to wake for a job, 0 or -1 for all (default: as few as needed)"),
    Setting("policy", check=_kind(FunctionPolicy, "a FunctionPolicy")),
    Setting("policy.coalescing", _POLICY.coalescing, unit="WORD"),
    Setting("policy.retries", _POLICY.retries, "-j --job-retries", NUMBER,
            "how often a job's worker may be lost before the job fails, or is set aside if it is in the background, when a "
            "worker that is too slow counts, too; -1 for no limit (default: %s)"),
    Setting("policy.attempts", _POLICY.attempts, unit=NUMBER, least=1),
    Setting("policy.backoff", _POLICY.backoff, unit=SECONDS),
    Setting("policy.backoff_max", _POLICY.backoff_max, unit=SECONDS),
    Setting("policy.keep", _POLICY.keep, unit=SECONDS),
    Setting("policy.keep_bytes", _POLICY.keep_bytes, unit=BYTES),
    Setting("policies", check=_check_policies),

    # Background jobs on disk.
    Setting("store"),
    Setting("store.path", None, "--sqlite3-db --libsqlite3-db", "FILE",
            "the file, made if it is missing"),
    Setting("store.durability", EVERY, "--durability", "WHEN",
            "when a job is on disk. every: before it is acknowledged; batch: written before, flushed within a second, so "
            "that a power failure may cost the last second's jobs; exit: when the server stops (default: %s). The end of a job "
            "is flushed within a second, so that a power failure may have it run again", choices=DURABILITIES),

    # Limits; 0 is no limit.
    Setting("max_packet_size", MAX_PACKET_SIZE, "--max-packet", BYTES,
            "largest packet (default: %s)"),
    Setting("max_line_size", MAX_LINE_SIZE, "--max-line", BYTES,
            "longest line of text (default: %s)"),
    Setting("max_unsent", MAX_PACKET_SIZE, "--max-unsent", BYTES,
            "what may wait for one peer to read it (default: %s)"),
    Setting("max_connections", 0, "--max-connections", NUMBER,
            "connections (default: %s)"),
    Setting("limits", check=_kind(Limits, "a Limits")),
    Setting("limits.jobs", _LIMITS.jobs, "--max-jobs", NUMBER,
            "jobs (default: %s)"),
    Setting("limits.job_bytes", _LIMITS.job_bytes, "--max-job-bytes", BYTES,
            "data of all jobs (default: %s)"),
    Setting("limits.function_jobs", _LIMITS.function_jobs, "--max-function-jobs", NUMBER,
            "jobs of one function (default: %s)"),
    Setting("limits.function_job_bytes", _LIMITS.function_job_bytes, "--max-function-job-bytes", BYTES,
            "data of all jobs of one function (default: %s)"),
    Setting("limits.functions", _LIMITS.functions, "--max-functions", NUMBER,
            "functions (default: %s)"),
    Setting("limits.name_bytes", _LIMITS.name_bytes, "--max-name-bytes", BYTES,
            "names of all functions (default: %s)"),
    Setting("limits.abilities", _LIMITS.abilities, "--max-abilities", NUMBER,
            "functions of one worker (default: %s)"),
    Setting("limits.kept_bytes", _LIMITS.kept_bytes, "--max-kept-bytes", BYTES,
            "what is kept of background jobs that have ended, for functions whose policy says so; the oldest goes first "
            "(default: %s)"),
    Setting("limits.unstored_jobs", _LIMITS.unstored_jobs, "--max-unstored-jobs", NUMBER,
            "with a store, what may wait for the disk: new background jobs are refused beyond it (default: %s)"),
    Setting("limits.unstored_job_bytes", _LIMITS.unstored_job_bytes, "--max-unstored-job-bytes", BYTES,
            "data of new background jobs that may wait for the disk (default: %s)"),
    Setting("statistics", check=_kind(Statistics, "a Statistics")),
    Setting("statistics.ends", _STATISTICS.ends, "--last-ends", NUMBER,
            "jobs of each function of which it is remembered how they ended last (default: %s)"),
    Setting("statistics.end_bytes", _STATISTICS.end_bytes, "--last-end-bytes", BYTES,
            "that of all functions, about; of the one that did nothing for longest goes first (default: %s)"),
    Setting("statistics.functions", _STATISTICS.functions, unit=NUMBER),
    Setting("stall_timeout", 60.0, "--stall-timeout", SECONDS,
            "how long a peer may leave a packet half sent, or results unread (default: %s)"),

    # What it says about itself.
    Setting("version", "", check=_kind(str, "a text")),
    Setting("verbosity", "ERROR", "--verbose", "LEVEL",
            "log what is as bad as that or worse: FATAL ALERT CRITICAL ERROR WARNING NOTICE INFO DEBUG (default: %s)",
            check=_kind(str, "the name of a log level")),
))
