"""What a shift logs and tells hooks, in order, when its lock is not held."""
import threading
from collections import deque

from .guard import call_hooks, log_safely

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Deque, Tuple
    from .settings import WorkerSettings


class Notices:
    """What is to be logged or told to hooks, put in with the shift's lock and announced without it.

    Owner: nobody, any thread may use it.
    """

    __slots__ = ("waiting", "_worker", "_announcing")

    def __init__(self, worker: "WorkerSettings") -> None:
        self.waiting = deque()  # type: Deque[Tuple[Any, ...]]
        self._worker = worker
        self._announcing = threading.Lock()  # for their order: who finds it taken leaves the notices to its holder

    def __repr__(self) -> str:
        return "<Notices: %d waiting>" % len(self.waiting)

    def say(self, level: int, message: str, *arguments: "Any") -> None:
        """Have something logged."""
        self.waiting.append((None, level, message, arguments))

    def tell_hooks(self, name: str, *arguments: "Any") -> None:
        """Have hooks called, if there are any of that name."""
        if self._worker.hooks[name]:
            self.waiting.append((name, arguments))

    def announce(self) -> None:
        """Log and tell what waits."""
        while self.waiting and self._announcing.acquire(False):
            try:
                while self.waiting:
                    notice = self.waiting.popleft()
                    if notice[0] is None:
                        log_safely(notice[1], notice[2], *notice[3])
                    else:
                        call_hooks(self._worker, notice[0], *notice[1])
            finally:
                self._announcing.release()
