"""The server as a process: what starts and what ends it."""

import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tools.page import free_port, wait_for

ROOT = Path(__file__).parents[2]


def start(checkpoint, data, port):
    command = [sys.executable, "-m", "miniwebui", "--nowebui", "--skip-install"]
    command += ["--ckpt", str(checkpoint), "--data-dir", str(data), "--port", str(port)]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)


@pytest.mark.skipif(os.name == "nt", reason="no SIGTERM there")
def test_a_data_folder_is_made_and_the_signal_ends_the_server(checkpoint, tmp_path):
    port = free_port()
    server = start(checkpoint, tmp_path / "new" / "data", port)
    url = f"http://127.0.0.1:{port}/sdapi/v1/options"
    try:
        wait_for(url, server)
        assert (tmp_path / "new" / "data").is_dir()
        server.send_signal(signal.SIGTERM)
        server.wait(30)
        with pytest.raises(OSError, match="refused"):
            urllib.request.urlopen(url, timeout=5)
    finally:
        server.kill()
        server.communicate()


def test_a_data_folder_that_cannot_be_made_is_named(checkpoint, tmp_path):
    (tmp_path / "file").touch()
    server = start(checkpoint, tmp_path / "file" / "data", free_port())
    _, told = server.communicate(timeout=120)
    assert server.returncode == 2
    assert told.strip().endswith("file/data; it cannot be made (Not a directory).")
    assert "Traceback" not in told
