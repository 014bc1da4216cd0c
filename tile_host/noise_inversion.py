"""Noise inversion in the host: img2img starts from the noise that its picture would have come from."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from modules import images, prompt_parser, sd_samplers_common, shared
from tile_host import webui
from tile_host.canvas import Canvas
from tile_host.networks import networks_key
from tile_host.prompts import Rows
from tile_methods.noise_inversion import invert, mix_noise, renoise_mask
from tile_utils import patching
from tile_utils.fingerprint import fingerprint
from tile_utils.settings import SettingsError, TiledDiffusionSettings

logger = logging.getLogger("Tiled Diffusion")
SAMPLER = "Euler"


class InversionCache:
    """The noise of the last pictures, [C, h, w] each, in main memory."""

    size = 16

    def __init__(self) -> None:
        self._noises: OrderedDict[str, Tensor] = OrderedDict()

    def get(self, key: str) -> Tensor | None:
        """The noise kept under a key."""
        if key in self._noises:
            self._noises.move_to_end(key)
        return self._noises.get(key)

    def put(self, key: str, noise: Tensor) -> None:
        """Keep a noise; the one that was not asked for the longest goes."""
        self._noises[key] = noise.cpu()
        while len(self._noises) > self.size:
            self._noises.popitem(last=False)

    def clear(self) -> None:
        """Keep nothing."""
        self._noises.clear()


@dataclass(frozen=True)
class _Level:
    """The positive prompt of one picture at one noise level: a row for each of its parts."""

    text: Any
    weights: Tensor  # [parts, 1, 1, 1], their sum is 1
    rows: Rows


class NoiseInversion:
    """Finds the noise of img2img's pictures; one for a generation."""

    def __init__(self, settings: TiledDiffusionSettings, cache: InversionCache) -> None:
        self._settings, self._cache = settings, cache

    def sampler(self, p: Any) -> AbstractContextManager[None]:
        """Before the host makes its sampler: noise that was found by Euler steps is sampled by Euler steps."""
        other = f"; '{p.sampler_name}' is not used" if p.sampler_name != SAMPLER else ""
        logger.info("Noise inversion works with the sampler %s%s.", SAMPLER, other)
        return patching.attribute(p, "sampler_name", SAMPLER)

    def replace(self, p: Any, x: Tensor, noise: Tensor, conds: Any, canvas: Canvas) -> None:
        """Put the noise of the pictures x [B, C, h, w] into `noise`, mixed with what is there.

        An interrupt leaves the noise as it is: the host stops at its first step.

        Args:
            conds: the host's conditions of the positive prompts, with schedules.
            canvas: the pass' own.

        Raises:
            SettingsError: something else has changed the sampler.
        """
        name = p.sampler.config.name
        if name != SAMPLER:
            raise SettingsError(
                f"Tiled Diffusion: 'Enable Noise Inversion' is on and the sampler '{name}'; allowed is {SAMPLER}."
            )
        try:
            inverse = self._noises(p, x, conds, canvas).to(noise) * p.initial_noise_multiplier
        except sd_samplers_common.InterruptedException:
            logger.info("Noise inversion was interrupted.")
            return
        settings = self._settings
        if not settings.noise_inverse_renoise_strength:
            noise.copy_(inverse)
            return
        share = renoise_mask(
            _pictures(p),
            settings.noise_inverse_renoise_kernel,
            settings.noise_inverse_renoise_strength,
            (noise.shape[-2], noise.shape[-1]),
        )
        noise.copy_(mix_noise(inverse, noise, share.to(noise)))

    def _noises(self, p: Any, x: Tensor, conds: Any, canvas: Canvas) -> Tensor:
        """The noise of every picture; those that are not kept are made, one at a time. [B, C, h, w]"""
        sigmas = p.sampler.get_sigmas(p, self._settings.noise_inverse_steps).flip(0)
        plan = _levels(p, conds, len(sigmas) - 1)
        keys = [self._key(p, x[i], i, sigmas, levels, canvas) for i, levels in enumerate(plan)]
        noises = {key: noise for key in keys if (noise := self._cache.get(key)) is not None}
        if missing := [key for key in dict.fromkeys(keys) if key not in noises]:
            with _Progress(len(missing), len(sigmas) - 1, canvas.batches) as progress, self._retouched(p):
                for key in missing:
                    i = keys.index(key)
                    noises[key] = self._noise_of(p, x[i : i + 1], i, sigmas, plan[i], canvas, progress)[0]
                    self._cache.put(key, noises[key])
        else:
            logger.info("Noise inversion: the same pictures and prompts as before, no new steps.")
        return torch.stack([noises[key].to(x.device) for key in keys])

    def _key(
        self, p: Any, picture: Tensor, index: int, sigmas: Tensor, levels: Sequence[_Level], canvas: Canvas
    ) -> str:
        """All that the noise of one picture depends on."""
        model = shared.sd_model
        return fingerprint(
            (
                model.sd_checkpoint_info.filename,
                model.sd_model_hash,
                networks_key(p.extra_network_data or {}),
            ),
            (picture, p.image_conditioning[index], p.tiling, p.get_token_merging_ratio()),
            (sigmas, self._settings.noise_inverse_retouch),
            [(level.text, level.weights) for level in levels],
            canvas.key([level.rows for level in levels]),
        )

    def _retouched(self, p: Any) -> AbstractContextManager[None]:
        """The model is told a lower noise level than there is."""
        retouch, wrapper = self._settings.noise_inverse_retouch, p.sampler.model_wrap_cfg.model_wrap
        if retouch == 1 or wrapper is None:
            return nullcontext()
        timestep = wrapper.sigma_to_t
        return patching.attribute(wrapper, "sigma_to_t", lambda *args, **kw: timestep(*args, **kw) / retouch)

    def _noise_of(
        self,
        p: Any,
        picture: Tensor,
        index: int,
        sigmas: Tensor,
        levels: Sequence[_Level],
        canvas: Canvas,
        progress: _Progress,
    ) -> Tensor:
        """The noise of one picture: added in the host's own way it gives the inverted latent. [1, C, h, w]"""
        cfg_denoiser = p.sampler.model_wrap_cfg
        image_cond = p.image_conditioning[index : index + 1]

        def model(x: Tensor, sigma: Tensor, cond: Any) -> Tensor:
            return cfg_denoiser.inner_model(x, sigma, cond=cond)

        def denoise(x: Tensor, i: int) -> Tensor:
            level = levels[i - 1]
            parts = len(level.weights)
            x, image = (rows.expand(parts, *rows.shape[1:]) for rows in (x, image_cond))
            sigma = sigmas[i].to(x).expand(parts)
            cond = webui.condition(level.text, image)
            out = canvas.denoise(model, x, sigma, cond, progress.after_batch, level.rows)
            denoised = (out * level.weights.to(out)).sum(0, keepdim=True)
            progress.after_step(denoised)
            return denoised

        inverted = invert(denoise, picture, sigmas)
        return webui.noise_between(picture, inverted, sigmas[-1].to(inverted))


def _levels(p: Any, conds: Any, steps: int) -> list[list[_Level]]:
    """For each picture its prompt at the noise levels of the inversion, from the lowest to the highest."""
    schedule, entry = sd_samplers_common.setup_img2img_steps(p)
    first = schedule - entry - 1  # the step of the whole schedule where img2img enters it
    plan: list[list[_Level]] = []
    for i in range(1, steps + 1):
        step = max(0.0, schedule * (steps - i) / steps - first)
        parts_of, texts = prompt_parser.reconstruct_multicond_batch(conds, step)
        plan.append([_level(texts, parts, step) for parts in parts_of])
    return [list(levels) for levels in zip(*plan)]


def _level(texts: Any, parts: Sequence[tuple[int, float]], step: float) -> _Level:
    """Parts that count negatively are no positive prompt; only where there are no others they count alike."""
    start, stop = parts[0][0], parts[-1][0] + 1
    weights = torch.tensor([max(weight, 0.0) for _, weight in parts])
    if not weights.any():
        weights.fill_(1)
    weights = (weights / weights.sum()).view(-1, 1, 1, 1)
    text = {k: v[start:stop] for k, v in texts.items()} if isinstance(texts, dict) else texts[start:stop]
    return _Level(text, weights, Rows(step, start, stop))


def _pictures(p: Any) -> Tensor:
    """What the host has encoded, before masks: the init images in the size that is drawn. [N, 3, H, W] in 0 ... 1"""
    found = []
    for image in p.init_images:
        image = images.flatten(image, shared.opts.img2img_background_color)
        if p.paste_to is not None:  # inpainting "only masked"
            left, top, width, height = p.paste_to
            image = images.resize_image(
                2, image.crop((left, top, left + width, top + height)), p.width, p.height
            )
        else:
            image = images.resize_image(p.resize_mode % 3, image, p.width, p.height)
        found.append(torch.from_numpy(np.asarray(image, dtype=np.float32) / 255).permute(2, 0, 1))
    return torch.stack(found)


class _Progress:
    """Shows how far the inversion is: a bar in the console, the host's progress, text and preview."""

    def __init__(self, pictures: int, steps: int, batches: int) -> None:
        self._steps, self._batches = pictures * steps, batches
        self._done = 0

    def __enter__(self) -> _Progress:
        self._bar = tqdm(
            desc="Noise inversion",
            unit="batch",
            total=self._steps * self._batches,
            leave=False,
            disable=webui.progress_hidden(),
        )
        webui.report_steps("Noise inversion", 0, self._steps)
        return self

    def __exit__(self, *_error: Any) -> None:
        self._bar.close()
        webui.report_nothing()

    def after_batch(self) -> None:
        """One more model call is done."""
        self._bar.update()
        webui.stop_if_interrupted()

    def after_step(self, denoised: Tensor) -> None:
        """One more step is done; `denoised` is what the model sees in it."""
        self._done += 1
        webui.report_steps("Noise inversion", self._done, self._steps)
        sd_samplers_common.store_latent(denoised)
