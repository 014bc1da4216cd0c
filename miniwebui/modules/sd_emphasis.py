"""What emphasis in a prompt does to the output of the text encoder; the setting `emphasis` chooses."""

import torch


class Emphasis:
    """Leaves the text encoder's output as it is."""

    name: str = "Base"

    tokens: list[list[int]]
    """token ids of the chunk, [batch][tokens]"""

    multipliers: torch.Tensor
    """weights, [batch, tokens]"""

    z: torch.Tensor
    """the text encoder's output, [batch, tokens, channels]; `after_transformers` changes it"""

    def after_transformers(self):
        """Apply the multipliers to `z`."""


class EmphasisNone(Emphasis):
    """Brackets and weights are text like any other."""

    name = "None"


class EmphasisIgnore(Emphasis):
    """Brackets are taken away, and weights have no effect."""

    name = "Ignore"


class EmphasisOriginalNoNorm(Emphasis):
    """Weights are factors; the mean may change."""

    name = "No norm"

    def after_transformers(self):
        self.z = self.z * self.multipliers[..., None]


class EmphasisOriginal(EmphasisOriginalNoNorm):
    """Weights are factors; the mean stays what it was."""

    name = "Original"

    def after_transformers(self):
        mean_before = self.z.mean()
        super().after_transformers()
        self.z = self.z * (mean_before / self.z.mean())


options = [EmphasisNone, EmphasisIgnore, EmphasisOriginal, EmphasisOriginalNoNorm]


def get_current_option(emphasis_option_name: str) -> type[Emphasis]:
    return next((option for option in options if option.name == emphasis_option_name), EmphasisOriginal)
