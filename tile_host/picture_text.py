"""The host's `extra_generation_params` hold what is written into pictures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class PictureText(str):
    """A text that each picture has its own of: the host calls it for one. As a text it is the first picture's, which is
    what the API's `info` says, as it does of prompts and seeds; a plain function would be null there."""

    of_picture: Callable[..., str]

    def __call__(self, **scope: Any) -> str:
        return self.of_picture(**scope)


def picture_text(first: str, of_picture: Callable[..., str]) -> PictureText:
    """`of_picture` takes what the host knows of a picture, by name: `p`, `index` and more."""
    text = PictureText(first)
    text.of_picture = of_picture
    return text
