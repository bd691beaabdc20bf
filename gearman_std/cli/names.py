"""The names of gearmand's programs: started under one of them, this program is that one; `install-names` makes links."""
import os
import re
import sys

from ..errors import GearmanError
from .console import DONE, FAILED, PROGRAM, Console
from .options import CommandLine, HelpWanted, Option, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Dict, Sequence

# Which command of this program each of them is.
OLD_NAMES = {"gearmand": "server", "gearman": "client", "gearadmin": "admin"}  # type: Dict[str, str]
_SINGLE_FILE = "gearman_std.py"

_NAMES_ABOUT = """
Make links named gearmand, gearman and gearadmin in a folder, which lead to this program.  Started under one of these names,
it is that program: gearman-std server, client or admin, with its options, help and messages under that name.
"""
_NAMES_STATUSES = """
0  the links are there, or with --remove are not
1  something else has one of the names, and nothing was changed; or the system refused
2  the command line makes no sense
"""
_NAMES_EXAMPLES = """
gearman-std install-names /usr/local/bin            comes before /usr/bin, where gearmand's own programs may stay
gearman-std install-names --remove /usr/local/bin
"""


def find_old_name(argv: "Sequence[str]", first: str) -> str:
    """The one of these names under which the process was started, "" for none.

    `argv` is the command line as Python shows it; `first` is its first word as the system has it, which `exec -a` and service
    managers can set.  `first` does not count if the command line says which command is meant.
    """
    name = _base(argv[0]) if argv else ""
    if name in OLD_NAMES:
        return name
    name = _base(first)
    return name if name in OLD_NAMES and argv[1:2] != [OLD_NAMES[name]] else ""


def first_word() -> str:
    """The first word of this process's command line as the system has it, "" if that cannot be known."""
    words = getattr(sys, "orig_argv", None)  # from Python 3.10 on
    if words:
        return str(words[0])
    try:
        with open("/proc/self/cmdline", "rb") as file:
            return os.fsdecode(file.read(4096).partition(b"\0")[0])
    except OSError:
        return ""


def _base(path: str) -> str:
    name = os.path.basename(path)
    return name[:-4] if name.endswith(".exe") else name


def run_under_name(name: str, run: "Callable[[Console, Sequence[str]], int]") -> "Callable[[Console, Sequence[str]], int]":
    """A command whose help and version use one of these names."""
    def run_renamed(console: Console, arguments: "Sequence[str]") -> int:
        try:
            return run(console, arguments)
        except HelpWanted as wanted:
            text = str(wanted).replace("%s %s" % (PROGRAM, OLD_NAMES[name]), name)
            raise HelpWanted(re.sub("^gearman_std (.*)", name + r" \1 (gearman_std)", text)) from None
    return run_renamed


def make_names_line() -> CommandLine:
    """The options of `install-names`."""
    return CommandLine("install-names", ["install-names [--force | --remove] DIR"], _NAMES_ABOUT, [
        ("Options", [
            Option("--force", "", "take the names also from what is none of these links"),
            Option("--remove", "", "remove the links again, and nothing else"),
        ]),
    ], [("Exit status", _NAMES_STATUSES), ("Examples", _NAMES_EXAMPLES)])


def run_names(console: Console, arguments: "Sequence[str]") -> int:
    """Run `install-names`; return the exit status."""
    options = make_names_line().parse(arguments)
    if len(options.words) != 1 or options.force and options.remove:
        raise UsageError("one folder is wanted, and --force or --remove at most")
    folder = options.words[0]
    if not os.path.isdir(folder):
        raise UsageError("%r is no folder" % folder)
    program = find_program(sys.argv[0], sys.executable)
    if not program and not options.remove:
        raise GearmanError("there is no file that a link could start: run install-names with an installed %s, or with %s made "
                           "executable" % (PROGRAM, _SINGLE_FILE))
    paths = [os.path.join(folder, name) for name in sorted(OLD_NAMES)]
    strangers = [path for path in paths if os.path.lexists(path) and not is_ours(path, program)]
    if options.remove:
        for path in paths:
            if os.path.islink(path) and path not in strangers:
                os.remove(path)
                console.write("%s is removed\n" % path)
        for path in strangers:
            console.complain("%s is none of these links, and stays" % path)
        return DONE
    folders = [path for path in strangers if os.path.isdir(path) and not os.path.islink(path)]
    in_the_way = folders if options.force else strangers
    for path in in_the_way:
        console.complain(("%s is a folder, and stays" if path in folders else
                          "%s is there, and is not this program; --force replaces it") % path)
    if in_the_way:
        return FAILED
    for path in paths:
        if os.path.islink(path) or not _is_same(path, program):
            _link(path, program)
        console.write("%s -> %s\n" % (path, program))
    return DONE


def find_program(started: str, interpreter: str) -> str:
    """The file that links can lead to: the one that was started, or the command beside the interpreter; "" if there is none."""
    beside = os.path.join(os.path.dirname(interpreter or ""), PROGRAM)
    for path in (os.path.realpath(started), beside):
        if os.path.basename(path) != "__main__.py" and os.path.isfile(path) and os.access(path, os.X_OK):
            return os.path.realpath(path)
    return ""


def is_ours(path: str, program: str) -> bool:
    """Whether a path is the program, or a link that `install-names` has made, even if that leads nowhere any longer."""
    named = os.path.islink(path) and os.path.basename(os.readlink(path)) in (PROGRAM, _SINGLE_FILE)
    return named or _is_same(path, program)


def _is_same(path: str, program: str) -> bool:
    return os.path.exists(path) and os.path.exists(program) and os.path.samefile(path, program)


def _link(path: str, program: str) -> None:
    """Make a link; if something had its name, the name exists at every moment."""
    made = "%s.%d" % (path, os.getpid())
    os.symlink(program, made)
    try:
        os.replace(made, path)
    except OSError:
        os.remove(made)
        raise
