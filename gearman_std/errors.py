"""Every exception the package raises, split by who is to blame.

Arguments that the protocol cannot carry are a plain ValueError or TypeError, raised before a byte is sent.

    GearmanError
    ├── ProtocolError        the peer sent bytes that make no sense
    ├── NoServer             no job server could be reached
    │   └── ConnectTimeout   … within the connect time-out
    ├── ServerLost           a connection broke after it was made
    │   └── CommandTimeout   the server did not answer a command in time
    ├── ServerError          the server answered with an ERROR packet or an ERR line
    │   └── QueueFull        … because its queue is full
    ├── JobError             something about one job
    │   ├── JobFailed        the worker failed it
    │   ├── JobTimeout       it did not finish in time
    │   ├── ResultNotKept    nobody knows how it ended, or what its result was
    │   └── NoWorker         nobody can run its function
    ├── ClientBusy           the client cannot be used from here just now
    └── StoreError           the durable queue cannot be read or written
        └── StoreInUse       … because another server has it
"""
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional, Sequence


class GearmanError(Exception):
    """The base of every exception of this package."""


class ProtocolError(GearmanError):
    """The peer broke the protocol; the message shows its bytes.

    `code` is what an ERROR packet would carry, if one fits; `limit` is "packet" or "line" if one was larger than is allowed.
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

    `sent` tells how far a submit had come: "never" (not all of it left, so it is safe to submit again), "unconfirmed" (it may
    have been queued), or "confirmed" (JOB_CREATED had arrived).
    """

    def __init__(self, message: str, sent: str = "never") -> None:
        super().__init__(message)
        self.sent = sent


class CommandTimeout(ServerLost):
    """A job server did not answer a command within the command time-out; the connection was given up."""


class ServerError(GearmanError):
    """A job server refused a command.  `code` and `text` are the two arguments of its ERROR packet."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(code, text)  # both, so that the error survives pickling
        self.code = code
        self.text = text

    def __str__(self) -> str:
        return "%s: %s" % (self.code, self.text) if self.text and self.text != self.code else self.code


class QueueFull(ServerError):
    """A job server refused a job because the function's queue is full (see `maxqueue`)."""


class JobError(GearmanError):
    """Something about one job.  `handle` is the job's handle, None before the server gave it one."""

    def __init__(self, message: str, handle: "Optional[bytes]" = None) -> None:
        super().__init__(message)
        self.handle = handle


class JobFailed(JobError):
    """A worker failed the job.

    `exception` is the text of its WORK_EXCEPTION, else the last of its warnings, None if there is neither; `warnings` is what
    it warned of before.
    """

    def __init__(self, message: str, handle: "Optional[bytes]" = None, exception: "Optional[bytes]" = None,
                 warnings: "Sequence[bytes]" = ()) -> None:
        super().__init__(message, handle)
        self.exception = exception
        self.warnings = tuple(warnings)


class JobTimeout(JobError):
    """The job did not finish within the job time-out.  It may still run."""


class ResultNotKept(JobError):
    """No server knows how the job ended, or what its result was: the function's policy does not keep that, or not for so long,
    or the result was too large; or there never was such a job."""


class NoWorker(JobError):
    """No connected worker can run the function."""


class ClientBusy(GearmanError):
    """The client cannot be used from here just now.

    `reentrant` is True if this thread called the client while it was already inside it, from a signal's handler or the
    garbage collector, and asked for what must wait until the first call goes on; False if another thread held the client for
    long.
    """

    def __init__(self, message: str, reentrant: bool = False) -> None:
        super().__init__(message)
        self.reentrant = reentrant


def copy_error(error: "GearmanError") -> "GearmanError":
    """An equal error, for another job: each has its own."""
    copied = type(error)(*error.args)
    vars(copied).update(vars(error))
    return copied


class StoreError(GearmanError):
    """The durable queue cannot be read or written.  `reason` is why, without the file's name."""

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason or message


class StoreInUse(StoreError):
    """Another server has the durable queue."""
