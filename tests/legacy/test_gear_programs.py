"""Programs like those that use the library gear.  If `import gear` finds gearman_std's, they print the same as with gear 0.16;
that output stands beside each program."""
import glob
import os
import subprocess
import sys

import pytest

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "gear_programs")
OURS = ("import runpy, sys; import gearman_std.legacy; gearman_std.legacy.install('gear'); "
        "runpy.run_path(sys.argv[1], run_name='__main__')")

programs = pytest.mark.parametrize("name", sorted(os.path.basename(path)[:-3] for path in glob.glob(FOLDER + "/*.py")))


def printed(command, name):
    done = subprocess.run(command + [os.path.join(FOLDER, name + ".py")], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=50, env=dict(os.environ, PYTHONIOENCODING="utf-8"))
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode("utf-8")


def expected(name):
    with open(os.path.join(FOLDER, name + ".txt"), encoding="utf-8", newline="") as file:
        return file.read()


@programs
def test_a_program_prints_the_same_with_ours(name):
    assert printed([sys.executable, "-c", OURS], name) == expected(name)


@programs
@pytest.mark.interop
def test_a_program_prints_the_same_with_gear(name, require):
    python = os.environ.get("GEARMAN_STD_GEAR")
    if not python:
        require.missing("GEARMAN_STD_GEAR does not name a Python that has the library gear")
    assert printed([python, "-W", "ignore"], name) == expected(name)
