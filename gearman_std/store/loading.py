"""How a start reads a store while the server's loop goes on: a thread opens it, and steps give its jobs to the core."""
import threading
import time

from ..core.ledger import ADD, KEEP, ORDER, UsualJobs
from ..core.results import restore_end
from ..core.standing import restore_order, tell_standing
from ..net.logs import own_logger
from ..net.threads import start_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterator, List, Optional
    from ..core.core import Core
    from ..core.ledger import AddRecord, Piece, Record
    from .store import Store

_logger_loading = own_logger("gearman_std.store")

LEAVE_TIME = 1.0  # seconds that `give_up` waits for the thread, as the store may be slow to notice


class Loading:
    """A store that is opened, by `open` or in a thread by `begin`, and then read by `step`.

    Owner: the dispatcher thread; what its lock guards, the lock.
    """

    def __init__(self, core: "Core", store: "Store") -> None:
        self._core = core
        self._store = store
        self._began = time.monotonic()
        self._jobs = None         # type: Optional[Iterator[Piece]] # those that the core does not have yet
        self._thread = None       # type: Optional[threading.Thread] # which opens the store
        self._lock = threading.Lock()
        # Guarded by the lock.
        self._opening = False     # the thread has not opened the store yet
        self._given_up = False
        self._failure = None      # type: Optional[BaseException]

    def __repr__(self) -> str:
        return "<Loading: %s>" % self.progress

    @property
    def progress(self) -> str:
        """How far it has come, for people; any thread may ask."""
        store = self._store
        if self._jobs is None:
            return "opening and checking %s" % store.name
        return "reading %s: %d of %d jobs" % (store.name, store.jobs_read, store.jobs_stored)

    @property
    def waiting(self) -> bool:
        """Whether `step` has nothing to do until the thread has opened the store."""
        return self._opening

    def open(self) -> None:
        """Open the store.  Raises StoreError."""
        core, store = self._core, self._store
        store.open(core.handle_prefix, core.wall, core.numbers)

    def begin(self, done: "Callable[[], Any]") -> None:
        """Open the store in a thread, which then calls `done`; if the system allows no more threads, open it here.

        Raises StoreError if it is opened here; an error in the thread is raised by `step`.
        """
        self._opening = True
        try:
            self._thread = start_thread(self._open_in_thread, "gearman_std-store", done)
        except OSError as error:
            _logger_loading.warning("nobody is answered while the store is opened: %s", error)
            self._opening = False
            self.open()

    def _open_in_thread(self, done: "Callable[[], Any]") -> None:
        failure = None  # type: Optional[BaseException]
        try:
            self.open()
        except BaseException as error:  # `step` raises it in the dispatcher thread
            failure = error
        with self._lock:
            self._failure = failure
            self._opening = False
            if self._given_up:
                self._store.abandon()
        done()

    def step(self) -> bool:
        """Give some jobs to the core, whose time must be set; return whether it has all.  Raises StoreError."""
        if self._opening:
            return False
        core = self._core
        if self._jobs is None:
            if self._failure is not None:
                raise self._failure
            core.ledger.most_bytes = self._store.most_bytes
            core.take_numbers(self._store.number)
            core.expect_jobs(self._store.jobs_stored)
            self._jobs = self._store.load_pieces()
        some = next(self._jobs, None)
        if some is None:
            _logger_loading.info("%s: %d jobs read in %.1f s", self._store.name, self._store.jobs_read,
                                 time.monotonic() - self._began)
            standing = tell_standing(core)
            if standing:
                _logger_loading.warning("as ordered before: %s", standing)
            return True
        if isinstance(some, UsualJobs):
            core.restore_usual(some)
        elif some and some[0].kind == ADD:  # and so are all that come after it
            self._restore_jobs(some)
        else:
            for record in some:
                self._restore(record)
        return False

    def give_up(self) -> None:
        """Close the store; if the thread is still opening it, and does not end soon, the thread will close it."""
        self._jobs = None  # its open statement would keep the file in use
        with self._lock:
            self._given_up = True
            if not self._opening:
                self._store.abandon()
        end = time.monotonic() + LEAVE_TIME
        while self._opening:
            self._store.interrupt()  # again and again: a statement that begins later is not interrupted
            if self._thread is not None:
                self._thread.join(0.02)
            if time.monotonic() >= end:
                return

    def _restore_jobs(self, records: "List[AddRecord]") -> None:
        try:
            self._core.restore_all(records)
        except ValueError as mistake:
            raise self._store.error(mistake) from None

    def _restore(self, record: "Record") -> None:
        kind = record.kind
        try:
            if kind == ADD:
                self._core.restore(record)
            elif kind == KEEP:
                restore_end(self._core, record)
            else:
                restore_order(self._core, record)
        except ValueError as mistake:
            what = "job %s" % record.handle.decode("latin-1")
            if kind == ORDER:
                what = "the order %s for %r" % (record.name, record.function)
            raise self._store.error("%s: %s" % (what, mistake)) from None
