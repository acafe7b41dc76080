"""A headless Chromium and the few words of its protocol that are needed: over two pipes, with the standard library alone."""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

NAMES = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"]


def find():
    """The browser's path, or None."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


class Browser:
    """One page of one browser. Every request that is made and every word on the console is kept."""

    def __init__(self, program, timeout=30.0):
        self.timeout = timeout
        self.home = tempfile.mkdtemp(prefix="cognate-browser-")
        to_them, from_them = os.pipe(), os.pipe()
        # the browser wants its ends as 3 and 4, which may be taken here
        theirs = [fcntl.fcntl(fd, fcntl.F_DUPFD, 20) for fd in (to_them[0], from_them[1])]
        os.close(to_them[0])
        os.close(from_them[1])

        def ends():
            os.dup2(theirs[0], 3)
            os.dup2(theirs[1], 4)

        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars",
                   "--disable-background-networking", "--disable-component-update", "--disable-extensions", "--disable-sync",
                   "--force-color-profile=srgb", f"--user-data-dir={self.home}", "--remote-debugging-pipe", "about:blank"]
        self.process = subprocess.Popen([program, *options], preexec_fn=ends, pass_fds=(3, 4), stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for fd in theirs:
            os.close(fd)
        self.write, self.read = to_them[1], from_them[0]
        self.buffer, self.last, self.events, self.session = b"", 0, [], None
        self.requests, self.complaints = [], []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ["Page", "Runtime", "Network", "Log"]:
            self.call(domain + ".enable")

    def close(self):
        try:
            self.session = None
            self.call("Browser.close")
        except Exception:
            pass
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
        shutil.rmtree(self.home, ignore_errors=True)

    # messages

    def call(self, method, **params):
        self.last += 1
        message = {"id": self.last, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        self._send(message)
        until = time.monotonic() + self.timeout
        while True:
            answer = self._next(until, method)
            if answer.get("id") == self.last:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error'].get('message')}")
                return answer["result"]
            self._note(answer)

    def _send(self, message):
        rest = json.dumps(message).encode() + b"\0"
        while rest:
            rest = rest[os.write(self.write, rest):]

    def _next(self, until, what):
        while b"\0" not in self.buffer:
            left = until - time.monotonic()
            if left <= 0 or not select.select([self.read], [], [], left)[0]:
                raise RuntimeError(f"the browser did not answer {what} in {self.timeout:.0f} s")
            chunk = os.read(self.read, 1 << 20)
            if not chunk:
                raise RuntimeError(f"the browser ended during {what} (exit code {self.process.poll()})")
            self.buffer += chunk
        text, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(text)

    def _note(self, event):
        method, params = event.get("method", ""), event.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"][:200])
        elif method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.complaints.append(details.get("exception", {}).get("description") or details.get("text"))
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.complaints.append(" ".join(str(a.get("value", a.get("description"))) for a in params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.complaints.append(params["entry"]["text"])
        self.events.append(method)

    # the page

    def open(self, url):
        self.events.clear()
        self.call("Page.navigate", url=url)
        self.wait("document.documentElement?.dataset.ready === 'yes'", "the page to be ready")

    def ask(self, expression):
        """The value of a JavaScript expression."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise RuntimeError(f"{expression[:120]}: {details.get('exception', {}).get('description', details['text'])}")
        return answer["result"].get("value")

    def wait(self, expression, what):
        until = time.monotonic() + self.timeout
        while time.monotonic() < until:
            if self.ask(expression):
                return
            time.sleep(0.05)
        raise RuntimeError(f"waited {self.timeout:.0f} s for {what}; the console says {self.complaints[:3]}")

    def size(self, width, height, mobile=False):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)
        self.settle()

    def scheme(self, name):
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name},
                                                          {"name": "prefers-reduced-motion", "value": "reduce"}])
        self.settle()

    def settle(self):
        """Until two frames were drawn."""
        self.ask("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")

    def point_at(self, x, y):
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        self.settle()

    def click(self, selector):
        """Scrolls an element into view and clicks its middle."""
        x, y = self.middle(selector)
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        for kind in ["mousePressed", "mouseReleased"]:
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
        self.settle()

    def middle(self, selector):
        box = self.ask(f"""(() => {{ const e = document.querySelector({json.dumps(selector)}); if (!e) return null;
            e.scrollIntoView({{ block: "center" }}); const b = e.getBoundingClientRect(); return [b.left + b.width / 2, b.top + b.height / 2]; }})()""")
        if box is None:
            raise RuntimeError(f"there is no {selector}")
        self.settle()
        return box

    def key(self, name, text=None, modifiers=0):
        codes = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32, "End": 35, "Home": 36, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}
        text = {"Enter": "\r", " ": " "}.get(name) if text is None else text
        common = dict(key=name, code="Space" if name == " " else name, windowsVirtualKeyCode=codes.get(name, 0), modifiers=modifiers)
        self.call("Input.dispatchKeyEvent", type="keyDown", **common, **({"text": text} if text else {}))
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)
        self.settle()

    def type(self, text):
        self.call("Input.insertText", text=text)
        self.settle()

    def picture(self, path, selector=None):
        """A screenshot of what is seen, or of one element whole."""
        params = {}
        if selector:
            box = self.ask(f"""(() => {{ const b = document.querySelector({json.dumps(selector)}).getBoundingClientRect();
                return [b.left + scrollX, b.top + scrollY, b.width, b.height]; }})()""")
            params = dict(captureBeyondViewport=True, clip=dict(x=box[0], y=box[1], width=box[2], height=box[3], scale=1))
        with open(path, "wb") as file:
            file.write(base64.b64decode(self.call("Page.captureScreenshot", format="png", **params)["data"]))
