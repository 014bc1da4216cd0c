"""What emphasis in a prompt does to the output of the text encoder; the setting `emphasis` chooses."""

import torch


class Emphasis:
    """Leaves the text encoder's output as it is."""

    name: str = "Base"
    description: str = ""

    tokens: list[list[int]]
    """token ids of the chunk, [batch][tokens]"""

    multipliers: torch.Tensor
    """weights, [batch, tokens]"""

    z: torch.Tensor
    """the text encoder's output, [batch, tokens, channels]; `after_transformers` changes it"""

    def after_transformers(self):
        """Apply the multipliers to `z`."""


class EmphasisNone(Emphasis):
    name = "None"
    description = "disable the mechanism entirely and treat (:.1.1) as literal characters"


class EmphasisIgnore(Emphasis):
    name = "Ignore"
    description = "treat all empasised words as if they have no emphasis"


class EmphasisOriginalNoNorm(Emphasis):
    name = "No norm"
    description = "same as original, but without normalization (seems to work better for SDXL)"

    def after_transformers(self):
        self.z = self.z * self.multipliers[..., None].expand(self.z.shape)


class EmphasisOriginal(EmphasisOriginalNoNorm):
    name = "Original"
    description = "the original emphasis implementation"

    def after_transformers(self):
        mean_before = self.z.mean()
        super().after_transformers()
        self.z = self.z * (mean_before / self.z.mean())


options = [EmphasisNone, EmphasisIgnore, EmphasisOriginal, EmphasisOriginalNoNorm]


def get_current_option(emphasis_option_name: str) -> type[Emphasis]:
    return next((option for option in options if option.name == emphasis_option_name), EmphasisOriginal)


def get_options_descriptions() -> str:
    return ", ".join(f"{option.name}: {option.description}" for option in options)
