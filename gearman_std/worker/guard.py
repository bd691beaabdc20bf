"""Calling the program's own code: hooks, logging handlers, texts of exceptions; what that raises ends no thread."""
import logging
import os
import signal
import threading
from traceback import print_exc

from ..net.forks import end_child
from ..net.logs import own_logger
from .job import WorkerJob, show_name
from .repeats import Repeats, kind_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, List, Optional, Tuple
    from .repeats import FailureKind
    from .settings import WorkerSettings

_logger_worker = own_logger("gearman_std.worker")
_logger_jobs = own_logger("gearman_std.jobs")

_NEXT_TOLD = "; of such failures the 10th, 100th and so on are told, and at the end how many there were"
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
            log_failure(worker.repeats, "the hook " + name, error, "the hook %s failed", name)
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


def log_failure(repeats: Repeats, what: str, error: BaseException, message: str, *arguments: "Any") -> None:
    """Log that something of the program's own failed, with the traceback.

    Where logging is not set up, standard error has the traceback of the first failure of a kind; those that come later are
    counted, and some of them are told in a line.
    """
    if _goes_to_nobody(_logger_worker, logging.ERROR):
        kind = kind_of(what, error)
        number, told, forgotten = repeats.note(kind)
        _tell_untold(forgotten)
        if number > 1:
            if told:
                text = " ".join(exception_text(error).decode("utf-8", "replace").split())
                log_safely(logging.ERROR, message + " again, as %d did before (%s, %s): %s%s", *arguments + (
                    number - 1, kind.error, kind.place, text, _NEXT_TOLD if number == 2 else ""))
            return
    log_safely(logging.ERROR, message, *arguments, error=error)


def tell_repeats(repeats: Repeats) -> None:
    """Log how many failures of each kind were only counted so far."""
    _tell_untold(repeats.untold())


def _tell_untold(untold: "List[Tuple[FailureKind, int]]") -> None:
    for kind, count in untold:
        times = "once more" if count == 1 else "%d more times" % count
        log_safely(logging.ERROR, "%s failed %s with %s (%s)", kind.what, times, kind.error, kind.place)


def _goes_to_nobody(logger: logging.Logger, level: int) -> bool:
    """Whether what is logged at a level has no handler, although nobody has switched it off."""
    return level >= logging.WARNING and logger.isEnabledFor(level) and not _has_handler(logger)


def _log(logger: logging.Logger, level: int, message: str, arguments: "Tuple[Any, ...]",
         error: "Optional[BaseException]" = None) -> None:
    try:
        if _goes_to_nobody(logger, level):
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
