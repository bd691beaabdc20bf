"""The names of gearmand's programs: what is run under them, and the links."""
import io
import os
import subprocess
import sys

import pytest

from gearman_std.cli import names
from gearman_std.cli.cli import main
from gearman_std.cli.console import Console
from gearman_std.server.server import Server

ALL = ("gearadmin", "gearman", "gearmand")


@pytest.mark.parametrize("argv, first, name", [
    (["/usr/bin/gearman-std", "client"], "/usr/bin/python3", ""), (["/usr/local/bin/gearmand"], "/usr/bin/python3", "gearmand"),
    (["gearman", "-f", "f"], "python3", "gearman"), (["./gearadmin"], "", "gearadmin"), (["C:\\x/gearman.exe"], "", "gearman"),
    (["/x/__main__.py", "-f", "f"], "gearman", "gearman"), (["/x/gearman_std.py"], "/usr/sbin/gearmand", "gearmand"),
    (["/x/__main__.py", "server", "-p", "1"], "gearmand", ""), (["/x/__main__.py", "server"], "gearman", "gearman"),
    (["gearman.py"], "python3", ""), (["-c"], "gearman2", ""), ([], "", ""),
])
def test_which_name_is_meant(argv, first, name):
    assert names.find_old_name(argv, first) == name


def test_the_first_word_is_what_the_system_has():
    program = "import sys; sys.path[:0] = sys.argv[1:2]; from gearman_std.cli.names import first_word; print(first_word())"
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    printed = subprocess.check_output(["gearmand-7", "-c", program, root], executable=sys.executable,
                                      env=dict(os.environ, PYTHONHOME=sys.base_prefix))
    assert printed.decode().strip() == "gearmand-7"


@pytest.fixture
def started(monkeypatch):
    """Runs the command line as if the process was started under a name: status, output, errors."""
    def run(name, *words):
        monkeypatch.setattr(sys, "argv", ["/usr/bin/" + name] + list(words))
        monkeypatch.setattr("gearman_std.cli.cli.begin_with_signals", lambda: None)
        monkeypatch.setattr("gearman_std.cli.cli.leave_first_process", lambda: None)
        there = Console("", io.BytesIO(b"data"), io.BytesIO(), io.BytesIO())
        return main(None, there), there.stdout.getvalue().decode(), there.stderr.getvalue().decode()
    return run


@pytest.mark.parametrize("name, line", [("gearmand", "usage: gearmand [OPTIONS]\n"), ("gearman", "usage: gearman [OPTIONS] -f"),
                                        ("gearadmin", "usage: gearadmin [-h HOST]")])
def test_help_version_and_messages_are_those_of_the_name(started, name, line):
    status, output, errors = started(name, "--help")
    assert (status, errors) == (0, "") and output.startswith(line)
    assert "gearman-std " + names.OLD_NAMES[name] not in output and "\n  %s " % name in output
    assert started(name, "--version")[1].startswith("%s 1." % name)
    assert started(name, "--zzzz") == (
        2, "", "%s: there is no option --zzzz; see %s --help\n" % (name, name))
    assert started(name, "demo")[0] == 2  # none of its commands


def test_statuses_are_those_of_our_own_table(started):
    assert started("gearman", "-h", "127.0.0.1:1", "-f", "f", "x")[0] == 3
    assert started("gearadmin", "-h", "127.0.0.1:1", "--status")[0] == 3
    assert started("gearmand", "-p", "x")[0] == 2
    assert started("gearmand", "--check-args")[0] == 0
    with Server(port=0) as server:
        address = "%s:%d" % server.address
        assert started("gearman", "-h", address, "-b", "-f", "f")[0] == 0
        assert started("gearadmin", "-h", address, "--status") == (0, "f\t1\t0\t0\n.\n", "")


@pytest.fixture
def program(tmp_path):
    """A program file that prints under which name it was started."""
    path = tmp_path / "gearman-std"
    path.write_text("#!%s\nimport sys\nprint(sys.argv[0])\n" % sys.executable)
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def install(program, tmp_path, monkeypatch):
    """Runs install-names of that program for a folder: status, output, errors."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def run(*words, started=program):
        monkeypatch.setattr(sys, "argv", [started])
        there = Console("", io.BytesIO(), io.BytesIO(), io.BytesIO())
        status = main(["install-names"] + list(words or [str(folder)]), there)
        return status, there.stdout.getvalue().decode(), there.stderr.getvalue().decode()
    run.folder = str(folder)
    return run


def test_links_are_made_and_removed(install, program):
    paths = [os.path.join(install.folder, name) for name in ALL]
    for _ in range(2):  # a second time is no harm
        assert install() == (0, "".join("%s -> %s\n" % (path, program) for path in paths), "")
        assert sorted(os.listdir(install.folder)) == list(ALL)
    for path in paths:
        assert subprocess.check_output([path]).decode().strip() == path
    assert install("--remove", install.folder) == (0, "".join("%s is removed\n" % path for path in paths), "")
    assert os.listdir(install.folder) == [] and os.path.exists(program)
    assert install("--remove", install.folder) == (0, "", "")


def test_what_is_not_ours_stays_unless_it_is_forced(install, program, tmp_path):
    theirs, other = os.path.join(install.folder, "gearman"), os.path.join(install.folder, "gearmand")
    with open(theirs, "w") as file:
        file.write("theirs")
    os.symlink("/usr/sbin/gearmand", other)
    status, output, errors = install()
    assert (status, output) == (1, "") and errors.count("is there, and is not this program; --force replaces it\n") == 2
    assert sorted(os.listdir(install.folder)) == ["gearman", "gearmand"]
    status, output, errors = install("--remove", install.folder)
    assert (status, output) == (0, "") and errors.count("is none of these links, and stays\n") == 2
    assert install("--force", install.folder)[0] == 0
    assert [os.readlink(os.path.join(install.folder, name)) for name in ALL] == [program] * 3


def test_a_link_that_leads_nowhere_any_more_is_ours(install, program):
    os.symlink("/opt/old/gearman-std", os.path.join(install.folder, "gearman"))
    os.symlink("/opt/old/gearman_std.py", os.path.join(install.folder, "gearadmin"))
    assert install()[0] == 0
    assert os.readlink(os.path.join(install.folder, "gearman")) == program
    os.remove(os.path.join(install.folder, "gearman"))
    os.symlink("/opt/old/gearman-std", os.path.join(install.folder, "gearman"))
    assert install("--remove", install.folder)[1].count("is removed") == 3


def test_a_copy_of_the_program_keeps_its_name(install, program):
    copy = os.path.join(install.folder, "gearman")
    os.rename(program, copy)
    assert install(started=copy)[0] == 0
    assert not os.path.islink(copy) and os.readlink(os.path.join(install.folder, "gearmand")) == copy
    assert install("--remove", install.folder, started=copy)[0] == 0
    assert os.listdir(install.folder) == ["gearman"]


def test_a_folder_in_the_place_of_a_link(install):
    os.mkdir(os.path.join(install.folder, "gearman"))
    os.symlink(install.folder, os.path.join(install.folder, "gearmand"))
    status, output, errors = install("--force", install.folder)
    assert (status, output) == (1, "") and errors.endswith("/bin/gearman is a folder, and stays\n")
    status, output, errors = install()
    assert (status, output) == (1, "") and errors.count("/bin/gearman is a folder, and stays\n") == 1
    assert sorted(os.listdir(install.folder)) == ["gearman", "gearmand"]  # nothing was changed, as the help says
    os.rmdir(os.path.join(install.folder, "gearman"))
    assert install("--force", install.folder)[0] == 0  # a link to a folder is a link


@pytest.mark.parametrize("words", [[], ["a", "b"], ["--force", "--remove", "/"], ["/no/such/folder"], ["/dev/null"]])
def test_what_makes_no_sense(install, words):
    status, output, errors = install("--force", "--remove") if not words else install(*words)
    assert (status, output) == (2, "") and errors.startswith("gearman-std install-names: ")


def test_which_file_links_lead_to(program, tmp_path):
    beside = str(tmp_path / "python3")
    (tmp_path / "__main__.py").write_text("")
    (tmp_path / "plain.py").write_text("")
    link = str(tmp_path / "link")
    os.symlink(program, link)
    assert names.find_program(program, "") == names.find_program(link, "") == program
    assert names.find_program(str(tmp_path / "__main__.py"), beside) == program
    assert names.find_program(str(tmp_path / "plain.py"), beside) == program
    assert names.find_program("-c", beside) == program
    assert names.find_program("-c", "/nowhere/python3") == ""


def test_without_a_file_to_lead_to_there_are_no_links(install, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python3")
    status, output, errors = install("--force", install.folder, started="-c")
    assert (status, output) == (1, "") and "there is no file that a link could start" in errors
    assert os.listdir(install.folder) == []
