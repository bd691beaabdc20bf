"""The page in a real Chromium, driven over the pipe of its developer tools: it renews itself, sends orders, and is safe."""
import json
import os
import subprocess
import threading
import time

import pytest

from gearman_std.client.client import Client
from gearman_std.core.jobs import FunctionPolicy
from gearman_std.server.server import Server
from gearman_std.wire.protocol import (CAN_DO, GRAB_JOB, JOB_ASSIGN, RESPONSE_MAGIC, WORK_FAIL, WORK_STATUS, PacketReader,
                                       pack_request)

pytestmark = [pytest.mark.interop, pytest.mark.long]

OPTIONS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
           "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--remote-debugging-pipe"]
WAIT = 20  # seconds within which something must be shown


class Chromium:
    """A browser with one page; it reads orders from descriptor 3 and writes answers and events to 4."""

    def __init__(self, path, folder):
        orders, self.orders = os.pipe()
        self.answers, answers = os.pipe()

        def arrange():
            # First to other numbers, because each may be the number that the other needs.
            for number, source in ((103, orders), (104, answers), (3, 103), (4, 104)):
                os.dup2(source, number)
        self.process = subprocess.Popen([path] + OPTIONS + ["--user-data-dir=" + str(folder)], preexec_fn=arrange,
                                        close_fds=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        os.close(orders)
        os.close(answers)
        self.number = 0
        self.session = None
        self.read = b""
        target = self.say("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.say("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.say("Page.enable")

    def say(self, method, **parameters):
        """Give an order; return its result."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session is not None:
            message["sessionId"] = self.session
        os.write(self.orders, json.dumps(message).encode() + b"\0")
        answer = self.hear(lambda answer: answer.get("id") == self.number)
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def hear(self, wanted):
        """The next message that is wanted."""
        while True:
            while b"\0" not in self.read:
                piece = os.read(self.answers, 65536)
                assert piece, "the browser has ended"
                self.read += piece
            line, _, self.read = self.read.partition(b"\0")
            message = json.loads(line.decode())
            if wanted(message):
                return message

    def value(self, expression):
        """The value of an expression of JavaScript on the page."""
        result = self.say("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def until(self, expression):
        """Wait until an expression is true."""
        deadline = time.monotonic() + WAIT
        while not self.value(expression):
            assert time.monotonic() < deadline, "%s is not true; the page says: %s" % (
                expression, self.value("document.body.innerText"))
            self.say("Runtime.evaluate", expression="new Promise(done => setTimeout(done, 50))", awaitPromise=True)

    def go(self, url):
        self.say("Page.navigate", url=url)
        self.hear(lambda message: message.get("method") == "Page.loadEventFired")

    def close(self):
        self.process.terminate()
        self.process.wait()
        os.close(self.orders)
        os.close(self.answers)


@pytest.fixture(scope="module")
def chromium(require, tmp_path_factory):
    browser = Chromium(require("chromium"), tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()


@pytest.fixture
def server():
    with Server(listen=["127.0.0.1:0", "web:0"], policy=FunctionPolicy(attempts=2, backoff=0.01)) as server:
        yield server


@pytest.fixture
def url(server):
    return "http://127.0.0.1:%d/" % server.addresses[1][1]


class Hand:
    """A worker that sends only what the test tells it to."""

    def __init__(self, server, *functions):
        import socket
        self.socket = socket.create_connection(server.addresses[0])
        self.socket.settimeout(WAIT)
        self.reader = PacketReader(RESPONSE_MAGIC, text=False)
        for function in functions:
            self.says(CAN_DO, function)

    def says(self, *packet):
        self.socket.sendall(pack_request(*packet))

    def grabs(self):
        self.says(GRAB_JOB)
        packets = []
        while not packets:
            packets += self.reader.feed(self.socket.recv(65536))
        return bytes(packets[0][1][0]) if packets[0][0] == JOB_ASSIGN else None


def test_progress_moves_without_a_reload(chromium, server, url):
    with Client([server.addresses[0]]) as client:
        client.submit("video", b"", unique="film", background=True)
        worker = Hand(server, b"video")
        handle = worker.grabs()
        worker.says(WORK_STATUS, handle, b"1", b"4")
        chromium.go(url)
        chromium.value("window.same = true")
        chromium.until("document.body.innerText.includes('25 %')")
        worker.says(WORK_STATUS, handle, b"3", b"4")
        chromium.until("document.body.innerText.includes('75 %')")
        assert chromium.value("window.same") is True
        assert chromium.value("document.querySelector('progress').value") == 3
        worker.socket.close()


def test_a_job_that_was_set_aside_is_requeued_after_a_question(chromium, server, url):
    with Client([server.addresses[0]]) as client:
        client.submit("flaky", b"", background=True)
        worker = Hand(server, b"flaky")
        for _ in range(2):
            handle = None
            while handle is None:
                handle = worker.grabs()
            worker.says(WORK_FAIL, handle)
        chromium.go(url)
        chromium.until("[...document.querySelectorAll('button')].some(one => one.textContent === 'Requeue')")
        press = "[...document.querySelectorAll('button')].find(one => one.textContent === '%s').click()"
        chromium.value(press % "Requeue")
        assert handle.decode() in chromium.value("document.querySelector('dialog p').textContent")
        chromium.value(press % "No")
        assert worker.grabs() is None
        chromium.value(press % "Requeue")
        chromium.value(press % "Yes")
        chromium.until("document.getElementById('said').textContent.includes('Done')")
        assert worker.grabs() == handle
        worker.socket.close()


def press(chromium, key, code, character=""):
    for kind in ("keyDown", "keyUp"):
        chromium.say("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code,
                     **({"text": character} if character and kind == "keyDown" else {}))


FOCUSED = """(() => { const one = document.activeElement, style = getComputedStyle(one), box = one.getBoundingClientRect();
return one === document.body ? null : [one.tagName, one.textContent || one.name, style.outlineStyle,
parseFloat(style.outlineWidth), box.width > 0 && box.height > 0] })()"""


def test_every_control_is_reached_with_the_tab_key_in_its_order_and_shows_the_focus(chromium, server, url):
    with Client([server.addresses[0]]) as client:
        for function in ("resize", "wc"):
            client.submit(function, b"", background=True)
        chromium.go(url)
        chromium.value("renew = () => {}")  # the page stays as it is meanwhile
        controls = chromium.value("[...document.querySelectorAll('a[href], button, input')].filter(one => one.offsetParent)"
                                  ".map(one => [one.tagName, one.textContent || one.name])")
        walked = []
        for _ in controls:
            press(chromium, "Tab", 9)
            walked.append(chromium.value(FOCUSED))
        assert [one[:2] for one in walked] == controls and ["INPUT", "search"] in controls and ["BUTTON", "Pause"] in controls
        assert all(style == "solid" and width >= 2 and seen for _, _, style, width, seen in walked), walked


def test_it_steers_with_the_keyboard_alone(chromium, server, url):
    """The focus goes to the question, Escape takes it back to the button that asked, and so does an answer."""
    with Client([server.addresses[0]]) as client:
        client.submit("wc", b"", background=True)
        chromium.go(url)

        def reaches(text):
            for _ in range(50):
                press(chromium, "Tab", 9)
                if (chromium.value(FOCUSED) or ["", ""])[1] == text:
                    return
            raise AssertionError("%s is not reached" % text)
        reaches("Pause")
        press(chromium, "Enter", 13, "\r")
        assert chromium.value("document.querySelector('dialog').open")
        assert chromium.value(FOCUSED)[1] == "No"  # the answer that does nothing
        press(chromium, "Escape", 27)
        assert not chromium.value("document.querySelector('dialog').open") and chromium.value(FOCUSED)[1] == "Pause"
        press(chromium, "Enter", 13, "\r")
        reaches("Yes")
        press(chromium, "Enter", 13, "\r")
        chromium.until("document.getElementById('said').textContent.includes('Done')")
        chromium.until("document.body.innerText.includes('Resume')")
        assert chromium.value(FOCUSED)[1] == "Resume"
        done = threading.Event()
        paused = []
        server.call_soon(lambda: (paused.append(server.core.functions[b"wc"].paused), done.set()))
        assert done.wait(WAIT) and paused == [True]


def test_a_renewal_leaves_the_focus_where_it_is(chromium, server, url):
    with Client([server.addresses[0]]) as client:
        for function in ("resize", "wc"):
            client.submit(function, b"", background=True)
        chromium.go(url)
        focus = "[...document.querySelectorAll('main a')].find(one => one.textContent === 'wc').focus()"
        chromium.value(focus)
        chromium.say("Runtime.evaluate", expression="renew()", awaitPromise=True)
        assert chromium.value(FOCUSED)[:2] == ["A", "wc"]


def test_a_script_in_a_name_is_a_name(chromium, server, url):
    name = "<script>document.title='evil'</script><img src=x onerror=\"document.title='evil'\">"
    with Client([server.addresses[0]]) as client:
        client.submit(name, b"", unique="<img src=x>", background=True)
        chromium.go(url)
        chromium.until("document.body.innerText.includes(\"document.title='evil'\")")
        chromium.until("document.getElementById('live').textContent === 'live'")
        assert chromium.value("document.title") == "Gearman"
        chromium.value("document.querySelector('td a').click()")
        chromium.hear(lambda message: message.get("method") == "Page.loadEventFired")
        assert chromium.value("location.pathname").startswith("/functions/")
        assert chromium.value("document.querySelectorAll('img').length") == 0


def test_it_is_whole_without_javascript(chromium, server, url):
    with Client([server.addresses[0]]) as client:
        client.submit("wc", b"", background=True)
        chromium.say("Emulation.setScriptExecutionDisabled", value=True)
        try:
            chromium.go(url + "?search=wc")
            said = chromium.value("document.body.innerText")
            assert "wc" in said and "waiting" in said and "Without JavaScript" in said
            assert chromium.value("[...document.querySelectorAll('button')].filter(one => one.offsetParent).length") == 0
        finally:
            chromium.say("Emulation.setScriptExecutionDisabled", value=False)


def test_another_site_cannot_read_or_order_anything(chromium, server, url):
    with Client([server.addresses[0]]) as client:
        client.submit("wc", b"", background=True)
        chromium.go("data:text/html,<form method=post action='%sapi/functions/wc/pause'></form>" % url)
        chromium.value("document.querySelector('form').submit()")
        chromium.hear(lambda message: message.get("method") == "Page.loadEventFired")
        assert "X-Gearman-Steer" in chromium.value("document.body.innerText")
        for options in ("{}", "{method: 'POST', mode: 'no-cors', headers: {'X-Gearman-Steer': 'yes'}}",
                        "{method: 'POST', headers: {'X-Gearman-Steer': 'yes'}}"):
            chromium.go("about:blank")
            result = chromium.say("Runtime.evaluate", awaitPromise=True, returnByValue=True, expression=(
                "fetch('%sapi/functions/wc/pause', %s).then(one => one.ok ? one.text() : 'refused', () => 'refused')" % (
                    url, options)))
            assert result["result"]["value"] in ("refused", "")
        done = threading.Event()
        paused = []
        server.call_soon(lambda: (paused.append(server.core.functions[b"wc"].paused), done.set()))
        assert done.wait(WAIT) and paused == [False]


def test_a_page_left_open_does_not_grow(chromium, server, url):
    """As many renewals as in half an hour, one after the other; each may leave 160 bytes of memory."""
    with Client([server.addresses[0]]) as client:
        for number in range(5):
            client.submit("wc", b"", unique="u%d" % number, background=True)
        chromium.go(url)
        renewals = ("(async count => { for (let i = 0; i < count; i++) await renew();"
                    " return document.querySelectorAll('*').length })(%d)")

        def after(count):
            nodes = chromium.say("Runtime.evaluate", expression=renewals % count, awaitPromise=True, returnByValue=True)
            chromium.say("HeapProfiler.collectGarbage")
            return nodes["result"]["value"], chromium.say("Runtime.getHeapUsage")["usedSize"]
        nodes, size = after(200)
        assert after(1000)[0] == nodes > 50
        assert after(1)[1] < size + 160000


def test_a_renewal_leaves_a_table_where_it_was_scrolled_to_and_waits_while_text_is_selected(chromium, server, url):
    with Client([server.addresses[0]]) as client:
        client.submit("resize", b"", background=True)
        chromium.say("Emulation.setDeviceMetricsOverride", width=360, height=640, deviceScaleFactor=1, mobile=True)
        try:
            chromium.go(url)
            chromium.value("document.querySelector('.scroll').scrollLeft = 40")
            assert chromium.value("document.querySelector('.scroll').scrollLeft") == 40
            again = "SCROLL.first = true, renew().then(() => SCROLL.first)".replace(
                "SCROLL", "document.querySelector('.scroll')")
            renewed = chromium.say("Runtime.evaluate", expression=again, awaitPromise=True, returnByValue=True)
            assert renewed["result"].get("value") is None  # it is another one
            assert chromium.value("document.querySelector('.scroll').scrollLeft") == 40
            chromium.value("getSelection().selectAllChildren(document.querySelector('td'))")
            renewed = chromium.say("Runtime.evaluate", expression=again, awaitPromise=True, returnByValue=True)
            assert renewed["result"].get("value") is True and chromium.value("getSelection().toString()") == "resize"
        finally:
            chromium.say("Emulation.clearDeviceMetricsOverride")
