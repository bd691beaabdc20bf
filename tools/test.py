#!/usr/bin/env python3
"""Run the tests:  python3 tools/test.py [--all] [--single-file] [--lanes N] [--again] [--coverage] [pytest arguments]

All tests but those marked `long` run, in several processes: two more than there are processors, or as many as --lanes says.
--all runs the long ones, too.  If files or folders are named, one process runs all that is in them; -k and -m choose among all
tests.  Needs only Python 3.6 or later, and pip: the first run makes an environment for this interpreter in the project's folder
.venv-test, and installs pytest, pytest-timeout and drivers of PostgreSQL and MySQL.

--single-file runs the tests against the single-file build of the package, in a folder that has only that file, tests/ and
tools/.  --again runs a test that has failed once more when all others are done; if it passes then, that is printed, and it does
not count as failed.  --coverage also runs the long ones, prints which lines and branches of the package were run, and fails if
a folder has less than tools/covered.py says.  If folders of tests are named, such as tests/wire tests/core, only the folders of
the same names count; if files are named, or tests with -k, none does.  It needs Python 3.10 or later, and installs coverage.py
in an environment of its own.
"""
import argparse
import concurrent.futures
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import covered
from environments import ROOT, environment

# The last releases that run on old interpreters.  pip 18 would take newer ones; so would any pip whose index does not tell
# which Python a release needs.
REQUIREMENTS = {
    (3, 6): ["pytest<=7.0.1", "pytest-timeout<=2.1.0", "attrs<=22.2.0", "importlib-metadata<=4.8.3", "iniconfig<=1.1.1",
             "packaging<=21.3", "pluggy<=1.0.0", "py<=1.11.0", "pyparsing<=3.0.9", "tomli<=1.2.3", "typing-extensions<=4.1.1",
             "zipp<=3.6.0"],
    (3, 7): ["pytest<=7.4.4", "pytest-timeout<=2.3.1", "exceptiongroup<=1.2.2", "importlib-metadata<=6.7.0", "iniconfig<=2.0.0",
             "packaging<=24.0", "pluggy<=1.2.0", "tomli<=2.0.1", "typing-extensions<=4.7.1", "zipp<=3.15.0"],
    (3, 8): ["pytest<=8.3.5", "pytest-timeout<=2.4.0", "exceptiongroup<=1.3.0", "iniconfig<=2.1.0", "packaging<=25.0",
             "pluggy<=1.5.0", "tomli<=2.2.1", "typing-extensions<=4.13.2"],
    (3, 9): ["pytest<=8.4.2", "pytest-timeout<=2.4.0", "exceptiongroup<=1.3.0", "iniconfig<=2.1.0", "packaging<=25.0",
             "pluggy<=1.6.0", "pygments<=2.19.2", "tomli<=2.2.1", "typing-extensions<=4.15.0"],
}
NEWER = ["pytest>=8.3", "pytest-timeout>=2.4"]
# What speaks to the databases in which background jobs may be.
OLD_DRIVERS = ["pg8000<=1.23.0", "scramp<=1.4.1", "asn1crypto<=1.5.1", "PyMySQL<=1.0.2"]
DRIVERS = ["psycopg[binary]>=3.2", "pg8000>=1.31", "PyMySQL>=1.1"]

# The shares of the tests that a lane runs, each in a process of its own: the large ones first, so that with the last ones all
# lanes end at about the same time.
SHARES = (0.5, 0.3, 0.2)
# About how many seconds a file takes without what is marked long, and how many that takes.  Any file that is in neither is
# taken to need a second for each 25,000 bytes.
SECONDS = {
    "tests/test_interop.py": 12, "tests/cli/test_cli_worker.py": 8, "tests/stages/test_stages.py": 7,
    "tests/cli/test_cli_server.py": 7, "tests/test_package.py": 5, "tests/server/test_server_faults.py": 5,
    "tests/worker/test_worker_forks.py": 5, "tests/tour/test_tour.py": 4, "tests/worker/test_worker_shift.py": 4,
    "tests/worker/test_command.py": 4, "tests/test_protocol_page.py": 4, "tests/cli/test_trace.py": 3,
    "tests/cli/test_demo.py": 3, "tests/wire/test_protocol.py": 3, "tests/cli/test_side_by_side.py": 3,
    "tests/test_tools_test.py": 3, "tests/server/test_standby.py": 3, "tests/test_interop_tls.py": 3,
    "tests/cli/test_cli.py": 2, "tests/cli/test_completion.py": 2, "tests/store/test_crash.py": 1,
    "tests/store/test_files.py": 1, "tests/core/test_simulation.py": 1,
}
LONG_SECONDS = {
    "tests/test_deaths.py": 32, "tests/store/test_database.py": 25, "tests/server/test_server_with_database.py": 12,
    "tests/test_single_file.py": 11, "tests/worker/test_worker_survival.py": 9, "tests/store/test_adoption.py": 8,
    "tests/store/test_crash.py": 6, "tests/legacy/test_legacy_file.py": 5, "tests/test_bench.py": 5,
    "tests/web/test_browser.py": 5, "tests/core/test_simulation.py": 5, "tests/test_survival.py": 3,
    "tests/store/test_files.py": 3, "tests/web/test_long_answers.py": 3, "tests/store/test_neighbours.py": 2,
    "tests/test_interop.py": 2,
}
# Files that need something which takes long to make: one process makes it for all of them.
TOGETHER = (
    ("tests/test_single_file.py", "tests/legacy/test_legacy_file.py"),       # the single file
    ("tests/store/test_database.py", "tests/store/test_adoption.py"),        # PostgreSQL and MariaDB
    ("tests/test_deaths.py", "tests/server/test_server_with_database.py"),
)
FAILED, NO_TESTS = 1, 5  # exit statuses of pytest: tests failed; the arguments select no test


def gear():
    """An interpreter that has the library gear, for tests with gear's programs; if it is missing, it is made if CI is set, else
    None is returned."""
    folder = os.path.join(ROOT, ".venv-test", "gear")
    python = os.path.join(folder, "bin", "python")
    if not os.path.exists(os.path.join(folder, "ready")):
        if not os.environ.get("CI"):
            return None
        shutil.rmtree(folder, ignore_errors=True)
        # Not this interpreter: it may be too old for gear.
        subprocess.check_call(["python3", "-m", "venv", folder])
        subprocess.check_call([python, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "gear"])
        open(os.path.join(folder, "ready"), "w").close()
    return python


def single_file_folder():
    """Make a folder that has the single-file build in place of the package; return its path."""
    folder = os.path.join(ROOT, "build", "single-file-%d.%d" % sys.version_info[:2])
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    subprocess.check_call([sys.executable, os.path.join(ROOT, "tools", "single_file.py"), "--quiet",
                           "-o", os.path.join(folder, "gearman_std.py")])
    for name in ("tests", "tools"):
        shutil.copytree(os.path.join(ROOT, name), os.path.join(folder, name), ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(os.path.join(ROOT, "setup.cfg"), folder)
    return folder


def is_choice(arguments, places):
    """Whether these arguments tell which tests are to run."""
    return bool(places) or any(argument.startswith(("-m", "-k")) for argument in arguments)


def seconds_of(place, size, everything):
    """About how long a test file of this size takes, with what is marked long or without."""
    if place not in SECONDS and place not in LONG_SECONDS:
        return size / 25000
    return SECONDS.get(place, 0) + (LONG_SECONDS.get(place, 0) if everything else 0)


def shares(folder, lanes, places=("tests",), everything=True):
    """The test files in these places, dealt into lists for so many lanes, in the order in which they are to run."""
    seconds = {}
    for path, _, names in (found for place in places for found in os.walk(os.path.join(folder, place))):
        for name in names:
            if name.startswith("test_") and name.endswith(".py"):
                full = os.path.normpath(os.path.join(path, name))
                place = os.path.relpath(full, folder).replace(os.sep, "/")
                seconds[full] = seconds_of(place, os.path.getsize(full), everything)
    together = [[full for full in (os.path.normpath(os.path.join(folder, place)) for place in group) if full in seconds]
                for group in TOGETHER]
    grouped = set().union(*together)
    units = [group for group in together if group] + [[full] for full in seconds if full not in grouped]
    lists = [(size, []) for size in SHARES for _ in range(lanes)][:len(units)]
    for unit in sorted(units, key=lambda unit: (-sum(map(seconds.get, unit)), unit)):
        min(lists, key=lambda one: sum(map(seconds.get, one[1])) / one[0])[1].extend(unit)
    return [files for _, files in lists]


class Share:
    """Some of the tests, in a process of their own."""

    def __init__(self, command, files, cache, options):
        self._command = command + files
        self._failures = os.path.join(cache, "v", "cache", "lastfailed")  # where pytest notes what --last-failed runs
        self._cache = ["-o", "cache_dir=" + cache]
        self._options = options
        self.status = 0

    def run(self, *more):
        """Run it; return its output, unless that was shown at once."""
        done = subprocess.run(self._command + self._cache + list(more), **self._options)
        self.status = done.returncode
        return (done.stdout or b"").decode("utf-8", "replace")

    def failures(self):
        """The names of the tests that failed."""
        if not os.path.exists(self._failures):
            return []
        with open(self._failures) as file:
            return sorted(json.load(file))


def run_shares(all_shares, lanes):
    """Run the shares, `lanes` at a time, and print the output of each when it ends."""
    begun = time.monotonic()
    counts = {}
    with concurrent.futures.ThreadPoolExecutor(lanes) as executor:
        for future in concurrent.futures.as_completed([executor.submit(share.run) for share in all_shares]):
            text = future.result()
            print(text, end="", flush=True)
            for number, what in re.findall(r"(\d+) ([a-z]+)", text.strip().rpartition("\n")[2].partition(" in ")[0]):
                counts[what] = counts.get(what, 0) + int(number)
    if counts:
        total = ", ".join("%d %s" % (counts[what], what) for what in sorted(counts))
        print("in all: %s in %d s" % (total, time.monotonic() - begun))


def run_again(all_shares):
    """Run the tests that failed once more, one share after the other; print which of them pass now."""
    for share in all_shares:
        before = share.failures() if share.status == FAILED else []
        if before:
            print("once more, and alone: %s" % " ".join(before), flush=True)
            print(share.run("--last-failed"), end="")
            after = share.failures()
            if after:
                share.status = FAILED
            for name in before:
                if name not in after:
                    print("passed only when run again: %s" % name)


def main(arguments):
    if sys.version_info < (3, 6):
        sys.exit("tools/test.py needs Python 3.6 or later, this is %s" % sys.version.split()[0])
    parser = argparse.ArgumentParser(usage="python3 tools/test.py [OPTIONS] [PYTEST ARGUMENTS]", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument("--all", action="store_true", help="also run what is marked long")
    parser.add_argument("--single-file", action="store_true", help="test the single-file build")
    parser.add_argument("--again", action="store_true", help="run what fails once more")
    parser.add_argument("--lanes", type=int, default=2 + (os.cpu_count() or 1), metavar="N",  # tests wait, too
                        help="how many processes run at a time (default: %(default)s)")
    parser.add_argument("--coverage", action="store_true", help="tell which lines and branches were run")
    given, arguments = parser.parse_known_args(arguments)
    if given.coverage and (given.single_file or sys.version_info < (3, 10)):
        sys.exit("--coverage is for the package, not for the single file, and for Python 3.10 or later")
    folder = single_file_folder() if given.single_file else ROOT
    # A shell's background jobs ignore Ctrl-C.  The tests must not, because some of them are about Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    options = {"cwd": folder, "env": dict(os.environ)}
    # With it, each of the hundreds of processes that tests start would compile the package.
    options["env"].pop("PYTHONDONTWRITEBYTECODE", None)
    if gear():
        options["env"].setdefault("GEARMAN_STD_GEAR", gear())
    lists = [[]]
    places = [argument for argument in arguments if os.path.exists(os.path.join(folder, argument.partition("::")[0]))]
    everything = given.all or given.coverage or is_choice(arguments, places)
    if not everything:
        arguments = ["-m", "not long"] + arguments
    # One process shows the output of named tests at once.  Measuring takes twice as long, so measured folders are shared out.
    if given.lanes > 1 and (not places or given.coverage and all(os.path.isdir(os.path.join(folder, one)) for one in places)):
        lists = shares(folder, given.lanes, places or ["tests"], everything)
        arguments = [argument for argument in arguments if argument not in places]
        options.update(stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    requirements = REQUIREMENTS.get(sys.version_info[:2], NEWER) + (DRIVERS if sys.version_info >= (3, 10) else OLD_DRIVERS)
    command = [environment(requirements), "-m", "pytest"] + arguments
    if given.coverage:
        command = covered.command(environment(requirements + covered.REQUIREMENTS, "coverage"), ["-m", "pytest"] + arguments)
    with tempfile.TemporaryDirectory() as scratch:
        options["env"].update(covered.variables(scratch) if given.coverage else {})
        all_shares = [Share(command, files, os.path.join(scratch, str(number)), options) for number, files in enumerate(lists)]
        run_shares(all_shares, given.lanes)
        if given.again:
            run_again(all_shares)
        enough = not given.coverage or covered.tell(command[0], folder, options["env"], covered.judged(places, arguments))
    statuses = {share.status for share in all_shares}
    if len(statuses) > 1:
        statuses.discard(NO_TESTS)
    return max(statuses, key=abs) or (0 if enough else FAILED)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
