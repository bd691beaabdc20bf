"""The README and gearman_std/docs: their examples run as they stand, but for the server's address; what they name exists."""
import glob
import inspect
import os
import re
import subprocess
import sys
import threading

import pytest

import gearman_std
from gearman_std import Client, Server, Worker
from gearman_std.cli.cli import describe_commands


@pytest.fixture(scope="module")
def readme(root, sources):
    """The text of the README and of all that stands in the package's docs."""
    texts = []
    for path in [os.path.join(root, "README.md")] + sorted(glob.glob(os.path.join(sources, "docs", "*.md"))):
        with open(path, encoding="utf-8") as file:
            texts.append(file.read())
    return "\n".join(texts)


def test_the_readme_is_a_front_door(root, sources):
    """One that is read to its end, and whose links lead somewhere, as those of the documents do."""
    for path in [os.path.join(root, "README.md")] + glob.glob(os.path.join(sources, "docs", "*.md")):
        with open(path, encoding="utf-8") as file:
            text = file.read()
        assert path.endswith("docs/" + os.path.basename(path)) or text.count("\n") <= 180
        for link in re.findall(r"\]\((?!http)([^)#]+)", re.sub(r"^```.*?^```$", "", text, flags=re.S | re.M)):
            assert os.path.exists(os.path.join(os.path.dirname(path), link)), (path, link)


@pytest.fixture(scope="module")
def examples(readme):
    """The Python examples by a word that only one of them has."""
    blocks = re.findall(r"^```python\n(.*?)^```$", readme, re.S | re.M)

    def find(word):
        found = [block for block in blocks if word in block]
        assert len(found) == 1, "%d examples have %r" % (len(found), word)
        return found[0]
    find.count = len(blocks)
    return find


def work(worker):
    """Have a worker work in a thread; returns what ends it."""
    thread = threading.Thread(target=worker.work)
    thread.start()

    def end():
        worker.stop()
        thread.join(10)
        assert not thread.is_alive()
    return end


@pytest.fixture
def address(monkeypatch):
    """The address of a server, also in GEARMAN_SERVERS, with a worker for the functions of the examples."""
    with Server(port=0) as server:
        address = "%s:%d" % server.address
        monkeypatch.setenv("GEARMAN_SERVERS", address)
        worker = Worker(address, threads=2)
        worker.register("reverse", lambda job: job.workload[::-1])
        calculator = Worker(address, serializer="json")
        calculator.register("add", lambda job: sum(job.value))

        @worker.function("slow")
        def slow(job):
            job.send_status(1, 3)
            job.send_data(b"part")
            job.send_warning(b"careful")
            return b"whole"
        ends = [work(worker), work(calculator)]
        yield address
        for end in ends:
            end()


def run(example, address):
    names = {"__name__": "example"}
    here = re.sub(r'"localhost(:4730)?"', repr(address), example)
    exec(compile(here, "README.md", "exec"), names)
    return names


def test_first_client(examples, address, capsys):
    run(examples("HIGH, JobFailed"), address)
    assert capsys.readouterr().out == "b'olleh'\n"


def test_background_jobs(examples, address, capsys):
    run(examples("delay=3600"), address)
    lines = capsys.readouterr().out.splitlines()
    assert re.match(r"b'H:.*:\d+'$", lines[0])
    assert lines[1] == "JobStatus(known=True, running=False, numerator=0, denominator=0, clients=None)"


def test_many_jobs(examples, address, capsys):
    run(examples("in_flight=1000"), address)
    assert sorted(capsys.readouterr().out.splitlines()) == ["b'eno'", "b'owt'"]


def test_progress_and_parts(examples, address, capsys):
    run(examples("on_status="), address)
    assert capsys.readouterr().out == "1 of 3\nb'part'\nb'whole' [b'careful']\n"


def test_executor_and_json(examples, address, capsys):
    run(examples("client.executor"), address)
    assert capsys.readouterr().out == "%s\n" % list(range(1, 21))


def test_worker(examples):
    with Server(port=0) as server, Client([server.address], job_timeout=20) as client:
        address = "%s:%d" % server.address
        names = run(examples("import Retry, Worker").replace("worker.work()", "pass"), address)
        end = work(names["worker"])
        try:
            assert client.run("reverse", "hello") == b"olleh"
            task = client.submit("slow")
            assert task.result() == b""
            assert task.warnings == [b"it took two attempts"]
            assert list(task.stream()) == [b"part 0", b"part 1", b"part 2"] * 2
        finally:
            end()


def test_server_inside_a_program(examples, capsys):
    run(examples("with Server(port=0) as server:   "), None)
    assert capsys.readouterr().out == "[FunctionStatus(function=b'resize', total=1, running=0, workers=0)]\n"


def test_helpers_for_tests(examples, capsys):
    run(examples("ImmediateClient"), None)
    assert capsys.readouterr().out == "resizing photo-17\n"


def test_commands_of_the_first_example(readme, root, tmp_path):
    """A server, a worker that is any program, and a client, as they stand but for port and file."""
    block = re.search(r"A server, a worker.*?\n\n((?:    .*\n)+)", readme).group(1)
    server, worker, client = [line.split("#")[0].strip().rstrip(" &") for line in block.splitlines()]
    (end,) = re.findall("`(.*)` ends it", block)
    ours = "%s -m gearman_std" % sys.executable
    command = (server + " -p 0 --print-address").replace("gearman-std", ours, 1)
    address = subprocess.check_output(command.split(), universal_newlines=True, timeout=30).strip()
    environment = dict(os.environ, GEARMAN_SERVERS=address)
    try:
        process = subprocess.Popen(worker.replace("gearman-std", ours, 1).split(), env=environment)
        assert client.endswith("< /etc/hosts")
        (tmp_path / "hosts").write_bytes(b"x" * 1234)
        with open(str(tmp_path / "hosts"), "rb") as file:
            done = subprocess.run(client.replace("gearman-std", ours, 1).split(" < ")[0].split(), stdin=file,
                                  stdout=subprocess.PIPE, env=environment, timeout=30)
        assert (done.returncode, done.stdout.strip()) == (0, b"1234")
    finally:
        process.terminate()
        process.wait(10)
        assert subprocess.call(end.replace("gearman-std", ours, 1).split(), env=environment, timeout=30) == 0


def test_names_in_the_reference_exist(readme):
    """Each `Name.attribute` of a public class is there."""
    for name, attribute in set(re.findall(r"`([A-Z]\w+)\.(\w+)", readme)):
        if hasattr(gearman_std, name):
            owner = getattr(gearman_std, name)
            known = hasattr(owner, attribute) or "self.%s = " % attribute in inspect.getsource(owner)
            assert known, "%s.%s" % (name, attribute)


# Options of other programs: of Perl's gearmand, curl, docker, useradd, and of programs in tools/.
OTHERS = {"--accept", "--all", "--daemonize", "--debug", "--pidfile", "--wakeup", "--wakeup-delay", "--data", "--init",
          "--home-dir", "--shell", "--system", "--legacy", "--only"}


def test_options_that_it_names_exist(readme):
    ours = {name for line, _ in describe_commands().values() for option in line.options for name in option.names}
    named = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", readme)) - {"--help", "--version"}
    assert len(named) > 100 and named - OTHERS - ours == set() and not OTHERS & ours


def test_files_that_it_names_exist(readme, root):
    paths = set(re.findall(r"\b(?:tests|tools|gearman_std)/[\w/]+\.\w+", readme))
    paths.update("gearman_std/" + name for name in re.findall(r"`((?!tools/|tests/|gearman_std/)[\w/]+\.py)`", readme))
    for path in paths - {"gearman_std/gearman_std.py"}:
        assert os.path.exists(os.path.join(root, path)), path
