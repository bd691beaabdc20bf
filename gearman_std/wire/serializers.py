"""How workloads and results become bytes and back: bytes by default, json, pickle, or an object of your own."""
from .protocol import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any
    from .protocol import Data


class BytesSerializer:
    """Bytes as they are, str as UTF-8, None as no bytes; loads returns bytes."""

    @staticmethod
    def dumps(value: "Any") -> "Data":
        """Bytes for the wire; raises TypeError for a value that is neither text nor bytes."""
        if isinstance(value, (bytes, memoryview)):
            return value
        return b"" if value is None else encode(value)

    @staticmethod
    def loads(data: bytes) -> "Any":
        """The bytes."""
        return data


class JSONSerializer:
    """JSON in UTF-8; no bytes stand for None."""

    @staticmethod
    def dumps(value: "Any") -> "Data":
        """Bytes for the wire; raises TypeError or ValueError for a value that JSON cannot express."""
        import json
        return json.dumps(value).encode()

    @staticmethod
    def loads(data: bytes) -> "Any":
        """The value; raises ValueError if the data are not JSON."""
        import json
        try:
            return json.loads(bytes(data).decode()) if data else None
        except (ValueError, RecursionError) as error:
            raise ValueError("this is no JSON, %.80s: %r" % (error, bytes(data[:80]))) from None


class PickleSerializer:
    """Python's pickle.  Only for servers and peers you trust with your account: whoever can submit a job can run any code."""

    @staticmethod
    def dumps(value: "Any") -> "Data":
        """Bytes for the wire."""
        import pickle
        return pickle.dumps(value, 2)

    @staticmethod
    def loads(data: bytes) -> "Any":
        """The value."""
        import pickle
        return pickle.loads(data) if data else None


def find_serializer(serializer: "Any") -> "Any":
    """The serializer of that name ("bytes", "json", "pickle"), or the object itself if it has `dumps` and `loads`.

    None is bytes.

    Raises ValueError for anything else.
    """
    named = {None: BytesSerializer, "bytes": BytesSerializer, "json": JSONSerializer, "pickle": PickleSerializer}
    if serializer is None or isinstance(serializer, str):
        if serializer not in named:
            raise ValueError("a serializer is bytes, json, pickle or an object, not %r" % serializer)
        return named[serializer]
    if not (hasattr(serializer, "dumps") and hasattr(serializer, "loads")):
        raise ValueError("a serializer has dumps and loads, unlike %r" % (serializer,))
    return serializer
