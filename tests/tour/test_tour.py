"""The tour of docs/ARCHITECTURE.md: the lines that it quotes are there, and its experiments show what it says."""
import os
import re
import subprocess
import sys
import textwrap

import pytest

FOLDER = os.path.dirname(os.path.abspath(__file__))
LONG = 50.0


def read(*path):
    with open(os.path.join(*path), encoding="utf-8") as file:
        return file.read()


# --- The quotations.

QUOTED = re.compile(r"`([a-z]+/[a-z_]+\.py)`:\n\n```python\n(.*?)```\n", re.DOTALL)


def is_in(lines, source):
    """The rest of a source after these lines, which must stand together there, with any indentation; None if they do not."""
    wanted = textwrap.dedent("\n".join(lines)).split("\n")
    for start in range(len(source) - len(lines) + 1):
        if textwrap.dedent("\n".join(source[start:start + len(lines)])).split("\n") == wanted:
            return source[start + len(lines):]
    return None


def missing(block, source):
    """The first part of a quotation that is not in a source, or not in this order; None if all parts are."""
    for part in block.rstrip("\n").split("\n...\n"):
        source = is_in(part.split("\n"), source)
        if source is None:
            return part
    return None


def test_what_the_tour_quotes_stands_in_the_sources(sources):
    text = read(sources, "docs", "ARCHITECTURE.md")
    quotations = QUOTED.findall(text)
    assert len(quotations) == text.count("```python") > 10, "each names its file"
    for path, block in quotations:
        part = missing(block, read(sources, path).split("\n"))
        assert part is None, "%s has no longer these lines, which the tour quotes:\n%s" % (path, part)


@pytest.mark.parametrize("block, found", [
    ("a = 1\nif a:\n    b()\n", True),
    ("if a:\n    b()\n...\nc()\n", True),
    ("    a = 1\n    if a:\n        b()\n", True),     # how far all lines are indented does not matter
    ("if a:\nb()\n", False),                           # how far one is indented below another does
    ("c()\n...\na = 1\n", False),                      # and the order
    ("a = 1\nb()\n", False),
    ("a = 2\n", False),
])
def test_a_quotation_that_is_not_true_is_told(block, found):
    assert (missing(block, ["x", "  a = 1", "  if a:", "      b()", "", "c()"]) is None) == found


# --- The experiments.

@pytest.fixture
def experiment(sources):
    """experiment(name) runs an experiment, and returns what it prints."""
    def experiment(name, *arguments):
        done = subprocess.run([sys.executable, os.path.join(FOLDER, name + ".py")] + list(arguments), timeout=LONG,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert (done.returncode, done.stderr.decode()) == (0, "")
        return done.stdout.decode()
    return experiment


def test_the_tour_names_each_experiment(sources):
    names = set(re.findall(r"^    python3 tests/tour/([a-z]+)\.py  ", read(sources, "docs", "ARCHITECTURE.md"), re.MULTILINE))
    assert names == {name[:-3] for name in os.listdir(FOLDER) if name.endswith(".py")} - {"test_tour"}


def test_a_day_passes_when_it_is_said(experiment):
    said = experiment("clock")
    assert re.search(r"tomorrow, noon\.\n  the worker hears: NOOP\n  the worker hears: JOB_ASSIGN\n", said)
    assert re.search(r"The next one had the same \d+ bytes", said)


def test_no_wakeup_is_lost_in_any_order(experiment):
    said = experiment("wakeup")
    ours, careless = (list(map(int, re.findall(r"\d+", line))) for line in said.splitlines()[:2])
    assert ours[0] > 1000 and ours[1] == 0
    assert careless[1] > 100
    assert "PRE_SLEEP of worker" in said


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="about how Linux acknowledges")
def test_two_small_sends_wait(experiment):
    for _ in range(3):  # on a busy machine, it may look otherwise once
        two, at_once, one = map(float, re.findall(r"([\d.]+) ms", experiment("nagle")))
        if two > 25 and two > 2 * max(at_once, one):
            return
    raise AssertionError("two sends took %s ms, with TCP_NODELAY %s ms, one %s ms" % (two, at_once, one))


def test_many_share_a_wait_for_the_disk(experiment, tmp_path):
    said = experiment("commits", str(tmp_path))
    (jobs, alone), (_, many), (_, at_once) = (map(int, pair) for pair in re.findall(r"(\d+) jobs, +(\d+) waits", said))
    assert alone >= jobs
    assert many < jobs / 2
    assert at_once < jobs / 10
    assert os.listdir(str(tmp_path)) == []


def test_a_lock_is_not_held_while_a_function_runs(experiment):
    said = experiment("locks")
    took = [int(number) for number in re.findall(r"in 4 threads: +(\d+) ms", said)]
    held = [float(number) for number in re.findall(r"for ([\d.]+) ms in all", said)]
    assert took[1] >= 16 * 50
    assert held[0] < 16 * 50 / 2 and held[1] < 16 * 50 / 2, said
