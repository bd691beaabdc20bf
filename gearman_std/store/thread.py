"""The thread that owns the store: it carries out one order after the other while the dispatcher serves its peers."""
import logging
import threading

from ..net.threads import start_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Optional

_logger_store_thread = logging.getLogger("gearman_std.store")


class StoreThread:
    """Carries out orders, each a call of a method of the store, one at a time.

    From `give` until `over` is true the order, and the store with it, belong to the thread; otherwise to the dispatcher, which
    takes the outcome by `take` and gives the next one.  Without `begin`, or where there may be no more threads, `give` carries
    the order out itself; tests that say when do it by `run_one`.

    Owner: the dispatcher thread; what is given and its outcome, the one whose turn it is.
    """

    def __init__(self) -> None:
        self.busy = False       # an order was given whose outcome was not taken
        self.waits_for_test = False
        self._over = False
        self._function = None   # type: Optional[Callable[..., Any]] # that is to be called; None: the thread is to end
        self._arguments = ()    # type: Any
        self._failure = None    # type: Optional[BaseException]
        self._result = None     # type: Any
        self._report = None     # type: Any
        self._thread = None     # type: Optional[threading.Thread]
        self._given = threading.Semaphore(0)
        self._done = threading.Event()

    def __repr__(self) -> str:
        return "<StoreThread%s%s>" % ("" if self._thread is not None else " without a thread", ", busy" if self.busy else "")

    def begin(self, report: "Callable[[], Any]") -> bool:
        """Have a thread carry out what is given from now on, and call `report` after it; return whether there is one."""
        self._report = report
        try:
            self._thread = start_thread(self._run, "gearman_std-store")
        except OSError as error:
            _logger_store_thread.warning("everybody waits for the disk while the store is written: %s", error)
        return self._thread is not None

    def give(self, function: "Callable[..., Any]", *arguments: "Any") -> None:
        """Have an order carried out."""
        assert not self.busy, self
        self.busy = True
        self._function, self._arguments = function, arguments
        self._over = False
        if self._thread is not None:
            self._done.clear()
            self._given.release()
        elif not self.waits_for_test:
            self.run_one()

    @property
    def over(self) -> bool:
        """Whether the order has been carried out, and its outcome can be taken."""
        return self._over

    def take(self) -> "Any":
        """The result of the order that is over.  Raises what it raised."""
        assert self.busy and self._over, self
        self.busy = self._over = False
        failure, self._failure = self._failure, None
        result, self._result = self._result, None
        if failure is not None:
            raise failure
        return result

    def wait(self, timeout: float) -> bool:
        """Wait until the order is over, so many seconds at most; return whether it is."""
        if not self._over and self._thread is not None and self._done.wait(timeout) and not self._over:
            self._done.clear()  # that was of the order before
        return self._over

    def end(self) -> None:
        """Have the thread end, which has nothing to do; from then on `give` carries orders out itself."""
        assert not self.busy, self
        thread, self._thread = self._thread, None
        if thread is not None:
            self._given.release()
            thread.join()

    # ------------------------------------------------------------------------------------------------- called by the thread

    def run_one(self) -> None:
        """Carry the order out."""
        function, arguments = self._function, self._arguments
        assert function is not None
        self._function, self._arguments = None, ()
        try:
            self._result = function(*arguments)
        except BaseException as error:  # the dispatcher is to have it
            self._failure = error
        self._over = True

    def _run(self) -> None:
        while True:
            self._given.acquire()
            if self._function is None:
                return
            self.run_one()
            self._done.set()
            self._report()
