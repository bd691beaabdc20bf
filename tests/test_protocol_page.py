"""docs/PROTOCOL.md and its pictures are what tools/protocol.py makes, and what it makes is whole and true."""
import os
import re
import sys
import threading
import xml.etree.ElementTree as ElementTree

import pytest

from gearman_std.wire.protocol import ECHO_REQ, ECHO_RES
from server_tools import Clock, Place, in_dispatcher, let_pass
from worker_tools import until


@pytest.fixture(scope="module")
def tool(root, sources):
    """The tool as a module."""
    folder = os.path.join(root, "tools")
    sys.path.insert(0, folder)
    try:
        import protocol
    finally:
        sys.path.remove(folder)
        sys.modules.pop("protocol", None)
    return protocol


@pytest.fixture(scope="module")
def source(tool):
    with open(tool.SOURCE, encoding="utf-8") as file:
        return file.read()


@pytest.fixture(scope="module")
def page(tool, source):
    return tool.Page(source).text()


@pytest.fixture
def docs(tool, tmp_path, monkeypatch):
    """A folder in place of the real one."""
    monkeypatch.setattr(tool, "DOCS", str(tmp_path))
    return tmp_path


def test_the_files_are_what_the_tool_makes(tool):
    trouble = tool.main(["--check"])
    assert not trouble, "%s; run: %s" % (trouble, tool.COMMAND)


def test_check_tells_what_is_not_as_it_should_be_and_how_to_mend_it(tool, docs):
    assert tool.main(["--check"]) == ("not as `python3 tools/protocol.py` makes it: PROTOCOL.md, client.svg, connection.svg, "
                                      "job.svg, link.svg, servers.svg, worker.svg")
    assert tool.main([]) == 0 and tool.main(["--check"]) == 0
    (docs / "job.svg").write_bytes((docs / "job.svg").read_bytes().replace(b"\n", b"\r\n"))
    (docs / "old.svg").write_bytes(b"<svg/>")
    assert tool.main(["--check"]).endswith(": job.svg, old.svg")
    assert tool.main([]) == 0 and tool.main(["--check"]) == 0
    assert not (docs / "old.svg").exists()


@pytest.mark.parametrize("pattern, replacement, words", [
    (r"\{\{packet NOOP\n.*?\n\}\}\n", "", "these packets have no section: NOOP"),
    (r"\{\{packet NOOP\n", "{{packet SUBMIT_JOB\n", "packet SUBMIT_JOB: it has a section already"),
    (r"\{\{command run\n.*?\n\}\}\n", "", "these text commands have no section: run"),
    (r"\{\{command run\n", "{{command purge\n", "command purge: "),
    (r'(t > "run job H:host:1\\n"\n)+', "", "command run: its scene does not ask it"),
    (r"test_sleeps_only_when_there_is_no_job", "test_sleeps_often", "there is no test test_sleeps_often"),
    (r"test_sleeps_only_when_there_is_no_job", "test_failures", "test_failures is in several files: "),
    (r"picture core.jobs", "picture core.peers", "picture core.peers: nothing is drawn there"),
    (r"\{\{packets\}\}", "{{pockets}}", "no part of a page is called pockets"),
    (r"\{\{packets\}\}", "{{ packets}}", "this means nothing: {{ packets}}"),
    (r"\(#wake-ups\)", "(#wakeups)", "nothing has the anchor #wakeups"),
    (r"## Priorities", "## Options", "two have the anchor #options"),
    (r"--\nw > GRAB_JOB_UNIQ\n", "--\nw > GRAB_JOB\n", "packet GRAB_JOB_UNIQ: its scene shows no such packet"),
    (r"test: test_echo_returns_the_same_bytes\n", "", "packet ECHO_REQ: it needs when, test and scene"),
    (r"UNKNOWN_OPTION: any", "INVALID_OPTION: any", "UNKNOWN_OPTION came, not INVALID_OPTION"),
    (r"c > OPTION_REQ colours\n\nJOB", "c > OPTION_REQ exceptions\n\nJOB", "no error comes"),
    (r"JOB_EXISTS: the.*?\n\n", "", "nothing provokes JOB_EXISTS"),
    (r"INVALID_ARGUMENTS: a time limit.*?\n\n", "", "of CAN_DO_TIMEOUT the table says the errors"),
])
def test_what_is_wrong_with_the_source_is_told(tool, source, pattern, replacement, words):
    changed = re.sub(pattern, lambda found: replacement, source, count=1, flags=re.S)
    assert changed != source
    with pytest.raises(tool.Wrong) as caught:
        tool.Page(changed).text()
    assert words in str(caught.value)


def test_an_answer_that_the_table_does_not_know_is_told(tool, source, monkeypatch):
    number = tool.NUMBERS["ECHO_REQ"]
    monkeypatch.setitem(tool.MEANINGS, number, tool.MEANINGS[number]._replace(answers=()))
    with pytest.raises(tool.Wrong) as caught:
        tool.Page(source).text()
    assert "packet ECHO_REQ: ECHO_RES answers it, the table says not" in str(caught.value)


def test_errors_that_the_table_does_not_know_are_told(tool, source, monkeypatch):
    number = tool.NUMBERS["WORK_FAIL"]
    monkeypatch.setitem(tool.MEANINGS, number, tool.MEANINGS[number]._replace(errors=()))
    with pytest.raises(tool.Wrong) as caught:
        tool.Page(source).text()
    assert "of WORK_FAIL the table says the errors [], and those that came are ['JOB_NOT_FOUND']" in str(caught.value)


def test_trouble_is_the_exit_status(tool, monkeypatch, tmp_path):
    (tmp_path / "page.md").write_text("{{nothing}}\n")
    monkeypatch.setattr(tool, "SOURCE", str(tmp_path / "page.md"))
    assert tool.main(["--check"]) == "tools/protocol.md: no part of a page is called nothing"


def test_every_packet_and_command_has_a_heading_and_every_code_of_an_error_a_row(tool, page):
    headings = re.findall(r"^### (.*)$", page, re.M)
    for name in list(tool.NUMBERS) + list(tool.TEXT_MEANINGS):
        assert headings.count(name) == 1, name
    for code in set(tool.ERROR_MEANINGS) - {"TOO_MANY_CONNECTIONS"}:
        assert re.search(r"^\| `%s` \| " % code, page, re.M), code


def test_the_bytes_of_the_page_are_packets(tool, page):
    """Each is read as what stands above it."""
    from gearman_std.wire.protocol import PACKETS, REQUEST_MAGIC, RESPONSE_MAGIC, PacketReader
    count = 0
    for name, rows in re.findall(r"^\w+ [<>] ([A-Z_]+)[^\n]*\n((?:    [^\n]+\n)+)", page, re.M):
        hexadecimal = "".join(re.match(r"    ((?:[0-9a-f]{2} )*[0-9a-f]{2})?(?: |$)", row).group(1) or "" for row in
                              rows.splitlines())
        data = bytes.fromhex(hexadecimal)
        reader = PacketReader(REQUEST_MAGIC if data.startswith(REQUEST_MAGIC) else RESPONSE_MAGIC)
        ((number, arguments),) = reader.feed(data)
        assert (PACKETS[number][0], reader.held) == (name, 0)
        assert [bytes(one) for one in arguments] == [
            bytes.fromhex(tool.conversations.parse_word(word)) for word in
            re.findall(r' (?:%s) ("(?:[^"\\]|\\.)*")' % "|".join(PACKETS[number][2] or ["nothing"]), rows)]
        count += 1
    assert count > 100


def test_the_lines_of_the_page_can_be_read_as_conversations(tool, page):
    """As the page says."""
    count = 0
    for line in re.findall(r"^[cdtvwx] [<>] [A-Z_]+(?: [^\n#]*)?(?=\n[^ ])", page, re.M):
        line = line.rstrip()
        who, way, words = line.split(" ", 2)
        magic = tool.REQUEST_MAGIC if way == ">" else tool.RESPONSE_MAGIC
        (data,) = tool.conversations.parse_data(words, magic.hex())
        assert tool.scenes.words_of(bytes.fromhex(data), magic) == words
        count += 1
    assert count > 100


@pytest.fixture(scope="module")
def programs(page):
    """What the page's client and worker in Python define."""
    (block,) = re.findall(r"^```python\n(.*?)^```$", page, re.S | re.M)
    names = {"__name__": "page"}
    exec(compile(block, "PROTOCOL.md", "exec"), names)
    return names


def does_jobs(programs, address, count):
    """The page's worker in a thread does so many jobs of the page's client, the first of which it sleeps for."""
    worker, client = (programs["Peer"](address) for _ in range(2))
    thread = threading.Thread(target=programs["work"], args=(worker, b"page", lambda workload: workload[::-1], count))
    thread.start()
    for number in range(count):
        assert programs["run"](client, b"page", b"a\0b%d" % number) == (b"a\0b%d" % number)[::-1]
    thread.join(20)
    assert not thread.is_alive()
    with pytest.raises(RuntimeError) as caught:
        client.send(26, b"colours")
        programs["run"](client, b"page", b"x")
    assert "packet 19: b'UNKNOWN_OPTION" in str(caught.value)
    for peer in (worker, client):
        peer.stream.close()
        peer.socket.close()


def test_the_client_and_the_worker_in_python_work(programs, place):
    does_jobs(programs, place.serve().address, 20)


@pytest.mark.interop
def test_they_work_with_gearmand_too(programs, gearmand):
    does_jobs(programs, gearmand, 20)


OF_A_SERVER = re.compile(r"^(?:server|rights|http|web|the disk)\b|\b(?:version|getpid|workers|json|shutdown)\b", re.M)


def test_over_sockets_the_conversations_are_the_same(tool, source):
    """Byte for byte, with a server of its own for each; but for those about settings, HTTP, or numbers of a server's own."""
    texts = set()
    for found in tool.BLOCK.finditer(source):
        body = found.group(3) or ""
        text = {"scene": body, "lanes": body}.get(found.group(1), body.partition("\nscene:\n")[2])
        if text and not OF_A_SERVER.search(text):
            texts.add(text)
    for text in sorted(texts):
        place = Place()
        try:
            play_over_sockets(tool, tool.play(text).events, place)
        finally:
            place.end()
    assert len(texts) > 60


def play_over_sockets(tool, events, place):
    """Do what the peers do; a packet that nothing answers is followed by an echo, so that it is obeyed before the next."""
    clock, wall = Clock(1000.0), Clock(1600000000.0)
    server = place.serve(handle_prefix="H:host", clock=clock, wall_clock=wall)
    wires = {}
    for event, later in zip(events, events[1:] + [tool.scenes.Event("", "", "the end", [], False)]):
        if event.who and event.who not in wires:
            wires[event.who] = place.wire(server)
        if event.data == "closes":
            wires.pop(event.who).close()
            until(lambda: in_dispatcher(server, lambda: len(server.core.peers)) == len(wires))
        elif event.data == "is closed by the server":
            wires.pop(event.who).ended()
        elif not event.way:
            seconds = float(event.data.split()[0])
            in_dispatcher(server, wall.advance, seconds)
            let_pass(server, clock, seconds)
        elif event.way == "<":
            wires[event.who].expect(event.data)
        else:
            wires[event.who].send(event.data)
            if event.data.startswith(b"\0") and later.way != "<" and later.who != event.who:
                wires[event.who].request(ECHO_REQ, b"")
                wires[event.who].response(ECHO_RES, b"")


class TestScenes:
    """What plays and writes down."""

    @pytest.fixture
    def play(self, tool):
        return lambda text: tool.play(text).text().split("\n")

    def test_what_the_peers_do_and_what_the_server_says_and_notes(self, play):
        text = 'w > CAN_DO f\nw > PRE_SLEEP\nc > SUBMIT_JOB f "" x\nw closes\nc closes'
        lines = [re.sub(" +#", " #", line) for line in play(text)]
        assert lines == ["w > CAN_DO f", "w > PRE_SLEEP # w: awake → asleep",
                         'c > SUBMIT_JOB f "" x # H:host:1: (new) → waiting; w: asleep → woken', "w < NOOP",
                         "c < JOB_CREATED H:host:1", "w closes", "c closes # H:host:1: waiting → gone"]

    def test_the_server_closes(self, play):
        assert play("c > TYPE_99") == ["c > TYPE_99", "c is closed by the server"]
        assert play('t > "a b c d e f\\n"')[-1] == "t is closed by the server"

    def test_settings_and_rights_and_time(self, play):
        lines = play('server: limits.jobs=1 policy.coalescing="reject" version=b"7"\nt > "version\\n"\n'
                     'c > SUBMIT_JOB_BG f u x\nc > SUBMIT_JOB_BG f u x\nc > SUBMIT_JOB_BG f "" x\nrights: work\n'
                     'd > SUBMIT_JOB_BG f "" x\nwait 0.5')
        assert [line.partition(" < ")[2] for line in lines if " < " in line] == [
            '"OK 7\\n"', "JOB_CREATED H:host:1", 'ERROR JOB_EXISTS "A job with this unique exists: H:host:1"',
            'ERROR QUEUE_ERROR "The server is full: too many jobs"', 'ERROR FORBIDDEN "This connection may not do that"']
        assert lines[-1] == "0.5 seconds pass"

    def test_the_disk_comes_before_the_answer(self, play):
        lines = play('server: durable=True\nc > SUBMIT_JOB_BG f "" x\nt > "version\\n"\nthe disk has it')
        assert [line.partition("  ")[0] for line in lines] == [
            'c > SUBMIT_JOB_BG f "" x', 't > "version\\n"', "the disk has it", "c < JOB_CREATED H:host:1",
            't < "OK gearman_std\\n"']

    def test_headers_that_are_known_already_are_left_out(self, play):
        lines = play("web > GET /healthz\nweb > GET /healthz")
        assert lines.count("web < Content-Type: application/json") == 1 and lines.count("web < HTTP/1.1 200 OK") == 2
        assert lines[-4:] == ["web < HTTP/1.1 200 OK", "web < …", "web <", 'web < {"alive": true}']

    def test_what_is_no_step_is_told(self, tool):
        for text in ("c jumps", "c > JUMP", "signal SIGTERM"):
            with pytest.raises(ValueError) as caught:
                tool.play(text)
            assert text in str(caught.value)


class TestPictures:
    """What is drawn."""

    @pytest.fixture
    def pictures(self, tool):
        """By name: layout, table, and the SVG."""
        files = tool.made()
        return {machine.name: (tool.PICTURES[machine.name], tool.states.arrows_of(machine), files[machine.name + ".svg"])
                for machine in tool.states.MACHINES if machine.name in tool.PICTURES}

    def test_all_arrows_are_drawn(self, tool, pictures):
        """As often as the table has an event that no frame has, and once for each frame that has it."""
        for name, (layout, table, svg) in pictures.items():
            drawn = [event for text in re.findall(r'class="word"[^>]*>([^<]*)<', svg) for event in text.split(", ")]
            framed = {(member, event): event for frame, events in layout.frames for event in events for member in frame.members}
            expected = [event for arrow, event in ((arrow, arrow[1]) for arrow in table) if arrow not in framed]
            expected += [event for _, events in layout.frames for event in events]
            assert sorted(drawn) == sorted(expected), name

    def test_they_are_well_made_and_everything_is_inside_and_no_box_covers_another(self, pictures):
        space = "{http://www.w3.org/2000/svg}"
        for name, (layout, table, svg) in pictures.items():
            tree = ElementTree.fromstring(svg)
            assert tree.find(space + "title").text == layout.title
            for (start, event), end in table.items():
                assert "%s, %s: %s" % (start or "(new)", event, end) in tree.find(space + "desc").text.split("; ")
            boxes = []
            for rect in tree.iter(space + "rect"):
                left, top, width, height = (float(rect.get(key)) for key in ("x", "y", "width", "height"))
                assert 0 <= left < left + width <= layout.width and 0 <= top < top + height <= layout.height, name
                if rect.get("class") in ("box", "last"):
                    boxes.append((left, top, left + width, top + height))
            assert len(boxes) == len(set(layout.places) - {"(new)"})
            for one in boxes:
                for two in boxes:
                    assert one is two or one[2] <= two[0] or two[2] <= one[0] or one[3] <= two[1] or two[3] <= one[1], name
            for path in tree.iter(space + "path"):
                numbers = [float(number) for number in re.findall(r"-?[\d.]+", path.get("d"))]
                assert all(0 <= x <= layout.width for x in (numbers[0], numbers[-2])), name
                assert all(0 <= y <= layout.height for y in (numbers[1], numbers[-1])), name

    def test_light_and_dark(self, pictures):
        for _, _, svg in pictures.values():
            light, dark = re.search(r"<style>(.*?)@media \(prefers-color-scheme: dark\) \{(.*?)</style>", svg, re.S).groups()
            assert set(re.findall(r"\.\w+", dark)) == set(re.findall(r"^ +(\.\w+)", light, re.M))

    def test_a_state_without_a_place_or_a_place_without_a_state_is_told(self, tool):
        from gearman_std.worker.link import LINK_ARROWS
        layout = tool.diagrams.Layout("A link", 300, 100, {"silent": (50, 50), "good": (150, 50)}, [], {}, {})
        with pytest.raises(AssertionError) as caught:
            tool.diagrams.Picture(layout, LINK_ARROWS)
        assert "lost" in str(caught.value)

    def test_a_frame_around_states_that_go_different_ways_is_told(self, tool):
        frame = tool.diagrams.Frame(("one", "two"), 0, 0, 10, 10)
        layout = tool.diagrams.Layout("Odd", 300, 100, {"one": (50, 50), "two": (150, 50)}, [(frame, ["go"])], {}, {})
        with pytest.raises(AssertionError):
            tool.diagrams.Picture(layout, {("one", "go"): "two", ("two", "go"): "one"})
