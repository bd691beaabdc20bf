"""Loggers whose handlers, filters and formatters may be anybody's code: what these raise costs the record alone."""
import logging
from traceback import print_exc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable
    Handle = Callable[[logging.LogRecord], None]

logging.getLogger("gearman_std").addHandler(logging.NullHandler())  # silent until the program sets up logging


def own_logger(name: str) -> logging.Logger:
    """The logger of that name; whoever logs there, with a lock held or in the middle of something, goes on in any case."""
    logger = logging.getLogger(name)
    if not isinstance(logger.handle, _SafeHandle):
        logger.handle = _SafeHandle(logger.handle)  # type: ignore[method-assign]
    return logger


class _SafeHandle:
    """A logger's `handle` that raises nothing: it writes that to standard error, as the handlers of `logging` do with theirs.

    Owner: nobody, it does not change.
    """

    __slots__ = ("_handle",)

    def __init__(self, handle: "Handle") -> None:
        self._handle = handle

    def __repr__(self) -> str:
        return "<_SafeHandle of %r>" % (self._handle,)

    def __call__(self, record: logging.LogRecord) -> None:
        try:
            self._handle(record)
        except (Exception, SystemExit):
            if logging.raiseExceptions:
                try:
                    print_exc()
                except Exception:  # standard error is closed: there is nobody to tell
                    return
