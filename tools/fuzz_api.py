"""Random requests to a mini WebUI of its own: is every answer a picture or a sentence, and does it go on as before?

.venv/bin/python -m tools.fuzz_api [--bodies 2000] [--seed 0]
.venv/bin/python -m tools.fuzz_api --clients 8 --seconds 300

Half of the bodies go to each tab. After every hundred a known picture is drawn again and compared to the bit, and the
server's memory is told. Exit status 1 when something does not hold; what was sent is then printed.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as with_seed
from hypothesis import strategies as st

from tools.page import ROOT, free_port, wait_for
from tools.random_bodies import bodies
from tools.random_checkpoint import write_random_checkpoint

PROGRAMMING_ERRORS = (
    "AssertionError", "AttributeError", "IndexError", "KeyError", "NameError", "OverflowError", "RecursionError",
    "TypeError", "UnboundLocalError", "UnicodeEncodeError", "ZeroDivisionError",
)  # fmt: skip
"""What no user can mean: an answer that names one of these is no sentence."""
OF_PYTHON = ("could not convert", "object is not", "not supported between", "NoneType", "out of range", "unhashable",
             "must be real", "invalid literal", "unexpected keyword", "has no attribute", "Traceback")  # fmt: skip
"""Words of Python's own, which tell no user which control is meant."""
WAIT_SECONDS = 120
CHECK_EVERY = 100
GROWTH = 300 * 2**20
"""Bytes by which a server's memory may grow while it is asked: allocators keep what they once had."""
KNOWN = {"prompt": "sea", "width": 64, "height": 64, "steps": 1, "seed": 3, "sampler_name": "Euler"}
TABS = ("txt2img", "img2img")


class Server:
    """A running mini WebUI, known by its address."""

    def __init__(self, url: str, pid: int | None = None) -> None:
        self.url, self.pid = url, pid

    def ask(self, path: str, body: Any = None) -> tuple[int, str]:
        """(status, text). Numbers that JSON does not have are sent as Python writes them."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/{path}", data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=WAIT_SECONDS) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def memory(self) -> int:
        """Bytes in use by the server's process (Linux)."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))

    def options(self) -> list[str]:
        """Options that a picture may override here: not where its files go."""
        known = json.loads(self.ask("options")[1])
        return sorted(name for name in known if not name.startswith("outdir") and "filename" not in name)

    def known_picture(self) -> str:
        status, text = self.ask("txt2img", KNOWN)
        assert status == 200, text[:500]
        picture: str = json.loads(text)["images"][0]
        return picture


def fault(status: int, text: str) -> str:
    """What is wrong with an answer; "" for a picture or a sentence."""
    try:
        answer = json.loads(text)
    except ValueError:
        return f"{status} without JSON: {text[:200]}"
    if status == 200:
        return ""
    if answer.get("error") in PROGRAMMING_ERRORS:
        return f"{status} {answer['error']}: {answer.get('errors')}"
    words = answer.get("detail") or answer.get("errors") or ""
    told = words if isinstance(words, str) else json.dumps(words)
    if any(phrase in told for phrase in OF_PYTHON):
        return f"{status} {answer.get('error')}: {told[:200]}"
    return "" if " " in told.strip() else f"{status} without a sentence: {text[:200]}"


@contextmanager
def running_server() -> Iterator[Server]:
    """A mini WebUI without a page, with random weights and a folder of its own."""
    with tempfile.TemporaryDirectory() as folder, open(Path(folder) / "log", "w+") as log:
        checkpoint, port = Path(folder) / "random.safetensors", free_port()
        write_random_checkpoint(checkpoint)
        command = [sys.executable, str(ROOT / "miniwebui/webui.py"), "page", "--nowebui", "--skip-install"]
        command += ["--port", str(port), "--ckpt", str(checkpoint), "--data-dir", folder]
        command += ["--disable-console-progressbars"]
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
        server = Server(f"http://127.0.0.1:{port}/sdapi/v1", process.pid)
        try:
            wait_for(f"{server.url}/options", process)
            yield server
        finally:
            process.terminate()
            process.wait(30)


class Watch:
    """What a run has seen: answers by status, faults, and the server's memory."""

    def __init__(self, server: Server) -> None:
        self.server, self.before = server, server.known_picture()
        self.statuses: Counter[int] = Counter()
        self.faults: dict[str, Any] = {}
        self.memory: list[int] = []
        self._lock = threading.Lock()

    def send(self, tab: str, body: Any) -> None:
        """One request; a new kind of fault is printed with what was sent."""
        status, text = self.server.ask(tab, body)
        wrong = fault(status, text)
        with self._lock:
            self.statuses[status] += 1
            if wrong and wrong not in self.faults:
                self.faults[wrong] = body
                print(f"{tab}: {wrong}\n  {json.dumps(body)[:1000]}", flush=True)

    def check(self) -> None:
        """The known picture is drawn as at the beginning."""
        if self.server.known_picture() != self.before:
            self.faults.setdefault("the next picture is another one", None)
        if self.server.pid is not None:
            self.memory.append(self.server.memory())

    def report(self) -> int:
        """Prints what was seen -> exit status."""
        print(
            "answers:", ", ".join(f"{count} of {status}" for status, count in sorted(self.statuses.items()))
        )
        print("memory, MiB:", " ".join(str(bytes_ // 2**20) for bytes_ in self.memory))
        settled = self.memory[len(self.memory) // 4 :]
        if settled and settled[-1] - settled[0] > GROWTH:
            self.faults["the memory grows"] = None
        print("faults:", "; ".join(self.faults) or "none")
        return 1 if self.faults else 0


def send_bodies(server: Server, count: int, seed: int) -> Watch:
    """`count` random bodies, the same for the same seed."""
    watch, options = Watch(server), server.options()
    run = settings(
        max_examples=count // len(TABS), deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip

    def send(body: Any, tab: str) -> None:
        watch.send(tab, body)
        if watch.statuses.total() % CHECK_EVERY == 0:
            watch.check()

    for tab in TABS:
        with_seed(seed)(run(given(body=bodies(tab, options), tab=st.just(tab))(send)))()
    watch.check()
    return watch


def send_at_once(server: Server, clients: int, seconds: float, seed: int) -> Watch:
    """Clients that draw, ask how far it is and interrupt, all at once."""
    watch, end = Watch(server), time.monotonic() + seconds
    tiles = {"args": [{"enabled": True, "tile_width": 16, "tile_height": 16, "overlap": 8}]}

    def client(number: int) -> None:
        chance = random.Random(seed + number)
        while time.monotonic() < end:
            body = KNOWN | {"seed": chance.randrange(9), "width": chance.choice([64, 128, 256, 7])}
            body |= {"steps": chance.choice([1, 2, 4]), "alwayson_scripts": {"Tiled Diffusion": tiles}}
            watch.send("txt2img", body)
            watch.send(chance.choice(["progress", "samplers", "memory"]), None)
            if chance.random() < 0.05:
                watch.send(chance.choice(["interrupt", "skip"]), {})
            if number == 0 and len(watch.memory) < 20 * (1 - (end - time.monotonic()) / seconds):
                watch.memory.append(server.memory() if server.pid else 0)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    watch.check()
    return watch


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bodies", type=int, default=2000)
    parser.add_argument("--clients", type=int, default=0, help="so many at once, instead of random bodies")
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with running_server() as server:
        if options.clients:
            watch = send_at_once(server, options.clients, options.seconds, options.seed)
        else:
            watch = send_bodies(server, options.bodies, options.seed)
        return watch.report()


if __name__ == "__main__":
    sys.exit(main())
