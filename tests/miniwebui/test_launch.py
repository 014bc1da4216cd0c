"""Extensions' install.py at start-up: run in their own process, once for each state of it."""

import logging

import pytest

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
