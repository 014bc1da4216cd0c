"""What each control does, in one or two short sentences: the page's tooltips and docs/controls.md."""

from __future__ import annotations

from tile_utils.settings import RegionSettings, TiledDiffusionSettings, TiledVAESettings

HELP: dict[type, dict[str, str]] = {
    TiledDiffusionSettings: {
        "enabled": "Draws every pass whose canvas needs more than one tile, tile by tile.",
        "method": (
            "Mixture of Diffusers weighs tiles by a Gaussian: smooth. MultiDiffusion counts all alike: it needs "
            "more overlap."
        ),
        "overwrite_size": "Draws the size below instead of the page's own, up to 16384 pixels a side.",
        "keep_input_size": (
            "Draws the picture in its own size, with an upscaler times the factor; the page's size sliders and "
            "'Resize by' are not used. Off: they are, times the factor."
        ),
        "image_width": "Width of the picture in pixels, while overwriting.",
        "image_height": "Height of the picture in pixels, while overwriting.",
        "tile_width": (
            "Width of a tile in latent pixels, 8 image pixels each; best near the size the model was trained on."
        ),
        "tile_height": (
            "Height of a tile in latent pixels, 8 image pixels each; best near the size the model was trained on."
        ),
        "overlap": (
            "How far neighbours overlap, in latent pixels: more is smoother and slower. Half a tile is safe, "
            "three quarters for MultiDiffusion."
        ),
        "tile_batch_size": "Tiles denoised together: faster while the memory lasts.",
        "upscaler_name": (
            "Enlarges the picture before it is drawn over; None leaves it as it is. In txt2img: between the stages of "
            "Composition first, where None is Lanczos."
        ),
        "scale_factor": "How many times larger the upscaler makes each side.",
        "noise_inverse": (
            "Starts from the noise that would give this picture, so that the result stays close to it."
        ),
        "noise_inverse_steps": "Steps backwards to that noise: more is closer to the picture, and slower.",
        "noise_inverse_retouch": "Above 1 the inversion is gentler, and more is drawn anew.",
        "noise_inverse_renoise_strength": "Random noise added where the picture has detail; 0 adds none.",
        "noise_inverse_renoise_kernel": "Size in pixels of the neighbourhood in which detail is looked for.",
        "control_tensor_cpu": "ControlNet's hints wait in main memory; only a batch's cuts of them go to the card.",
        "enable_bbox_control": "Draws the regions below, each with its own prompt.",
        "draw_background": "Draws the main prompt everywhere, under the regions; off: only where no region is.",
        "causal_layers": "Reserved; does nothing.",
        "shift_tiles": (
            "Lays the tiles elsewhere at every step, so that each step heals the borders of the one before: an overlap "
            "of an eighth of a tile is enough, and large pictures take less than half the work."
        ),
        "composition_first": (
            "Draws the picture once at the size that the model knows, then carries it to the canvas' in stages, in "
            "tiles of its aspect: one picture, not one per tile. With Hires. fix on, that enlarges what comes of it."
        ),
        "composition_strength": (
            "How much the stages draw anew: less keeps to the first picture, above 0.8 tiles begin to invent subjects."
        ),
        "hold_colours": (
            "Keeps the colours of what a pass starts from, at every step and in the finished picture: tiles do not "
            "tint it, its detail is drawn anew."
        ),
        "tile_prompts": (
            "What is to be seen where, after the main prompt: places, of which each tile takes the nearest to "
            "its middle; or an interrogator's name, CLIP or DeepBooru, which says it of each tile of what is drawn "
            "over. The picture's text holds the words."
        ),
        "seamless": (
            "Joins left and right (Horizontal), top and bottom (Vertical), or both: for textures and 360° panoramas. "
            "Tiles and regions may cross the join."
        ),
    },
    RegionSettings: {
        "enable": "Draws this region; regions that are off are kept, but do nothing.",
        "x": "Left edge, as a fraction of the picture's width.",
        "y": "Top edge, as a fraction of the picture's height.",
        "w": "Width, as a fraction of the picture's width.",
        "h": "Height, as a fraction of the picture's height.",
        "prompt": "What to draw here; it follows the main prompt, after a comma. LoRAs act in this region only.",
        "neg_prompt": "What not to draw here; it follows the main negative prompt.",
        "blend_mode": "Background is averaged with the tiles around it; Foreground is laid over them.",
        "feather_ratio": "Width of a foreground region's soft edge, as a fraction of half its smaller side.",
        "seed": (
            "The region's own noise: the same number gives the same noise; -1 draws a number from the picture's seed."
        ),
        "strength": (
            "A factor of the page's denoising strength in this region: less keeps more of the picture that is drawn "
            "over, in img2img and in the hires pass."
        ),
        "mask": (
            "The region's shape within its box; by name a PNG in base64, white where the region is, which without a "
            "box covers the whole picture. Empty: the box itself."
        ),
    },
    TiledVAESettings: {
        "enabled": "Encodes and decodes large pictures in the memory of one feature map, with the same result.",
        "encoder_tile_size": "Work of one step of the encoder, in pixels: smaller needs less memory.",
        "decoder_tile_size": (
            "Work of one step of the decoder, in latent pixels, 8 image pixels each: smaller needs less memory."
        ),
        "vae_to_gpu": "Lends the GPU to a VAE that lies on the CPU.",
        "fast_decoder": (
            "Samples the statistics and decodes every tile alone: still less memory, nearly the same picture."
        ),
        "fast_encoder": (
            "Samples the statistics and encodes every tile alone: still less memory, nearly the same latent."
        ),
        "color_fix": "Samples only before the encoder's first downsampling: colours stay as they are.",
    },
}
