"""What the commands share: finding the job server, ending a command, and starting this program again."""
import os
import sys

from ..errors import GearmanError, JobTimeout, NoServer, ServerError, ServerLost
from ..net.addresses import DEFAULT_PORT, split_address
from ..net.connection import check_tls
from .console import DONE, FAILED, INTERRUPTED, TERMINATED, TOO_LATE, UNREACHABLE, USAGE, Console, Quit
from .options import HelpWanted, Option, Parsed, UsageError, read_port

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple
    from ..client.admin import AdminClient

# --- Where the server is.


def address_options() -> "Tuple[str, List[Option]]":
    """The options that say where the server is, and how to speak with it."""
    return "Job server", [
        Option("-h --host", "HOST", "its name or address, HOST:PORT, or the path of a Unix socket; several with commas "
               "between them (default: GEARMAN_SERVER, else GEARMAN_SERVERS, else localhost)"),
        Option("-p --port", "PORT", "its port (default: %d)" % DEFAULT_PORT, read_port),
        Option("-S --tls --ssl", "", "speak TLS, and check the server's certificate"),
        Option("--tls-ca", "FILE", "certificate authorities to trust (default: GEARMAND_CA_CERTIFICATE, else the system's)"),
        Option("--tls-certificate", "FILE", "certificate to show to the server (default: GEARMAN_CLIENT_PEM)"),
        Option("--tls-key", "FILE", "key of that certificate (default: GEARMAN_CLIENT_KEY, else in the same file)"),
        Option("--tls-hostname", "NAME", "name in the server's certificate, if that is not the host's"),
        Option("--tls-no-verify", "", "accept every certificate"),
    ]


def find_servers(options: Parsed, environment: "Mapping[str, str]") -> "List[Tuple[str, int]]":
    """The addresses of the servers that the options or the environment name.

    Raises UsageError for an address that is not valid.
    """
    return name_servers(options.host, options.port, environment)


def name_servers(text: "Optional[str]", number: "Optional[int]",
                 environment: "Mapping[str, str]") -> "List[Tuple[str, int]]":
    """The addresses in the text of an option, with a port for those without one; None for what was not given.

    Raises UsageError for an address that is not valid.
    """
    port = number if number is not None else DEFAULT_PORT
    if text is None and number is None:
        text = environment.get("GEARMAN_SERVER") or environment.get("GEARMAN_SERVERS")
    try:
        addresses = [split_address(word.strip(), port) for word in (text or "localhost").split(",") if word.strip()]
    except ValueError as error:
        raise UsageError(str(error)) from None
    if not addresses or not all(host for host, _ in addresses):
        raise UsageError("no host in %r" % text)
    return addresses


def find_tls(options: Parsed, environment: "Mapping[str, str]") -> "Any":
    """The `tls` for `open_connection`; None for no TLS.

    Raises UsageError for options of TLS without --tls, and OSError for files that cannot be used.
    """
    if not options.tls:
        for name in ("ca", "certificate", "key", "hostname", "no_verify"):
            if getattr(options, "tls_" + name):
                raise UsageError("--tls-%s needs --tls" % name.replace("_", "-"))  # it would be worse to go on without TLS
        return None
    need_module("ssl", "TLS")
    settings = {"ca": options.tls_ca or environment.get("GEARMAND_CA_CERTIFICATE"),
                "certificate": options.tls_certificate or environment.get("GEARMAN_CLIENT_PEM"),
                "key": options.tls_key or environment.get("GEARMAN_CLIENT_KEY"),
                "hostname": options.tls_hostname, "verify": not options.tls_no_verify}  # type: Dict[str, Any]
    tls = {name: value for name, value in settings.items() if value is not None}
    check_tls(tls)
    return tls


def need_module(name: str, purpose: str) -> None:
    """Raises GearmanError if this Python lacks a module of the standard library, as some builds do."""
    from importlib import import_module
    try:
        import_module(name)
    except ImportError as error:
        raise GearmanError("this Python has no %s, which is needed for %s: %s" % (name, purpose, error)) from None


def ask_figures(admin: "AdminClient") -> "Tuple[List[Dict[str, Any]], bool]":
    """The figures of each function, with the names of `show functions json`, and whether the server tells all of them.

    gearmand and others tell only how many jobs wait and run, and how many workers there are.

    Raises GearmanError.
    """
    try:
        return admin.function_details(), True
    except ServerError:  # the server is not one of gearman_std
        return [{"function": one.function.decode("utf-8", "backslashreplace"), "waiting": one.total - one.running,
                 "running": one.running, "workers": one.workers} for one in admin.status()], False


# --- How it ends.


def terminate() -> None:
    """What SIGTERM calls in a command that has to clean up at its end: raises Quit."""
    raise Quit(TERMINATED)


def status_of(error: BaseException) -> int:
    """The exit status for an exception that ends a command."""
    if isinstance(error, JobTimeout):
        return TOO_LATE
    if isinstance(error, (NoServer, ServerLost)):
        return UNREACHABLE
    if isinstance(error, (UsageError, ValueError)):
        return USAGE
    return FAILED


def run_command(console: Console, command: "Callable[[Console, Sequence[str]], int]", arguments: "Sequence[str]") -> int:
    """Run a command and return its exit status; an error is one line."""
    try:
        return command(console, arguments)
    except HelpWanted as wanted:
        return _print_help(console, str(wanted))
    except Quit as quit_:
        return quit_.status
    except KeyboardInterrupt:
        return INTERRUPTED
    except UsageError as error:
        console.complain("%s; see %s --help" % (error, console.label))
        return USAGE
    except OSError as error:
        text = error.strerror or str(error)
        console.complain("%s: %s" % (error.filename, text) if error.filename is not None else text)
        return FAILED
    except (GearmanError, ValueError, MemoryError) as error:
        console.complain(str(error) or type(error).__name__)
        return status_of(error)


def _print_help(console: Console, text: str) -> int:
    try:
        console.write(text)
    except Quit as quit_:
        return quit_.status
    except OSError as error:
        console.complain(str(error.strerror))
        return FAILED
    return DONE


def own_command() -> "List[str]":
    """The beginning of a command line that runs this same program, wherever it was loaded from.

    Raises GearmanError if the interpreter does not know its own path.
    """
    if not sys.executable:
        raise GearmanError("this interpreter does not know its own path, so it cannot start another process")
    name = Console.__module__
    path = _absolute(getattr(sys.modules[name], "__file__", "") or "")
    package, _, module = name.rpartition(".cli.")
    if not module or not package:  # the single file, imported or run
        return [sys.executable, path]
    folder = os.path.dirname(os.path.dirname(path))
    for _ in package.split("."):
        folder = os.path.dirname(folder)
    # The folder in which the package was found, but after the standard library; the current folder only if this process looks
    # there, too: it may have modules with the standard library's names.
    paths = list(map(_absolute, sys.path))
    place = paths.index(folder) if folder in paths else 0
    here = _absolute(os.curdir)
    looks_here = here and here in paths
    leave = "" if looks_here else "'' in sys.path and sys.path.remove(''); "
    # Without -P, CPython 3.13.0 can import nothing in a folder that was deleted.
    flags = [] if looks_here or sys.version_info < (3, 11) else ["-P"]
    return [sys.executable] + flags + [
        "-c", "import sys; %ssys.path.insert(%d, %r); from %s.cli import main; sys.exit(main())" % (
            leave, place, folder, package)]


def _absolute(path: str) -> str:
    """A path from the root; empty if it begins in the current folder and that was deleted."""
    try:
        return os.path.abspath(path)
    except OSError:
        return ""
