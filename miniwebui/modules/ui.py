"""The page: a tab for txt2img and one for img2img, with the always-on scripts of each."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import gradio as gr

from modules import (
    extensions,
    infotext_utils,
    processing,
    script_callbacks,
    scripts,
    sd_samplers,
    sd_schedulers,
    shared,
)

HERE = Path(__file__).resolve().parent.parent
REFRESH_SECONDS = 0.4
ELSEWHERE = re.compile(rb"<(?:script|link)\b[^>]*https?://[^>]*>(?:\s*</script>)?")
"""Fonts and scripts that gradio's page would fetch from other servers; without a network it waits for them."""
LOCAL_FONTS = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}
DEFAULTS = {"width": 256, "height": 256, "steps": 20, "cfg_scale": 4.0, "sampler": "DPM++ 2M"}


def _head() -> str:
    """The page's own script, then those of the extensions: .mjs as modules, each served as a file."""
    files = [HERE / "script.js", *(Path(file.path) for file in scripts.list_scripts("javascript", ".js"))]
    tags = [f'<script src="file={path}"></script>' for path in files]
    modules = scripts.list_scripts("javascript", ".mjs")
    tags += [f'<script type="module" src="file={file.path}"></script>' for file in modules]
    return "\n".join(tags)


def _css() -> str:
    sheets = [HERE / "style.css", *(Path(e.path) / "style.css" for e in extensions.active())]
    return "\n".join(sheet.read_text() for sheet in sheets if sheet.is_file())


class Tab:
    """The controls of one tab; `inputs` is what Generate sends, scripts' arguments last."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_img2img = name == "img2img"
        self.runner = scripts.scripts_img2img if self.is_img2img else scripts.scripts_txt2img
        self.fields: dict[str, Any] = {}
        scripts.scripts_current = self.runner  # whose scripts see the components made from here on
        with gr.Row(equal_height=False):
            with gr.Column(scale=5):
                self._prompts()
            with gr.Column(scale=1, min_width=160):
                self.generate = gr.Button("Generate", variant="primary", elem_id=f"{name}_generate")
                self.interrupt = gr.Button("Interrupt", elem_id=f"{name}_interrupt")
                self.paste = gr.Button("Read settings from prompt", size="sm", elem_id=f"{name}_paste")
        with gr.Row(equal_height=False):
            with gr.Column(elem_id=f"{name}_settings"):
                if self.is_img2img:
                    self._images()
                self._sampling()
                self.runner.setup_ui()
            with gr.Column(elem_id=f"{name}_results"):
                self._results()
        self._connect()

    def _add(self, key: str, component: Any) -> None:
        self.fields[key] = component

    def _prompts(self) -> None:
        for key, label, lines in (("prompt", "Prompt", 2), ("neg_prompt", "Negative prompt", 1)):
            self._add(key, gr.Textbox(label=label, lines=lines, elem_id=f"{self.name}_{key}"))

    def _images(self) -> None:
        image = gr.Image(label="Image", type="pil", image_mode="RGBA", elem_id="img2img_image")
        self._add("init", image)
        self._add("mask", gr.Image(label="Mask (white is drawn anew)", type="pil", elem_id="img2img_mask"))

    def _slider(self, key: str, label: str, low: float, high: float, step: float, value: float) -> None:
        self._add(
            key, gr.Slider(low, high, step=step, value=value, label=label, elem_id=f"{self.name}_{key}")
        )

    def _sampling(self) -> None:
        samplers = [sampler.name for sampler in sd_samplers.visible_samplers()]
        schedulers = [scheduler.label for scheduler in sd_schedulers.schedulers]
        with gr.Row():
            choices = {"label": "Sampling method", "elem_id": f"{self.name}_sampling"}
            self._add("sampler", gr.Dropdown(samplers, value=DEFAULTS["sampler"], **choices))
            choices = {"label": "Schedule type", "elem_id": f"{self.name}_scheduler"}
            self._add("scheduler", gr.Dropdown(schedulers, value=schedulers[0], **choices))
        self._slider("steps", "Sampling steps", 1, 150, 1, DEFAULTS["steps"])
        with gr.Row():
            self._slider("width", "Width", 64, 2048, 8, DEFAULTS["width"])
            self._slider("height", "Height", 64, 2048, 8, DEFAULTS["height"])
        with gr.Row():
            self._slider("cfg_scale", "CFG Scale", 1, 30, 0.5, DEFAULTS["cfg_scale"])
            self._add("seed", gr.Number(label="Seed", value=-1, precision=0, elem_id=f"{self.name}_seed"))
        with gr.Row():
            self._slider("batch_count", "Batch count", 1, 100, 1, 1)
            self._slider("batch_size", "Batch size", 1, 8, 1, 1)
        if self.is_img2img:
            self._slider("denoising_strength", "Denoising strength", 0, 1, 0.01, 0.75)
        else:
            self._hires()

    def _hires(self) -> None:
        with gr.Accordion("Hires. fix", open=False):
            self._add("enable_hr", gr.Checkbox(label="Draw a second, larger pass", elem_id="txt2img_hr"))
            self._slider("hr_scale", "Upscale by", 1, 4, 0.05, 2.0)
            self._slider("hires_steps", "Hires steps (0: as the first pass)", 0, 150, 1, 0)
            self._slider("denoising_strength", "Denoising strength", 0, 1, 0.01, 0.7)

    def _results(self) -> None:
        name = self.name
        self.progress = gr.HTML("", elem_id=f"{name}_progress")
        self.preview = gr.Image(
            label="Preview", visible=False, show_download_button=False, elem_id=f"{name}_preview"
        )
        self.gallery = gr.Gallery(
            label="Output", show_label=False, columns=2, object_fit="contain", elem_id=f"{name}_gallery"
        )
        self.infotext = gr.Textbox(
            label="Settings of the picture", lines=3, interactive=False, elem_id=f"{name}_infotext"
        )

    def _connect(self) -> None:
        inputs = [*self.fields.values(), *self.runner.inputs]
        outputs = [self.progress, self.preview, self.gallery, self.infotext]
        self.generate.click(self._run, inputs, outputs, show_progress=False)
        self.interrupt.click(shared.state.interrupt, [], [], queue=False)
        pasted = [*self.fields.items()]
        targets = [component for _, component in pasted] + [field[0] for field in self.runner.infotext_fields]
        self.paste.click(self._read_prompt, [self.fields["prompt"]], targets, show_progress=False)

    def _read_prompt(self, text: str) -> list[Any]:
        """Every control that the text names; the others stay."""
        params = infotext_utils.parse_generation_parameters(text)
        script_callbacks.infotext_pasted_callback(text, params)
        keys = {
            "prompt": ("Prompt", str),
            "neg_prompt": ("Negative prompt", str),
            "steps": ("Steps", int),
            "sampler": ("Sampler", str),
            "scheduler": ("Schedule type", str),
            "cfg_scale": ("CFG scale", float),
            "seed": ("Seed", int),
            "width": ("Size-1", int),
            "height": ("Size-2", int),
            "denoising_strength": ("Denoising strength", float),
        }
        values: list[Any] = []
        for key in self.fields:
            label, kind = keys.get(key, ("", str))
            values.append(kind(params[label]) if label in params else gr.update())
        for _, target in self.runner.infotext_fields:
            values.append(target(params) if callable(target) else params.get(target, gr.update()))
        return values

    def _processing(self, values: tuple[Any, ...]) -> Any:
        """The processing object of what the page sent. Raises gr.Error where a picture is missing."""
        fields = dict(zip(self.fields, values))
        common = {
            "sd_model": shared.sd_model,
            "prompt": fields["prompt"],
            "negative_prompt": fields["neg_prompt"],
            "width": int(fields["width"]),
            "height": int(fields["height"]),
            "steps": int(fields["steps"]),
            "cfg_scale": fields["cfg_scale"],
            "sampler_name": fields["sampler"],
            "scheduler": fields["scheduler"],
            "seed": int(fields["seed"]),
            "n_iter": int(fields["batch_count"]),
            "batch_size": int(fields["batch_size"]),
            "denoising_strength": fields["denoising_strength"],
            "do_not_save_samples": True,
            "do_not_save_grid": True,
        }
        if self.is_img2img:
            if fields["init"] is None:
                raise gr.Error("There is no image to start from: drop one on 'Image'.")
            images = {"init_images": [fields["init"]], "mask": fields["mask"]}
            p = processing.StableDiffusionProcessingImg2Img(**common, **images)
        else:
            hires = {
                "enable_hr": fields["enable_hr"],
                "hr_scale": fields["hr_scale"],
                "hr_second_pass_steps": int(fields["hires_steps"]),
                "hr_upscaler": shared.latent_upscale_default_mode,
            }
            p = processing.StableDiffusionProcessingTxt2Img(**common, **hires)
        p.scripts = self.runner
        p.script_args = values[len(self.fields) :]
        return p

    def _run(self, *values: Any) -> Iterator[tuple[Any, ...]]:
        """Generate, yielding progress, preview, gallery and infotext."""
        p = self._processing(values)
        job = _Job(p, self.name)
        job.start()
        while not job.done.wait(REFRESH_SECONDS):
            shared.state.set_current_image()
            yield _bar(), _shown(shared.state.current_image), gr.update(), gr.update()
        if job.error is not None:
            raise gr.Error(str(job.error))
        start = job.result.index_of_first_image
        pictures = job.result.images[start:]
        yield "", gr.update(visible=False), pictures, "\n\n".join(job.result.infotexts[start:])


class _Job(threading.Thread):
    """One generation in its own thread, so that the page can follow it; one at a time."""

    _one_at_a_time = threading.Lock()

    def __init__(self, p: Any, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.p = p
        self.done = threading.Event()
        self.result: Any = None
        self.error: Exception | None = None

    def run(self) -> None:
        with self._one_at_a_time:
            shared.state.begin(job=self.name)
            try:
                with closing(self.p):
                    selected = self.p.scripts.run(self.p, *self.p.script_args)
                    self.result = selected or processing.process_images(self.p)
            except Exception as error:  # shown on the page by the thread that waits
                self.error = error
            finally:
                shared.state.end()
                shared.total_tqdm.clear()
                self.done.set()


def _bar() -> str:
    """The progress bar."""
    state = shared.state
    jobs = max(1, state.job_count)
    done = min(1.0, (state.job_no + state.sampling_step / max(1, state.sampling_steps)) / jobs)
    label = f"{100 * done:.0f} %"
    return f'<div class="progress"><div style="width: {100 * done:.1f}%">{label}</div></div>'


def _shown(image: Any) -> Any:
    return gr.update() if image is None else gr.update(value=image, visible=True)


def create_ui() -> gr.Blocks:
    """The whole page."""
    script_callbacks.ui_settings_callback()
    look = {"css": _css(), "theme": gr.themes.Default(**LOCAL_FONTS)}
    with gr.Blocks(title="Mini WebUI", analytics_enabled=False, **look) as page, gr.Tabs(elem_id="tabs"):
        for name in ("txt2img", "img2img"):
            with gr.Tab(name, id=name, elem_id=f"tab_{name}"):
                Tab(name)
    return page


def add_scripts(page_response: Callable[..., Any]) -> Callable[..., Any]:
    """gradio's page with our scripts in its head (gradio 3 has no setting for it), and nothing from elsewhere."""

    def respond(*args: Any, **kwargs: Any) -> Any:
        response = page_response(*args, **kwargs)
        body = ELSEWHERE.sub(b"", response.body)
        response.body = body.replace(b"</head>", f"{_head()}</head>".encode())
        response.init_headers()
        return response

    return respond
