"""tiled_diffusion and bad input: one sentence each."""

import diffusers
import pytest
import torch
from diffusers import FirstBlockCacheConfig, PyramidAttentionBroadcastConfig
from diffusers.image_processor import IPAdapterMaskProcessor

from tests import diffusers_models as models
from tests.test_diffusers import SIZE, drawn, picture
from tile_diffusers import Region, tiled_diffusion, tiled_vae
from tile_utils.settings import SettingsError

TILES = {"tile": 128, "overlap": 32}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"tile": 100}, "'tile' is a width of 100; allowed are multiples of 8 pixels for this pipeline"),
        ({"tile": (128, 0)}, "'tile' is a height of 0; allowed are multiples of 8"),
        (
            {"overlap": 128},
            "'overlap' is 128; allowed are multiples of 8 from 0 to less than the tile \\(128\\)",
        ),
        ({"overlap": 12}, "'overlap' is 12; allowed are multiples of 8"),
        ({"tile": "128"}, "'tile' is '128'; allowed are a whole number of pixels, and two as"),
        ({"tile": 128.0}, "'tile' is 128.0; allowed are a whole number"),
        ({"tile": (128,)}, "'tile' is \\(128,\\); allowed are a whole number"),
        ({"overlap": "32"}, "'overlap' is '32'; allowed are multiples of 8"),
        ({"batch_size": 2.5}, "'batch_size' is 2.5; allowed are whole numbers from 1"),
        ({"regions": None}, "'regions' is None; allowed are lists of tile_diffusers.Region"),
        ({"regions": Region(0, 0, 8, 8)}, "'regions' is Region.*; allowed are lists of"),
        ({"regions": [(0, 0, 8, 8)]}, "'regions\\[0\\]' is \\(0, 0, 8, 8\\); allowed are objects of"),
        (
            {"regions": [Region(0.5, 0, 8, 8)]},
            "'regions\\[0\\].x' is 0.5; allowed are whole numbers of pixels",
        ),
        (
            {"regions": [Region(0, 0, 8, 8, ["sea"])]},
            "'regions\\[0\\].prompt' is \\['sea'\\]; allowed are texts",
        ),
        (
            {"regions": [Region(0, 0, 8, 8, adapters=["ink"])]},
            "'regions\\[0\\].adapters' is .*; allowed are adapters'",
        ),
        ({"batch_size": 0}, "'batch_size' is 0; allowed are whole numbers from 1"),
        (
            {"method": "Mixture"},
            "'method' is 'Mixture'; allowed are 'MultiDiffusion' and 'Mixture of Diffusers'",
        ),
        ({"size_condition": "picture"}, "'size_condition' is 'picture'; allowed are 'tile' and 'canvas'"),
        ({"regions": [Region(0, 0, 0, 64)]}, "'regions\\[0\\]' is 0x64 pixels; allowed are sizes from 1"),
        ({"regions": [Region(0, 0, 64, 64, feather=2)]}, "'regions\\[0\\].feather' is 2; allowed are 0 to 1"),
    ],
)
def test_values_that_cannot_be_used(options, sentence):
    with pytest.raises(SettingsError, match=sentence), tiled_diffusion(models.sd(), **{**TILES, **options}):
        pass


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"tile_size": 0}, "the tile size is 0; allowed are whole numbers from 1"),
        ({"tile_size": "64"}, "the tile size is '64'; allowed"),
        ({"encoder_tile_size": 2.5}, "the tile size is 2.5; allowed"),
        ({"mode": "quick"}, "'mode' is 'quick'; allowed are 'exact', 'fast'"),
        ({"storage": "disk"}, "'storage' is 'disk'; allowed are 'auto', 'device', 'host'"),
    ],
)
def test_values_that_tiled_vae_cannot_use(options, sentence):
    with pytest.raises(ValueError, match=sentence), tiled_vae(models.vae(), **options):
        pass


def test_what_is_no_vae():
    for other, kind in ((models.sd(), "StableDiffusionPipeline"), (None, "NoneType")):
        with (
            pytest.raises(ValueError, match=f"a {kind} has no 'encoder' and 'decoder'; give"),
            tiled_vae(other),
        ):
            pass


def test_words_of_a_region_without_what_encodes_them():
    pipe = models.flux()
    with (
        tiled_diffusion(pipe, **TILES, regions=[Region(0, 0, 64, 64, "boat")]),
        pytest.raises(SettingsError, match="pipeline has no 'text_encoder_2' and no 'tokenizer_2'; load"),
    ):
        drawn(pipe, **models.flux_words(), **SIZE)


def test_tiles_of_a_transformer_are_multiples_of_its_patches():
    for pipe in (models.sd3(), models.flux()):
        with (
            pytest.raises(
                SettingsError, match="'tile' is a width of 136; allowed are multiples of 16 pixels"
            ),
            tiled_diffusion(pipe, tile=136, overlap=32),
        ):
            pass


def test_a_region_outside_the_picture():
    for place in ((200, 0, 128, 64), (-8, 0, 64, 64), (0, 100, 64, 96)):
        pipe = models.sd()
        with (
            tiled_diffusion(pipe, **TILES, regions=[Region(*place, "boat")]),
            pytest.raises(SettingsError, match=r"'regions\[0\]' is .*; allowed are places inside .* 320x192"),
        ):
            drawn(pipe, prompt="sea", **SIZE)


def test_a_pipeline_without_a_known_denoiser():
    class Other:
        vae = None

        def __call__(self):
            pass

    with (
        pytest.raises(SettingsError, match="an? Other has neither 'unet' nor 'transformer'"),
        tiled_diffusion(Other(), **TILES),
    ):
        pass
    pipe = models.sd()
    pipe.unet = torch.nn.Linear(1, 1)
    with (
        pytest.raises(SettingsError, match="the denoiser Linear of a StableDiffusionPipeline is not known"),
        tiled_diffusion(pipe, **TILES),
    ):
        pass


def test_videos():
    class Videos(diffusers.StableDiffusionPipeline):
        def __call__(self, prompt, num_frames=16):
            pass

    with (
        pytest.raises(SettingsError, match="a Videos draws videos"),
        tiled_diffusion(models.sd(Videos), **TILES),
    ):
        pass
    pipe = models.sd()
    with tiled_diffusion(pipe, **TILES), pytest.raises(SettingsError, match="shape 1x4x2x24x40; allowed are"):
        pipe.unet(torch.zeros(1, 4, 2, 24, 40), 1, torch.zeros(1, 77, 32))


def test_a_size_that_the_pipeline_changes():
    pipe = models.flux()
    with (
        tiled_diffusion(pipe, **TILES),
        pytest.raises(
            SettingsError, match="asked for is 330x200 pixels, .* itself makes 320x192 of it; allowed"
        ),
    ):
        drawn(pipe, **models.flux_words(), width=330, height=200)
    pipe = models.flux(diffusers.FluxKontextPipeline)
    with tiled_diffusion(pipe, **TILES), pytest.raises(SettingsError, match="asked for is 1600x640 pixels"):
        drawn(pipe, **models.flux_words(), image=picture(), width=1600, height=640, max_area=256**2)


def test_one_inside_another():
    pipe = models.sd()
    with (
        tiled_diffusion(pipe, **TILES),
        pytest.raises(SettingsError, match="tiled already; one `with` at a time"),
        tiled_diffusion(pipe, **TILES),
    ):
        pass


def test_a_denoiser_exchanged_inside():
    pipe = models.sd()
    with tiled_diffusion(pipe, **TILES):
        pipe.unet = models.unet()
        with pytest.raises(SettingsError, match="'unet' was exchanged inside the `with`"):
            drawn(pipe, prompt="sea", **SIZE)


def test_step_caches_that_cannot_tell_tiles_apart():
    pipe = models.flux(net=models.flux_net(num_layers=2, num_single_layers=2))
    config = PyramidAttentionBroadcastConfig(
        spatial_attention_block_skip_range=2, current_timestep_callback=lambda: 500
    )
    pipe.transformer.enable_cache(config)
    with (
        tiled_diffusion(pipe, **TILES),
        pytest.raises(SettingsError, match="Pyramid\\w+ cannot tell tiles apart"),
    ):
        drawn(pipe, **models.flux_words(), **SIZE)
    pipe.transformer.disable_cache()
    pipe.transformer.enable_cache(FirstBlockCacheConfig(threshold=0.1))
    with (
        tiled_diffusion(pipe, **TILES, shift=True),
        pytest.raises(SettingsError, match="'shift' is True and a step cache is on"),
    ):
        drawn(pipe, **models.flux_words(), **SIZE)


def test_conditions_of_the_whole_picture():
    pipe = models.sd()
    masks = IPAdapterMaskProcessor().preprocess([picture(64, 64)], height=64, width=64)
    for told, sentence in (
        (
            {"ip_adapter_masks": [masks]},
            "an IP-Adapter mask is 64x64 pixels; allowed is the picture's own size",
        ),
        ({"gligen": {"boxes": torch.zeros(2, 30, 4)}}, "GLIGEN's boxes are of the whole picture"),
    ):
        with tiled_diffusion(pipe, **TILES), pytest.raises(SettingsError, match=sentence):
            drawn(pipe, prompt="sea", cross_attention_kwargs=told, **SIZE)
    with tiled_diffusion(pipe, **TILES), pytest.raises(SettingsError, match="not cut for tiles"):
        pipe.unet(
            torch.zeros(1, 4, 24, 40),
            1,
            torch.zeros(1, 77, 32),
            down_block_additional_residuals=(torch.zeros(1, 32, 24, 40),),
        )
    words = torch.zeros(1, 20, 64), torch.zeros(1, 64), torch.ones(1)
    pipe = models.sd3()
    with tiled_diffusion(pipe, **TILES), pytest.raises(SettingsError, match="a control network's features"):
        pipe.transformer(torch.zeros(1, 4, 24, 40), *words, block_controlnet_hidden_states=[words[0]])
    flux = models.flux()
    samples = [torch.zeros(1, 240, 32)]
    ids = flux._prepare_latent_image_ids(1, 12, 20, "cpu", torch.float32)
    call = {
        "hidden_states": torch.zeros(1, 240, 16),
        "encoder_hidden_states": torch.zeros(1, 12, 32),
        "pooled_projections": torch.zeros(1, 32),
        "timestep": torch.ones(1),
        "guidance": torch.ones(1),
        "img_ids": ids,
        "txt_ids": torch.zeros(12, 3),
    }
    for told, sentence in (
        (
            {"controlnet_block_samples": samples},
            "'controlnet_block_samples' has a value for every token",
        ),
        ({"img_ids": ids.flip(0)}, "no rectangle by their position ids"),
    ):
        with tiled_diffusion(flux, **TILES), pytest.raises(SettingsError, match=sentence):
            flux.transformer(**{**call, **told})
