"""Tags of a picture, without a sentence. The WebUI asks DeepDanbooru; here the demo world's own judge looks."""

from __future__ import annotations

from PIL import Image

from modules import interrogate


class DeepDanbooru:
    """`deepbooru.model`."""

    def tag(self, pil_image: Image.Image) -> str:
        """The things that are seen, with their colours."""
        return ", ".join(interrogate.seen(pil_image)[2:])


model = DeepDanbooru()
