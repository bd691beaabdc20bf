"""Small programs in the manner of those in public use print the same as with the module that they were written for.

Each file of the folder programs was run with gearman3 0.2.1 on Python 3.8, or gearman 2.0.2 on 2.7 where that module does not
get that far, or the fork that it imports, on 3.8; what it printed is in the file beside it.
"""
import glob
import os
import subprocess
import sys

import pytest

PROGRAMS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "programs")
NAMES = sorted(os.path.basename(path)[:-3] for path in glob.glob(os.path.join(PROGRAMS, "*.py")))
RUN = """
import runpy, sys
import gearman_std.legacy
gearman_std.legacy.install()
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize("name", NAMES)
def test_it_prints_the_same(server, name):
    program = os.path.join(PROGRAMS, name)
    done = subprocess.run([sys.executable, "-c", RUN, program + ".py", str(server[1])], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, universal_newlines=True, timeout=50)
    assert done.returncode == 0, done.stderr
    with open(program + ".txt", encoding="utf-8") as expected:
        assert done.stdout == expected.read()


def test_there_are_twenty():
    assert len(NAMES) >= 20
