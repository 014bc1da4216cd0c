"""Setting up `.venv`: what pip is asked for, and that nothing half-made stays."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from miniwebui import __main__ as program
from miniwebui import environment


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A machine without `.venv` and without an NVIDIA card, whose PyTorch index does not answer."""
    monkeypatch.setattr(environment, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(environment, "PYTHON", tmp_path / ".venv/bin/python")
    monkeypatch.setattr(environment, "CPU_BUILDS", "http://127.0.0.1:9")
    monkeypatch.setattr(environment, "_has_nvidia_card", lambda: False)
    monkeypatch.setattr(environment.sys, "platform", "linux")
    environment._pytorch_options.cache_clear()
    yield tmp_path / ".venv"
    environment._pytorch_options.cache_clear()


def interrupted(folder, with_pip, clear):
    (folder / "bin").mkdir(parents=True)
    (folder / "bin/python").touch()
    raise KeyboardInterrupt


def test_an_interrupt_leaves_no_half_made_environment(folder, monkeypatch, capsys):
    monkeypatch.setattr(environment.venv, "create", interrupted)
    assert program.main(["render"]) == 130
    assert not folder.exists()
    assert "up to 3 GB to download, 8 GB on the disk" in capsys.readouterr().out


def test_a_failure_says_what_may_help_and_leaves_nothing(folder, monkeypatch, capsys):
    def fail(folder, with_pip, clear):
        folder.mkdir()
        raise OSError("no ensurepip")

    monkeypatch.setattr(environment.venv, "create", fail)
    assert program.main(["test"]) == 1
    assert "(no ensurepip). On Debian, 'apt install python3-venv'" in capsys.readouterr().err
    assert not folder.exists()


class _Index(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/whl/torch/" else 404)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def index():
    """Address of a server in the place of PyTorch's index."""
    with HTTPServer(("127.0.0.1", 0), _Index) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/whl"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("platform", "card", "wanted"), [("linux", False, True), ("linux", True, False), ("darwin", False, False)]
)
def test_pytorch_comes_without_cuda_where_no_card_is(folder, index, monkeypatch, platform, card, wanted):
    monkeypatch.setattr(environment, "CPU_BUILDS", index)
    monkeypatch.setattr(environment.sys, "platform", platform)
    monkeypatch.setattr(environment, "_has_nvidia_card", lambda: card)
    assert environment._pytorch_options() == (["--extra-index-url", index] if wanted else [])


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "missing"])
def test_an_index_that_does_not_answer_is_left_out(folder, index, monkeypatch, address):
    monkeypatch.setattr(environment, "CPU_BUILDS", f"{index}/no" if address == "missing" else address)
    assert environment._pytorch_options() == []
