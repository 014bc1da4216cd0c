"""Upscalers from files in models/ESRGAN, of any architecture that spandrel knows."""

from modules import devices, errors, modelloader
from modules.shared import opts
from modules.upscaler import Upscaler, UpscalerData
from modules.upscaler_utils import upscale_with_model

EXTENSIONS = [".pt", ".pth", ".safetensors"]


class UpscalerESRGAN(Upscaler):
    """One entry for each file; the WebUI, which lists no .safetensors here, offers a download where there is none."""

    def __init__(self, dirname=None):
        self.name = "ESRGAN"
        self.user_path = dirname
        super().__init__()
        files = self.find_models(ext_filter=EXTENSIONS)
        self.scalers = [UpscalerData(modelloader.friendly_name(file), file, self, 4) for file in files]

    def do_upscale(self, img, selected_model):
        """The picture through the file's network; as it was where the file cannot be used."""
        try:
            network = self.load_model(selected_model)
        except Exception:
            errors.report(f"No upscaler can be read from {selected_model}", exc_info=True)
            return img
        network.to(devices.device_esrgan)
        tiles = {"tile_size": opts.ESRGAN_tile, "tile_overlap": opts.ESRGAN_tile_overlap}
        return upscale_with_model(network, img, **tiles)

    def load_model(self, path: str):
        return modelloader.load_spandrel_model(path, device=None, expected_architecture="ESRGAN")
