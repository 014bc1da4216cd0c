"""Tiled VAE: the always-on script. Wiring only; see `tile_host.vae`."""

from __future__ import annotations

import logging
from typing import Any

from modules import scripts
from tile_host.hosts import detect

if reason := detect.problem():
    logging.getLogger("Tiled VAE").error("%s", reason)
else:
    from tile_host import arguments, ui
    from tile_host.life import Lives
    from tile_host.vae import INFOTEXT_KEY, TiledVAEGeneration
    from tile_utils.settings import TiledVAESettings

    class TiledVAEScript(scripts.Script):
        """Encodes and decodes in little memory, with the same result."""

        sorting_priority = 2.0

        def __init__(self) -> None:
            self._lives: Lives[TiledVAEGeneration] = Lives()

        def title(self) -> str:
            return "Tiled VAE"

        def show(self, is_img2img: bool) -> Any:
            return scripts.AlwaysVisible

        def ui(self, is_img2img: bool) -> list[Any]:
            panel = ui.TiledVAEPanel(self._tab)
            self.infotext_fields = panel.infotext_fields()
            self.paste_field_names = [INFOTEXT_KEY]
            return panel.components

        def args_from_settings(self, settings: dict[str, Any]) -> list[Any]:
            """The argument list of settings given by name; a SettingsError says what does not fit."""
            return arguments.by_position(TiledVAESettings, settings, self._tab)

        @property
        def _tab(self) -> str:
            return "i2i" if self.is_img2img else "t2i"

        def _make(self, p: Any, args: tuple[Any, ...]) -> TiledVAEGeneration | None:
            settings = arguments.settings_of(TiledVAESettings, p, args, self._tab)
            return None if settings is None else TiledVAEGeneration(settings)

        def process(self, p: Any, *args: Any) -> None:
            p.extra_generation_params.pop(INFOTEXT_KEY, None)  # of an earlier run of the same object
            self._lives.begin(p, lambda: self._make(p, args))

        def postprocess(self, p: Any, processed: Any, *args: Any) -> None:
            self._lives.end(p)
