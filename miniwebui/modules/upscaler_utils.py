"""A network applied to a picture, tile by tile, as `modules.upscaler_utils` of the WebUI."""

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from modules import devices, images, shared, torch_utils


def pil_image_to_torch_bgr(img: Image.Image) -> torch.Tensor:
    """[3, H, W] in [0, 1]; the WebUI gives these networks blue first."""
    pixels = np.asarray(img.convert("RGB"))[..., ::-1].transpose(2, 0, 1)
    return torch.from_numpy(np.ascontiguousarray(pixels) / 255)


def torch_bgr_to_pil_image(tensor: torch.Tensor) -> Image.Image:
    """Of [3, H, W] or [1, 3, H, W]. Raises ValueError for another shape."""
    if tensor.ndim == 4 and len(tensor) == 1:
        tensor = tensor[0]
    if tensor.ndim != 3:
        raise ValueError(f"{tuple(tensor.shape)} is not one picture.")
    pixels = (tensor.float().cpu().clamp(0, 1).numpy() * 255).round().astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)[..., ::-1]))


def upscale_pil_patch(model, img: Image.Image) -> Image.Image:
    """The whole picture through the network at once."""
    param = torch_utils.get_param(model)
    with torch.inference_mode(), devices.without_autocast():
        tensor = pil_image_to_torch_bgr(img)[None].to(device=param.device, dtype=param.dtype)
        return torch_bgr_to_pil_image(model(tensor))


def upscale_with_model(
    model, img: Image.Image, *, tile_size: int, tile_overlap: int = 0, desc="tiled upscale"
) -> Image.Image:
    """Through the network in tiles (0: at once); after an interrupt the picture as it was."""
    if tile_size <= 0:
        return upscale_pil_patch(model, img)
    grid = images.split_grid(img, tile_size, tile_size, tile_overlap)
    hidden = shared.cmd_opts.disable_console_progressbars or not shared.opts.enable_upscale_progressbar
    rows, scale = [], 1
    with tqdm(total=grid.tile_count, desc=desc, disable=hidden) as progress:
        for y, height, row in grid.tiles:
            columns = []
            for x, width, tile in row:
                if shared.state.interrupted:
                    return img
                output = upscale_pil_patch(model, tile)
                scale = output.width // tile.width
                columns.append([x * scale, width * scale, output])
                progress.update(1)
            rows.append([y * scale, height * scale, columns])
    return images.combine_grid(images.Grid(rows, *(side * scale for side in grid[1:])))
