"""gradio components made from the settings, and infotext back into them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import gradio as gr

from modules.ui_components import InputAccordion, ToolButton
from tile_host import arguments, options
from tile_host.door import host
from tile_host.ui_component import component
from tile_host.ui_layout import restore_layout
from tile_host.ui_regions import RegionControls
from tile_host.ui_sizes import SizeAdvice
from tile_utils.infotext import from_page, limited, page_values, read_params, warning
from tile_utils.settings import (
    TiledDiffusionSettings,
    TiledVAESettings,
    argument_places,
    control_fields,
    control_of,
    recommended_tile_sizes,
    title_of,
)


class Panel:
    """The accordion of one script in one tab; `components` are in argument order: every control, and last the place of
    an object that names settings."""

    settings: type = TiledDiffusionSettings

    def __init__(self, tab: str, max_regions: int = 0) -> None:
        self.tab = tab
        self.max_regions = max_regions
        self._start = options.start_values(self.settings, tab)
        self._last_paste: tuple[Any, list[Any]] = (None, [])
        self._specs = {spec.name: spec for spec in control_fields(self.settings)}
        self._made: dict[str, Any] = {}
        enabled = control_of(self._specs["enabled"])
        with InputAccordion(False, label=enabled.label, elem_id=enabled.elem_id.format(tab=tab)) as accordion:
            self._made["enabled"] = accordion
            regions = self._fill()
            self._controls = [
                (self._made if region is None else regions[region])[spec.name]
                for region, spec in argument_places(self.settings, max_regions)
            ]
            by_name = gr.Textbox(arguments.NOTHING_NAMED, label="Settings by name", visible=False)
            by_name.do_not_save_to_config = True
            self.components = [*self._controls, by_name]
            self._connect()

    def _fill(self) -> list[dict[str, Any]]:
        """Make every control; returns those of each region, by name."""
        raise NotImplementedError

    def _connect(self) -> None:
        """What needs every component, inside of the accordion."""

    def _add(self, name: str, visible: bool = True, **more: Any) -> Any:
        spec = self._specs[name]
        made = component(self.settings, spec, self.tab, visible=visible, value=self._start[name], **more)
        if options.is_kept(spec):
            # The settings page decides, not the host's file of start values.
            made.do_not_save_to_config = True
        self._made[name] = made
        return made

    def infotext_fields(self) -> list[tuple[Any, Callable[[dict[str, Any]], Any]]]:
        """What the host's paste sets: every control, from what its parser made of the picture's text."""

        def reader(index: int) -> Callable[[dict[str, Any]], Any]:
            return lambda params: self._pasted(params)[index]

        return [(made, reader(index)) for index, made in enumerate(self._controls)]

    def _pasted(self, params: dict[str, Any]) -> list[Any]:
        """One paste asks once a control, always with the same dict: read, and warn, once."""
        last = self._last_paste
        if last[0] is not params:
            self._last_paste = last = (params, self._read(params))
        return last[1]

    def _read(self, params: dict[str, Any]) -> list[Any]:
        reading = read_params(self.settings, params, self.max_regions)
        if reading is None:
            return [gr.update(value=False)] + [gr.update()] * (len(self._controls) - 1)
        for name, made in self._made.items():
            if isinstance(made, gr.Dropdown):
                reading = limited(self.settings, reading, name, made.choices)
        if sentence := warning(self.settings, reading):
            logging.getLogger(title_of(self.settings)).warning("%s", sentence)
            gr.Warning(sentence)
        values = page_values(self.settings, reading, self.tab, self.max_regions)
        return [gr.update() if value is None else gr.update(value=value) for value in values]


def complete_original(text: str, params: dict[str, Any]) -> None:
    """Before the host pastes `text`: put in the original's dict, of which its parser left the first entry only."""
    key = title_of(TiledDiffusionSettings)
    if (whole := from_page(text, key)) is not None:
        params[key] = whole


class TiledDiffusionPanel(Panel):
    """Controls of features that are not there yet exist, hidden: the order of the argument list is public."""

    settings = TiledDiffusionSettings

    def __init__(self, tab: str, max_regions: int, drop_caches: Callable[[], None]) -> None:
        self._drop_caches = drop_caches
        super().__init__(tab, max_regions)

    def _fill(self) -> list[dict[str, Any]]:
        self._sampling_controls()
        if self.tab == "t2i":
            self._size_controls()
            self._composition_controls()
        else:
            self._input_controls()
            self._inversion_controls()
        if host.controls.installed():
            self._add("control_tensor_cpu")
        self._word_controls()
        with gr.Accordion("Region Prompt Control", open=False, elem_id=f"MD-{self.tab}-regions"):
            with gr.Row(variant="compact"):
                self._add("enable_bbox_control")
                self._add("draw_background")
            self._regions = RegionControls(self.tab, self.max_regions, self._made["tile_prompts"])
        for name in self._specs:
            if name not in self._made:
                self._add(name, visible=False)
        return self._regions.made

    def reuse_seeds(self, made: Any) -> None:
        """What the host calls once it has made the text box with what it tells of the tab's last pictures."""
        self._regions.reuse_seeds(made.component)

    def _free_gpu(self) -> None:
        self._drop_caches()
        gr.Info(host.facts.free_gpu())

    def _connect(self) -> None:
        restore_layout(self.tab, self.max_regions, self._controls)

    def _sampling_controls(self) -> None:
        self._add("method")
        with gr.Row(variant="compact"):
            self._add("tile_width")
            self._add("tile_height")
        with gr.Row(variant="compact"):
            self._add("overlap")
            self._add("tile_batch_size")
        with gr.Row(variant="compact"):
            self._add("shift_tiles")
            self._add("hold_colours")
            self._add("seamless")
        advice = SizeAdvice(self.tab)
        with gr.Row():
            advice.button(self._made)
            free = gr.Button("Free GPU", elem_id=f"MD-{self.tab}-free-gpu", size="sm", min_width=100)
            free.click(fn=self._free_gpu, inputs=[], outputs=[])

    def _word_controls(self) -> None:
        """While this is open, the page's script shows the words on the reference image, a field for each tile."""
        spec = self._specs["tile_prompts"]
        label = control_of(spec).label
        with gr.Accordion(label, open=False, elem_id=f"MD-{self.tab}-words"):
            words = self._add("tile_prompts")
            with gr.Row(variant="compact"):
                for name in (*host.pictures.interrogators(), ""):
                    button = gr.Button(
                        name or "None",
                        size="sm",
                        min_width=100,
                        elem_id=f"MD-{self.tab}-words-{name or 'none'}",
                    )
                    button.click(
                        fn=lambda name=name: name,
                        inputs=[],
                        outputs=[words],
                        show_progress=False,
                        queue=False,
                    )

    def _composition_controls(self) -> None:
        """How txt2img comes to one picture."""
        composition = self._add("composition_first")
        with gr.Row(variant="compact", visible=False) as more:
            self._add("composition_strength")
            self._add("upscaler_name", choices=host.pictures.upscalers())
        composition.change(
            fn=lambda on: gr.update(visible=on), inputs=[composition], outputs=[more], show_progress=False
        )

    def _size_controls(self) -> None:
        overwrite = self._add("overwrite_size")
        with gr.Row(variant="compact", visible=False) as sizes:
            self._add("image_width")
            self._add("image_height")
        overwrite.change(
            fn=lambda on: gr.update(visible=on), inputs=[overwrite], outputs=[sizes], show_progress=False
        )

    def _input_controls(self) -> None:
        """What img2img starts from: how it is enlarged, and which size is drawn."""
        self._add("keep_input_size")
        with gr.Row(variant="compact"):
            self._add("upscaler_name", choices=host.pictures.upscalers())
            self._add("scale_factor")

    def _inversion_controls(self) -> None:
        with gr.Accordion("Noise Inversion", open=False, elem_id=f"MD-{self.tab}-noise-inversion"):
            with gr.Row(variant="compact"):
                self._add("noise_inverse")
                self._add("noise_inverse_steps")
            for names in (("retouch",), ("renoise_strength", "renoise_kernel")):
                with gr.Row(variant="compact"):
                    for name in names:
                        self._add(f"noise_inverse_{name}")


class TiledVAEPanel(Panel):
    settings = TiledVAESettings

    def _fill(self) -> list[dict[str, Any]]:
        sizes = recommended_tile_sizes(host.facts.device_memory())
        with gr.Row(variant="compact"):
            controls = [self._add(name) for name in sizes]
            reset = ToolButton("↩️", elem_id=f"MDV-{self.tab}-reset", tooltip="Recommended sizes")
            reset.click(fn=lambda: list(sizes.values()), inputs=[], outputs=controls, show_progress=False)
        with gr.Row(variant="compact"):
            self._add("vae_to_gpu")
            self._add("fast_decoder")
            fast_encoder = self._add("fast_encoder")
            color_fix = self._add("color_fix", visible=False)
        fast_encoder.change(
            fn=lambda on: gr.update(visible=on),
            inputs=[fast_encoder],
            outputs=[color_fix],
            show_progress=False,
        )
        return []
