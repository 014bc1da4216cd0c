"""Tiled Diffusion: the always-on script. Wiring only; see `tile_host.generation`."""

from __future__ import annotations

import logging
from typing import Any

from modules import script_callbacks, scripts
from tile_host.hosts import detect

if reason := detect.problem():
    logging.getLogger("Tiled Diffusion").error("%s", reason)
else:
    from tile_host import arguments, options, ui, xyz
    from tile_host.door import host
    from tile_host.generation import INFOTEXT_KEY, TiledGeneration
    from tile_host.life import Lives
    from tile_host.noise_inversion import InversionCache
    from tile_utils.settings import TiledDiffusionSettings

    def add_to_host() -> None:
        """Our options and plot axes. Before `ui` of any script in every mode; before_ui is later with --nowebui."""
        options.add()
        xyz.add_axes(options.max_regions())

    options.follow_log_detail()
    script_callbacks.on_ui_settings(add_to_host)
    script_callbacks.on_infotext_pasted(ui.complete_original)

    class TiledDiffusionScript(scripts.Script):
        """Draws every pass whose canvas needs more than one tile, tile by tile."""

        sorting_priority = 1.0

        def __init__(self) -> None:
            self._lives: Lives[TiledGeneration] = Lives()
            self._inversions = InversionCache()

        def title(self) -> str:
            return "Tiled Diffusion"

        def show(self, is_img2img: bool) -> Any:
            return scripts.AlwaysVisible

        def ui(self, is_img2img: bool) -> list[Any]:
            panel = ui.TiledDiffusionPanel(self._tab, options.max_regions(), self._inversions.clear)
            self.on_after_component(panel.reuse_seeds, elem_id=f"generation_info_{self.tabname}")
            self.infotext_fields = panel.infotext_fields()
            self.paste_field_names = [INFOTEXT_KEY]
            return panel.components

        def args_from_settings(self, settings: dict[str, Any]) -> list[Any]:
            """The argument list of settings given by name; a SettingsError says what does not fit."""
            return arguments.by_position(TiledDiffusionSettings, settings, self._tab)

        @property
        def _tab(self) -> str:
            return "i2i" if self.is_img2img else "t2i"

        def _make(self, p: Any, args: tuple[Any, ...]) -> TiledGeneration | None:
            settings = arguments.settings_of(TiledDiffusionSettings, p, args, self._tab)
            if settings is None:
                return None
            return TiledGeneration(settings, self.is_img2img, self._inversions)

        def process(self, p: Any, *args: Any) -> None:
            p.extra_generation_params.pop(INFOTEXT_KEY, None)  # of an earlier run of the same object
            self._lives.begin(p, lambda: self._make(p, args))

        def process_before_every_sampling(self, p: Any, *args: Any, **kwargs: Any) -> None:
            x, noise, conds = kwargs["x"], kwargs["noise"], kwargs["c"]
            self._lives.begin_pass(p, lambda generation: generation.begin_pass(p, x, noise, conds))

        def post_sample(self, p: Any, ps: Any, *args: Any) -> None:
            generation = self._lives.of(p)
            if generation is not None:
                generation.end_batch(p)

        def postprocess_batch(self, p: Any, *args: Any, images: Any, **kwargs: Any) -> None:
            generation = self._lives.of(p)
            if generation is not None:
                generation.end_pictures(images)

        def postprocess(self, p: Any, processed: Any, *args: Any) -> None:
            self._lives.end(p)

    host.controls.let_go_first(__file__, TiledDiffusionScript, "process")
