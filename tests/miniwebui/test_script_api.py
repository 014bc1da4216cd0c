"""What the mini WebUI offers to scripts beside sampling hooks: loading, components, selection, callbacks."""

import sys
from types import SimpleNamespace

import pytest

SCRIPT = """
import gradio as gr
from modules import script_callbacks, scripts

HERE = scripts.basedir()
SEEN = []
script_callbacks.on_infotext_pasted(lambda text, params: params.update(pasted=text))
script_callbacks.on_after_component(lambda component, **kwargs: SEEN.append(kwargs.get("elem_id")))


class Selectable(scripts.Script):
    def __init__(self):
        self.on_after_component(lambda on: SEEN.append(("hook", on.component.elem_id)), elem_id="other")

    def title(self):
        return "Try: two (2)"

    def ui(self, is_img2img):
        return [gr.Slider(0, 9, value=3, label="Amount", elem_id=self.elem_id("amount")), gr.Textbox("x")]

    def run(self, p, amount, text):
        return (p, amount, text)


class Broken(scripts.Script):
    def __init__(self):
        raise RuntimeError("broken on purpose")
"""


@pytest.fixture
def loaded(webui, tmp_path, monkeypatch):
    """A second extension with the script above; afterwards the repository's own scripts are back."""
    from modules import extensions, paths, script_callbacks

    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "try.py").write_text(SCRIPT)
    names = ("scripts_txt2img", "scripts_img2img", "scripts_current")
    before = {name: getattr(webui.scripts, name) for name in names}
    data = list(webui.scripts.scripts_data)
    callbacks = {name: list(entries) for name, entries in script_callbacks.callback_map.items()}
    with monkeypatch.context() as patch:
        patch.setattr(extensions, "extensions", [extensions.Extension("Try", str(tmp_path))])
        patch.setattr(paths, "script_path", str(tmp_path / "none"))  # without the WebUI's own scripts
        webui.scripts.load_scripts()
    runner = webui.scripts.scripts_txt2img
    runner.initialize_scripts(is_img2img=False)
    webui.scripts.scripts_current = runner
    yield SimpleNamespace(runner=runner, path=tmp_path, module=webui.scripts.scripts_data[0].module)
    webui.scripts.scripts_data[:] = data
    for name, value in before.items():
        setattr(webui.scripts, name, value)
    for name, entries in callbacks.items():
        script_callbacks.callback_map[name][:] = entries


def build(runner):
    import gradio as gr

    with gr.Blocks():
        inputs = runner.setup_ui()
        gr.Textbox(elem_id="other")
    return inputs


def test_loading_gives_the_extension_folder_and_restores_the_path(loaded, webui):
    assert str(loaded.path) == loaded.module.HERE
    assert str(loaded.path) not in sys.path
    assert webui.scripts.basedir() != str(loaded.path)


def test_a_script_that_cannot_be_made_does_not_stop_the_others(loaded):
    assert [type(script).__name__ for script in loaded.runner.scripts] == ["Selectable"]


def test_the_chosen_script_draws_with_its_own_arguments(loaded):
    inputs = build(loaded.runner)
    script = loaded.runner.script("TRY: TWO (2)")
    assert (script.args_from, script.args_to, len(inputs)) == (1, 3, 3)
    assert loaded.runner.run("p", 1, 5, "y") == ("p", 5, "y")
    assert loaded.runner.run("p", 0, 5, "y") is None


def test_element_ids_follow_the_real_rule_and_name_arguments(loaded):
    build(loaded.runner)
    script = loaded.runner.scripts[0]
    assert script.controls[0].elem_id == "script_txt2img_try_two_2_amount"
    args = loaded.runner.set_named_arg((0, 3, "x"), script.name, "amount", 7, fuzzy=True)
    assert args == (0, 7, "x")
    with pytest.raises(RuntimeError, match="nowhere"):
        loaded.runner.set_named_arg((0, 3, "x"), script.name, "nowhere", 7)


def test_scripts_see_components_as_they_are_made(loaded):
    build(loaded.runner)
    assert ("hook", "other") in loaded.module.SEEN
    assert "script_txt2img_try_two_2_amount" in loaded.module.SEEN


def test_callbacks_are_named_after_their_extension_and_can_change_what_is_pasted(loaded):
    from modules import script_callbacks

    (callback,) = script_callbacks.callback_map["callbacks_infotext_pasted"]
    assert callback.name == "try/try.py/infotext_pasted"
    params = {}
    script_callbacks.infotext_pasted_callback("text", params)
    assert params == {"pasted": "text"}


ORDERED = """
from modules import script_callbacks, scripts


class Ordered(scripts.Script):
    def title(self):
        return "{name}"

    def show(self, is_img2img):
        return scripts.AlwaysVisible

    def process(self, p):
        p.append("{name}")

    def postprocess(self, p, processed):
        p.append("{name}")
"""


def test_metadata_says_whose_hook_comes_first(webui, tmp_path, monkeypatch):
    """By the names that the real WebUI gives callbacks: extension/file/category/class."""
    from modules import extensions, scripts

    for name in ("One", "Two", "Three"):
        (tmp_path / name / "scripts").mkdir(parents=True)
        (tmp_path / name / "scripts" / "ordered.py").write_text(ORDERED.format(name=name))
    (tmp_path / "Three" / "metadata.ini").write_text(
        "[callbacks/three/ordered.py/script_process/Ordered]\nBefore = one/ordered.py/script_process/Ordered, no/such\n"
        "[callbacks/nobody/ordered.py/script_process/Ordered]\nAfter = one/ordered.py/script_process/Ordered\n"
        "[other]\nBefore = three\n"
    )
    (tmp_path / "Two" / "metadata.ini").write_text("no section at all")
    known = [extensions.Extension(name, str(tmp_path / name)) for name in ("One", "Two", "Three")]
    monkeypatch.setattr(extensions, "extensions", known)
    runner = scripts.ScriptRunner()
    data = [
        scripts.ScriptClassData(scripts.load_script_module(path).Ordered, path, extension.path, None)
        for extension in known
        for path in extension.list_files("scripts", ".py")
    ]
    monkeypatch.setattr(scripts, "scripts_data", data)
    runner.initialize_scripts(is_img2img=False)
    order = [script.title() for script in runner.ordered_scripts("process")]
    assert order == ["Three", "One", "Two"]
    assert [script.title() for script in runner.ordered_scripts("postprocess")] == ["One", "Two", "Three"]
