"""What python-gearman's client, worker and admin client have in common: servers, encoders, and the loop that waits."""
from ..net.logs import own_logger
from .connection import GearmanConnection
from .errors import GearmanError, ServerUnavailable
from .job import GearmanJob, GearmanJobRequest
from .util import Stopwatch, disambiguate_server_parameter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, List, Optional, Tuple

gearman_logger = own_logger("gearman_std.legacy")

_SSL_KEYS = ("host", "port", "keyfile", "certfile", "ca_certs")


class DataEncoder:
    """Turns objects into the data of jobs, and back; scripts derive their own encoders from this."""

    @classmethod
    def encode(cls, encodable_object: "Any") -> "Any":
        """Bytes or text for an object."""
        raise NotImplementedError

    @classmethod
    def decode(cls, decodable_string: "Any") -> "Any":
        """The object for what `encode` made."""
        raise NotImplementedError


class NoopEncoder(DataEncoder):
    """Leaves bytes and text as they are."""

    @classmethod
    def _enforce_byte_string(cls, given_object: "Any") -> None:
        if not isinstance(given_object, (bytes, str)):
            raise TypeError("Expecting byte string, got %r: data are bytes or str, unless there is a data_encoder" % (
                type(given_object),))

    @classmethod
    def encode(cls, encodable_object: "Any") -> "Any":
        cls._enforce_byte_string(encodable_object)
        return encodable_object

    @classmethod
    def decode(cls, decodable_string: "Any") -> "Any":
        cls._enforce_byte_string(decodable_string)
        return decodable_string


class GearmanConnectionManager:
    """The servers in `connection_list`, and the loop that waits for what comes from them.

    `host_list` is a list; each entry is a `host`, a `host:port`, a (host, port), or a dict with host, port, keyfile, certfile
    and ca_certs.  With `text`, handles, names, uniques and data from a server are str, else bytes; scripts may pass both.

    Owner: the thread that uses it; a client may be used from several.
    """

    text = False
    connection_class = GearmanConnection  # type: Any
    job_class = GearmanJob                # type: Any
    job_request_class = GearmanJobRequest  # type: Any
    data_encoder = NoopEncoder            # type: Any
    command_handler_class = None          # type: Any # scripts may set it; nothing here uses it

    def __init__(self, host_list: "Any" = None) -> None:
        if isinstance(host_list, (str, bytes, dict)):
            raise GearmanError("host_list is %r, not a list of servers such as %r" % (host_list, [host_list]))
        self.connection_list = []  # type: List[Any]
        for element in host_list or []:
            if isinstance(element, (str, tuple)):
                self.add_connection(element)
            elif isinstance(element, dict):
                missing = [key for key in _SSL_KEYS if key not in element]
                if missing:
                    raise GearmanError("Incomplete SSL connection definition: %s missing in %r" % (", ".join(missing), element))
                self.add_ssl_connection(*[element[key] for key in _SSL_KEYS])
            else:
                raise GearmanError("Expected str, tuple or dict; got %r (type %s)" % (element, type(element)))

    def __repr__(self) -> str:
        return "<%s connection_list=%r>" % (type(self).__name__, self.connection_list)

    # ------------------------------------------------------------------------------------------------------------- servers

    def add_connection(self, hostport_tuple: "Any") -> "Any":
        """Add a server; return its connection.  Raises GearmanError for what is no address."""
        try:
            host, port = disambiguate_server_parameter(hostport_tuple)
        except (ValueError, TypeError) as error:
            raise GearmanError("no server: %s" % error) from None
        return self._add(self.connection_class(host=host, port=port))

    def add_ssl_connection(self, host: str, port: "Any", keyfile: "Any", certfile: "Any", ca_certs: "Any") -> "Any":
        """Add a server that speaks TLS; return its connection."""
        return self._add(self.connection_class(host=host, port=port, keyfile=keyfile, certfile=certfile, ca_certs=ca_certs))

    def _add(self, connection: "Any") -> "Any":
        connection.belong_to(self)
        self.connection_list.append(connection)
        return connection

    def establish_connection(self, current_connection: "Any") -> "Any":
        """Connect to a server, unless that is done; return its connection.  Raises ConnectionError."""
        assert current_connection in self.connection_list, "Unknown connection - %r" % current_connection
        if not current_connection.connected:
            current_connection.connect()
        return current_connection

    def handle_error(self, current_connection: "Any") -> None:
        """Called when a connection has broken."""
        current_connection.close()

    def on_gearman_error(self, error_code: str, error_text: str) -> bool:
        """Called when a server has refused something."""
        gearman_logger.error("Received error from server: %s: %s", error_code, error_text)
        return False

    def shutdown(self) -> None:
        """Close all connections."""
        for connection in self.connection_list:
            connection.close()

    # ------------------------------------------------------------------------------------------------------------- waiting

    def poll_connections_until_stopped(self, submitted_connections: "Iterable[Any]", callback_fxn: "Callable[[bool], Any]",
                                       timeout: "Optional[float]" = None) -> bool:
        """Wait for what comes; call `callback_fxn` before the first wait and after each one, with whether anything has come.

        Returns False when it returns a false value, and True if `timeout` seconds pass first.  Raises ServerUnavailable when no
        connection is left.
        """
        stopwatch = Stopwatch(timeout)
        connections = set(submitted_connections)
        mark = self._mark()
        go_on = callback_fxn(False)
        waited = False
        while go_on and any(connection.connected for connection in connections):
            left = stopwatch.get_time_remaining()
            if waited and left == 0:
                return True
            alive = {connection for connection in connections if connection.connected}
            activity, mark = self._await(mark, left)
            waited = True
            dead = {connection for connection in alive if not connection.connected} if not self._leaving() else set()
            for connection in dead:
                self.handle_error(connection)
            go_on = callback_fxn(bool(activity or dead))
        if go_on:
            self._be_unavailable()
        return False

    def _be_unavailable(self) -> None:
        raise ServerUnavailable("Found no valid connections in list: %r%s" % (self.connection_list, self._why()))

    def _why(self) -> str:
        """Why there is no connection, as the end of an error's text."""
        reasons = [reason for reason in map(self._trouble, self.connection_list) if reason]
        return ": " + "; ".join(reasons) if reasons else ""

    # --------------------------------------------------------------------------------------------------------------- encoding

    def _encode(self, data: "Any") -> "Any":
        """The bytes that are sent to a server for some data."""
        return self._on_wire(self.data_encoder.encode(data))

    def _decode(self, data: "Any") -> "Any":
        """The object that a script gets for the bytes from a server."""
        return self.data_encoder.decode(self._for_script(bytes(data)))

    def _for_script(self, value: bytes) -> "Any":
        """Bytes from a server as bytes or as text, as the script wants them; no byte is lost."""
        return value.decode("utf-8", "surrogateescape") if self.text else value

    @staticmethod
    def _on_wire(value: "Any") -> "Any":
        """Text as UTF-8, other values as they are; text from `_for_script` gives the same bytes again."""
        return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value

    # ------------------------------------------------------------------------------------------- what subclasses define

    def is_connected(self, connection: "Any") -> bool:
        """Whether a connection of this client or worker is connected."""
        raise NotImplementedError

    def connect(self, connection: "Any") -> None:
        """Connect to a server.  Raises ConnectionError."""
        raise NotImplementedError

    def disconnect(self, connection: "Any") -> None:
        """Close the connection to a server."""
        raise NotImplementedError

    def descriptor(self, connection: "Any") -> "Optional[int]":
        """The descriptor of a connection's socket, None if there is none."""
        raise NotImplementedError

    def _mark(self) -> "Any":
        """A mark of what has come so far; `_await` compares it with what has come later."""
        raise NotImplementedError

    def _await(self, mark: "Any", timeout: "Optional[float]") -> "Tuple[bool, Any]":
        """Wait until something has come since `mark`, and take it in; return whether something has come, and a new mark."""
        raise NotImplementedError

    def _trouble(self, connection: "Any") -> str:
        """Why a connection is not connected, empty if that is not known."""
        raise NotImplementedError

    def _leaving(self) -> bool:
        """Whether connections end because somebody called `shutdown`."""
        return False
