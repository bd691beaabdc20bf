"""The command `check-store`: reads the whole file of a store, for a crontab, and says in one line whether it is damaged."""
import os

from ..store.checking import check_store
from .common import need_module
from .console import DONE, Console
from .options import CommandLine, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Sequence

_STORE_CHECK_ABOUT = """
Read the whole FILE in which a server keeps its background jobs (--sqlite3-db), and say in one line whether it is damaged.  The
file is not changed, and a server may be using it.
"""
_STORE_CHECK_EXAMPLES = """
gearman-std check-store /var/lib/gearman/jobs.db
gearman-std check-store /var/lib/gearman/jobs.db > /dev/null     in a crontab, as cron mails what is wrong
"""
_STORE_CHECK_STATUSES = """
0  the file is whole
1  the file is damaged, is none of a server, or cannot be read
2  the command line makes no sense
"""


def make_store_check_line() -> CommandLine:
    """The options of `check-store`."""
    return CommandLine("check-store", ["check-store FILE"], _STORE_CHECK_ABOUT, [("Options", [])], [
        ("Exit status", _STORE_CHECK_STATUSES), ("Examples", _STORE_CHECK_EXAMPLES)], help_names="-h -H --help")


def run_store_check(console: Console, arguments: "Sequence[str]") -> int:
    """Run `check-store`; return the exit status."""
    options = make_store_check_line().parse(arguments)
    if len(options.words) != 1:
        raise UsageError("one file is wanted")
    need_module("sqlite3", "a queue on disk")
    path = options.words[0]
    jobs = check_store(path)
    console.write(os.fsencode("%s is whole: %d jobs\n" % (path, jobs)))
    return DONE
