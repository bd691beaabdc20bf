"""Which lines and branches of the package the tests run, and the gate: no folder may have less than LEAST says.

If all tests run, apart from those that a marker leaves out, all folders are judged.  If folders of tests are named, the folders
of the same names are judged by ALONE; if files are named, or tests with -k, none is.
"""
import json
import os
import subprocess

# Percent of lines and branches together, by folder; "" means the modules beside the folders.  The numbers may only grow.
LEAST = {"wire": 100, "core": 100, "": 96, "cli": 95, "client": 96, "legacy": 95, "net": 95, "server": 96, "store": 95,
         "trace": 94, "web": 95, "worker": 97}
# What the tests of the same folder alone must run, without what is marked long.  It is less, as tests/cli and those beside the
# folders ask what processes do, and what the commands make of a folder.
ALONE = {"wire": 100, "core": 100, "client": 95, "net": 88, "server": 92, "worker": 96}
PACKAGE = "gearman_std"
REQUIREMENTS = ["coverage>=7.10"]  # it also measures programs that the tests start


def command(python, words):
    """The command line that runs Python with these words and measures it."""
    return [python, "-m", "coverage", "run"] + words


def variables(folder):
    """The environment variables for processes that are measured, which write their data into the folder."""
    return {"COVERAGE_FILE": os.path.join(folder, "coverage")}


def figures(report):
    """By folder, how many lines and branches there are and how many were run, from the report of `coverage json`."""
    counts = {}
    for path, file in report["files"].items():
        folder = path.replace(os.sep, "/").rpartition(PACKAGE + "/")[2].rpartition("/")[0]
        summary = file["summary"]
        there, run = counts.get(folder, (0, 0))
        counts[folder] = (there + summary["num_statements"] + summary["num_branches"],
                          run + summary["covered_lines"] + summary["covered_branches"])
    return counts


def judged(places, arguments):
    """The folders that are judged if the tests in these places are run with these arguments; None means all."""
    if any(argument.startswith("-k") for argument in arguments):
        return set()
    named = {os.path.normpath(place).replace(os.sep, "/") for place in places}
    return None if not named or "tests" in named else {folder for folder in ALONE if "tests/" + folder in named}


def judge(counts, folders=None):
    """A line for each folder, and a list of the folders that have too little; `folders` are those to judge, None means all."""
    table = LEAST if folders is None else ALONE
    lines, failed = [], []
    for folder, (there, run) in sorted(counts.items()):
        percent, least = 100.0 * run / there if there else 100.0, table.get(folder, 100)
        too_little = percent < least and (folders is None or folder in folders)
        if too_little:
            failed.append(folder)
        lines.append("%6.2f %%  %-8s %5d of %5d lines and branches%s" % (
            percent, folder, run, there, ", must be %s %%" % least if too_little else ""))
    return lines, failed


def tell(python, folder, environment, folders):
    """Print what was measured; return whether it is enough in these folders, None for all folders."""
    def coverage(*words):
        subprocess.check_call([python, "-m", "coverage"] + list(words), cwd=folder, env=environment)
    coverage("combine", "-q")
    # The name must not begin as those of the data, or `coverage combine` would take it for data.
    path = os.path.join(os.path.dirname(environment["COVERAGE_FILE"]), "report.json")
    coverage("json", "-q", "-o", path)
    with open(path) as file:
        counts = figures(json.load(file))
    known = sorted(counts) if not folders else sorted(counts.keys() & folders)
    lines, failed = judge({one: counts[one] for one in known}, folders)
    if failed or folders is not None:
        only = ",".join(os.path.join(PACKAGE, one, "*.py") for one in known)
        coverage("report", "--show-missing", "--skip-covered", "--precision=2", "--include=" + only)
    print("\n".join(lines))
    return not failed
