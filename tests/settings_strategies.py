"""Random settings for hypothesis."""

from hypothesis import strategies as st

from tile_utils import settings as s
from tile_utils.settings import RegionSettings, TiledDiffusionSettings, TiledVAESettings

masks = st.sampled_from(["", "2x2:ABBC", "16x9:DBPBsBBPBOBPBVBK"])
"""That show something in every outer row and column, but not all of their cells."""
tile_prompts = st.sampled_from(["", "CLIP", '[{"x": 0.25, "y": 1.0, "prompt": "red \\"balloon\\", 气球"}]'])


def values_of(cls):
    """{name: strategy} of the values that each control of `cls` can have."""

    def value(spec):
        control, kind = s.control_of(spec), type(spec.default)
        if kind is bool:
            return st.booleans()
        if kind is str:
            texts = {"mask": masks, "tile_prompts": tile_prompts}.get(spec.name, st.text())
            return st.sampled_from(control.choices) if control.choices else texts
        low, high = control.minimum, control.maximum
        return st.integers(low, high) if kind is int else st.floats(low, high)

    return {spec.name: value(spec) for spec in s.control_fields(cls)}


regions = st.lists(st.builds(RegionSettings, **values_of(RegionSettings)), max_size=8).map(tuple)
diffusion = st.builds(TiledDiffusionSettings, **values_of(TiledDiffusionSettings), regions=regions)
vae = st.builds(TiledVAESettings, **values_of(TiledVAESettings))
