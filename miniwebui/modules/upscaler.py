"""Upscalers of pictures: the base class that extensions subclass, and the plain ones."""

import os

from PIL import Image

from modules import shared

LANCZOS = Image.Resampling.LANCZOS
NEAREST = Image.Resampling.NEAREST
MAX_PASSES = 3


class UpscalerData:
    """An entry of the list of upscalers."""

    name: str | None = None
    data_path: str | None = None
    scale: int = 4
    scaler: "Upscaler | None" = None

    def __init__(self, name: str, path: str | None, upscaler: "Upscaler | None" = None, scale=4, model=None):
        self.name = name
        self.data_path = self.local_data_path = path
        self.scaler = upscaler
        self.scale = scale
        self.model = model


class Upscaler:
    """Subclasses give `do_upscale`; `upscale` calls it until the picture is large enough."""

    name: str | None = None
    model_path: str | None = None
    model_name: str | None = None
    model_url: str | None = None
    enable = True
    filter = None
    model = None
    user_path: str | None = None
    scalers: list[UpscalerData]
    tile = True

    def __init__(self, create_dirs=False):
        self.scale = 1
        self.device = shared.device
        self.tile_size = shared.opts.ESRGAN_tile
        self.tile_pad = shared.opts.ESRGAN_tile_overlap
        self.model_download_path = None
        if self.model_path is None and self.name:
            self.model_path = os.path.join(shared.models_path, self.name)
        if self.model_path and create_dirs:
            os.makedirs(self.model_path, exist_ok=True)

    def do_upscale(self, img: Image.Image, selected_model: str | None) -> Image.Image:
        raise NotImplementedError

    def upscale(self, img: Image.Image, scale, selected_model: str | None = None) -> Image.Image:
        """img, `scale` times as large, in multiples of 8 pixels."""
        self.scale = scale
        size = int((img.width * scale) // 8 * 8), int((img.height * scale) // 8 * 8)
        for attempt in range(MAX_PASSES):
            large_enough = img.width >= size[0] and img.height >= size[1]
            if shared.state.interrupted or (large_enough and (attempt > 0 or scale != 1)):
                break
            before = img.size
            img = self.do_upscale(img, selected_model)
            if img.size == before:
                break
        return img if img.size == size else img.resize(size, resample=LANCZOS)

    def load_model(self, path: str):
        raise NotImplementedError

    def find_models(self, ext_filter=None) -> list[str]:
        """Model files in this upscaler's folder."""
        from modules import modelloader

        return modelloader.load_models(
            self.model_path, self.model_url, command_path=self.user_path, ext_filter=ext_filter
        )


class UpscalerNone(Upscaler):
    name = "None"

    def __init__(self, dirname=None):
        super().__init__()
        self.scalers = [UpscalerData(self.name, None, self)]

    def do_upscale(self, img, selected_model=None):
        return img


class UpscalerLanczos(UpscalerNone):
    name, resample = "Lanczos", LANCZOS

    def do_upscale(self, img, selected_model=None):
        size = int(img.width * self.scale), int(img.height * self.scale)
        return img.resize(size, resample=self.resample)


class UpscalerNearest(UpscalerLanczos):
    name, resample = "Nearest", NEAREST
