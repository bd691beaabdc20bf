"""Between the core and its store: restores, writes after each wake-up, and lives through the times when the disk refuses.

While the store cannot be written, the core refuses new background jobs and all else goes on; what happens to the jobs that are
stored is kept in memory until the store can be written again, which is tried several times a second.
"""
import itertools
import logging

from ..core.jobs import GONE
from ..core.ledger import ADD, KEEP
from ..core.kept import kept_size
from ..errors import StoreError
from .loading import Loading
from .sqlite import EVERY, EXIT, ROW_SIZE, compact

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterator, List, Optional
    from ..core.core import Core
    from ..core.jobs import Job
    from ..core.ledger import KeepRecord
    from .sqlite import JobStore

_logger_keeper = logging.getLogger("gearman_std.store")

RETRY_INTERVAL = 0.25  # seconds between attempts to write to a store that is in trouble
FLUSH_INTERVAL = 1.0   # seconds that what is written, but promised to nobody, may wait for the disk
CATCH_UP = 5000        # records written in one go after trouble, so that the server does not stand still
QUIET = 1.0            # seconds without trouble after which it is said to be over; four times that, and so on, if it came again
LONGEST_QUIET = 60.0
ROOM = 16384           # bytes for which there has to be room at least before trouble is over
NOT_YET = float("inf")


class StoreKeeper:
    """Keeps the background jobs of a core in a store.

    Owner: the server's dispatcher thread.
    """

    def __init__(self, core: "Core", store: "JobStore") -> None:
        self.complete = True            # what was to be written at the end was written
        self._core = core
        self._store = store
        self._is_open = False
        self._loading = Loading(core, store)
        self._retry_at = 0.0            # monotonic seconds, while there is trouble
        self._renewal = None            # type: Optional[Iterator[None]] # of the store, while it is under way
        self._room = 0                  # bytes for which the disk has to have room before trouble is over
        self._quiet = QUIET
        self._well_since = NOT_YET        # monotonic seconds, as long as nobody has been told that trouble is over
        self._told = False              # the last line in the log is that of its beginning
        self._unflushed_since = None    # type: Optional[float] # monotonic seconds, None if all is on disk

    def __repr__(self) -> str:
        return "<StoreKeeper of %r%s>" % (self._store, ", in trouble" if self._core.store_trouble else "")

    def open(self) -> None:
        """Open the store and give its jobs to the core, whose time is set.  Raises StoreError."""
        if self._is_open:
            return
        try:
            self._loading.open()
            while not self.go_on():
                continue
        except BaseException:
            self._loading.give_up()
            raise

    def begin(self, done: "Callable[[], Any]") -> None:
        """Begin to do that; `done` is called, in any thread, when `go_on` has something to do.  Raises StoreError."""
        if not self._is_open:
            self._loading.begin(done)

    def go_on(self) -> bool:
        """Do a step of it; return whether that was the last.  Raises StoreError."""
        if not self._is_open:
            self._is_open = self._loading.step()
        return self._is_open

    @property
    def waiting(self) -> bool:
        """Whether there is nothing to go on with before `done` is called."""
        return self._loading.waiting

    @property
    def starting(self) -> str:
        """How far the start has come, for people; of any thread."""
        return self._loading.progress

    def due(self) -> bool:
        """Whether `save` has something to do before anything is sent."""
        core = self._core
        if core.store_trouble:
            return core.now >= self._retry_at
        return (bool(core.ledger.records) or self._store.wants(core.number) or self._flush_due()
                or core.now >= self._well_since + self._quiet)

    def next_time(self) -> float:
        """When `save` has something to do even if nothing happens, in monotonic seconds."""
        if self._core.store_trouble:
            return self._retry_at
        when = self._well_since + self._quiet
        if self._unflushed_since is not None:
            when = min(when, self._unflushed_since + FLUSH_INTERVAL)
        return when

    def save(self) -> None:
        """Put on disk what the core has recorded."""
        core, store = self._core, self._store
        if core.store_trouble:
            self._catch_up()
            return
        if core.now >= self._well_since + self._quiet:
            self._tell_the_end()
        try:
            if store.durability != EXIT:
                self._write()
            elif store.wants(core.number):
                store.write([], core.number)
        except StoreError as error:
            self._trouble_begins(error)
        else:
            core.stored()

    def _trouble_begins(self, error: StoreError) -> None:
        """Refuse the new jobs.  The log has a line when it begins, and one when it is over, but not each time for a moment."""
        core, store = self._core, self._store
        if not self._told:
            # At this level, and so is the end of it, since by default nothing below it is logged.
            _logger_keeper.error("background jobs are refused: %s", error)
            self._told = True
            self._room = 0
        elif self._well_since != NOT_YET:
            self._quiet = min(4 * self._quiet, LONGEST_QUIET)
        self._well_since = NOT_YET
        self._unflushed_since = None
        self._retry_at = core.now + RETRY_INTERVAL
        self._room = max(self._room, ROOM + 2 * sum(
            len(record.workload) if record.kind == ADD else kept_size(record)
            for record in core.ledger.records if record.kind in (ADD, KEEP)))
        refused = set() if not store.usable else {
            record.handle for record in core.ledger.records if record.kind == ADD}
        core.not_stored(b"Background jobs cannot be stored at present: " + error.reason.encode("utf-8", "backslashreplace"))
        # Where nothing reached the disk, nothing of them has to be removed from it.
        core.ledger.records = [record for record in core.ledger.records if record.handle not in refused]

    def _trouble_ends(self) -> None:
        self._well_since = self._core.now
        self._core.stored()

    def _tell_the_end(self) -> None:
        _logger_keeper.error("%s can be written again", self._store.path)
        self._told = False
        self._quiet = QUIET
        self._well_since = NOT_YET

    def _write(self) -> None:
        """Write all records, and wait for the disk if somebody is promised something, or others have waited for long."""
        core, store = self._core, self._store
        ledger = core.ledger
        flush = self._flush_due() or not ledger.records or bool(store.durability == EVERY and ledger.promises)
        store.write(ledger.records, core.number, flush)
        if flush:
            self._unflushed_since = None
        elif self._unflushed_since is None:
            self._unflushed_since = core.now

    def close(self) -> None:
        """Write what is outstanding, and with the durability EXIT all jobs, and close the store."""
        if not self._is_open:
            self._loading.give_up()
            return
        self._is_open = False
        store = self._store
        try:
            try:
                self._write_all()
            except StoreError as error:
                _logger_keeper.info("trying once more: %s", error)
                self._write_all()
        except StoreError as error:
            _logger_keeper.error("background jobs are lost, the file has those of the start: %s" if store.durability == EXIT
                                 else "not all is stored, jobs that are done may run again: %s", error)
            self.complete = False
            store.abandon()

    def _write_all(self) -> None:
        core, store = self._core, self._store
        if not store.usable:
            for _ in self._renewal or self._renew():
                continue
        if store.durability == EXIT:
            store.replace(core.snapshot(), core.number)
        elif core.ledger.records:
            store.write(core.ledger.records, core.number)
        core.stored()
        store.close(core.number)

    def _flush_due(self) -> bool:
        return self._unflushed_since is not None and self._core.now >= self._unflushed_since + FLUSH_INTERVAL

    def _catch_up(self) -> None:
        """Try to write again."""
        core, store = self._core, self._store
        try:
            if self._renewal is None and (not store.usable or not self._write_kept()):
                self._renewal = self._renew()
            if self._renewal is not None and next(self._renewal, self) is self:
                self._renewal = None
            if store.usable and not core.ledger.records:
                store.prove_room(self._room)
                self._trouble_ends()
        except StoreError as error:
            _logger_keeper.debug("still refused: %s", error)
            self._renewal = None
            self._retry_at = core.now + RETRY_INTERVAL
        else:
            self._retry_at = core.now + 0.001  # others get their turn before the rest is written

    def _write_kept(self) -> bool:
        """Write some of the records that were kept during trouble; return whether that is the way out of it."""
        core, store = self._core, self._store
        core.ledger.records = compact(core.ledger.records)
        try:
            store.write(core.ledger.records[:CATCH_UP], core.number)
        except StoreError:
            if store.usable and store.could_shrink(core.results.size + sum(
                    len(job.workload) + ROW_SIZE for job in core.background_jobs())):
                return False
            raise
        core.ledger.records = core.ledger.records[CATCH_UP:]
        return True

    def _renew(self) -> "Iterator[None]":
        """Write the store anew from what the core has, in whose ledger is then what happens meanwhile."""
        core, store = self._core, self._store
        jobs = []  # type: List[Job]
        kept = []  # type: List[KeepRecord]
        if not store.is_whole:
            jobs, kept = core.background_jobs(), core.results.records()
            core.ledger.records = []
        _logger_keeper.info("%s is written anew", store.path)
        return store.renew(itertools.chain((core.record_of(job) for job in jobs if job.state is not GONE), kept), core.number)
