"""The command gearman-std: which of its commands is meant, and what it has in common."""
import sys

from ..net.signals import begin_with_signals, release_signals
from ..version import VERSION
from .admin import run_admin
from .check import run_check
from .client import run_client
from .common import run_command
from .console import DONE, PROGRAM, USAGE, Console, fill_standard_descriptors, read_words
from .options import HelpWanted, UsageError, did_you_mean
from .demo import run_demo
from .first_process import leave_first_process
from .names import OLD_NAMES, find_old_name, first_word, run_names, run_under_name
from .server import run_server
from .top import run_top
from .worker import run_worker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Dict, Optional, Sequence, Tuple

_COMMANDS = {
    "server": (run_server, "run a job server                              like gearmand"),
    "client": (run_client, "submit jobs and print their results           like gearman"),
    "worker": (run_worker, "run a program, or Python functions, for jobs  like gearman -w"),
    "admin": (run_admin, "ask a job server who does what, or steer it   like gearadmin"),
    "top": (run_top, "show what functions do, on a full screen"),
    "check": (run_check, "say how a job server is, as a plugin of Nagios"),
    "demo": (run_demo, "count words of files with a server and workers of its own"),
    "install-names": (run_names, "make links named gearmand, gearman and gearadmin"),
}  # type: Dict[str, Tuple[Callable[[Console, Sequence[str]], int], str]]

_HELP = """\
usage: %s COMMAND [OPTIONS]

Gearman: a job server, clients that submit jobs, workers that do them.

Commands:
%s

Each command has its own help: %s COMMAND --help

Examples:
  gearman-std server -p 4730 -L 127.0.0.1
  gearman-std worker -f wc -- wc -c
  gearman-std client -f wc < file
  gearman-std client -b -f resize -u photo-17 -- data
  gearman-std admin --status
  gearman-std demo
"""


def main(arguments: "Optional[Sequence[str]]" = None, console: "Optional[Console]" = None) -> int:
    """Run the command line, by default that of this process; return its exit status.

    The words after the command are read by that command.
    """
    fill_standard_descriptors()
    if arguments is None:
        begin_with_signals()
        leave_first_process()
    words = read_words() if arguments is None else list(arguments)
    if console is None:
        console = Console()
    old_name = find_old_name(sys.argv, first_word()) if arguments is None else ""
    if old_name:
        return _run_as(old_name, console, words)
    name = words.pop(0) if words else ""
    if name == "help" and words:
        name, words = words[0], ["--help"]
    if name not in ("server", "worker"):  # which first get ready for signals
        release_signals()
    if name in _COMMANDS:
        console.command = name
        return run_command(console, _COMMANDS[name][0], words)
    return run_command(console, _run_none, [name])


def _run_as(old_name: str, console: Console, words: "Sequence[str]") -> int:
    """Be one of gearmand's programs."""
    name = OLD_NAMES[old_name]
    if name != "server":
        release_signals()
    console.program = old_name
    return run_command(console, run_under_name(old_name, _COMMANDS[name][0]), words)


def _run_none(console: Console, words: "Sequence[str]") -> int:
    """What there is without a command."""
    if words[0] in ("-V", "--version"):
        console.write("gearman_std %s\n" % VERSION)
        return DONE
    if words[0] in ("-H", "-h", "--help", "help"):
        raise HelpWanted(_make_help())
    if not words[0]:
        console.warn(_make_help())
        return USAGE
    raise UsageError("there is no command %s%s" % (words[0], did_you_mean(words[0], _COMMANDS)))


def _make_help() -> str:
    return _HELP % (PROGRAM, "\n".join("  %-13s %s" % (name, what) for name, (_, what) in _COMMANDS.items()), PROGRAM)
