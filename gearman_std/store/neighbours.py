"""What a server does about the others of the same database: shows that it lives, notices silent ones, takes their jobs over.

Only the database's clock counts: a server has been silent since its last write, as the database saw it.
"""
from ..core.ledger import KeepRecord, OrderRecord
from ..core.results import restore_end
from ..core.standing import restore_order
from ..net.logs import own_logger

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, List, Optional, Sequence
    from ..core.core import Core
    from .store import Neighbour, Store

_logger_watch = own_logger("gearman_std.store")

LOOK_INTERVAL = 2.0    # seconds between two looks at the other servers
LOOKS_IN_TIME = 5      # how often a server looks, at least, in the time after which others take its jobs over
RETRY_LOOK = 0.25      # seconds after a look that failed
LEASE = 0.75           # of that time, for which a proof that the jobs are this server's allows it to hand one out
ALONE = float("inf")


def look_interval(after: float) -> float:
    """Seconds between two looks, each a sign of life; others take over `after` so many seconds of silence, 0: never."""
    return min(LOOK_INTERVAL, after / LOOKS_IN_TIME) if after else LOOK_INTERVAL


class Lookout:
    """Decides when to look at the other servers, and whose jobs to take over; gives these jobs to the core.

    Owner: the StoreKeeper.
    """

    def __init__(self, core: "Core", store: "Store") -> None:
        after = store.take_over
        self.interval = look_interval(after) if store.is_shared else ALONE
        self.lease = LEASE * after if after else ALONE  # seconds
        self.wanted = None     # type: Optional[Neighbour] # whose jobs are to be taken over next
        self.in_doubt = False  # the answer got lost: it is unknown whether they were taken over, and that is asked first
        self.adopting = ""     # the name of the server whose jobs are ours, and are being read
        self._core = core
        self._store = store
        self._look_at = 0.0 if self.interval < ALONE else ALONE  # monotonic seconds
        self._noted_at = -ALONE      # when a look succeeded last, monotonic seconds
        self._in_contact = -ALONE    # since when looks have succeeded without a gap, monotonic seconds
        self._taken = 0        # jobs of the server `adopting` that the core has so far
        core.ledger.shared = bool(after)

    def __repr__(self) -> str:
        return "<Lookout, every %s s%s>" % (self.interval, ", adopting %s" % self.adopting if self.adopting else "")

    def due(self) -> bool:
        """Whether it is time to look, or to take over."""
        return self._core.now >= self._look_at or self.wanted is not None

    def next_time(self) -> float:
        """When it is time to look, in monotonic seconds."""
        return self._look_at

    def put_off(self) -> None:
        """Look again soon: a look has failed, or there was no time for one."""
        self._look_at = self._core.now + RETRY_LOOK

    def note(self, servers: "Sequence[Neighbour]") -> None:
        """Note the servers that a look has found, and decide whether to take over the jobs of one."""
        core, store = self._core, self._store
        self._look_at = core.now + self.interval
        # Silence tells nothing about the time when the database was away, or this server stood still or did not run.
        if self._noted_at < core.now - self.interval - store.take_over / 2:
            self._in_contact = core.now
        self._noted_at = core.now
        core.servers = list(servers)
        self.wanted = None
        if not store.take_over or self.adopting or core.stopping:
            return
        for server in servers:
            # A server whose take_over is 0 hands jobs out without asking whether they are still its own: it is left alone.
            after = max(store.take_over, server.take_over)
            if server.name != store.server and server.take_over and not server.adopted_by and (
                    server.silent > after and core.now - self._in_contact >= after):
                self.wanted = server
                return

    def begin(self, adopted: bool) -> None:
        """The store has the wanted server's jobs as this server's now, if `adopted`; else another one was faster."""
        server, self.wanted, self.in_doubt = self.wanted, None, False
        assert server is not None
        if adopted:
            self.adopting, self._taken = server.name, 0
            self._core.take_numbers()  # beyond all that the other server gave out, so that new jobs come behind its jobs
            _logger_watch.error("taking over the jobs of the server %s, which has been silent for %.1f s", server.name,
                                server.silent)

    def give_up(self, reason: object) -> None:
        """The jobs of the wanted server cannot be taken over at present."""
        server, self.wanted, self.in_doubt = self.wanted, None, False
        assert server is not None
        _logger_watch.warning("the jobs of the server %s cannot be taken over at present: %s", server.name, reason)

    def take_in(self, records: "List[Any]") -> None:
        """Give some of these jobs to the core; an empty list says that it has all of them."""
        core = self._core
        for record in records:
            try:
                if isinstance(record, KeepRecord):
                    restore_end(core, record)
                elif isinstance(record, OrderRecord):
                    restore_order(core, record)
                    _logger_watch.error("the function %s is paused, as it was at the server %s",
                                        record.function.decode("utf-8", "backslashreplace"), self.adopting)
                elif core.adopt(record) is not None:
                    self._taken += 1
            except ValueError as mistake:
                _logger_watch.error("the job %s is left in the store: %s", record.handle.decode("latin-1"), mistake)
        if not records:
            _logger_watch.error("%d jobs of the server %s taken over", self._taken, self.adopting)
            self.adopting = ""
