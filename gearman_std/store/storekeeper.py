"""Between the core and its store: restores, writes after each wake-up, and lives through the times when the disk refuses.

While the store cannot be written, the core refuses new background jobs and all else goes on; what happens to the jobs that are
stored is kept in memory until the store can be written again, which is tried several times a second.
"""
import logging

from ..core.jobs import SET_ASIDE, Job
from ..errors import StoreError
from ..schedule import Schedule
from .sqlite import EVERY, EXIT, compact

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional
    from ..core.core import Core
    from .sqlite import JobStore

_logger_keeper = logging.getLogger("gearman_std.store")

RETRY_INTERVAL = 0.25  # seconds between attempts to write to a store that is in trouble
FLUSH_INTERVAL = 1.0   # seconds that what is written, but promised to nobody, may wait for the disk
CATCH_UP = 5000        # records written in one go after trouble, so that the server does not stand still


class StoreKeeper:
    """Keeps the background jobs of a core in a store.

    Owner: the server's dispatcher thread.
    """

    def __init__(self, core: "Core", store: "JobStore") -> None:
        self.complete = True            # what was to be written at the end was written
        self._core = core
        self._store = store
        self._is_open = False
        self._retry_at = 0.0            # monotonic seconds, while there is trouble
        self._unflushed_since = None    # type: Optional[float] # monotonic seconds, None if all is on disk

    def __repr__(self) -> str:
        return "<StoreKeeper of %r%s>" % (self._store, ", in trouble" if self._core.store_trouble else "")

    def open(self) -> None:
        """Open the store and give its jobs to the core, whose time is set.  Raises StoreError."""
        if self._is_open:
            return
        core, store = self._core, self._store
        store.open(core.handle_prefix, core.wall)
        try:
            for row in store.load():
                core.restore(self._job(*row))
        except BaseException:  # a signal may end a long start
            store.abandon()
            raise
        core.number = store.number
        self._is_open = True

    def _job(self, handle: bytes, function: bytes, unique: bytes, workload: bytes, reducer: "Optional[bytes]", priority: int,
             due: float, attempts: int, state: str, error: bytes, schedule: "Optional[bytes]", created: float) -> Job:
        core = self._core
        age = max(0.0, core.wall - created)  # the clock may have been set back
        job = Job(handle, core.add_function(function), unique, workload, priority, True, core.now - age)
        job.reducer = reducer
        job.due = due
        job.attempts = attempts
        if state == SET_ASIDE:
            job.state = SET_ASIDE
        job.error = error
        if schedule is not None:
            try:
                job.schedule = Schedule(schedule)
            except ValueError as mistake:
                raise StoreError("%s: job %s: %s" % (self._store.path, handle.decode("latin-1"), mistake)) from None
        return job

    def due(self) -> bool:
        """Whether `save` has something to do before anything is sent."""
        core = self._core
        if core.store_trouble:
            return core.now >= self._retry_at
        return bool(core.ledger.records) or self._store.wants(core.number) or self._flush_due()

    def next_time(self) -> float:
        """When `save` has something to do even if nothing happens, in monotonic seconds."""
        if self._core.store_trouble:
            return self._retry_at
        if self._unflushed_since is not None:
            return self._unflushed_since + FLUSH_INTERVAL
        return float("inf")

    def save(self) -> None:
        """Put on disk what the core has recorded."""
        core, store = self._core, self._store
        if core.store_trouble:
            self._catch_up()
            return
        try:
            if store.durability == EXIT:
                if store.wants(core.number):
                    store.write([], core.number)
            else:
                self._write()
        except StoreError as error:
            # At this level, and so is the end of it, since by default nothing below it is logged.
            _logger_keeper.error("background jobs are refused: %s", error)
            self._unflushed_since = None
            self._retry_at = core.now + RETRY_INTERVAL
            core.not_stored(b"Background jobs cannot be stored at present: " + error.reason.encode("utf-8", "backslashreplace"))
        else:
            core.stored()

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
            return
        self._is_open = False
        core, store = self._core, self._store
        try:
            if core.store_trouble:
                self._write_kept(len(core.ledger.records))
            if store.durability == EXIT:
                store.replace(core.snapshot(), core.number)
            elif core.ledger.records:
                store.write(core.ledger.records, core.number)
            core.stored()
            store.close(core.number)
        except StoreError as error:
            _logger_keeper.error("background jobs are lost, the file has those of the start: %s" if store.durability == EXIT
                                 else "not all is stored, jobs that are done may run again: %s", error)
            self.complete = False
            store.abandon()

    def _flush_due(self) -> bool:
        return self._unflushed_since is not None and self._core.now >= self._unflushed_since + FLUSH_INTERVAL

    def _catch_up(self) -> None:
        """Try to write again."""
        core = self._core
        try:
            self._write_kept(CATCH_UP)
        except StoreError as error:
            _logger_keeper.debug("still refused: %s", error)
            self._retry_at = core.now + RETRY_INTERVAL
        else:
            self._retry_at = core.now + 0.001  # others get their turn before the rest is written
            if not core.ledger.records:
                _logger_keeper.error("%s can be written again", self._store.path)
                core.stored()

    def _write_kept(self, count: int) -> None:
        """Write so many of the records that were kept during trouble, or all there is if the file is not what it was."""
        core, store = self._core, self._store
        if not store.usable:
            known = store.reopen()
            core.ledger.records = compact(core.ledger.records)
            if not known:
                _logger_keeper.error("%s is a new file, all jobs are written to it", store.path)
                store.replace([] if store.durability == EXIT else core.snapshot(), core.number)
                core.ledger.records = []
                return
        store.write(core.ledger.records[:count], core.number)
        core.ledger.records = core.ledger.records[count:]
