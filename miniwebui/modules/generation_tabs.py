"""What the txt2img and img2img tabs have in common when Generate is pressed: from their inputs to what they show."""

from __future__ import annotations

from typing import Any

from modules import processing, shared
from modules.infotext_utils import create_override_settings_dict
from modules.shared import opts
from modules.ui_common import outputs_of

TYPED = (
    "prompt", "negative_prompt", "n_iter", "batch_size", "cfg_scale", "width", "height", "denoising_strength",
)  # fmt: skip
"""Arguments of both tabs that are those of a processing class by name."""


def fields(tab: str, given: dict[str, Any]) -> dict[str, Any]:
    """Arguments of a processing class: of all that is `given` what both tabs have, and what the settings say."""
    return {
        **{name: given[name] for name in TYPED},
        "styles": given["prompt_styles"],
        "sd_model": shared.sd_model,
        "outpath_samples": opts.outdir_samples or getattr(opts, f"outdir_{tab}_samples"),
        "outpath_grids": opts.outdir_grids or getattr(opts, f"outdir_{tab}_grids"),
        "override_settings": create_override_settings_dict(given["override_settings_texts"]),
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
