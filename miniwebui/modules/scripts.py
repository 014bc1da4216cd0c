"""The script API: what an extension subclasses, and the runner that calls it."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from typing import Any, NamedTuple

from modules import errors, extensions, paths, script_callbacks
from modules.script_components import OnComponent, ScriptComponents, wrap_call  # noqa: F401

AlwaysVisible = object()


class MaskBlendArgs:
    def __init__(self, current_latent, nmask, init_latent, mask, blended_latent, denoiser=None, sigma=None):
        self.current_latent = current_latent
        self.nmask = nmask
        self.init_latent = init_latent
        self.mask = mask
        self.blended_latent = blended_latent
        self.denoiser = denoiser
        self.is_final_blend = denoiser is None
        self.sigma = sigma


class PostSampleArgs:
    def __init__(self, samples):
        self.samples = samples


class PostprocessImageArgs:
    def __init__(self, image):
        self.image = image


class PostProcessMaskOverlayArgs:
    def __init__(self, index, mask_for_overlay, overlay_image):
        self.index = index
        self.mask_for_overlay = mask_for_overlay
        self.overlay_image = overlay_image


class PostprocessBatchListArgs:
    def __init__(self, images):
        self.images = images


class Script:
    """One script; a subclass overrides the hooks it needs, and only those are called."""

    name: str | None = None
    section: str | None = None
    filename: str | None = None
    args_from: int | None = None
    args_to: int | None = None
    alwayson = False
    is_txt2img = False
    is_img2img = False
    tabname: str | None = None
    group: Any = None
    create_group = True
    infotext_fields: list[Any] | None = None
    paste_field_names: list[str] | None = None
    api_info: Any = None
    on_before_component_elem_id: list[Any] | None = None
    on_after_component_elem_id: list[Any] | None = None
    setup_for_ui_only = False
    controls: list[Any] | None = None

    def title(self):
        """Unique name, shown and used by clients."""
        raise NotImplementedError

    def ui(self, is_img2img):
        """Make the gradio components; return them in the order of the hooks' arguments."""

    def show(self, is_img2img):
        """False, True or AlwaysVisible."""
        return True

    def run(self, p, *args):
        """Of a selectable script: make the pictures."""

    def setup(self, p, *args):
        """When the processing object gets its scripts."""

    def before_process(self, p, *args):
        """Before anything."""

    def process(self, p, *args):
        """Before the first batch."""

    def before_process_batch(self, p, *args, **kwargs):
        """Before a batch's prompts are parsed for extra networks."""

    def after_extra_networks_activate(self, p, *args, **kwargs):
        """After extra networks are switched."""

    def process_before_every_sampling(self, p, *args, **kwargs):
        """Before each sampling pass; kwargs: x, noise, c, uc."""

    def process_batch(self, p, *args, **kwargs):
        """For each batch."""

    def postprocess_batch(self, p, *args, **kwargs):
        """For each batch, with its images as a tensor."""

    def postprocess_batch_list(self, p, pp: PostprocessBatchListArgs, *args, **kwargs):
        """For each batch, with its images as a list that may change its length."""

    def on_mask_blend(self, p, mba: MaskBlendArgs, *args):
        """When latents are blended by the inpainting mask."""

    def post_sample(self, p, ps: PostSampleArgs, *args):
        """After sampling, before decoding."""

    def postprocess_image(self, p, pp: PostprocessImageArgs, *args):
        """For each image."""

    def postprocess_maskoverlay(self, p, ppmo: PostProcessMaskOverlayArgs, *args):
        """For each image's overlay."""

    def postprocess_image_after_composite(self, p, pp: PostprocessImageArgs, *args):
        """For each image, after its overlay is applied."""

    def postprocess(self, p, processed, *args):
        """After the last batch."""

    def before_hr(self, p, *args):
        """Before the hires pass samples."""

    def before_component(self, component, **kwargs):
        """Before a component of the page is made."""

    def after_component(self, component, **kwargs):
        """After a component of the page is made."""

    def on_before_component(self, callback, *, elem_id):
        """Call callback(OnComponent) before the page makes the component with that id. For `__init__`, `show`."""
        self.on_before_component_elem_id = self.on_before_component_elem_id or []
        self.on_before_component_elem_id.append((elem_id, callback))

    def on_after_component(self, callback, *, elem_id):
        """The same, after the component is made."""
        self.on_after_component_elem_id = self.on_after_component_elem_id or []
        self.on_after_component_elem_id.append((elem_id, callback))

    def describe(self):
        return ""

    def elem_id(self, item_id):
        """An element id that is unique to the script, and to the tab if the script shows in both."""
        tab = f"{'img2img' if self.is_img2img else 'txt2img'}_" if self.show(True) == self.show(False) else ""
        title = re.sub(r"[^a-z_0-9]", "", re.sub(r"\s", "_", self.title().lower()))
        return f"script_{tab}{title}_{item_id}"


class ScriptBuiltinUI(Script):
    """A part of the page itself that is made as a script: only the page's own generations are set up by it."""

    setup_for_ui_only = True

    def elem_id(self, item_id):
        """The tab's name and the item's."""
        tab = f"{self.tabname}_" if self.show(True) == self.show(False) else ""
        return f"{tab}{item_id}"

    def show(self, is_img2img):
        return AlwaysVisible


class ScriptFile(NamedTuple):
    basedir: str
    filename: str
    path: str


class ScriptClassData(NamedTuple):
    script_class: type
    path: str
    basedir: str
    module: Any


scripts_data: list[ScriptClassData] = []
current_basedir = paths.script_path


def basedir():
    """The folder of the extension whose script is being loaded; else that of the WebUI."""
    return current_basedir


def list_scripts(scriptdirname, extension, *, include_extensions=True):
    """Files in that folder of the WebUI, then of every extension."""
    own = extensions.Extension("", paths.script_path)
    folders = [own, *extensions.active()] if include_extensions else [own]
    return [
        ScriptFile(folder.path, os.path.basename(path), path)
        for folder in folders
        for path in folder.list_files(scriptdirname, extension)
    ]


def list_files_with_name(filename):
    """Paths of the files of that name in the WebUI's and every extension's folder."""
    folders = [paths.script_path, *(extension.path for extension in extensions.active())]
    files = [os.path.join(folder, filename) for folder in folders]
    return [file for file in files if os.path.isfile(file)]


def load_script_module(path: str) -> Any:
    """Its `__name__` is the file's name, by which extensions find the scripts of others."""
    spec = importlib.util.spec_from_file_location(os.path.basename(path), path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load_scripts():
    """Run every script file; every Script subclass in its namespace is registered. sys.path is restored."""
    global current_basedir, scripts_txt2img, scripts_img2img
    scripts_data.clear()
    script_callbacks.clear_callbacks()
    syspath = list(sys.path)
    own = list_scripts("modules/processing_scripts", ".py", include_extensions=False)
    for file in [*list_scripts("scripts", ".py"), *own]:
        try:
            current_basedir = file.basedir
            sys.path = [file.basedir, *syspath]
            module = load_script_module(file.path)
            for value in vars(module).values():
                if isinstance(value, type) and issubclass(value, Script):
                    scripts_data.append(ScriptClassData(value, file.path, file.basedir, module))
        except Exception:
            errors.report(f"Error loading script: {file.filename}", exc_info=True)
        finally:
            sys.path = syspath
            current_basedir = paths.script_path
    scripts_txt2img = ScriptRunner()
    scripts_img2img = ScriptRunner()


class ScriptRunner(ScriptComponents):
    """The scripts of one tab."""

    def __init__(self):
        self.scripts: list[Script] = []
        self.alwayson_scripts: list[Script] = []
        self.selectable_scripts: list[Script] = []
        self.titles: list[str] = []
        self.title_map: dict[str, Script] = {}
        self.infotext_fields: list[Any] = []
        self.paste_field_names: list[str] = []
        self.inputs: list[Any] = [None]
        self.callback_map: dict[str, tuple[int, list[script_callbacks.ScriptCallback]]] = {}
        self.on_before_component_elem_id: dict[str, list[Any]] = {}
        self.on_after_component_elem_id: dict[str, list[Any]] = {}

    def initialize_scripts(self, is_img2img):
        """An instance of every script that shows in this tab."""
        self.scripts.clear()
        self.alwayson_scripts.clear()
        self.selectable_scripts.clear()
        self.callback_map.clear()
        self.on_before_component_elem_id.clear()
        self.on_after_component_elem_id.clear()
        for data in scripts_data:
            script = wrap_call(data.script_class, data.path, "__init__")
            if script is None:
                continue
            script.filename = data.path
            script.is_txt2img = not is_img2img
            script.is_img2img = is_img2img
            script.tabname = "img2img" if is_img2img else "txt2img"
            visibility = script.show(script.is_img2img)
            if visibility is AlwaysVisible:
                script.alwayson = True
                self.alwayson_scripts.append(script)
            elif visibility:
                self.selectable_scripts.append(script)
            else:
                continue
            self.scripts.append(script)
        self.apply_on_before_component_callbacks()

    def list_scripts_for_method(self, method_name):
        return (
            self.scripts if method_name in ("before_component", "after_component") else self.alwayson_scripts
        )

    def create_ordered_callbacks_list(self, method_name, *, enable_user_sort=True):
        """Scripts whose class overrides the hook, as callbacks, in the order of `script_callbacks.sort_callbacks`."""
        base, category = getattr(Script, method_name), f"script_{method_name}"
        found = []
        for script in self.list_scripts_for_method(method_name):
            if getattr(type(script), method_name, base) is not base:
                name = type(script).__name__
                script_callbacks.add_callback(
                    found, script, name=name, category=category, filename=script.filename
                )
        return script_callbacks.sort_callbacks(category, found, enable_user_sort=enable_user_sort)

    def ordered_callbacks(self, method_name, *, enable_user_sort=True):
        """The same, found anew only when the number of scripts changes."""
        candidates, category = self.list_scripts_for_method(method_name), f"script_{method_name}"
        count, found = self.callback_map.get(category, (-1, []))
        if count != len(candidates):
            found = self.create_ordered_callbacks_list(method_name, enable_user_sort=enable_user_sort)
            self.callback_map[category] = len(candidates), found
        return found

    def ordered_scripts(self, method_name):
        return [callback.callback for callback in self.ordered_callbacks(method_name)]

    def run(self, p, *args):
        """Let the selected script draw -> its Processed; None when none is selected."""
        if not args or not args[0]:
            return None
        script = self.selectable_scripts[args[0] - 1]
        return script.run(p, *args[script.args_from : script.args_to])

    def _call(self, hook: str, p: Any, *given: Any, **kwargs: Any) -> None:
        """A hook's error is logged, and the generation goes on without it: as the real WebUI does."""
        for script in self.ordered_scripts(hook):
            try:
                args = p.script_args[script.args_from : script.args_to]
                getattr(script, hook)(p, *given, *args, **kwargs)
            except Exception:
                errors.report(f"Error running {hook}: {script.filename}", exc_info=True)

    def before_process(self, p):
        self._call("before_process", p)

    def process(self, p):
        self._call("process", p)

    def process_before_every_sampling(self, p, **kwargs):
        self._call("process_before_every_sampling", p, **kwargs)

    def before_process_batch(self, p, **kwargs):
        self._call("before_process_batch", p, **kwargs)

    def after_extra_networks_activate(self, p, **kwargs):
        self._call("after_extra_networks_activate", p, **kwargs)

    def process_batch(self, p, **kwargs):
        self._call("process_batch", p, **kwargs)

    def postprocess(self, p, processed):
        self._call("postprocess", p, processed)

    def postprocess_batch(self, p, images, **kwargs):
        self._call("postprocess_batch", p, images=images, **kwargs)

    def postprocess_batch_list(self, p, pp: PostprocessBatchListArgs, **kwargs):
        self._call("postprocess_batch_list", p, pp, **kwargs)

    def post_sample(self, p, ps: PostSampleArgs):
        self._call("post_sample", p, ps)

    def on_mask_blend(self, p, mba: MaskBlendArgs):
        self._call("on_mask_blend", p, mba)

    def postprocess_image(self, p, pp: PostprocessImageArgs):
        self._call("postprocess_image", p, pp)

    def postprocess_maskoverlay(self, p, ppmo: PostProcessMaskOverlayArgs):
        self._call("postprocess_maskoverlay", p, ppmo)

    def postprocess_image_after_composite(self, p, pp: PostprocessImageArgs):
        self._call("postprocess_image_after_composite", p, pp)

    def before_hr(self, p):
        self._call("before_hr", p)

    def setup_scrips(self, p, *, is_ui=True):
        """(The real WebUI spells it so.)"""
        for script in self.ordered_scripts("setup"):
            if is_ui or not script.setup_for_ui_only:
                args = p.script_args[script.args_from : script.args_to]
                wrap_call(script.setup, script.filename, "setup", p, *args)

    def script(self, title):
        return self.title_map.get(title.lower())


scripts_txt2img: ScriptRunner = None
scripts_img2img: ScriptRunner = None
scripts_current: ScriptRunner = None
reload_scripts = load_scripts
