"""img2img's input with Tiled Diffusion: upscaled, flattened, given back; masks; sizes that cannot be drawn."""

import numpy as np
import pytest
from PIL import Image

from tile_host.upscaling import flattened

TILED = {"enabled": True, "tile_width": 16, "tile_height": 16, "overlap": 8}
LANCZOS = TILED | {"upscaler_name": "Lanczos", "scale_factor": 2.0}
MASK_BLUR = 4


def noise(width=128, height=64, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8))


def pixels(image):
    return np.asarray(image).astype(int)


def start(webui, settings, image=None, **arguments):
    """-> (processing object, what it drew)."""
    image = noise() if image is None else image
    images = image if isinstance(image, list) else [image]
    p = webui.prepare(settings, **{"init_images": images, "denoising_strength": 0.6, **arguments})
    return p, webui.process(p).images


@pytest.fixture
def init_images(webui, monkeypatch):
    """The (init images, canvas) of every generation, as the host takes them up."""
    from modules import processing

    seen = []
    kind = processing.StableDiffusionProcessingImg2Img
    original = kind.init

    def init(self, *args):
        seen.append((list(self.init_images), (self.width, self.height)))
        original(self, *args)

    monkeypatch.setattr(kind, "init", init)
    return seen


def test_the_input_is_upscaled_and_given_back(webui, init_images):
    image = noise()
    p, (drawn,) = start(webui, LANCZOS, image, width=64, height=64)
    assert drawn.size == (256, 128)
    ((given,), canvas) = init_images[0]
    assert canvas == (256, 128)
    assert np.array_equal(pixels(given), pixels(image.resize((256, 128), Image.Resampling.LANCZOS)))
    assert p.init_images == [image]
    assert p.init_images[0] is image
    assert (p.width, p.height) == (64, 64)
    assert "close" not in vars(p)


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        ({"keep_input_size": True}, (128, 64)),  # the input's size
        ({"keep_input_size": False}, (192, 128)),  # the sliders'
        ({"upscaler_name": "Nearest", "scale_factor": 1.55}, (192, 96)),  # 198.4 x 99.2
        ({"upscaler_name": "Nearest", "scale_factor": 1.5, "keep_input_size": False}, (288, 192)),
    ],
)
def test_the_canvas_has_the_size_of_the_input_or_the_sliders(webui, init_images, settings, size, caplog):
    caplog.set_level("INFO", "Tiled Diffusion")
    start(webui, TILED | settings, width=192, height=128)
    assert init_images[0][1] == size
    told = f"'Keep input image size' is on: {size[0]}x{size[1]} is drawn, not the page's 192x128."
    assert (told in caplog.text) == settings.get("keep_input_size", True)


def test_what_only_masked_draws_has_the_pages_size(webui, init_images):
    mask = Image.new("L", (128, 64))
    mask.paste(255, (48, 16, 80, 48))
    only_masked = {"mask": mask, "inpaint_full_res": True, "width": 192, "height": 128}
    (drawn,) = start(webui, TILED, steps=1, **only_masked)[1]
    assert init_images[-1][1] == (192, 128)
    assert drawn.size == (128, 64)
    start(webui, LANCZOS, steps=1, **only_masked)
    assert init_images[-1][1] == (256, 128)


def test_a_network_enlarges_and_both_halves_of_the_vae_are_tiled(
    webui, learned, init_images, tiled_calls, caplog
):
    """The way to a large picture: 128x80 to 512x320, drawn in tiles, encoded and decoded in tiles."""
    caplog.set_level("INFO")
    settings = TILED | {"upscaler_name": "tiny-4x", "scale_factor": 4.0}
    small = noise(128, 80)
    vae = {"enabled": True, "encoder_tile_size": 256, "decoder_tile_size": 48}
    p = webui.prepare(settings, vae, init_images=[small], denoising_strength=0.5, steps=4)
    (drawn,) = webui.process(p).images
    assert drawn.size == (512, 320)
    ((given,), _) = init_images[0]
    assert np.array_equal(pixels(given), pixels(learned.scaler.upscale(small, 4, learned.data_path)))
    assert "Upscaling 128x80 by 4 with tiny-4x" in caplog.text
    assert "canvas 64x40 (latent), 7x4 tiles" in caplog.text
    assert tiled_calls == ["encoder", "decoder"]


def test_several_init_images_are_all_upscaled(webui, init_images):
    first, second = noise(seed=1), noise(seed=2)
    p, drawn = start(webui, LANCZOS, [first, second], batch_size=2, seed=[5, 6])
    assert [image.size for image in drawn] == [(256, 128)] * 2
    assert [image.size for image in init_images[0][0]] == [(256, 128)] * 2
    assert p.init_images == [first, second]
    alone = [start(webui, LANCZOS, image, seed=seed)[1][0] for image, seed in ((first, 5), (second, 6))]
    for together, single in zip(drawn, alone):
        assert np.abs(pixels(together) - pixels(single)).max() <= 2


def test_one_object_drawn_again_and_again_gives_one_picture(webui):
    from copy import copy

    p = webui.prepare(LANCZOS, init_images=[noise()], width=64, height=64)
    pictures = [pixels(webui.process(copy(p)).images[0]) for _ in range(2)]  # as the X/Y/Z plot does
    pictures += [pixels(webui.process(p).images[0]) for _ in range(2)]
    assert pictures[0].shape == (128, 256, 3)
    assert all(np.array_equal(pictures[0], picture) for picture in pictures[1:])
    p.script_args = webui.prepare(init_images=[noise()]).script_args
    assert "Tiled Diffusion" not in webui.process(p).infotexts[0]


@pytest.mark.parametrize("fill", range(4))
@pytest.mark.parametrize("only_masked", [False, True])
def test_what_is_masked_out_is_the_upscaled_input_to_the_pixel(webui, init_images, fill, only_masked):
    mask = Image.new("L", (128, 64))
    mask.paste(255, (40, 16, 80, 48))
    p, (drawn,) = start(
        webui,
        LANCZOS | {"keep_input_size": not only_masked},
        mask=mask,
        mask_blur=MASK_BLUR,
        inpainting_fill=fill,
        inpaint_full_res=only_masked,
        inpaint_full_res_padding=8,
        width=64,
        height=64,
    )
    (given,) = init_images[0][0]
    assert drawn.size == given.size == (256, 128)
    changed = np.abs(pixels(drawn) - pixels(given)).max(axis=-1)
    reach = int(2.5 * MASK_BLUR + 0.5)
    outside = np.ones((128, 256), dtype=bool)
    outside[32 - reach : 96 + reach, 80 - reach : 160 + reach] = False
    assert changed[outside].max() == 0
    assert changed[40:88, 88:152].mean() > 10
    assert p.image_mask is mask


def test_the_kept_part_of_the_latent_is_the_hosts(webui, monkeypatch):
    """Where nothing is redrawn the tiled latent is the init latent, as without tiles."""
    from modules import processing

    latents = []
    kind = processing.StableDiffusionProcessingImg2Img
    original = kind.sample

    def sample(self, *args, **kwargs):
        samples = original(self, *args, **kwargs)
        latents.append((samples, self.init_latent, self.mask))
        return samples

    monkeypatch.setattr(kind, "sample", sample)
    mask = Image.new("L", (256, 128))
    mask.paste(255, (64, 32, 160, 96))
    start(webui, TILED, noise(256, 128), mask=mask, inpaint_full_res=False, mask_blur=0, inpainting_fill=1)
    start(webui, None, noise(256, 128), mask=mask, inpaint_full_res=False, mask_blur=0, inpainting_fill=1)
    (tiled, init, kept), (plain, *_) = latents
    kept = kept[None].bool()
    assert 0 < kept.float().mean() < 1
    assert (tiled == init).where(kept, True).all()
    assert (tiled == plain).where(kept, True).all()
    assert not (tiled == plain).where(~kept, True).all()


def test_a_mask_of_another_size_is_laid_over_the_whole_input(webui, init_images):
    mask = Image.new("L", (32, 16))
    mask.paste(255, (16, 0, 32, 16))
    _, (drawn,) = start(webui, TILED, mask=mask, mask_blur=0, inpaint_full_res=True)
    changed = np.abs(pixels(drawn) - pixels(init_images[0][0][0])).max(axis=-1)
    assert changed[:, :64].max() == 0
    assert changed[:, 64:].mean() > 10


def wrong(webui, settings, message, **arguments):
    with pytest.raises(ValueError, match=message):
        start(webui, TILED | settings, **arguments)


def test_what_cannot_be_upscaled_gets_one_sentence(webui):
    sized = {"upscaler_name": "Lanczos", "scale_factor": 4.0}
    known = "'Upscaler' is 'Lanzcos'; known are None, Lanczos, Nearest"
    wrong(webui, {"upscaler_name": "Lanzcos"}, known)
    wide = Image.new("RGB", (5000, 8))
    message = r"'Scale Factor' is 4 and the input image is 5000x8 pixels; .* 16384 pixels a side is 3\.25\."
    wrong(webui, sized, message, image=wide)
    message = r"the size is 5000x64 pixels; the largest"
    wrong(webui, sized | {"keep_input_size": False}, message, width=5000, height=64)
    wrong(webui, {}, "the input image is 0x8 pixels; allowed are at least 8", image=Image.new("RGB", (0, 8)))
    wrong(webui, sized, "the input image is 1x1 pixels", image=Image.new("RGB", (1, 1)))
    wrong(
        webui,
        {},
        "the input image is 16400x8 pixels; allowed are at most",
        image=Image.new("RGB", (16400, 8)),
    )
    wrong(webui, {}, "there is no image to start from", image=[None])
    _, (drawn,) = start(webui, LANCZOS)  # nothing is left behind
    assert drawn.size == (256, 128)


def test_transparent_parts_get_the_hosts_background(webui, monkeypatch):
    monkeypatch.setattr(
        webui.shared.opts, "data", webui.shared.opts.data | {"img2img_background_color": "#00ff00"}
    )
    clear, solid = (0, 255, 0), (255, 0, 0)
    rgba = Image.new("RGBA", (2, 1), (255, 0, 0, 255))
    rgba.putpixel((0, 0), (9, 9, 9, 0))
    indexed = Image.new("P", (2, 1), 1)
    indexed.putpalette([9, 9, 9, *solid])
    indexed.putpixel((0, 0), 0)
    for transparency in (0, b"\0"):
        indexed.info["transparency"] = transparency
        assert [flattened(indexed).getpixel((x, 0)) for x in (0, 1)] == [clear, solid]
    assert [flattened(rgba).getpixel((x, 0)) for x in (0, 1)] == [clear, solid]
    assert flattened(rgba.convert("LA")).getpixel((0, 0)) == clear


@pytest.mark.parametrize("mode", ["CMYK", "I;16", "P", "LA", "RGBA", "1", "YCbCr"])
def test_every_kind_of_image_is_drawn(webui, init_images, mode):
    image = Image.new(mode, (96, 64))
    _, (drawn,) = start(webui, LANCZOS, image, steps=1)
    assert drawn.size == (192, 128)
    assert init_images[0][0][0].mode == "RGB"


def test_every_kind_of_image_is_read_rightly():
    ramp = np.arange(0, 65536, 257, dtype=np.uint16)[None]  # 0 ... 255 in 16 bits
    sixteen = Image.fromarray(ramp)
    assert sixteen.mode == "I;16"
    assert np.array_equal(pixels(flattened(sixteen))[0, :, 0], np.arange(256))
    assert np.array_equal(pixels(flattened(Image.fromarray(ramp.astype(np.int32))))[0, :, 0], np.arange(256))
    assert flattened(Image.new("CMYK", (4, 4), (0, 255, 255, 0))).getpixel((0, 0)) == (255, 0, 0)
    assert flattened(Image.new("1", (4, 4), 1)).getpixel((0, 0)) == (255, 255, 255)
    turned = Image.new("RGB", (20, 10))
    turned.getexif()[0x0112] = 6
    assert flattened(turned).size == (10, 20)
    assert flattened(flattened(turned)).size == (10, 20)
