"""The text encoder as the WebUI uses it: any prompt length, weights, textual inversion, CLIP skip."""

import math

import torch

from modules import devices, prompt_parser, sd_emphasis, sd_hijack
from modules.prompt_chunks import ChunkBuilder, PromptChunk, PromptChunkFix, fill  # noqa: F401
from modules.shared import opts


class TextConditionalModel(torch.nn.Module):
    """Texts -> conditions [batch, 77·n, channels]. Subclasses tokenize and call the network."""

    def __init__(self):
        super().__init__()
        self.hijack = sd_hijack.model_hijack
        self.chunk_length = 75
        self.comma_token: int | None = None
        self.id_start: int = 0
        self.id_end: int = 0
        self.id_pad: int = 0

    def empty_chunk(self) -> PromptChunk:
        chunk = PromptChunk()
        chunk.tokens = [self.id_start] + [self.id_end] * (self.chunk_length + 1)
        chunk.multipliers = [1.0] * (self.chunk_length + 2)
        return chunk

    def get_target_prompt_token_count(self, token_count: int) -> int:
        """How many tokens fit into the chunks that this many tokens need."""
        return math.ceil(max(token_count, 1) / self.chunk_length) * self.chunk_length

    def tokenize(self, texts: list[str]) -> list[list[int]]:
        """Token ids of each text, without start and end."""
        raise NotImplementedError

    def encode_with_transformers(self, tokens: torch.Tensor) -> torch.Tensor:
        """Token ids [batch, 77] -> [batch, 77, channels]; uses up `self.hijack.fixes`."""
        raise NotImplementedError

    def tokenize_line(self, line: str) -> tuple[list[PromptChunk], int]:
        """One prompt -> its chunks and its number of tokens."""
        off = opts.emphasis == "None"
        parsed = [[line, 1.0]] if off else prompt_parser.parse_prompt_attention(line)
        tokenized = self.tokenize([text for text, _ in parsed])
        weighted = [(tokens, weight) for tokens, (_, weight) in zip(tokenized, parsed, strict=True)]

        builder = ChunkBuilder(
            self.chunk_length, self.id_start, self.id_end, self.comma_token, opts.comma_padding_backtrack
        )
        fill(builder, weighted, self.hijack.embedding_db.find_embedding_at_position)
        return builder.finish()

    def process_texts(self, texts: list[str]) -> tuple[list[list[PromptChunk]], int]:
        """The chunks of every text, and the number of tokens of the longest."""
        known = {line: self.tokenize_line(line) for line in dict.fromkeys(texts)}
        return [known[line][0] for line in texts], max(count for _, count in known.values())

    def forward(self, texts: list[str]) -> torch.Tensor:
        """[batch, 77·chunks, channels]; shorter texts get empty chunks."""
        batch_chunks, _ = self.process_texts(texts)
        encoded = []
        for index in range(max(map(len, batch_chunks))):
            chunks = [item[index] if index < len(item) else self.empty_chunk() for item in batch_chunks]
            self.hijack.fixes = [chunk.fixes for chunk in chunks]
            encoded.append(
                self.process_tokens(
                    [chunk.tokens for chunk in chunks], [chunk.multipliers for chunk in chunks]
                )
            )
        if opts.emphasis != "Original" and any("(" in text or "[" in text for text in texts):
            self.hijack.extra_generation_params["Emphasis"] = opts.emphasis
        return torch.hstack(encoded)

    def process_tokens(self, remade_batch_tokens, batch_multipliers) -> torch.Tensor:
        """One chunk of every text: token ids [batch][77] and weights -> [batch, 77, channels]."""
        tokens = torch.asarray(remade_batch_tokens).to(devices.device)
        if self.id_end != self.id_pad:
            for row, ids in zip(tokens, remade_batch_tokens, strict=True):
                row[ids.index(self.id_end) + 1 :] = self.id_pad

        emphasis = sd_emphasis.get_current_option(opts.emphasis)()
        emphasis.tokens = remade_batch_tokens
        emphasis.multipliers = torch.asarray(batch_multipliers).to(devices.device)
        emphasis.z = self.encode_with_transformers(tokens)
        emphasis.after_transformers()
        return emphasis.z


class FrozenCLIPEmbedderWithCustomWords(TextConditionalModel):
    """CLIP's text encoder. `wrapped` has the parts `tokenizer` and `transformer` (a CLIPTextModel)."""

    def __init__(self, wrapped, hijack):
        super().__init__()
        self.hijack = hijack
        self.wrapped = wrapped
        self.tokenizer = wrapped.tokenizer
        self.comma_token = self.tokenizer.get_vocab().get(",</w>")
        self.id_start = self.tokenizer.bos_token_id
        self.id_end = self.tokenizer.eos_token_id
        self.id_pad = self.id_end

    def tokenize(self, texts):
        return self.tokenizer(texts, truncation=False, add_special_tokens=False, verbose=False)["input_ids"]

    def encode_with_transformers(self, tokens):
        skip = opts.CLIP_stop_at_last_layers
        outputs = self.wrapped.transformer(input_ids=tokens, output_hidden_states=skip > 1)
        if skip <= 1:
            return outputs.last_hidden_state
        layers = len(outputs.hidden_states)
        if skip > layers:
            raise ValueError(f"Clip skip is {skip}; allowed is 1 to {layers} with this checkpoint.")
        return sd_hijack.text_model_of(self.wrapped.transformer).final_layer_norm(
            outputs.hidden_states[-skip]
        )
