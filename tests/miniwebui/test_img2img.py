"""What img2img makes of its input: resize modes, masks, fills, backgrounds; and a folder of pictures."""

import inspect

import numpy as np
import pytest
from PIL import Image

STRIPES = ("red", "lime", "blue", "white")


@pytest.fixture
def encoded(tiny, monkeypatch):
    """What the VAE is given for some arguments: [B, H, W, 3] of 0 ... 255."""
    from modules import processing_img2img

    seen = []
    original = processing_img2img.images_tensor_to_samples

    def encode(images, *args):
        seen.append(images)
        return original(images, *args)

    monkeypatch.setattr(processing_img2img, "images_tensor_to_samples", encode)

    def of(image, **arguments):
        tiny.draw(init_images=[image], denoising_strength=0.3, steps=2, **arguments)
        return (seen[-1].numpy().transpose(0, 2, 3, 1) * 255).round().astype(int)

    return of


def stripes(width=128, height=64):
    """Four upright stripes."""
    image = Image.new("RGB", (width, height))
    for number, colour in enumerate(STRIPES):
        image.paste(colour, (number * width // 4, 0, (number + 1) * width // 4, height))
    return image


def test_resize_modes(encoded):
    square = {"width": 64, "height": 64}
    stretched, cropped, filled, latent = (
        encoded(stripes(), resize_mode=mode, **square)[0] for mode in range(4)
    )
    assert np.array_equal(stretched, np.asarray(stripes().resize((64, 64), Image.Resampling.LANCZOS)))
    assert np.array_equal(cropped, np.asarray(stripes().crop((32, 0, 96, 64))))
    assert np.array_equal(filled[16:48], np.asarray(stripes().resize((64, 32), Image.Resampling.LANCZOS)))
    assert np.abs(filled[0] - filled[16]).max() <= 1  # the border's colours, drawn out
    assert latent.shape == (64, 128, 3)  # the latent is resized, not the picture


def test_transparent_parts_get_the_background_colour(encoded):
    image = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    settings = {"override_settings": {"img2img_background_color": "#ff8000"}}
    assert (encoded(image, width=64, height=64, **settings) == (255, 128, 0)).all()


@pytest.mark.parametrize("invert", [0, 1])
def test_fill_and_inverted_mask(encoded, invert):
    mask = Image.new("L", (128, 64))
    mask.paste(255, (0, 0, 64, 64))
    drawn = encoded(
        stripes(), mask=mask, mask_blur=0, inpainting_fill=0, inpainting_mask_invert=invert,
        inpaint_full_res=False, width=128, height=64,
    )[0]  # fmt: skip
    kept, filled = (drawn[:, :64], drawn[:, 64:]) if invert else (drawn[:, 64:], drawn[:, :64])
    original = np.asarray(stripes()).astype(int)
    assert np.array_equal(kept, original[:, :64] if invert else original[:, 64:])
    # what is filled has the colours around, not its own
    assert filled[:, :, 2].mean() < 90 if invert else filled[:, :, 2].mean() > 165


def test_only_masked_draws_the_masked_part_large(encoded):
    mask = Image.new("L", (128, 64))
    mask.paste(255, (40, 8, 56, 24))
    drawn = encoded(
        stripes(), mask=mask, mask_blur=0, inpainting_fill=1, inpaint_full_res_padding=4, width=64, height=64
    )[0]
    part = stripes().crop((36, 4, 60, 28)).resize((64, 64), Image.Resampling.LANCZOS)
    assert np.array_equal(drawn, np.asarray(part))


def test_blur_differs_between_the_axes(tiny, photo):
    spot = Image.new("L", (96, 64))
    spot.paste(255, (48, 32, 49, 33))
    p = tiny.processing.StableDiffusionProcessingImg2Img(
        **tiny.defaults,
        init_images=[photo.image],
        mask=spot,
        mask_blur_x=4,
        mask_blur_y=0,
        inpaint_full_res=False,
    )
    tiny.processing.process_images(p)
    columns = np.flatnonzero(np.asarray(p.mask_for_overlay).any(axis=0))
    assert np.flatnonzero(np.asarray(p.mask_for_overlay).any(axis=1)).tolist() == [32]
    assert columns.min() < 48 < columns.max()
    assert "mask_blur" not in vars(p)


@pytest.fixture
def folders(tmp_path):
    for name in ("in", "masks", "out"):
        (tmp_path / name).mkdir()
    return tmp_path


def batch(tiny, folders, masks=False, **options):
    """-> (Processed or None, names and sizes of the saved pictures)."""
    from modules import img2img_batch

    arguments = {**tiny.defaults, "do_not_save_samples": False, "steps": 1, "denoising_strength": 0.3}
    p = tiny.processing.StableDiffusionProcessingImg2Img(
        **{**arguments, "inpainting_fill": 1, "mask_blur": 0, "inpaint_full_res": False},
        override_settings={"save_images_add_number": False},
    )
    mask_folder = str(folders / "masks") if masks else None
    tiny.shared.state.begin(job="test")
    result = img2img_batch.process_batch(
        p, str(folders / "in"), str(folders / "out"), mask_folder, [0], **options
    )
    tiny.shared.state.end()
    return result, {path.name: Image.open(path).size for path in sorted((folders / "out").iterdir())}


def test_a_folder_in_its_own_sizes_or_in_that_of_the_page(tiny, folders):
    stripes(128, 64).save(folders / "in/b.png")
    stripes(72, 80).save(folders / "in/a.png")
    (folders / "in/c.png").write_text("no picture")
    result, saved = batch(tiny, folders, to_scale=True, scale_by=0.5)
    assert saved == {"a.png": (32, 40), "b.png": (64, 32)}
    assert [image.size for image in result.images] == [(32, 40), (64, 32)]
    _, saved = batch(tiny, folders)
    assert saved == {"a.png": (96, 64), "b.png": (96, 64)}  # in place of the first ones, as in the WebUI


def test_a_folder_with_masks_of_the_same_names(tiny, folders):
    for name in ("a", "b", "c"):
        stripes(96, 64).save(folders / f"in/{name}.png")
    Image.new("L", (96, 64)).save(folders / "masks/a.png")
    Image.new("L", (96, 64), 255).save(folders / "masks/b.png")
    _, saved = batch(tiny, folders, masks=True)
    assert set(saved) == {"a.png", "b.png"}  # there is no mask for c
    kept, drawn = (np.asarray(Image.open(folders / "out" / name)).astype(int) for name in ("a.png", "b.png"))
    assert np.array_equal(kept, np.asarray(stripes(96, 64)))
    assert np.abs(drawn - kept).mean() > 10


def test_a_folder_takes_prompts_from_its_pictures(tiny, folders):
    from modules.images import save_image_with_geninfo

    text = "a tall tree\nNegative prompt: fog\nSteps: 3, Sampler: DDIM, CFG scale: 2, Seed: 99, Size: 96x64"
    save_image_with_geninfo(stripes(96, 64), text, str(folders / "in/a.png"))
    names = ["Prompt", "Seed", "Steps", "Sampler"]
    result, _ = batch(tiny, folders, use_png_info=True, png_info_props=names)
    (text,) = result.infotexts
    assert text.startswith(f"{tiny.defaults['prompt']} a tall tree\nNegative prompt: grey\n")
    assert "Steps: 3, Sampler: DDIM" in text
    assert "Seed: 99" in text
    assert "CFG scale: 5" in text


@pytest.mark.parametrize(
    ("mode", "label"),
    [(0, "Image"), (2, "Paint over what changes"), (4, "Image")],
    ids=["plain", "painted", "uploaded"],
)
def test_without_a_picture_the_page_says_where_to_put_one(webui, mode, label):
    from modules.img2img import img2img

    nothing = {name: None for name in inspect.signature(img2img).parameters if name != "args"}
    with pytest.raises(ValueError, match=f"There is no image to start from: drop one on '{label}'."):
        img2img(**{**nothing, "mode": mode})
