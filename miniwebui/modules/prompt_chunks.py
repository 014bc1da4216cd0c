"""Prompts longer than the text encoder reads: token ids cut into chunks of 75, each with start and end."""

from collections import namedtuple
from collections.abc import Callable, Sequence

PromptChunkFix = namedtuple("PromptChunkFix", ["offset", "embedding"])
"""A textual inversion embedding whose vectors replace the tokens of a chunk from `offset` on."""


class PromptChunk:
    """Token ids, their weights and embeddings of one pass of the text encoder: 77 tokens."""

    def __init__(self):
        self.tokens: list[int] = []
        self.multipliers: list[float] = []
        self.fixes: list[PromptChunkFix] = []


class ChunkBuilder:
    """Collects weighted tokens into chunks.

    Near the end of a chunk the text behind the last comma moves on to the next one, if it is no longer than
    `comma_backtrack` tokens.
    """

    def __init__(
        self, length: int, id_start: int, id_end: int, comma_token: int | None, comma_backtrack: int
    ):
        self.length = length
        self.id_start, self.id_end = id_start, id_end
        self.comma_token = comma_token
        self.comma_backtrack = comma_backtrack
        self.chunks: list[PromptChunk] = []
        self.chunk = PromptChunk()
        self.last_comma = -1
        self.token_count = 0

    def close_chunk(self) -> None:
        """Pad the current chunk and start the next one."""
        self.token_count += self.length
        self._finish()

    def _finish(self) -> None:
        missing = self.length - len(self.chunk.tokens)
        self.chunk.tokens = [self.id_start, *self.chunk.tokens, *[self.id_end] * (missing + 1)]
        self.chunk.multipliers = [1.0, *self.chunk.multipliers, *[1.0] * (missing + 1)]
        self.chunks.append(self.chunk)
        self.chunk = PromptChunk()
        self.last_comma = -1

    def _carry_over_after_comma(self) -> None:
        """Close the chunk at its last comma; what follows the comma opens the next one."""
        cut = self.last_comma + 1
        tokens, multipliers = self.chunk.tokens[cut:], self.chunk.multipliers[cut:]
        del self.chunk.tokens[cut:], self.chunk.multipliers[cut:]
        self.close_chunk()
        self.chunk.tokens, self.chunk.multipliers = tokens, multipliers

    def before_token(self, token: int) -> None:
        """Make room for a token (or an embedding that starts at it)."""
        full = len(self.chunk.tokens) == self.length
        since_comma = len(self.chunk.tokens) - self.last_comma
        if token == self.comma_token:
            self.last_comma = len(self.chunk.tokens)
        elif full and self.last_comma != -1 and since_comma <= self.comma_backtrack:
            self._carry_over_after_comma()
        if len(self.chunk.tokens) == self.length:
            self.close_chunk()

    def add_token(self, token: int, weight: float) -> None:
        self.chunk.tokens.append(token)
        self.chunk.multipliers.append(weight)

    def add_embedding(self, embedding, weight: float) -> None:
        """Room for the vectors of an embedding, never split over two chunks."""
        count = int(embedding.vectors)
        if len(self.chunk.tokens) + count > self.length:
            self.close_chunk()
        self.chunk.fixes.append(PromptChunkFix(len(self.chunk.tokens), embedding))
        self.chunk.tokens += [0] * count
        self.chunk.multipliers += [weight] * count

    def finish(self) -> tuple[list[PromptChunk], int]:
        """The chunks (at least one) and the number of tokens."""
        if self.chunk.tokens or not self.chunks:
            self.token_count += len(self.chunk.tokens)
            self._finish()
        return self.chunks, self.token_count


def fill(
    builder: ChunkBuilder,
    weighted_tokens: Sequence[tuple[list[int], float]],
    find_embedding: Callable[[list[int], int], tuple],
) -> None:
    """Put one run of tokens after the other into a builder; weight −1 is a BREAK.

    `find_embedding(tokens, position)` returns (embedding or None, its length in tokens).
    """
    for tokens, weight in weighted_tokens:
        if weight == -1:
            builder.close_chunk()
            continue
        position = 0
        while position < len(tokens):
            builder.before_token(tokens[position])
            embedding, length = find_embedding(tokens, position)
            if embedding is None:
                builder.add_token(tokens[position], weight)
                position += 1
            else:
                builder.add_embedding(embedding, weight)
                position += length
