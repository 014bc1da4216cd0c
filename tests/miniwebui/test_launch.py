"""The command line; extensions' install.py at start-up: run in their own process, once for each state of it."""

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

MINIWEBUI = Path(__file__).parents[2] / "miniwebui"
READ = """
import json, sys
sys.argv = ["webui.py", *sys.argv[1:]]
from modules import extensions
from modules.shared_cmd_options import cmd_opts
flags = {name: value for name, value in vars(cmd_opts).items() if name in ("no_half", "use_cpu", "port", "more")}
print(json.dumps([[extension.name for extension in extensions.active()], flags]))
"""

INSTALLER = """
import launch
assert launch.is_installed("torch") and not launch.is_installed("no_such_package")
with open({log!r}, "a") as file:
    file.write("ran\\n")
print("installed what was missing")
"""


@pytest.fixture
def extension(tmp_path, monkeypatch, webui):
    """A folder with an install.py that leaves a line in the file `log` every time it runs."""
    from modules import extensions, launch_utils

    folder = tmp_path / "extension"
    folder.mkdir()
    (folder / "install.py").write_text(INSTALLER.format(log=str(tmp_path / "log")))
    monkeypatch.setattr(launch_utils, "INSTALLED", tmp_path / "installed.json")
    monkeypatch.setattr(extensions, "extensions", [extensions.Extension("one", str(folder))])
    return folder


def runs(folder):
    log = folder.parent / "log"
    return log.read_text().count("ran") if log.exists() else 0


def test_it_runs_once_and_again_after_a_change(extension, tmp_path, caplog):
    from modules import launch_utils

    with caplog.at_level(logging.INFO, "launch"):
        for _ in range(2):
            launch_utils.run_extensions_installers(str(tmp_path / "config.json"))
    assert runs(extension) == 1
    assert "installed what was missing" in caplog.text
    (extension / "requirements.txt").write_text("something")
    launch_utils.run_extensions_installers(str(tmp_path / "config.json"))
    assert runs(extension) == 2


def test_one_that_fails_is_reported_and_tried_again(extension, tmp_path, capsys):
    from modules import launch_utils

    (extension / "install.py").write_text("raise SystemExit('no disk')")
    for _ in range(2):
        launch_utils.run_extensions_installers(str(tmp_path / "config.json"))
    assert capsys.readouterr().err.count("no disk") == 2


def test_a_disabled_extension_is_left_alone(extension, tmp_path):
    from modules import launch_utils

    (tmp_path / "config.json").write_text('{"disabled_extensions": ["one"]}')
    launch_utils.run_extensions_installers(str(tmp_path / "config.json"))
    assert runs(extension) == 0


def test_pip_says_what_went_wrong(webui):
    from modules import launch_utils

    with pytest.raises(RuntimeError, match="Couldn't install nothing"):
        launch_utils.run_pip("no-such-command", "nothing")


def read_command_line(*arguments):
    """The finished process that read it; its output is [names of active extensions, some of the flags]."""
    command = [sys.executable, "-c", READ, *arguments]
    return subprocess.run(command, cwd=MINIWEBUI, capture_output=True, text=True)


def test_a_flag_that_does_not_exist_is_refused():
    done = read_command_line("page", "--prot", "8000")
    assert done.returncode == 2
    assert "unrecognized arguments: --prot 8000" in done.stderr


@pytest.fixture
def data(tmp_path):
    """A data folder with two extensions; the settings leave `one` switched on."""
    for name, text in (("one", "'--more'"), ("two", "1 / 0")):
        (tmp_path / "extensions" / name).mkdir(parents=True)
        preload = f"def preload(parser):\n    parser.add_argument({text}, default=5)\n"
        (tmp_path / "extensions" / name / "preload.py").write_text(preload)
    (tmp_path / "config.json").write_text('{"disabled_extensions": ["two"]}')
    return tmp_path


def test_flags_that_errors_advise_and_extensions_of_the_data_folder(data):
    done = read_command_line("page", "--data-dir", str(data), "--no-half", "--use-cpu", "SD", "--more", "7")
    names, flags = json.loads(done.stdout)
    assert names[-1] == "one"
    assert flags == {"no_half": True, "use_cpu": ["sd"], "port": None, "more": "7"}


@pytest.mark.parametrize(("which", "left"), [("extra", ["ControlNet", "Lora"]), ("all", [])])
def test_all_extensions_may_be_switched_off(data, which, left):
    (data / "config.json").write_text(json.dumps({"disable_all_extensions": which}))
    names, _ = json.loads(read_command_line("page", "--data-dir", str(data)).stdout)
    assert names == left
