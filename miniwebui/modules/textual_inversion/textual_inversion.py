"""Textual inversion embeddings: found by name in prompts, their vectors put in place of the name's tokens."""

import os

import torch
from safetensors.torch import load_file

from modules import devices, errors, hashes


class Embedding:
    """The learned vectors [vectors, channels] that a name stands for."""

    def __init__(self, vec: torch.Tensor, name: str, step: int | None = None, filename: str | None = None):
        self.vec = vec
        self.name = name
        self.step = step
        self.filename = filename
        self.vectors, self.shape = vec.shape[0], vec.shape[-1]
        self.shorthash = hashes.sha256(filename, f"textual_inversion/{name}")[:10] if filename else None


class DirWithTextualInversionEmbeddings:
    """A folder of embeddings, and when it was last read."""

    def __init__(self, path: str):
        self.path = path
        self.mtime: float | None = None

    def has_changed(self) -> bool:
        return os.path.isdir(self.path) and os.path.getmtime(self.path) != self.mtime


def read_vectors(path: str) -> torch.Tensor:
    """The vectors of an embedding file. Raises ValueError with one sentence if it holds none."""
    if path.lower().endswith(".safetensors"):
        data = load_file(path)
    else:
        data = torch.load(path, map_location="cpu", weights_only=True)
        data = data.get("string_to_param", data)
    tensors = [value for value in data.values() if isinstance(value, torch.Tensor)]
    if len(tensors) != 1:
        raise ValueError(
            f"The embedding file {os.path.basename(path)} must hold one tensor, not {len(tensors)}."
        )
    return torch.atleast_2d(tensors[0].detach())


class EmbeddingDatabase:
    """The embeddings that fit the loaded checkpoint, and where in tokenized text they are mentioned."""

    def __init__(self):
        self.ids_lookup: dict[int, list[tuple[list[int], Embedding]]] = {}
        self.word_embeddings: dict[str, Embedding] = {}
        self.skipped_embeddings: dict[str, Embedding] = {}
        self.expected_shape = -1
        self.embedding_dirs: dict[str, DirWithTextualInversionEmbeddings] = {}

    def add_embedding_dir(self, path: str) -> None:
        self.embedding_dirs[path] = DirWithTextualInversionEmbeddings(path)

    def register_embedding(self, embedding: Embedding, model) -> Embedding:
        """Make an embedding known under its name, tokenized by the model's tokenizer."""
        ids = model.cond_stage_model.tokenize([embedding.name])[0]
        if not ids:
            return embedding
        entries = [entry for entry in self.ids_lookup.get(ids[0], []) if entry[1].name != embedding.name]
        # the longest name first, so that it wins over a name it begins with
        self.ids_lookup[ids[0]] = sorted([*entries, (ids, embedding)], key=lambda x: len(x[0]), reverse=True)
        self.word_embeddings[embedding.name] = embedding
        return embedding

    def load_from_file(self, path: str, filename: str) -> None:
        from modules import shared

        vectors = read_vectors(path).to(devices.device)
        embedding = Embedding(vectors, os.path.splitext(filename)[0], filename=path)
        if embedding.shape == self.expected_shape:
            self.register_embedding(embedding, shared.sd_model)
        else:
            self.skipped_embeddings[embedding.name] = embedding

    def load_textual_inversion_embeddings(self, force_reload: bool = False) -> None:
        """Read the folders again if something in them has changed."""
        from modules import shared

        model = shared.sd_model
        changed = [folder for folder in self.embedding_dirs.values() if folder.has_changed()]
        if not (force_reload or changed) or model is None:
            return
        self.ids_lookup.clear()
        self.word_embeddings.clear()
        self.skipped_embeddings.clear()
        self.expected_shape = model.cond_stage_model.wrapped.transformer.config.hidden_size
        for folder in self.embedding_dirs.values():
            if os.path.isdir(folder.path):
                self._load_folder(folder)

    def _load_folder(self, folder: DirWithTextualInversionEmbeddings) -> None:
        folder.mtime = os.path.getmtime(folder.path)
        for filename in sorted(os.listdir(folder.path)):
            if os.path.splitext(filename)[1].lower() not in (".pt", ".bin", ".safetensors"):
                continue
            try:
                self.load_from_file(os.path.join(folder.path, filename), filename)
            except Exception as error:
                errors.display(error, f"loading embedding {filename}")

    def find_embedding_at_position(
        self, tokens: list[int], offset: int
    ) -> tuple[Embedding | None, int | None]:
        """The embedding whose name starts at this token, and the name's length in tokens."""
        for ids, embedding in self.ids_lookup.get(tokens[offset], []):
            if tokens[offset : offset + len(ids)] == ids:
                return embedding, len(ids)
        return None, None
