"""Everything that the core knows: jobs, functions, connections, timers, counters.  Nothing is decided here."""
from ..timers import Timers
from .chain import Chain
from .functions import Registry, Statistics
from .handles import Handles
from .jobs import FunctionPolicy
from .kept import Results
from .ledger import Ledger
from .limits import REFUSAL_COUNTERS, Limits
from .roster import Roster
from .turns import Turns
from .uniques import Uniques

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, FrozenSet, List, MutableMapping, Optional, Set
    from .jobs import Function, Job
    from .peers import Peer


class CoreState:
    """The state of the core; the functions of the core's modules get it as their first argument, read it and change it.

    Every handle is `handle_prefix`, a colon and a number.  `wakeup` is how many sleeping workers a new job wakes: 0 for all,
    None for as few as needed, and more after a while if it still waits.  With `durable`, background jobs are acknowledged only
    when the store has them.  When a block of numbers is used up, `numbers` is called with the last one and returns the number
    before the next block; without it, handles are counted from 1.

    Owner: the server's dispatcher thread.
    """

    def __init__(self, handle_prefix: bytes = b"H:localhost", exceptions: bool = False, wakeup: "Optional[int]" = None,
                 durable: bool = False, policy: "Optional[FunctionPolicy]" = None,
                 policies: "Optional[Dict[bytes, FunctionPolicy]]" = None, limits: "Optional[Limits]" = None,
                 statistics: "Optional[Statistics]" = None,
                 version: bytes = b"gearman_std", pid: int = 0, verbosity: bytes = b"ERROR",
                 numbers: "Optional[Callable[[int], int]]" = None) -> None:
        self.exceptions = exceptions
        self.limits = limits or Limits()
        self.version = version
        self.pid = pid
        self.verbosity = verbosity
        self.handles = Handles(handle_prefix, numbers)
        self.now = 0.0   # monotonic seconds, as of the last tick
        self.wall = 0.0  # unix time, as of the last tick
        self.second = 0  # the whole seconds of `now`
        self.second_ends = float("-inf")  # when the next second begins, by `now`
        self.ahead = float("-inf")  # by how much the wall clock is ahead of the monotonic one, as of the last tick
        self.began = None               # type: Optional[float] # the first `now`
        self.each_second = lambda: None  # type: Callable[[], Any] # called at the first tick of each second
        self.loading = False            # the server is still reading its store
        self.statistics = statistics or Statistics()
        self.peers = {}                 # type: Dict[Peer, None]
        self.handler_tables = {}        # type: Dict[FrozenSet[str], List[Callable[..., None]]] # of peers, by their rights
        self.registry = Registry(self.limits, policy or FunctionPolicy(), dict(policies or {}), self.statistics)
        self.functions = self.registry.by_name
        self.jobs = {}                  # type: MutableMapping[bytes, Job] # by handle: all but those set aside
        self.aside = {}                 # type: MutableMapping[bytes, Job] # by handle
        # Counters that belong to no function, for `show totals`; the server adds to them.
        self.counters = dict.fromkeys(
            list(REFUSAL_COUNTERS.values()) + ["late_results", "jobs_adopted"], 0)  # type: Dict[str, int]
        self.size = 0                   # bytes of all workloads
        self.unsent = []                # type: List[Peer] # one list for ever, as every peer knows it; the server empties it
        self.servers = []               # type: List[Any] # what is known of the servers of the same database
        self.draining = False           # no new jobs are accepted, because somebody ordered that, or because it stops
        self.drain_ordered = False
        self.dropping = set()           # type: Set[Function] # which are paused until all their jobs are set aside
        self.stopping = ""              # "now" or "graceful"
        self.store_trouble = b""        # why background jobs cannot be accepted at present
        self.recurring = {}             # type: MutableMapping[Job, None] # of the jobs, those that recur
        self.job_chain = Chain()
        self.aside_chain = Chain()
        self.ledger = Ledger(durable, self.limits)
        self.turns = Turns(self.ledger)
        self.roster = Roster(self.functions, wakeup, self.turns)
        self.uniques = Uniques()
        self.results = Results(self.limits.kept_bytes)
        self.time_limits = Timers()     # of running jobs, by `now`
        self.delayed = Timers()         # of jobs that wait for a date, by `wall`
        self.retries = Timers()         # of jobs that wait for their next attempt, by `now`
        self.foreground = []            # type: List[Job] # with a graceful stop ahead, those that clients may still wait for
        self.foreground_known = False   # all foreground jobs have been found

    def __repr__(self) -> str:
        return "<%s: %d peers, %d functions, %d jobs, %d set aside>" % (
            type(self).__name__, len(self.peers), len(self.functions), len(self.jobs), len(self.aside))

    @property
    def handle_prefix(self) -> bytes:
        """What stands before the colon and the number in every handle."""
        return self.handles.prefix

    @property
    def number(self) -> int:
        """The number of the last handle that was given out."""
        return self.handles.number

    def add_function(self, name: bytes) -> "Function":
        """The function of that name, made if it is new."""
        return self.registry.add(name, self.now)
