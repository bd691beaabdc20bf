"""The jobs of the library gear, as a client and as a worker sees them, with bytes or with text."""
from .gear_constants import WORK_COMPLETE, WORK_DATA, WORK_EXCEPTION, WORK_FAIL, WORK_STATUS, WORK_WARNING
from .gear_packets import check_bytes, convert_to_bytes, request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterator, Optional


def _text(value: "Any") -> "Any":
    return value.decode("utf-8") if isinstance(value, (bytes, bytearray)) else value


class BaseJob:
    """What every job has: `name`, `arguments` (its workload), `unique`, `handle`, `connection`.

    Owner: whoever made it; while it is submitted and not complete, the client's thread that reads.
    """

    def __init__(self, name: "Any", arguments: "Any", unique: "Any" = None, handle: "Optional[bytes]" = None) -> None:
        self._name = check_bytes("name", convert_to_bytes(name))
        self._validate_arguments(arguments)
        self._arguments = convert_to_bytes(arguments)
        self._unique = None if unique is None else check_bytes("unique", convert_to_bytes(unique))
        self.handle = handle
        self.connection = None  # type: Any

    def __repr__(self) -> str:
        return "<gear.Job 0x%x handle: %r name: %s unique: %s>" % (id(self), self.handle, self.name, self.unique)

    def _validate_arguments(self, arguments: "Any") -> None:
        check_bytes("arguments", arguments)

    @property
    def name(self) -> "Any":
        """The function's name, as text."""
        return _text(self._name)

    @name.setter
    def name(self, value: "Any") -> None:
        self._name = convert_to_bytes(value)

    @property
    def arguments(self) -> "Any":
        """The workload."""
        return self._arguments

    @arguments.setter
    def arguments(self, value: "Any") -> None:
        self._arguments = value

    @property
    def unique(self) -> "Any":
        """The unique, or None."""
        return self._unique

    @unique.setter
    def unique(self, value: "Any") -> None:
        self._unique = value

    @property
    def binary_name(self) -> bytes:
        """The function's name."""
        return self._name

    @property
    def binary_arguments(self) -> bytes:
        """The workload."""
        return self._arguments  # type: ignore[no-any-return]

    @property
    def binary_unique(self) -> "Optional[bytes]":
        """The unique, or None."""
        return self._unique


class Job(BaseJob):
    """A job as its client sees it.

    `data` are the pieces of the result, and also the warnings.  `complete`, `failure`, `warning` and `exception` tell how it
    went; `numerator`, `denominator` and `fraction_complete` tell how far it is; `known` and `running` are from the last answer
    to a question about its status.
    """

    data_type = list  # type: Any

    def __init__(self, name: "Any", arguments: "Any", unique: "Any" = None) -> None:
        super().__init__(name, arguments, unique)
        self._data = self.data_type()
        self._exception = None  # type: Any
        self.warning = False
        self.complete = False
        self.failure = False
        self.numerator = None  # type: Optional[bytes]
        self.denominator = None  # type: Optional[bytes]
        self.fraction_complete = None  # type: Optional[float]
        self.known = None  # type: Optional[bool]
        self.running = None  # type: Optional[bool]

    @property
    def data(self) -> "Any":
        """The pieces of the result."""
        return self._data

    @data.setter
    def data(self, value: "Any") -> None:
        if not isinstance(value, self.data_type):
            raise ValueError("data must be a %s, not %.80r" % (self.data_type.__name__, value))
        self._data = value

    @property
    def binary_data(self) -> "Iterator[bytes]":
        """The pieces of the result, as bytes."""
        return map(convert_to_bytes, self._data)

    @property
    def exception(self) -> "Any":
        """The text of the worker's exception as bytes, or None."""
        return self._exception

    @exception.setter
    def exception(self, value: "Any") -> None:
        self._exception = value


class WorkerJob(BaseJob):
    """A job as its worker sees it, from `Worker.getJob`."""

    def __init__(self, handle: bytes, name: "Any", arguments: "Any", unique: "Any" = None) -> None:
        super().__init__(name, arguments, unique, handle)

    def _send(self, ptype: int, *data: "Any") -> None:
        assert self.handle is not None
        packet = request(ptype, self.handle, *(check_bytes("data", one) for one in data))
        self.connection.sendPacket(packet)

    def sendWorkData(self, data: bytes = b"") -> None:
        """Send a piece of the result."""
        self._send(WORK_DATA, data)

    def sendWorkWarning(self, data: bytes = b"") -> None:
        """Send a warning."""
        self._send(WORK_WARNING, data)

    def sendWorkStatus(self, numerator: "Any", denominator: "Any") -> None:
        """Tell how far the job is."""
        self._send(WORK_STATUS, str(numerator).encode(), str(denominator).encode())

    def sendWorkComplete(self, data: bytes = b"") -> None:
        """End the job with the result, or with the last piece of it."""
        self._send(WORK_COMPLETE, data)

    def sendWorkFail(self) -> None:
        """End the job as a failure."""
        self._send(WORK_FAIL)

    def sendWorkException(self, data: bytes = b"") -> None:
        """End the job as a failure, with the text of an exception."""
        self._send(WORK_EXCEPTION, data)


class TextJobArguments:
    """For jobs whose workload is text."""

    def _validate_arguments(self, arguments: "Any") -> None:
        check_bytes("arguments", convert_to_bytes(arguments))

    @property
    def arguments(self) -> "Any":
        """The workload, as text."""
        return _text(self._arguments)

    @arguments.setter
    def arguments(self, value: "Any") -> None:
        self._arguments = convert_to_bytes(value)


class TextJobUnique:
    """For jobs whose unique is text."""

    @property
    def unique(self) -> "Any":
        """The unique, as text, or None."""
        return _text(self._unique)

    @unique.setter
    def unique(self, value: "Any") -> None:
        self._unique = convert_to_bytes(value)


class TextList(list):  # type: ignore[type-arg]
    """A list that turns the bytes that are put into it into text."""

    def append(self, value: "Any") -> None:
        super().append(_text(value))

    def extend(self, values: "Any") -> None:
        super().extend(map(_text, values))

    def insert(self, index: "Any", value: "Any") -> None:
        super().insert(index, _text(value))


class TextJob(TextJobArguments, TextJobUnique, Job):
    """A job whose workload, unique, result and exception are text, in UTF-8."""

    data_type = TextList

    @property
    def exception(self) -> "Any":
        """The text of the worker's exception, or None."""
        return _text(self._exception)

    @exception.setter
    def exception(self, value: "Any") -> None:
        self._exception = convert_to_bytes(value)


class TextWorkerJob(TextJobArguments, TextJobUnique, WorkerJob):
    """A worker's job whose workload and unique are text, and which can send text."""

    def _send(self, ptype: int, *data: "Any") -> None:
        super()._send(ptype, *map(convert_to_bytes, data))


class BaseBinaryJob:
    """For jobs of functions whose names are bytes that need not be text."""

    @property
    def name(self) -> "Any":
        """The function's name."""
        return self._name

    @name.setter
    def name(self, value: "Any") -> None:
        self._name = convert_to_bytes(value)


class BinaryJob(BaseBinaryJob, Job):
    """A job whose name is bytes."""


class BinaryWorkerJob(BaseBinaryJob, WorkerJob):
    """A worker's job whose name is bytes."""


__all__ = ["BaseBinaryJob", "BaseJob", "BinaryJob", "BinaryWorkerJob", "Job", "TextJob", "TextJobArguments", "TextJobUnique",
           "TextList", "TextWorkerJob", "WorkerJob"]
