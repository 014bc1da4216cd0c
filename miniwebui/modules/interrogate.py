"""What a picture shows, in a sentence. The WebUI asks CLIP and BLIP; here the demo world's own judge looks."""

from __future__ import annotations

import functools

import numpy as np
from PIL import Image

from modules import errors

ERROR = "<error>"
SIDE = 256
"""Of the pictures that the judge was trained on."""


@functools.cache
def _judge():
    from painted_world.judge import Judge

    return Judge()


def seen(picture: Image.Image) -> list[str]:
    """Ground, hour, and each thing with its colour."""
    small = picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    (sight,) = _judge().look(np.asarray(small)[None])
    things = [
        f"{sight.colours[kind]} {kind}" if kind in sight.colours else kind for kind in sorted(sight.things)
    ]
    return [sight.ground, sight.time, *things]


class InterrogateModels:
    """`shared.interrogator`."""

    def interrogate(self, pil_image: Image.Image) -> str:
        """The caption; after a failure it ends in `<error>`, and the log has why."""
        from modules import shared

        shared.state.begin(job="interrogate")
        try:
            return ", ".join(seen(pil_image))
        except Exception:
            errors.report("Error interrogating", exc_info=True)
            return ERROR
        finally:
            shared.state.end()
