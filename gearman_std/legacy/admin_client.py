"""The admin client of python-gearman, made of gearman_std's."""
from ..client.admin import AdminClient
from ..errors import CommandTimeout, NoServer, ServerError, ServerLost
from .connection_manager import GearmanConnectionManager
from .errors import ConnectionError, GearmanError, InvalidAdminClientState, ProtocolError, ServerUnavailable
from .util import unlist

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Optional, Tuple

ECHO_STRING = "ping? pong!"
DEFAULT_ADMIN_CLIENT_TIMEOUT = 10.0


class GearmanAdminClient(GearmanConnectionManager):
    """Asks one server for its status, workers and jobs, and gives it orders.  A command may take `poll_timeout` seconds.

    Names, handles and lines are returned as text.  The methods raise ServerUnavailable; InvalidAdminClientState if no answer
    comes in time; and ProtocolError for a refusal, an answer that makes no sense, or a command that cannot be sent.

    Owner: the thread that uses it.
    """

    def __init__(self, host_list: "Any" = None, poll_timeout: "Optional[float]" = DEFAULT_ADMIN_CLIENT_TIMEOUT) -> None:
        super().__init__(host_list)
        self.poll_timeout = poll_timeout
        try:
            self.current_connection = unlist(self.connection_list)
        except ValueError:
            raise GearmanError("Only pass a single host to the constructor of %s, not %d" % (
                type(self).__name__, len(self.connection_list))) from None
        self._admin = None  # type: Optional[AdminClient]

    def __repr__(self) -> str:
        return "<%s of %r>" % (type(self).__name__, self.current_connection)

    def ping_server(self) -> float:
        """How many seconds the server takes to answer."""
        return self._ask(AdminClient.ping)  # type: ignore[no-any-return]

    def get_status(self) -> "Tuple[Dict[str, Any], ...]":
        """A dict for each function: task, queued (all its jobs, also those that run), running, workers."""
        return tuple({"task": _text(line.function), "queued": line.total, "running": line.running, "workers": line.workers}
                     for line in self._ask(AdminClient.status))

    def get_workers(self) -> "Tuple[Dict[str, Any], ...]":
        """A dict for each connection: file_descriptor, ip, client_id, and tasks, a tuple of its functions."""
        return tuple({"file_descriptor": str(peer.number), "ip": peer.address, "client_id": _text(peer.client_id),
                      "tasks": tuple(map(_text, peer.functions))} for peer in self._ask(AdminClient.workers))

    def get_jobs(self) -> "Tuple[Dict[str, Any], ...]":
        """A dict for each job: handle, queued, canceled, enabled."""
        return tuple({"handle": _text(job.handle), "queued": job.attempts, "canceled": int(job.ignored),
                      "enabled": int(job.stored)} for job in self._ask(AdminClient.jobs))

    def get_unique_jobs(self) -> "Tuple[Dict[str, Any], ...]":
        """A dict for each job: unique, a list with the job's unique."""
        return tuple({"unique": [_text(unique)]} for unique in self._ask(AdminClient.unique_jobs))

    def get_version(self) -> str:
        """The server's answer to `version`, a line."""
        return self._line("version")

    def get_pid(self) -> str:
        """The server's answer to `getpid`, a line."""
        return self._line("getpid")

    def cancel_job(self, handle: "Any") -> str:
        """Cancel a job, which then has failed for its clients; return the server's answer, a line."""
        return self._line("cancel job", handle)

    def send_maxqueue(self, task: "Any", max_size: int) -> str:
        """Limit how many jobs of a function may wait."""
        answer = self._line("maxqueue", task, str(max_size))
        if answer != "OK":
            raise ProtocolError("Expected 'OK', received: %s" % answer)
        return answer

    def send_shutdown(self, graceful: bool = True) -> None:
        """Stop the server at once; with `graceful`, when no job is left."""
        self._line("shutdown graceful" if graceful else "shutdown")
        self.shutdown()

    # ------------------------------------------------------------------------------------------------- what carries it all

    def establish_admin_connection(self) -> None:
        """Connect to the server, unless that is done.  Raises ServerUnavailable."""
        if self.current_connection is None:
            raise ServerUnavailable("Found no valid connections in list: [], no server was given")
        try:
            self.establish_connection(self.current_connection)
        except ConnectionError as error:
            raise ServerUnavailable("Found no valid connections in list: %r: %s" % (self.connection_list, error)) from None

    def shutdown(self) -> None:
        """Close the connection; the next command connects again."""
        if self._admin is not None:
            self._admin.close()

    def is_connected(self, connection: "Any") -> bool:
        return self._admin is not None and self._admin.connected

    def connect(self, connection: "Any") -> None:
        if self._admin is None:
            self._admin = AdminClient([connection.get_address()], self.poll_timeout, tls=connection.make_context())
        self._admin.timeout = self.poll_timeout
        self._admin.connect()

    def disconnect(self, connection: "Any") -> None:
        self.shutdown()

    def descriptor(self, connection: "Any") -> "Optional[int]":
        return None  # nobody has to watch it: each command waits for its own answer

    def _trouble(self, connection: "Any") -> str:
        return ""

    def _line(self, *words: "Any") -> str:
        """Send a command and return the line that answers it, also if that is a refusal."""
        line = b" ".join(map(self._on_wire, words))
        if any(separator in word for word in map(self._on_wire, words[1:]) for separator in b" \t\r\n\0"):
            raise ProtocolError("a word that a command cannot carry: %r" % (words[1:],))
        try:
            return _text(self._ask(lambda admin: admin.send(line)).rstrip(b"\r\n"))
        except _Refused as error:
            return str(error)

    def _ask(self, command: "Callable[[AdminClient], Any]") -> "Any":
        self.establish_admin_connection()
        admin = self._admin
        assert admin is not None
        admin.timeout = self.poll_timeout
        try:
            return command(admin)
        except CommandTimeout:
            raise InvalidAdminClientState("Admin client timed out after %s second(s): %s did not answer" % (
                self.poll_timeout, "%s:%d" % self.current_connection.get_address())) from None
        except (NoServer, ServerLost) as error:
            raise ServerUnavailable("Found no valid connections in list: %r: %s" % (self.connection_list, error)) from None
        except ServerError as error:
            raise _Refused(" ".join(filter(None, ("ERR", error.code, error.text)))) from None
        except ValueError as error:
            raise ProtocolError("a command that cannot be sent: %s" % error) from None


class _Refused(ProtocolError):
    """The server refused a command; the text is its line."""


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")
