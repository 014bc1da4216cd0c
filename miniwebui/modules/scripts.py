"""The script API: what an extension subclasses, and the runner that calls it."""

from __future__ import annotations

import importlib.util
import os
import sys
from dataclasses import dataclass
from typing import Any

from modules import errors, extensions

AlwaysVisible = object()

HOOKS = (
    "before_process",
    "process",
    "before_process_batch",
    "after_extra_networks_activate",
    "process_before_every_sampling",
    "process_batch",
    "postprocess",
    "postprocess_batch",
    "postprocess_batch_list",
    "post_sample",
    "on_mask_blend",
    "postprocess_image",
    "postprocess_maskoverlay",
    "postprocess_image_after_composite",
    "before_component",
    "after_component",
    "before_hr",
    "setup",
)


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

    def describe(self):
        return ""

    def elem_id(self, item_id):
        """An element id that is unique to tab and script."""
        tab = f"{self.tabname}_" if self.show(True) == self.show(False) else ""
        title = "".join(letter if letter.isalnum() else "_" for letter in self.title().lower())
        return f"script_{tab}{title.strip('_')}_{item_id}"


@dataclass
class ScriptFile:
    basedir: str
    filename: str
    path: str


@dataclass
class ScriptClassData:
    script_class: type
    path: str
    basedir: str
    module: Any


scripts_data: list[ScriptClassData] = []
current_basedir = ""


def basedir():
    """The folder of the extension whose script is being loaded."""
    return current_basedir


def list_scripts(scriptdirname, extension, *, include_extensions=True):
    """Files in that folder of every extension."""
    return [
        ScriptFile(ext.path, os.path.basename(path), path)
        for ext in extensions.active()
        for path in ext.list_files(scriptdirname, extension)
    ]


def load_script_module(path: str) -> Any:
    name = os.path.splitext(os.path.basename(path))[0]
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load_scripts():
    """Run every script file; every Script subclass in its namespace is registered. sys.path is restored."""
    global current_basedir
    scripts_data.clear()
    syspath = list(sys.path)
    for file in list_scripts("scripts", ".py"):
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
            current_basedir = ""


class ScriptRunner:
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
        self.callback_map: dict[str, list[Script]] = {}

    def initialize_scripts(self, is_img2img):
        """An instance of every script that shows in this tab."""
        self.scripts.clear()
        self.alwayson_scripts.clear()
        self.selectable_scripts.clear()
        self.callback_map.clear()
        for data in scripts_data:
            script = data.script_class()
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

    def create_script_ui(self, script):
        """The script's components; its slice of the argument list is set."""
        script.args_from = script.args_to = len(self.inputs)
        try:
            controls = script.ui(script.is_img2img)
        except Exception:
            errors.report(f"Error calling: {script.filename}/ui", exc_info=True)
            return
        if controls is None:
            return
        script.name = script.title().lower()
        for control in controls:
            control.custom_script_source = os.path.basename(script.filename)
        script.controls = controls
        self.infotext_fields += script.infotext_fields or []
        self.paste_field_names += script.paste_field_names or []
        self.inputs += controls
        script.args_to = len(self.inputs)

    def setup_ui(self):
        """Every always-on script's components; call inside of gr.Blocks."""
        for script in self.alwayson_scripts:
            self.create_script_ui(script)
        return self.inputs

    def ordered_scripts(self, method_name: str) -> list[Script]:
        """Always-on scripts whose class overrides the hook."""
        if method_name not in self.callback_map:
            base = getattr(Script, method_name)
            self.callback_map[method_name] = [
                script
                for script in self.alwayson_scripts
                if getattr(type(script), method_name, base) is not base
            ]
        return self.callback_map[method_name]

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
                script.setup(p, *args)

    def script(self, title):
        return next((script for script in self.scripts if script.title().lower() == title.lower()), None)


scripts_txt2img: ScriptRunner = None
scripts_img2img: ScriptRunner = None
