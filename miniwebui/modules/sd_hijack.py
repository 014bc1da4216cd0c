"""What the WebUI adds to the model: textual inversion, tileable pictures, comments on the generation."""

import torch

from modules import devices
from modules.shared_cmd_options import cmd_opts
from modules.textual_inversion.textual_inversion import EmbeddingDatabase


def text_model_of(transformer: torch.nn.Module) -> torch.nn.Module:
    """The CLIPTextTransformer of a CLIPTextModel; newer transformers make them one object."""
    return getattr(transformer, "text_model", transformer)


class EmbeddingsWithFixes(torch.nn.Module):
    """The token embedding of the text encoder, with the vectors of textual inversions put in."""

    def __init__(self, wrapped, embeddings, textual_inversion_key="clip_l"):
        super().__init__()
        self.wrapped = wrapped
        self.embeddings = embeddings
        self.textual_inversion_key = textual_inversion_key

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Token ids [batch, tokens] -> [batch, tokens, channels]; uses up the hijack's `fixes`."""
        batch_fixes, self.embeddings.fixes = self.embeddings.fixes, None
        embedded = self.wrapped(input_ids)
        if not any(batch_fixes or []):
            return embedded

        embedded = embedded.clone()
        for row, fixes in zip(embedded, batch_fixes, strict=True):
            for offset, embedding in fixes:
                start = offset + 1  # the start token comes first
                count = min(row.shape[0] - start, embedding.vec.shape[0])
                row[start : start + count] = devices.cond_cast_unet(embedding.vec[:count]).to(row)
        return embedded


class StableDiffusionModelHijack:
    """Holds what a generation and the model's text encoder tell each other."""

    fixes = None
    layers: list[torch.nn.Module] | None = None
    circular_enabled = False
    clip = None

    def __init__(self):
        self.extra_generation_params: dict = {}
        self.comments: list[str] = []
        self.embedding_db = EmbeddingDatabase()
        self.embedding_db.add_embedding_dir(cmd_opts.embeddings_dir)

    def hijack(self, m) -> None:
        """Wrap a model's text encoder."""
        from modules import sd_hijack_clip

        embeddings = text_model_of(m.cond_stage_model.transformer).embeddings
        embeddings.token_embedding = EmbeddingsWithFixes(embeddings.token_embedding, self)
        m.cond_stage_model = sd_hijack_clip.FrozenCLIPEmbedderWithCustomWords(m.cond_stage_model, self)
        self.clip = m.cond_stage_model
        self.layers = list(m.modules())

    def undo_hijack(self, m) -> None:
        m.cond_stage_model = m.cond_stage_model.wrapped
        embeddings = text_model_of(m.cond_stage_model.transformer).embeddings
        embeddings.token_embedding = embeddings.token_embedding.wrapped
        self.apply_circular(False)
        self.layers = self.clip = None

    def apply_circular(self, enable: bool) -> None:
        """Let convolutions see the opposite border, so that the picture can be tiled."""
        if self.circular_enabled == enable:
            return
        self.circular_enabled = enable
        for layer in self.layers or []:
            if type(layer) is torch.nn.Conv2d:
                layer.padding_mode = "circular" if enable else "zeros"

    def clear_comments(self) -> None:
        self.comments = []
        self.extra_generation_params = {}

    def redo_hijack(self, m) -> None:
        self.undo_hijack(m)
        self.hijack(m)


model_hijack = StableDiffusionModelHijack()
