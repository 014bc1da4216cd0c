"""What is asked of one ControlNet: the fields of sd-webui-controlnet's API, and their infotext."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from controlnet_hint import PREPROCESSORS, picture_of

ALIASES = {"lowvram": "low_vram", "guidance": "guidance_end", "input_image": "image", "mask_image": "mask"}
"""Older names of fields, and Forge's."""
NOTED = (
    "module", "model", "weight", "resize_mode", "processor_res", "threshold_a", "threshold_b",
    "guidance_start", "guidance_end", "pixel_perfect", "control_mode",
)  # fmt: skip
"""Fields that the infotext has."""
RESIZE, INNER_FIT, OUTER_FIT = RESIZE_MODES = "Just Resize", "Crop and Resize", "Resize and Fill"
BALANCED, PROMPT, CONTROL = CONTROL_MODES = (
    "Balanced", "My prompt is more important", "ControlNet is more important",
)  # fmt: skip
BOTH, LOW_RES_ONLY, HIGH_RES_ONLY = HR_OPTIONS = "Both", "Low res only", "High res only"
CHOICES = {
    "module": tuple(PREPROCESSORS), "resize_mode": RESIZE_MODES, "control_mode": CONTROL_MODES, "hr_option": HR_OPTIONS,
}  # fmt: skip
LIMITS = {"weight": (0.0, 2.0), "guidance_start": (0.0, 1.0), "guidance_end": (0.0, 1.0)}


@dataclass
class ControlNetUnit:
    """One unit. A picture is an array [H, W] or [H, W, channels] (uint8), a PIL image, a path, or in base64.

    Attributes:
        processor_res: pixels of the shorter side that the preprocessor sees; less than 64: the canvas' own.
        threshold_a, threshold_b: the preprocessor's; less than 0: its own.
        guidance_start, guidance_end: the part of the steps that it acts in, 0 ... 1.
        effective_region_mask: white where it acts; None: everywhere.
    """

    enabled: bool = False
    module: str = "none"
    model: str = "None"
    weight: float = 1.0
    image: Any = None
    resize_mode: str = INNER_FIT
    low_vram: bool = False
    processor_res: int = -1
    threshold_a: float = -1
    threshold_b: float = -1
    guidance_start: float = 0.0
    guidance_end: float = 1.0
    pixel_perfect: bool = False
    control_mode: str = BALANCED
    hr_option: str = BOTH
    save_detected_map: bool = True
    advanced_weighting: list[float] | None = None
    effective_region_mask: Any = None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ControlNetUnit:
        """A unit of these fields; unknown ones are for other versions. Raises ValueError for what is not allowed."""
        known = {field.name for field in fields(cls)}
        given = {ALIASES.get(name, name): value for name, value in values.items()}
        unit = cls(**{name: value for name, value in given.items() if name in known})
        for name, allowed in CHOICES.items():
            if (value := getattr(unit, name)) not in allowed:
                raise ValueError(f"ControlNet's {name} is {value!r}; allowed is {', '.join(allowed)}.")
        for name, (low, high) in LIMITS.items():
            if not low <= (value := getattr(unit, name)) <= high:
                raise ValueError(f"ControlNet's {name} is {value}; allowed is {low:g} to {high:g}.")
        if (start := unit.guidance_start) > (end := unit.guidance_end):
            raise ValueError(
                f"ControlNet's guidance_start is {start}; allowed is up to its guidance_end, {end}."
            )
        return unit

    def picture(self) -> np.ndarray | None:
        """Its own picture [H, W, 3], if it has one."""
        image = self.image
        while isinstance(image, (list, tuple, dict)):  # of picture and mask
            image = image["image"] if isinstance(image, dict) else image[0]
        return None if image is None else picture_of(image)

    def note(self) -> str:
        """For the infotext."""
        return ", ".join(f"{name.replace('_', ' ').title()}: {getattr(self, name)}" for name in NOTED)


def read_note(text: str) -> dict[str, str]:
    """The fields of `ControlNetUnit.note`, as text."""
    entries = (entry.split(": ", 1) for entry in text.split(", ") if ": " in entry)
    return {name.lower().replace(" ", "_"): value for name, value in entries}
