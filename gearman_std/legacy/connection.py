"""A job server as scripts of python-gearman see it: its address, its TLS files, and whether there is a connection to it."""
from ..errors import GearmanError
from ..net.connection import open_connection
from ..net.streams import certificate_error
from .constants import DEFAULT_GEARMAN_PORT
from .errors import ConnectionError, ServerUnavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Optional, Tuple

_CONNECT_TIMEOUT = 5.0  # seconds, for a connection that belongs to no client or worker


class GearmanConnection:
    """One server of a client, a worker or an admin client, which connects and speaks.  A GearmanConnection that belongs to none
    of them can connect by itself, to see whether the server is there.

    TLS is used if keyfile, certfile and ca_certs are all given.  The server's certificate must come from ca_certs; it must name
    the host only if `check_hostname` is True.

    Owner: the client or worker that it belongs to.
    """

    check_hostname = False

    def __init__(self, host: "Optional[str]" = None, port: "Any" = DEFAULT_GEARMAN_PORT, keyfile: "Any" = None,
                 certfile: "Any" = None, ca_certs: "Any" = None) -> None:
        if host is None:
            raise ServerUnavailable("no host was given")
        self.gearman_host = host
        self.gearman_port = 0 if host.startswith("/") else int(port or DEFAULT_GEARMAN_PORT)
        self.keyfile = keyfile
        self.certfile = certfile
        self.ca_certs = ca_certs
        self.use_ssl = bool(keyfile and certfile and ca_certs)
        self._manager = None  # type: Any
        self._own = None      # type: Any # the connection, if it belongs to no client or worker
        self._context = None  # type: Any

    def __repr__(self) -> str:
        return "%s(host=%r, port=%r, keyfile=%r, certfile=%r, ca_certs=%r)" % (
            type(self).__name__, self.gearman_host, self.gearman_port, self.keyfile, self.certfile, self.ca_certs)

    @property
    def connected(self) -> bool:
        """Whether it is connected now."""
        return self._manager.is_connected(self) if self._manager is not None else self._own is not None

    def get_address(self) -> "Tuple[str, int]":
        """Host and port."""
        return self.gearman_host, self.gearman_port

    def readable(self) -> bool:
        """Whether something can be received: as long as it is connected."""
        return self.connected

    def writable(self) -> bool:
        """Whether something is still to be sent."""
        return False  # its client or worker sends by itself

    def fileno(self) -> int:
        """The descriptor of its socket.  Raises ConnectionError if it has none."""
        number = self._manager.descriptor(self) if self._manager is not None else self._own and self._own.fileno()
        if number is None:
            self.throw_exception("no socket set")
        return int(number)

    def belong_to(self, manager: "Any") -> None:
        """Let a client or worker connect from now on."""
        self._manager = manager

    def connect(self) -> None:
        """Connect.  Raises ConnectionError if that fails, or if it is connected already."""
        if self.connected:
            self.throw_exception("connection already established")
        try:
            if self._manager is not None:
                self._manager.connect(self)
            else:
                self._own = open_connection(self.get_address(), _CONNECT_TIMEOUT, self.make_context())
        except ConnectionError:
            raise
        except (GearmanError, OSError) as error:
            self.throw_exception(str(error))

    def close(self) -> None:
        """Close the connection; `connect` works again."""
        if self._manager is not None:
            self._manager.disconnect(self)
        elif self._own is not None:
            self._own.close()
            self._own = None

    def throw_exception(self, message: "Optional[str]" = None, exception: "Optional[BaseException]" = None) -> None:
        """Raise ConnectionError with the address, and with a text or another exception."""
        text = repr(exception) if exception is not None else message
        raise ConnectionError("<%s:%d> %s" % (self.gearman_host, self.gearman_port, text))

    def make_context(self) -> "Any":
        """The `ssl.SSLContext` to connect with, None without TLS.  Raises OSError for files that cannot be read."""
        if self.use_ssl and self._context is None:
            import ssl
            path = self.ca_certs
            try:
                context = ssl.create_default_context(cafile=path)
                path = "%s, %s" % (self.certfile, self.keyfile)
                context.load_cert_chain(self.certfile, self.keyfile)
            except OSError as error:  # it does not name the file
                raise certificate_error(error, path) from None
            context.check_hostname = self.check_hostname
            self._context = context
        return self._context
