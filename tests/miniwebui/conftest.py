"""The mini WebUI on a tiny random model."""

from types import SimpleNamespace

import numpy as np
import pytest
import tiny_model
from PIL import Image


class TinyHost:
    """Draws with a tiny model; `scripts` is anything with the methods of a ScriptRunner, or None."""

    def __init__(self, shared, processing):
        self.shared = shared
        self.processing = processing
        self.defaults = {
            "prompt": "a (red:1.2) [cat:dog:0.5]",
            "negative_prompt": "grey",
            "seed": 1,
            "sampler_name": "Euler a",
            "steps": 4,
            "width": 96,
            "height": 64,
            "cfg_scale": 5.0,
            "do_not_save_samples": True,
            "do_not_save_grid": True,
        }

    def draw(self, scripts=None, **arguments):
        """-> Processed."""
        kind = "Img2Img" if "init_images" in arguments else "Txt2Img"
        make = getattr(self.processing, f"StableDiffusionProcessing{kind}")
        p = make(**{**self.defaults, **arguments})
        p.scripts = scripts
        self.shared.state.begin(job="test")
        try:
            return self.processing.process_images(p)
        finally:
            self.shared.state.end()

    def pixels(self, **arguments) -> np.ndarray:
        """The pictures [B, H, W, 3] as integers."""
        images = self.draw(**arguments).images
        return np.stack([np.asarray(image) for image in images]).astype(int)


@pytest.fixture(scope="module")
def _tiny_models(webui):
    """{prediction type: model}; the model that other tests use comes back afterwards."""
    from modules import latent_diffusion, sd_hijack, sd_models

    before = sd_models.model_data.sd_model or sd_models.load_model()
    models = {}
    for prediction_type in ("epsilon", "v_prediction"):
        model = latent_diffusion.LatentDiffusion(tiny_model.components(prediction_type))
        model.eval().requires_grad_(False)
        for name in ("sd_checkpoint_info", "sd_model_checkpoint", "sd_model_hash"):
            setattr(model, name, getattr(before, name))
        sd_hijack.model_hijack.hijack(model)
        sd_models.model_data.sd_model = model
        model.cond_stage_model_empty_prompt = sd_models.get_empty_cond(model)
        models[prediction_type] = model
    yield models
    sd_models.model_data.sd_model = before
    sd_hijack.model_hijack.redo_hijack(before)


@pytest.fixture(params=["epsilon"])
def tiny(request, _tiny_models, monkeypatch):
    """A TinyHost; parametrise it indirectly with 'v_prediction' for the other kind of model."""
    from modules import processing, sd_hijack, sd_models, shared

    model = _tiny_models[request.param]
    sd_models.model_data.sd_model = model
    sd_hijack.model_hijack.redo_hijack(model)
    for cls in (processing.StableDiffusionProcessing, processing.StableDiffusionProcessingTxt2Img):
        for name in [name for name in vars(cls) if name.startswith("cached_") and name != "cached_params"]:
            monkeypatch.setattr(cls, name, [None, None])
    monkeypatch.setattr(shared.opts, "data", dict(shared.opts.data))
    return TinyHost(shared, processing)


@pytest.fixture
def photo() -> SimpleNamespace:
    """A picture of noise 96×64 with a mask; `inside` is where the mask is white."""
    picture = np.random.default_rng(0).integers(0, 255, (64, 96, 3)).astype(np.uint8)
    inside = np.zeros((64, 96), dtype=bool)
    inside[16:48, 24:64] = True
    mask = Image.fromarray(np.where(inside, 255, 0).astype(np.uint8))
    return SimpleNamespace(
        image=Image.fromarray(picture), pixels=picture.astype(int), mask=mask, inside=inside
    )
