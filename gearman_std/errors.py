"""The exceptions that the package raises, apart from ValueError and TypeError for wrong arguments.

ValueError and TypeError are raised before anything is sent.

    GearmanError
    ├── ProtocolError        the other side sent bytes that make no sense
    ├── NoServer             no job server could be reached
    │   └── ConnectTimeout   none accepted the connection within the connect time-out
    ├── ServerLost           a connection broke after it was made
    │   └── CommandTimeout   the server did not answer a command in time
    ├── ServerError          the server answered with an ERROR packet or an ERR line
    │   └── QueueFull        the queue of the job's function is full
    ├── JobError             something about one job
    │   ├── JobFailed        it failed
    │   ├── JobTimeout       it did not finish in time
    │   ├── ResultNotKept    no server knows how it ended, or what its result was
    │   └── NoWorker         no worker can run its function
    ├── ClientBusy           the client cannot be used here and now
    └── StoreError           the store of background jobs cannot be read or written
        ├── StoreInUse       another server has it
        └── Deposed          another server has taken over this server's jobs
"""
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional, Sequence


class GearmanError(Exception):
    """The base of every exception of this package."""


class ProtocolError(GearmanError):
    """The other side broke the protocol, or a request of HTTP cannot be served; the message shows what was sent.

    `code` is the code of the ERROR packet, or the status of the HTTP response, that fits; `limit` is "packet" or "line" if that
    was too large.  Both may be empty.
    """

    def __init__(self, message: str, code: bytes = b"", limit: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.limit = limit


class NoServer(GearmanError):
    """No job server could be reached."""


class ConnectTimeout(NoServer):
    """No job server accepted the connection within the connect time-out."""


class ServerLost(GearmanError):
    """The connection to a job server broke.

    `sent` tells how far a submit had come: "never" (it was not sent completely, so it is safe to submit again), "unconfirmed"
    (the server may have queued the job), or "confirmed" (JOB_CREATED had arrived).
    """

    def __init__(self, message: str, sent: str = "never") -> None:
        super().__init__(message)
        self.sent = sent


class CommandTimeout(ServerLost):
    """A job server did not answer a command within the command time-out, so the connection was closed."""


class ServerError(GearmanError):
    """A job server refused a command.

    `code` and `text` are the two arguments of its ERROR packet.  `function` is that of the job if a submit was refused.
    """

    def __init__(self, code: str, text: str, function: "Optional[bytes]" = None) -> None:
        super().__init__(code, text)  # both, so that the error can be pickled
        self.code = code
        self.text = text
        self.function = function

    def __str__(self) -> str:
        told = "%s: %s" % (self.code, self.text) if self.text and self.text != self.code else self.code
        return told if self.function is None else "%s (function %s)" % (told, self.function.decode("utf-8", "replace"))


class QueueFull(ServerError):
    """A job server refused a job because the function's queue is full (see `maxqueue`)."""


class JobError(GearmanError):
    """Something about one job.  `handle` is the job's handle, None before the server gave it one."""

    def __init__(self, message: str, handle: "Optional[bytes]" = None) -> None:
        super().__init__(message)
        self.handle = handle


class JobFailed(JobError):
    """A job failed.

    `exception` is the text of the worker's WORK_EXCEPTION; without one, its last warning; None if there is neither.  `warnings`
    are the texts of its warnings.
    """

    def __init__(self, message: str, handle: "Optional[bytes]" = None, exception: "Optional[bytes]" = None,
                 warnings: "Sequence[bytes]" = ()) -> None:
        super().__init__(message, handle)
        self.exception = exception
        self.warnings = tuple(warnings)


class JobTimeout(JobError):
    """The job did not finish within the job time-out.  It may still run."""


class ResultNotKept(JobError):
    """No server knows how the job ended, or what its result was.

    Either the function's policy does not keep results, or not for so long; or the result was too large; or there never was such
    a job.
    """


class NoWorker(JobError):
    """No connected worker can run the function."""


class ClientBusy(GearmanError):
    """The client cannot be used here and now.

    `reentrant` is True if a signal handler or the garbage collector interrupted a call of the client, and made another call in
    the same thread that must wait for the first one.  It is False if another thread held the client for too long.
    """

    def __init__(self, message: str, reentrant: bool = False) -> None:
        super().__init__(message)
        self.reentrant = reentrant


def copy_error(error: "GearmanError") -> "GearmanError":
    """A copy of an error, so that each job has an error of its own."""
    copied = type(error)(*error.args)
    vars(copied).update(vars(error))
    return copied


class StoreError(GearmanError):
    """The store of background jobs cannot be read or written.  `reason` tells why, without the file's name."""

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason or message


class StoreInUse(StoreError):
    """Another server has the durable queue."""


class Deposed(StoreError):
    """Another server has taken over the jobs of this one, which may write to the durable queue no more."""
