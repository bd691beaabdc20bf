"""The packets, administrative requests and errors of the library gear."""
import threading

from ..net.connection import is_refusal
from ..wire.protocol import packet_name
from .gear_constants import (CAN_DO, CAN_DO_TIMEOUT, CANT_DO, ERROR, GET_STATUS, JOB_ASSIGN, JOB_ASSIGN_UNIQ, JOB_CREATED,
                             OPTION_REQ, OPTION_RES, REQ, SET_CLIENT_ID, STATUS_RES, SUBMIT_JOB, SUBMIT_JOB_BG,
                             SUBMIT_JOB_EPOCH, SUBMIT_JOB_HIGH, SUBMIT_JOB_HIGH_BG, SUBMIT_JOB_LOW, SUBMIT_JOB_LOW_BG,
                             SUBMIT_JOB_SCHED, WORK_COMPLETE, WORK_DATA, WORK_EXCEPTION, WORK_FAIL, WORK_STATUS, WORK_WARNING)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Optional, Tuple


class ConnectionError(Exception):
    """A server cannot be reached."""


class InvalidDataError(Exception):
    """Data that the protocol cannot carry."""


class ConfigurationError(Exception):
    """A setting or an argument that makes no sense."""


class NoConnectedServersError(Exception):
    """No server is connected now."""


class UnknownJobError(Exception):
    """A packet about a job that nobody here waits for."""


class InterruptedError(Exception):
    """A wait for a job was ended by `stopWaitingForJobs` or `shutdown`."""


class TimeoutError(Exception):
    """It took longer than the call was to wait."""


class GearmanError(Exception):
    """No server accepted a job."""


def convert_to_bytes(data: "Any") -> "Any":
    """Text as UTF-8; other values as they are."""
    return data.encode("utf-8") if isinstance(data, str) else data


def check_bytes(name: str, data: "Any") -> bytes:
    """Bytes or a bytearray, as bytes.  Raises TypeError for anything else; `name` is the argument's name in its text."""
    if not isinstance(data, (bytes, bytearray)):
        raise TypeError("%s must be of type bytes or bytearray, not %.80r" % (name, data))
    return bytes(data)


_SHOWN = {kind: ("handle",) for kind in (JOB_CREATED, JOB_ASSIGN, GET_STATUS, STATUS_RES, WORK_STATUS, WORK_COMPLETE, WORK_FAIL,
                                         WORK_EXCEPTION, WORK_DATA, WORK_WARNING)}  # type: Any
_SHOWN.update({kind: ("function", "unique") for kind in (
    SUBMIT_JOB, SUBMIT_JOB_BG, SUBMIT_JOB_HIGH, SUBMIT_JOB_HIGH_BG, SUBMIT_JOB_LOW, SUBMIT_JOB_LOW_BG, SUBMIT_JOB_SCHED,
    SUBMIT_JOB_EPOCH)})
_SHOWN.update({JOB_ASSIGN_UNIQ: ("handle", "function", "unique"), CAN_DO: ("function",), CANT_DO: ("function",),
               CAN_DO_TIMEOUT: ("function",), SET_CLIENT_ID: ("id",), OPTION_REQ: ("option",), OPTION_RES: ("option",),
               ERROR: ("code", "message")})


class Packet:
    """A packet: `code` (the magic), `ptype` (its type), `data` (all its arguments), `connection` (where it came from).

    Owner: whoever has it.
    """

    def __init__(self, code: bytes, ptype: int, data: bytes, connection: "Any" = None) -> None:
        self.code = check_bytes("code", code)
        if self.code[:1] != b"\0":
            raise InvalidDataError("a packet's code begins with a NUL byte, and %r does not" % self.code[:16])
        self.ptype = ptype
        self.data = check_bytes("data", data)
        self.connection = connection

    def __repr__(self) -> str:
        shown = "".join(" %s: %r" % pair for pair in zip(_SHOWN.get(self.ptype, ()), self.data.split(b"\0")))
        return "<gear.Packet 0x%x type: %s%s>" % (id(self), packet_name(self.ptype), shown)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Packet) and (self.code, self.ptype, self.data) == (other.code, other.ptype, other.data)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None  # type: ignore[assignment] # a packet can change

    def toBinary(self) -> bytearray:
        """The packet as it is sent."""
        return bytearray(self.code + self.ptype.to_bytes(4, "big") + len(self.data).to_bytes(4, "big") + self.data)

    def getArgument(self, index: int, last: bool = False) -> bytes:
        """An argument by its number, from 0; with `last`, NULs belong to it.  Raises IndexError if there are too few."""
        if last:
            parts = self.data.split(b"\0", index)
            return parts[index] if index < len(parts) else b""
        return self.data.split(b"\0", index + 1)[index]

    def getJob(self) -> "Any":
        """The job that the packet is about.  Raises UnknownJobError if nobody here waits for it."""
        handle = self.getArgument(0)
        job = self.connection.related_jobs.get(handle)
        if not job:
            raise UnknownJobError("a packet %s for %r, which nobody here waits for" % (packet_name(self.ptype), handle))
        return job


def request(ptype: int, *arguments: bytes) -> Packet:
    """A packet to a server."""
    return Packet(REQ, ptype, b"\0".join(arguments))


class AdminRequest:
    """A text command, and the server's answer in `response`.  Each of the classes below is a command.

    Owner: until it is complete, the connection that it was sent over.
    """

    command = None  # type: Any
    response = None  # type: Optional[bytes]

    def __init__(self, *arguments: "Any") -> None:
        if type(self) is AdminRequest:
            raise NotImplementedError("AdminRequest must be subclassed: StatusAdminRequest, VersionAdminRequest, ...")
        self.arguments = tuple(map(convert_to_bytes, arguments))
        self.wait_event = threading.Event()

    def __repr__(self) -> str:
        return "<gear.AdminRequest 0x%x command: %s>" % (id(self), self.command)

    def getCommand(self) -> bytes:
        """The line that is sent."""
        return b" ".join((self.command,) + self.arguments) + b"\n"

    def isComplete(self, data: bytes) -> "Tuple[bool, Optional[bytes]]":
        """Whether `data` begins with a complete answer, and the bytes after it, or None.  A complete answer becomes `response`.

        An answer ends with a line that is a dot; a refusal is one line.
        """
        position = 0
        for line in data.splitlines(True):
            position += len(line)
            if line in (b".\n", b".\r\n") or position == len(line) and is_refusal(line, listing=True):
                return self._answered(data, position)
        return False, None

    def _answered(self, data: bytes, size: int) -> "Tuple[bool, Optional[bytes]]":
        self.response = data[:size]
        return True, data[size:]

    def setComplete(self) -> None:
        """End the waits for the answer."""
        self.wait_event.set()

    def waitForResponse(self, timeout: "Optional[float]" = None) -> bool:
        """Wait for the answer, at most `timeout` seconds; return whether the wait was ended."""
        return self.wait_event.wait(timeout)


class _LineRequest(AdminRequest):
    """A command whose answer is one line."""

    def isComplete(self, data: bytes) -> "Tuple[bool, Optional[bytes]]":
        end = data.find(b"\n") + 1
        return self._answered(data, end) if end else (False, None)


class StatusAdminRequest(AdminRequest):
    """The command `status`."""

    command = b"status"

    def __init__(self) -> None:
        super().__init__()


class ShowJobsAdminRequest(AdminRequest):
    """The command `show jobs`."""

    command = b"show jobs"

    def __init__(self) -> None:
        super().__init__()


class ShowUniqueJobsAdminRequest(AdminRequest):
    """The command `show unique jobs`."""

    command = b"show unique jobs"

    def __init__(self) -> None:
        super().__init__()


class WorkersAdminRequest(AdminRequest):
    """The command `workers`."""

    command = b"workers"

    def __init__(self) -> None:
        super().__init__()


class CancelJobAdminRequest(_LineRequest):
    """The command `cancel job`, with a handle."""

    command = b"cancel job"

    def __init__(self, handle: "Any") -> None:
        super().__init__(handle)


class VersionAdminRequest(_LineRequest):
    """The command `version`."""

    command = b"version"

    def __init__(self) -> None:
        super().__init__()


__all__ = ["AdminRequest", "CancelJobAdminRequest", "ConfigurationError", "ConnectionError", "GearmanError", "InterruptedError",
           "InvalidDataError", "NoConnectedServersError", "Packet", "ShowJobsAdminRequest", "ShowUniqueJobsAdminRequest",
           "StatusAdminRequest", "TimeoutError", "UnknownJobError", "VersionAdminRequest", "WorkersAdminRequest",
           "convert_to_bytes"]
