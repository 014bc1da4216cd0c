"""Step caches of `diffusers` with tiles: a memory for each batch, or a sentence."""

import pytest
import torch
from diffusers.hooks import (
    FirstBlockCacheConfig,
    MagCacheConfig,
    PyramidAttentionBroadcastConfig,
    TaylorSeerCacheConfig,
)

from tests import diffusers_models as models
from tile_diffusers import tiled_diffusion
from tile_utils.settings import SettingsError

STEPS = 12
CACHES = {
    "FirstBlockCache": FirstBlockCacheConfig(threshold=0.5),
    "MagCache": MagCacheConfig(num_inference_steps=STEPS, mag_ratios=torch.ones(STEPS)),
    "TaylorSeer": TaylorSeerCacheConfig(
        cache_interval=3, disable_cache_before_step=3, taylor_factors_dtype=torch.float32
    ),
}
BROADCAST = PyramidAttentionBroadcastConfig(
    spatial_attention_block_skip_range=2, current_timestep_callback=lambda: 500
)


class Flux:
    """A pipeline whose blocks are counted when they compute."""

    def __init__(self, cache=None):
        self.net = models.flux_net(num_layers=3, num_single_layers=3)
        self.pipe, self.computed = models.flux(net=self.net), 0
        self.net.transformer_blocks[-1].attn.to_q.register_forward_hook(self._count)
        if cache is not None:
            self.net.enable_cache(cache)

    def _count(self, *_):
        self.computed += 1

    def __call__(self, latents, width, height):
        self.computed = 0
        return self.pipe(
            **models.flux_words(),
            latents=latents,
            width=width,
            height=height,
            num_inference_steps=STEPS,
            output_type="latent",
        )[0]


NOISE = models.noise(1, 12, 16, 16, seed=3)
"""[1, rows, columns, channels] of a canvas of 256x192 pixels, 12 tiles of 64x64."""


@pytest.mark.parametrize("batch_size", [1, 5])
@pytest.mark.parametrize("name", CACHES)
def test_each_tile_is_cached_as_if_it_were_drawn_alone(name, batch_size):
    draw = Flux(CACHES[name])
    with tiled_diffusion(draw.pipe, tile=64, overlap=0, batch_size=batch_size):
        canvas = draw(NOISE.flatten(1, 2), 256, 192).unflatten(1, (12, 16))
        in_tiles = draw.computed
        again = draw(NOISE.flatten(1, 2), 256, 192).unflatten(1, (12, 16))
    assert torch.equal(again, canvas)  # nothing is remembered from picture to picture
    for row, column in ((0, 0), (4, 8), (8, 12)):
        part = (slice(None), slice(row, row + 4), slice(column, column + 4))
        alone = draw(NOISE[part].flatten(1, 2), 64, 64)
        if batch_size == 1:
            assert (canvas[part].flatten(1, 2) - alone).abs().max() <= 1e-5 * alone.abs().max()
            assert draw.computed < STEPS
    uncached = Flux()
    with tiled_diffusion(uncached.pipe, tile=64, overlap=0, batch_size=batch_size):
        whole = uncached(NOISE.flatten(1, 2), 256, 192).unflatten(1, (12, 16))
    assert in_tiles <= 0.6 * uncached.computed
    assert (canvas - whole).abs().max() <= 0.03 * whole.abs().max()


def test_a_cache_that_cannot_tell_tiles_apart_is_refused():
    draw = Flux(BROADCAST)
    with (
        tiled_diffusion(draw.pipe, tile=64, overlap=0),
        pytest.raises(
            SettingsError, match="PyramidAttentionBroadcastHook cannot tell tiles apart; allowed are"
        ),
    ):
        draw(NOISE.flatten(1, 2), 256, 192)


def test_a_cache_with_tiles_that_shift_is_refused():
    draw = Flux(CACHES["TaylorSeer"])
    with tiled_diffusion(draw.pipe, tile=64, overlap=16, shift=True):
        with pytest.raises(SettingsError, match="'shift' is True and a step cache is on"):
            draw(NOISE.flatten(1, 2), 256, 192)
        draw.net.disable_cache()
        assert draw(NOISE.flatten(1, 2), 256, 192).isfinite().all()
