"""What a worker was told to do, and what it has counted."""
import os
from collections import namedtuple

from ..arguments import check_callable, check_number
from ..net.addresses import split_servers
from ..net.connection import check_tls, check_tls_kind
from ..net.system import REAL_SYSTEM
from ..wire.protocol import encode
from ..wire.serializers import find_serializer
from .repeats import Repeats

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional, Tuple, Union
    from ..net.system import System
    from .job import Ability

HOOKS = ("before", "after", "error", "connected", "disconnected")
CONNECT_TIMEOUT = 10.0


class WorkerHealth(namedtuple("WorkerHealth", "connected down running held grabbed completed failed retried lost refused")):
    """How a worker is: `connected` and `down` name its servers; `running` has a (function, handle, server, seconds) for each
    job that runs; `held` is how many jobs wait to be tried again.  Since the worker was made: `grabbed` jobs got, `completed`,
    `failed`, `retried`, `lost` results whose server was gone, `refused` results that a server did not want any more.
    """

    __slots__ = ()
    connected: "Tuple[str, ...]"
    down: "Tuple[str, ...]"
    running: "Tuple[Tuple[bytes, bytes, str, float], ...]"
    held: "int"
    grabbed: "int"
    completed: "int"
    failed: "int"
    retried: "int"
    lost: "int"
    refused: "int"


def _number_or_none(name: str, value: "Any", least: float = 0, whole: bool = False) -> "Any":
    return None if value is None else check_number(name, value, least, whole)


class WorkerSettings:
    """The servers, functions, hooks and limits of a worker, how often it was told to stop, and its totals.

    Raises ValueError or TypeError for addresses and settings that make no sense, OSError for files of `tls` that fail to load.

    Owner: the lock of the shift that is at work, before and after that its maker.
    """

    def __init__(self, servers: "Any" = None, *, threads: int = 1, client_id: "Union[str, bytes, None]" = None,
                 grace: "Optional[float]" = None, max_jobs: "Optional[int]" = None, max_age: "Optional[float]" = None,
                 splay: float = 0.0, serializer: "Any" = None, tls: "Any" = None, connect_timeout: float = CONNECT_TIMEOUT,
                 watch: "Optional[Callable[[], bool]]" = None, _system: "System" = REAL_SYSTEM) -> None:
        self._system = _system
        self.addresses = split_servers(servers, os.environ)
        self.serializer = find_serializer(serializer)
        self.client_id = encode(b"" if client_id is None else client_id)
        if b"\0" in self.client_id:
            raise ValueError("the client id holds a NUL byte: %r" % self.client_id)
        if watch is not None:
            check_callable("watch", watch)
        self.threads = check_number("threads", threads, 1, whole=True)  # type: int
        self.grace = _number_or_none("grace", grace)         # type: Optional[float]
        self.max_jobs = _number_or_none("max_jobs", max_jobs, 1, True)  # type: Optional[int]
        self.max_age = _number_or_none("max_age", max_age)   # type: Optional[float]
        self.splay = check_number("splay", splay)            # type: float
        check_tls_kind(tls)
        check_tls(tls)
        self.tls = tls
        self.connect_timeout = _number_or_none("connect_timeout", connect_timeout)  # type: Any
        self.watch = watch
        self.when_stuck = None  # type: Optional[Callable[[], Any]] # called if the main thread does not leave its function
        self.abilities = {}  # type: Dict[bytes, Ability]
        self.hooks = {name: [] for name in HOOKS}  # type: Dict[str, List[Callable[..., Any]]]
        self.stops = 0       # how often `stop` was called; a signal handler may do that anywhere, so no lock guards it
        self.repeats = Repeats()
        self.totals = dict.fromkeys(WorkerHealth._fields[4:], 0)

    def __repr__(self) -> str:
        return "<WorkerSettings: %d servers, %d functions, %d threads>" % (
            len(self.addresses), len(self.abilities), self.threads)
