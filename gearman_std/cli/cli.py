"""The command gearman-std: finds and runs the command that is meant.

What takes long to load is imported by functions: until `main` holds the signals back, they end the program as they do anywhere.
"""
import sys

from .console import PROGRAM, USAGE, Console, fill_standard_descriptors, read_words
from .early import begin_with_signals, release_signals
from .first_process import leave_first_process
from .options import CommandLine, UsageError, did_you_mean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Dict, Optional, Sequence, Tuple
    RunCommand = Callable[[Console, Sequence[str]], int]

# For each command: its purpose, and the program of gearmand that it is like.
_COMMANDS = {
    "server": ("run a job server", "gearmand"),
    "client": ("submit jobs and print their results", "gearman"),
    "worker": ("run a program, or Python functions, for jobs", "gearman -w"),
    "admin": ("ask a job server who does what, or steer it", "gearadmin"),
    "top": ("show what functions do, on a full screen", ""),
    "trace": ("show each packet that passes to and from a job server", ""),
    "check": ("say how a job server is, as a plugin of Nagios", ""),
    "check-store": ("say whether the file of a server's jobs is damaged", ""),
    "demo": ("count words of files with a server and workers of its own", ""),
    "install-names": ("make links named gearmand, gearman and gearadmin", ""),
    "completion": ("have a shell complete commands, options and functions", ""),
    "help": ("show how a command is used, or its page for man", ""),
}  # type: Dict[str, Tuple[str, str]]

_PURPOSE = "a job server, clients that submit jobs, workers that do them"
_ABOUT = "Gearman: %s." % _PURPOSE
_EXAMPLES = """
gearman-std server -p 4730 -L 127.0.0.1
gearman-std worker -f wc -- wc -c
gearman-std client -f wc < file
gearman-std client -b -f resize -u photo-17 -- data
gearman-std admin --status
gearman-std demo
"""


def _load(name: str) -> "Tuple[RunCommand, Callable[[], CommandLine]]":
    """What runs a command, and what makes its options.

    A command loads its own modules alone: what cron starts each minute is to start fast.
    """
    if name == "server":
        from .server import run_server
        from .server_options import make_server_line
        return run_server, make_server_line
    if name == "client":
        from .client import make_client_line, run_client
        return run_client, make_client_line
    if name == "worker":
        from .worker import make_worker_line, run_worker
        return run_worker, make_worker_line
    if name == "admin":
        from .admin import make_admin_line, run_admin
        return run_admin, make_admin_line
    if name == "top":
        from .top import make_top_line, run_top
        return run_top, make_top_line
    if name == "trace":
        from .trace import make_trace_line, run_trace
        return run_trace, make_trace_line
    if name == "check":
        from .check import make_check_line, run_check
        return run_check, make_check_line
    if name == "check-store":
        from .store_check import make_store_check_line, run_store_check
        return run_store_check, make_store_check_line
    if name == "demo":
        from .demo import make_demo_line, run_demo
        return run_demo, make_demo_line
    if name == "completion":
        from .completion import make_completion_line, run_completion
        return lambda console, words: run_completion(console, words, describe_commands()), make_completion_line
    if name == "help":
        from .man import make_help_line, run_help
        return lambda console, words: run_help(
            console, words, dict(describe_commands(), **{"": (_make_main_line(), _PURPOSE)})), make_help_line
    from .names import make_names_line, run_names
    return run_names, make_names_line


def _make_main_line() -> CommandLine:
    """The options and the help of the program itself."""
    rows = ["%s  %s%s" % (name, purpose, " (like %s)" % like if like else "")
            for name, (purpose, like) in _COMMANDS.items()]
    return CommandLine("", ["COMMAND [OPTIONS]"], _ABOUT, [("Options", [])], [
        ("Commands", "\n".join(rows)),
        ("More", "Each command has its own help: %s COMMAND --help" % PROGRAM), ("Examples", _EXAMPLES)],
                       help_names="-h -H --help", version_names="-V --version")


def describe_commands() -> "Dict[str, Tuple[CommandLine, str]]":
    """The options of each command, and what it is for."""
    return {name: (_load(name)[1](), purpose) for name, (purpose, _) in _COMMANDS.items()}


def main(arguments: "Optional[Sequence[str]]" = None, console: "Optional[Console]" = None) -> int:
    """Run the command line, by default that of this process; return its exit status.

    The words after the command are read by that command.
    """
    if arguments is None:
        begin_with_signals()
    fill_standard_descriptors()
    if arguments is None:
        leave_first_process()
    from .common import run_command
    from .names import find_old_name, first_word
    words = read_words() if arguments is None else list(arguments)
    if console is None:
        console = Console()
    old_name = find_old_name(sys.argv, first_word()) if arguments is None else ""
    if old_name:
        return _run_as(old_name, console, words)
    name = words.pop(0) if words else ""
    if name in _COMMANDS:
        console.command = name
        return run_command(console, _let_signals_in(name, _load(name)[0]), words)
    return run_command(console, _let_signals_in(name, _run_none), [name])


def run_and_exit() -> None:
    """Run the command line of this process and end it with the exit status; `zipapp` ignores what a function returns."""
    sys.exit(main())


def _run_as(old_name: str, console: Console, words: "Sequence[str]") -> int:
    """Run as one of gearmand's programs."""
    from .common import run_command
    from .names import OLD_NAMES, run_under_name
    name = OLD_NAMES[old_name]
    console.program = old_name
    return run_command(console, _let_signals_in(name, run_under_name(old_name, _load(name)[0])), words)


def _let_signals_in(name: str, run: "RunCommand") -> "RunCommand":
    """A command that lets the signals through when it begins; server and worker do so themselves, when they are ready."""
    if name in ("server", "worker"):
        return run

    def run_with_signals(console: Console, words: "Sequence[str]") -> int:
        release_signals()
        return run(console, words)
    return run_with_signals


def _run_none(console: Console, words: "Sequence[str]") -> int:
    """Run without a command: only --help and --version."""
    line = _make_main_line()
    if not words[0]:
        console.warn(line.help())
        return USAGE
    line.parse(words)
    raise UsageError("there is no command %s%s" % (words[0], did_you_mean(words[0], _COMMANDS)))
