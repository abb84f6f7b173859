# SPDX-License-Identifier: Apache-2.0
"""The web page, in a real browser: live alerts, filters, explanations; and that an attacker's text stays text."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import falcolib
from falcolib.daemon.page import FILES, HEADERS, KEPT, PAGES, Page
from falcolib.outputs import Counts
from falcolib.web import WebServer
from messages import PATIENCE
from receivers import reserved_port

playwright = pytest.importorskip("playwright.sync_api", reason="the page is tested with playwright, which is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
in_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: apt-get install chromium")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]
pytestmark = pytest.mark.daemon

RULES = """
- rule: Shell of a web server
  desc: d
  condition: evt.type = execve and proc.name in (sh, bash) and proc.pname = nginx
  output: nginx spawned a shell | command=%proc.cmdline parent=%proc.pname user=%user.name
  priority: CRITICAL
  tags: [container, T1059]
- rule: Secret file read
  desc: d
  condition: evt.type = openat and fd.name startswith /etc/shadow
  output: secret file read | file=%fd.name by=%proc.name command=%proc.cmdline
  priority: WARNING
- rule: <b>Odd</b> & "quoted"
  desc: d
  condition: evt.type = connect
  output: connection of %proc.cmdline
  priority: NOTICE
"""
SHELL = {"evt.type": "execve", "proc.name": "sh", "proc.pname": "nginx", "proc.cmdline": "sh -c id", "user.name": "www-data"}
SECRET = {"evt.type": "openat", "fd.name": "/etc/shadow", "proc.name": "cat", "proc.cmdline": "cat /etc/shadow"}
EVIL = "<img src=x onerror=\"window.pwned=1\"><script>window.pwned=2</script>\u202e</td></tr></table>"
SHOWN = EVIL.replace("\u202e", "\\u202e")
ODD = {"evt.type": "connect", "proc.cmdline": EVIL, "proc.name": "x"}


class Serving:
    """A page over an engine whose events are given."""

    def __init__(self, token: str | None = None) -> None:
        self.server = WebServer("127.0.0.1", reserved_port())
        self.engine = falcolib.Engine(falcolib.RuleSet.parse(RULES, name="rules.yaml"), matching="all", hostname="web-1")
        self.page = Page(self.server, self.engine, token=token, outputs=lambda: {"http": Counts(emitted=3, delivered=1, queued=2)})
        self.server.add(self.page.routes())
        self.server.start()
        self.url = f"http://127.0.0.1:{self.server.port}/"

    def happen(self, *events: dict[str, object]) -> None:
        for alert in self.engine.run(list(events)):
            self.page.feed(alert)

    def ask(self, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=PATIENCE)) as client:
            client.request("GET", path, headers=headers)
            answer = client.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


@pytest.fixture
def serving() -> Iterator[Serving]:
    made = Serving()
    yield made
    made.server.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS, timeout=PATIENCE * 1000)
        yield chromium
        chromium.close()


class Tab:
    """A tab that notes what must not happen: dialogs, errors, violations of the policy, requests elsewhere."""

    def __init__(self, browser: Any, serving: Serving) -> None:
        self.tab = browser.new_page(viewport={"width": 1400, "height": 900})
        self.tab.set_default_timeout(PATIENCE * 1000)
        self.wrong: list[str] = []
        self.tab.on("dialog", lambda dialog: (self.wrong.append(f"dialog {dialog.message}"), dialog.dismiss()))
        self.tab.on("pageerror", lambda error: self.wrong.append(f"error {error}"))
        self.tab.on("console", lambda said: self.wrong.append(said.text) if said.type in ("error", "warning") else None)
        self.tab.on("request", lambda request: None if request.url.startswith(serving.url) else self.wrong.append(request.url))
        self.tab.goto(serving.url)

    def rows(self, count: int) -> list[str]:
        """The texts of the alerts, once there are so many."""
        self.tab.wait_for_function("n => document.querySelectorAll('#rows tr').length === n", arg=count)
        return list(self.tab.locator("#rows td.text").all_inner_texts())

    def text(self, selector: str) -> str:
        return str(self.tab.locator(selector).inner_text())


@pytest.fixture
def opened(browser: Any, serving: Serving) -> Iterator[Tab]:
    tab = Tab(browser, serving)
    yield tab
    tab.tab.close()
    assert tab.wrong == []


def colours(browser: Any, png: bytes) -> int:
    """Different colours of a picture."""
    tab = browser.new_page()
    try:
        return int(tab.evaluate("""async data => {
            const image = new Image(); image.src = "data:image/png;base64," + data; await image.decode();
            const canvas = new OffscreenCanvas(image.width, image.height), context = canvas.getContext("2d");
            context.drawImage(image, 0, 0);
            return new Set(new Uint32Array(context.getImageData(0, 0, image.width, image.height).data.buffer)).size;
        }""", base64.b64encode(png).decode()))
    finally:
        tab.close()


@in_browser
class TestInABrowser:
    def test_alerts_appear_as_they_happen(self, browser: Any, serving: Serving, opened: Tab, tmp_path: Any) -> None:
        assert opened.text("#empty") == "No alerts yet. They appear here as they happen."
        serving.happen(SHELL)
        assert opened.rows(1) == ["nginx spawned a shell | command=sh -c id parent=nginx user=www-data"]
        serving.happen(SECRET, SECRET, ODD)
        assert opened.rows(4)[3].startswith("nginx")            # the newest are above
        opened.tab.wait_for_function("() => document.getElementById('total').textContent === '4'")
        assert opened.text("#host") == "web-1"
        assert opened.text("#connection") == "Live"
        opened.tab.wait_for_function("() => document.querySelectorAll('#rules li').length === 3")
        assert opened.text("#rules li:first-child .name") == "Secret file read"
        assert opened.text("#rules li:first-child .count") == "2"
        assert opened.text("#outputs") == "2 wait for outputs"
        assert opened.text("#lostnote") == "nothing was lost"
        for scheme in ("light", "dark"):
            opened.tab.emulate_media(color_scheme=scheme)
            picture = opened.tab.screenshot(path=os.path.join(os.environ.get("FALCOLIB_SCREENSHOTS", str(tmp_path)), f"page-{scheme}.png"))
            assert colours(browser, picture) > 50               # text and chips, smoothed: a blank page has one or two

    def test_an_attackers_text_stays_text(self, serving: Serving, opened: Tab) -> None:
        serving.happen(ODD)
        (text,) = opened.rows(1)
        assert SHOWN in text                    # what would turn the text around is written out
        assert opened.text("#rows .rule") == '<b>Odd</b> & "quoted"'
        opened.tab.locator("#rows .rule").click()
        opened.tab.wait_for_function("() => document.getElementById('explanation').textContent.includes('connect')")
        assert SHOWN in opened.tab.locator("#detailfields").text_content()
        assert opened.tab.evaluate("window.pwned") is None
        assert opened.tab.locator("#rows script, #rows img, #rows b, dialog script, dialog img, dialog b, #rules b").count() == 0
        with pytest.raises(playwright.Error, match="TrustedHTML"):          # nor could a mistake of ours make HTML of it
            opened.tab.evaluate("document.body.insertAdjacentHTML('beforeend', '<p></p>')")
        opened.wrong = [text for text in opened.wrong if "TrustedHTML" not in text]

    def test_filters(self, serving: Serving, opened: Tab) -> None:
        serving.happen(SHELL, SECRET, ODD, SECRET)
        opened.rows(4)
        opened.tab.keyboard.press("/")
        opened.tab.keyboard.type("SHADOW")
        assert len(opened.rows(2)) == 2
        assert opened.text("#shown") == "2 of the 4 newest alerts"
        opened.tab.fill("#text", "")
        opened.tab.select_option("#priority", label="Critical and graver")
        assert opened.rows(1)[0].startswith("nginx")
        opened.tab.select_option("#priority", label="all priorities")
        opened.tab.select_option("#rule", label="Secret file read")
        opened.rows(2)
        opened.tab.select_option("#rule", label="all rules")
        opened.tab.select_option("#source", label="syscall")
        opened.rows(4)
        opened.tab.fill("#text", "there is no such thing")
        opened.rows(0)
        assert opened.text("#empty") == "No alert fits the filters."
        opened.tab.fill("#text", "T1059")                       # tags are found, too
        opened.rows(1)

    def test_pause(self, serving: Serving, opened: Tab) -> None:
        serving.happen(SHELL)
        opened.rows(1)
        opened.tab.click("#pause")
        assert opened.tab.get_attribute("#pause", "aria-pressed") == "true"
        serving.happen(SECRET)
        opened.tab.wait_for_function("() => document.getElementById('total').textContent === '2'")
        assert len(opened.rows(1)) == 1
        opened.tab.click("#pause")
        opened.rows(2)

    def test_why_an_alert_came_about_by_keyboard_alone(self, serving: Serving, opened: Tab, browser: Any, tmp_path: Any) -> None:
        serving.happen(SHELL)
        opened.rows(1)
        opened.tab.locator("#rows .rule").focus()
        opened.tab.keyboard.press("Enter")
        opened.tab.wait_for_function("() => document.getElementById('explanation').textContent.includes('proc.pname')")
        assert opened.tab.locator("#detail").is_visible()
        assert "sh -c id" in opened.text("#detailfields")
        assert "Shell of a web server" in opened.text("#explanation")
        picture = opened.tab.screenshot(path=os.path.join(os.environ.get("FALCOLIB_SCREENSHOTS", str(tmp_path)), "page-detail.png"))
        assert colours(browser, picture) > 50
        opened.tab.keyboard.press("Escape")
        opened.tab.locator("#detail").wait_for(state="hidden")
        assert opened.tab.evaluate("document.activeElement.className") == "rule"

    def test_every_control_has_a_name(self, serving: Serving, opened: Tab) -> None:
        serving.happen(SHELL)
        opened.rows(1)
        nameless = opened.tab.evaluate("""[...document.querySelectorAll('button, input, select, svg, section, aside, dialog')].filter(e =>
            !(e.labels && e.labels.length) && !e.textContent.trim() && !e.getAttribute('aria-label') && !e.getAttribute('aria-labelledby'))
            .map(e => e.outerHTML)""")
        assert nameless == []

    def test_a_token(self, browser: Any) -> None:
        serving = Serving(token="s3cret")
        try:
            serving.happen(SHELL)
            tab = Tab(browser, serving)
            for told, given in (("", "wrong"), ("This token is not the right one.", "s3cret")):
                tab.tab.wait_for_function("told => document.getElementById('login').open && "
                                          "document.getElementById('loginnote').textContent === told", arg=told)
                tab.tab.fill("#token", given)
                tab.tab.keyboard.press("Enter")
            tab.rows(1)
            tab.tab.locator("#rows .rule").click()
            tab.tab.wait_for_function("() => document.getElementById('explanation').textContent.includes('proc.pname')")
            assert all("401" in text for text in tab.wrong)     # the browser's own note of each refusal
            tab.tab.close()
        finally:
            serving.server.close()

    def test_it_connects_again(self, browser: Any, serving: Serving, opened: Tab) -> None:
        serving.happen(SHELL)
        opened.rows(1)
        port = serving.server.port
        serving.server.close()
        opened.tab.wait_for_function("() => document.getElementById('connection').dataset.state === 'lost'")
        again = WebServer("127.0.0.1", port)
        page = Page(again, serving.engine)
        again.add(page.routes())
        again.start()
        try:
            for alert in serving.engine.run([SECRET, SECRET]):
                page.feed(alert)
            assert all(text.startswith("secret") for text in opened.rows(2))
        finally:
            opened.wrong = [text for text in opened.wrong if "net::ERR_" not in text]
            opened.tab.close()
            again.close()


class TestAnswers:
    def test_headers(self, serving: Serving) -> None:
        for name in FILES:
            status, headers, body = serving.ask("/" if name == "index.html" else f"/page/{name}")
            assert (status, headers["content-type"].partition(";")[0]) == (200, FILES[name])
            assert headers.items() >= HEADERS.items()
            assert body
        policy = HEADERS["content-security-policy"]
        assert "unsafe" not in policy
        assert "default-src 'none'" in policy

    def test_files_name_no_other_place_and_hold_no_inline_code(self, serving: Serving) -> None:
        html = serving.ask("/")[2].decode()
        for bad in ("http:", "https:", "style=", "onclick", "<style"):
            assert bad not in html
        script = serving.ask("/page/page.js")[2].decode()
        for bad in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "Function("):
            assert bad not in script

    def test_a_strangers_name_of_this_machine_gets_nothing(self, serving: Serving) -> None:
        for host in ("evil.example", "evil.example:8765", "127.0.0.1.evil.example", ""):
            assert serving.ask("/page/explain?alert=1", Host=host)[0] == 403
        for host in ("127.0.0.1:1", "localhost", "[::1]:8765", "10.0.0.1"):
            assert serving.ask("/page/explain?alert=1", Host=host)[0] == 404
        assert serving.server.counts["foreign_host"] == 4

    def test_without_the_token_nothing_is_told(self) -> None:
        serving = Serving(token="s3cret")
        try:
            serving.happen(SHELL)
            for path in ("/page/alerts", "/page/explain?alert=1"):
                assert serving.ask(path)[0] == serving.ask(path, Authorization="Bearer wrong")[0] == 401
            assert serving.ask("/page/explain?alert=1", Authorization="Bearer s3cret", Host="elsewhere.example")[0] == 200
            assert serving.ask("/")[0] == 200
        finally:
            serving.server.close()

    @pytest.mark.parametrize("asked", ["", "0", "2", "-1", "x", "9" * 30, "\u0661"])
    def test_alerts_that_are_not_there(self, serving: Serving, asked: str) -> None:
        from urllib.parse import quote

        serving.happen(SHELL)
        assert serving.ask(f"/page/explain?alert={quote(asked)}")[0] == 404

    def read(self, serving: Serving, wanted: Callable[[str, Any], bool]) -> list[tuple[str, Any]]:
        """Events of the stream, up to one."""
        found: list[tuple[str, Any]] = []
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", serving.server.port, timeout=PATIENCE)) as client:
            client.request("GET", "/page/alerts")
            answer = client.getresponse()
            assert answer.headers["content-type"].startswith("text/event-stream")
            name = ""
            while not found or not wanted(*found[-1]):
                line = answer.readline().decode()
                if line.startswith("event: "):
                    name = line[7:-1]
                elif line.startswith("data: "):
                    found.append((name, json.loads(line[6:])))
            answer.close()
        return found

    def test_the_newest_are_kept(self, serving: Serving) -> None:
        serving.happen(*[SHELL] * (KEPT + 50))
        told = self.read(serving, lambda name, data: name == "state")
        alerts = [alert for name, data in told if name == "alerts" for alert in data]
        assert [alert["seq"] for alert in alerts] == list(range(51, KEPT + 51))
        state = dict(told)["state"]
        assert (state["alerts"], state["by_rule"]) == (KEPT + 50, {"Shell of a web server": KEPT + 50})

    def test_numbers_that_a_browser_cant_hold_are_texts(self, serving: Serving) -> None:
        from falcolib.daemon.page import _plain

        assert [_plain(value) for value in (1 << 53, (1 << 53) + 1, True, None, 1.5, "x", b"\xff")] == [
            1 << 53, "9007199254740993", True, None, 1.5, "x", "\ufffd"]

    def test_pages_have_a_limit_and_end_with_the_server(self, serving: Serving) -> None:
        clients = []
        for _ in range(PAGES):
            client = http.client.HTTPConnection("127.0.0.1", serving.server.port, timeout=PATIENCE)
            client.request("GET", "/page/alerts")
            answer = client.getresponse()
            answer.readline()
            clients.append((client, answer))
        assert serving.ask("/page/alerts")[0] == 503
        closing = threading.Thread(target=serving.server.close)
        closing.start()
        for client, answer in clients:
            answer.read()                       # ends
            client.close()
        closing.join(PATIENCE)
        assert not closing.is_alive()
