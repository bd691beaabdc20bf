#!/usr/bin/env python3
"""Check the sources without running them:  python3 tools/check.py [lint] [types] [users] [single-file]

lint: flake8 over the sources, tests and tools.  types: mypy over the package.  users: mypy and pyright over the programs in
tests/users, with the package and with the single file; they must find each line that is marked as wrong, no other line, and
nothing in the single file.  single-file: the sources keep its rules, and this Python builds it.  Without a name: all of them.

Needs pip, but not root: flake8, mypy and pyright go into an environment of their own in the project's folder .venv-test.  If
pyright, which needs Node, cannot be installed, a line says so, and the check goes on without it.
"""
import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile

from environments import ROOT, environment

# Later releases of flake8 do not see names that only type comments use.
REQUIREMENTS = ["flake8<6", "mypy"]
PYRIGHT = ["pyright[nodejs]"]
NEWEST = "3.13"  # mypy checks for this Python, too, beside the one that runs it
SINGLE_FILE = os.path.join(ROOT, "tools", "single_file.py")
USERS = os.path.join(ROOT, "tests", "users")


def tool(*words, **options):
    """Run a tool of the environment; returns its exit status."""
    return subprocess.call([environment(REQUIREMENTS, "check"), "-m"] + list(words), cwd=ROOT, **options)


def lint():
    return tool("flake8", "gearman_std", "tests", "tools", "setup.py") == 0


def types():
    return [tool("mypy"), tool("mypy", "--python-version", NEWEST)] == [0, 0]


def single_file():
    with tempfile.TemporaryDirectory() as folder:
        return subprocess.call([sys.executable, SINGLE_FILE, "--quiet", "-o", os.path.join(folder, "gearman_std.py")]) == 0


def mypy():
    """The command line of mypy, as strict as a user may want it."""
    return [environment(REQUIREMENTS, "check"), "-m", "mypy", "--strict", "--no-error-summary", "--hide-error-context",
            "--no-pretty"]


def pyright():
    """The command line of pyright; if it cannot be installed, print that and return None."""
    try:
        command = [environment(PYRIGHT, "pyright"), "-m", "pyright"]
        subprocess.check_output(command + ["--version"], stderr=subprocess.STDOUT)
    except (OSError, subprocess.CalledProcessError) as error:
        print("users: without pyright, which cannot be installed here: %s" % error)
        return None
    return command


def found(command, folder):
    """What a type checker finds in the folder's programs: a set of (file's name, line), and what it said."""
    said = subprocess.run(command + ["."], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT).stdout.decode()
    places = re.findall(r"^ *(?:.*[/\\])?([\w.]+):(\d+)(?::\d+)?(?: -|:) error", said, re.M)
    return {(name, int(line)) for name, line in places}, said


def wanted(folder):
    """What a type checker must find: the lines that are marked as wrong."""
    places = set()
    for name in os.listdir(folder):
        if name.endswith(".py") and os.path.exists(os.path.join(USERS, name)):
            with open(os.path.join(folder, name), encoding="utf-8") as file:
                places.update((name, number) for number, line in enumerate(file, 1) if line.rstrip().endswith("# wrong"))
    return places


def users():
    good = True
    with tempfile.TemporaryDirectory() as folder:
        package, single = os.path.join(folder, "package"), os.path.join(folder, "single")
        shutil.copytree(USERS, package)
        os.symlink(os.path.join(ROOT, "gearman_std"), os.path.join(package, "gearman_std"))
        # The package is imported but not checked again; of the single file, which is not checked either, errors are shown.
        with open(os.path.join(package, "pyrightconfig.json"), "w") as file:
            file.write('{"ignore": ["gearman_std", "%s"]}' % os.path.join(ROOT, "gearman_std"))
        shutil.copytree(USERS, single, ignore=shutil.ignore_patterns("*_tests.py"))  # it has no gearman_std.testing
        subprocess.check_call([sys.executable, SINGLE_FILE, "--quiet", "-o", os.path.join(single, "gearman_std.py")])
        for command in filter(None, (mypy(), pyright())):
            for place in (package, single):
                lines, said = found(command, place)
                if lines != wanted(place):
                    good = False
                    print(said)
                    for name, line in sorted(lines - wanted(place)):
                        print("users: %s finds something in the line %s:%d" % (command[2], name, line))
                    for name, line in sorted(wanted(place) - lines):
                        print("users: %s finds nothing in the line %s:%d, which is wrong" % (command[2], name, line))
    return good


CHECKS = {"lint": lint, "types": types, "users": users, "single-file": single_file}


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     usage="python3 tools/check.py [%s]" % "] [".join(CHECKS))
    parser.add_argument("names", nargs="*", metavar="NAME", help="one of %s" % ", ".join(CHECKS))
    names = parser.parse_args(arguments).names
    for name in names:
        if name not in CHECKS:
            parser.error("there is no check %s" % name)
    failed = [name for name in names or CHECKS if not CHECKS[name]()]
    print("failed: %s" % ", ".join(failed) if failed else "all is well: %s" % ", ".join(names or CHECKS))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
