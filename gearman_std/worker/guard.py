"""Calling the program's own code: hooks, logging handlers, texts of exceptions; what that raises ends no thread."""
import logging
import os
import signal
import threading
from traceback import print_exc

from ..net.forks import end_child
from .job import WorkerJob, show_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Optional, Tuple
    from .settings import WorkerSettings

_logger_worker = logging.getLogger("gearman_std.worker")
_logger_jobs = logging.getLogger("gearman_std.jobs")

_ENDING_SIGNALS = ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT")


class LeaveAtOnce(BaseException):
    """Raised in a function that runs in the main thread, when the worker leaves without waiting for it."""


def call_hooks(worker: "WorkerSettings", name: str, *arguments: "Any") -> None:
    """Call hooks; log what they raise, which must not end the thread."""
    for hook in worker.hooks[name]:
        process = os.getpid()
        try:
            hook(*arguments)
        except BaseException as error:
            end_child(process, error)
            if ends_work(error):
                raise
            log_safely(logging.ERROR, "the hook %s failed", name, error=error)
        else:
            end_child(process)


def ends_work(error: BaseException) -> bool:
    """Whether an exception that came out of a function or a hook is to end the worker, and not only the job.

    That is so in the main thread for a Ctrl-C, and for what the program's own handlers of signals raise to end it.
    """
    if isinstance(error, LeaveAtOnce):
        return True
    if threading.current_thread() is not threading.main_thread():
        return False
    if isinstance(error, KeyboardInterrupt):
        return True
    handlers = [signal.getsignal(getattr(signal, name)) for name in _ENDING_SIGNALS if hasattr(signal, name)]
    codes = {getattr(getattr(handler, "__func__", handler), "__code__", None) for handler in handlers} - {None}
    place = error.__traceback__
    while codes and place is not None:
        if place.tb_frame.f_code in codes:
            return True
        place = place.tb_next
    return False


def log_safely(level: int, message: str, *arguments: "Any", error: "Optional[BaseException]" = None) -> None:
    """Log something; if a logging handler of the program fails, write that to standard error, and go on.

    Where logging is not set up, trouble goes to standard error.
    """
    _log(_logger_worker, level, message, arguments, error)


def _log(logger: logging.Logger, level: int, message: str, arguments: "Tuple[Any, ...]",
         error: "Optional[BaseException]" = None) -> None:
    try:
        if level >= logging.WARNING and logger.isEnabledFor(level) and not _has_handler(logger):
            details = None if error is None else (type(error), error, error.__traceback__)  # type: Any
            record = logger.makeRecord(logger.name, level, "", 0, message, arguments, details)
            if logging.lastResort is not None:
                logging.lastResort.handle(record)
        else:
            logger.log(level, message, *arguments, exc_info=error)
    except (Exception, SystemExit):
        try:
            print_exc()
        except Exception:  # standard error is closed: there is nobody to tell
            return


def _has_handler(logger: "Optional[logging.Logger]") -> bool:
    while logger is not None:
        if not all(isinstance(handler, logging.NullHandler) for handler in logger.handlers):
            return True
        logger = logger.parent if logger.propagate else None
    return False


logs_jobs = _logger_jobs.isEnabledFor  # whether anybody wants to read of each job at a level


def log_job(level: int, message: str, job: WorkerJob, *arguments: "Any") -> None:
    """Log something about a job; the message begins with %s, for its function and handle."""
    _log(_logger_jobs, level, message, ("%s %s" % (show_name(job.function), show_name(job.handle)),) + arguments)


def exception_text(error: BaseException) -> bytes:
    """What a client reads of an exception: its text, or its type's name if it has none."""
    try:
        text = str(error)
    except Exception as failure:  # whatever the exception's own code may raise
        text = "%s, whose text cannot be had: %s" % (type(error).__name__, type(failure).__name__)
    if not text or isinstance(error, (SystemExit, KeyError)):
        text = "%s: %s" % (type(error).__name__, text) if text else type(error).__name__
    return text.encode("utf-8", "backslashreplace")
