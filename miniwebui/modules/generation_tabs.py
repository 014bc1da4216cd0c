"""What the txt2img and img2img tabs have in common when Generate is pressed: from their inputs to what they show."""

from __future__ import annotations

from typing import Any

from modules import processing, shared
from modules.infotext_utils import create_override_settings_dict
from modules.shared import opts
from modules.ui_common import outputs_of


def fields(tab: str, override_settings_texts: list[str], **typed: Any) -> dict[str, Any]:
    """Arguments of a processing class: what is typed, and what the settings say for the tab."""
    return {
        **typed,
        "sd_model": shared.sd_model,
        "outpath_samples": opts.outdir_samples or getattr(opts, f"outdir_{tab}_samples"),
        "outpath_grids": opts.outdir_grids or getattr(opts, f"outdir_{tab}_grids"),
        "override_settings": create_override_settings_dict(override_settings_texts),
    }


def give_scripts(p: Any, runner: Any, args: tuple, request: Any) -> None:
    """The tab's scripts with their arguments, and who asks."""
    p.scripts = runner
    p.script_args = args
    p.user = getattr(request, "username", None)


def draw(p: Any) -> processing.Processed:
    """What the selected script draws, else one generation."""
    return p.scripts.run(p, *p.script_args) or processing.process_images(p)


def shown(processed: processing.Processed) -> tuple[Any, str, str, str]:
    """(pictures, their settings as JSON, the first one's text and the comments as HTML), with which the job ends."""
    shared.total_tqdm.clear()
    return outputs_of(processed)
