"""Chromium without a screen, over its DevTools protocol: a real browser for tests of pages."""

import base64
import json
import os
import re
import shutil
import subprocess
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

NAMES = ("chromium", "chromium-browser", "google-chrome")
SWITCHES = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--mute-audio",
    "--host-resolver-rules=MAP *.test 127.0.0.1",  # names that are not this machine's own
)
WITHIN = 60.0
"""Seconds until what is waited for has come."""


def program() -> str:
    """Where a Chromium is; root gets Debian's package where there is none, everybody else a skip with the reason."""
    known = next((path for name in NAMES if (path := shutil.which(name))), "")
    if known:
        return known
    if os.geteuid() or not shutil.which("apt-get"):
        pytest.skip("no Chromium is installed")
    install = "apt-get update -q && apt-get install -qy --no-install-recommends chromium"
    done = subprocess.run(["sh", "-c", install], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("no Chromium is installed, and there is no package of it to be had")
    return shutil.which("chromium") or ""


class Browser:
    """One process, which makes tabs."""

    def __init__(self, folder: Path) -> None:
        command = [program(), *SWITCHES, f"--user-data-dir={folder}", "--remote-debugging-port=0", "about:blank"]
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        assert self._process.stderr is not None
        said = (re.search(r"DevTools listening on (ws://\S+)", line) for line in self._process.stderr)
        place = next((found[1] for found in said if found), None)
        assert place is not None, "Chromium ended before it listened"
        # A pipe that nobody reads would hold it up.
        self._reading = threading.Thread(target=self._process.stderr.read, daemon=True)
        self._reading.start()
        self._open = ExitStack()
        self._wire = self._open.enter_context(connect(place, max_size=None, proxy=None))
        self._number = 0
        self.events: list[dict[str, Any]] = []

    def tab(self) -> "Tab":
        """An empty page of its own: nothing that was stored before is seen there."""
        context = self.ask("Target.createBrowserContext")["browserContextId"]
        target = self.ask("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.events.clear()
        return Tab(self, session)

    def ask(self, method: str, session: str = "", **params: Any) -> Any:
        """The result of one command; what happens meanwhile is in `events`."""
        self._number += 1
        place = {"sessionId": session} if session else {}
        self._wire.send(json.dumps({"id": self._number, "method": method, "params": params, **place}))
        while True:
            found = json.loads(self._wire.recv(timeout=WITHIN))
            if found.get("id") == self._number:
                assert "error" not in found, f"{method}: {found}"
                return found["result"]
            self.events.append(found)

    def close(self) -> None:
        self.ask("Browser.close")  # it ends its own children
        self._open.close()
        self._process.wait(WITHIN)
        self._reading.join(WITHIN)
        assert self._process.stderr is not None
        self._process.stderr.close()


class Tab:
    """One page, and what a person does with it."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session
        for domain in ("Page", "Runtime", "Network", "Log", "Accessibility"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **params: Any) -> Any:
        return self._browser.ask(method, self._session, **params)

    def before(self, script: str) -> None:
        """Run this in every page before its own scripts, as a browser's extension does."""
        self.ask("Page.addScriptToEvaluateOnNewDocument", source=script)

    def open(self, url: str) -> None:
        self.ask("Page.navigate", url=url)
        self.until("document.readyState === 'complete'")

    def value(self, script: str) -> Any:
        """What an expression is in the page, once it is settled."""
        found = self.ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def until(self, condition: str) -> None:
        """Return when this is so in the page."""
        late = f"performance.now() - begun > {WITHIN * 500} ? fail(document.body.innerText)"
        look = f"const look = () => ({condition}) ? done() : {late} : setTimeout(look, 10); look();"
        self.value(f"new Promise((done, fail) => {{ const begun = performance.now(); {look} }})")

    def shows(self, text: str) -> None:
        """Return when this can be read in the page."""
        self.until(f"document.body.innerText.includes({json.dumps(text)})")

    def write(self, text: str) -> None:
        """Type into what has the focus."""
        self.ask("Input.insertText", text=text)

    def press(self, key: str) -> None:
        """Tab or Enter."""
        code = {"Tab": 9, "Enter": 13}[key]
        text = {"text": "\r"} if key == "Enter" else {}
        common = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.ask("Input.dispatchKeyEvent", type="keyDown", **common, **text)
        self.ask("Input.dispatchKeyEvent", type="keyUp", **common)

    def click(self, id: str) -> None:
        """With the mouse, wherever it is."""
        place = f"(() => {{ const e = document.getElementById({json.dumps(id)}); e.scrollIntoView(); return e; }})()"
        x, y = self.value(f"(r => [r.x + r.width / 2, r.y + r.height / 2])({place}.getBoundingClientRect())")
        for kind in ("mousePressed", "mouseReleased"):
            self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def fill(self, id: str, text: str) -> None:
        """Type over what stands in a field."""
        self.value(f"(e => {{ e.focus(); e.select(); }})(document.getElementById({json.dumps(id)}))")
        self.write(text)

    def looks(self, width: int, height: int, scheme: str) -> None:
        """As on a screen of this size, in "light" or "dark"."""
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def picture(self) -> bytes:
        """A PNG of what is seen."""
        return base64.b64decode(self.ask("Page.captureScreenshot")["data"])

    def frames(self) -> list[str]:
        """The addresses of frames inside of the page."""
        tree = self.ask("Page.getFrameTree")["frameTree"]
        return [child["frame"]["url"] for child in tree.get("childFrames", [])]

    def names(self, role: str) -> list[str]:
        """How assistive technology calls everything of this role."""
        nodes = self.ask("Accessibility.getFullAXTree")["nodes"]
        return [node["name"]["value"] for node in nodes if node.get("role", {}).get("value") == role]

    def asked(self) -> list[str]:
        """The addresses that the page asked."""
        return [event["params"]["request"]["url"] for event in self._events("Network.requestWillBeSent")]

    def complaints(self) -> list[str]:
        """What the browser found wrong: errors, and what the content policy held back."""
        logged = [event["params"]["entry"]["text"] for event in self._events("Log.entryAdded")]
        return logged + [str(event["params"]) for event in self._events("Runtime.exceptionThrown")]

    def _events(self, method: str) -> list[dict[str, Any]]:
        return [each for each in self._browser.events if each["method"] == method]
