"""Noise inversion in the host: img2img starts from the noise that its picture would have come from."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from tile_host.door import host
from tile_host.hosts.protocol import Step
from tile_host.passes import Pass
from tile_host.rows import Asked
from tile_methods.inversion import invert, mix_noise, renoise_mask
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
    asked: Asked


class NoiseInversion:
    """Finds the noise of img2img's pictures; one for a generation."""

    def __init__(self, settings: TiledDiffusionSettings, cache: InversionCache) -> None:
        self._settings, self._cache = settings, cache

    def sampler(self, p: Any) -> AbstractContextManager[None]:
        """Before the host makes its sampler: noise that was found by Euler steps is sampled by Euler steps."""
        other = f"; '{p.sampler_name}' is not used" if p.sampler_name != SAMPLER else ""
        logger.info("Noise inversion works with the sampler %s%s.", SAMPLER, other)
        return patching.attribute(p, "sampler_name", SAMPLER)

    def replace(self, p: Any, x: Tensor, noise: Tensor, conds: Any, drawn: Pass) -> None:
        """Put the noise of the pictures x [B, C, h, w] into `noise`, mixed with what is there.

        An interrupt leaves the noise as it is: the host stops at its first step.

        Args:
            conds: the host's conditions of the positive prompts, with schedules.
            drawn: the pass itself; its noise is sought for the whole canvas.

        Raises:
            SettingsError: something else has changed the sampler.
        """
        name = p.sampler.config.name
        if name != SAMPLER:
            raise SettingsError(
                f"Tiled Diffusion: 'Enable Noise Inversion' is on and the sampler '{name}'; allowed is {SAMPLER}."
            )
        try:
            inverse = self._noises(p, x, conds, drawn.of_all()).to(noise) * p.initial_noise_multiplier
        except BaseException as error:
            if not host.job.is_interruption(error):
                raise
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

    def _noises(self, p: Any, x: Tensor, conds: Any, drawn: Pass) -> Tensor:
        """The noise of every picture; those that are not kept are made, one at a time. [B, C, h, w]"""
        sigmas = p.sampler.get_sigmas(p, self._settings.noise_inverse_steps).flip(0)
        plan = _levels(p, conds, len(sigmas) - 1)
        keys = [self._key(p, x[i], i, sigmas, levels, drawn) for i, levels in enumerate(plan)]
        noises = {key: noise for key in keys if (noise := self._cache.get(key)) is not None}
        if missing := [key for key in dict.fromkeys(keys) if key not in noises]:
            retouched = host.sampling.retouched(p, self._settings.noise_inverse_retouch)
            ready = host.sampling.ready(p, x[:1], drawn.largest)
            with _Progress(len(missing), len(sigmas) - 1, drawn.batches) as progress, ready, retouched:
                for key in missing:
                    i = keys.index(key)
                    noises[key] = self._noise_of(p, x[i : i + 1], i, sigmas, plan[i], drawn, progress)[0]
                    self._cache.put(key, noises[key])
        else:
            logger.info("Noise inversion: the same pictures and prompts as before, no new steps.")
        return torch.stack([noises[key].to(x.device) for key in keys])

    def _key(
        self, p: Any, picture: Tensor, index: int, sigmas: Tensor, levels: Sequence[_Level], drawn: Pass
    ) -> str:
        """All that the noise of one picture depends on."""
        return fingerprint(
            (host.facts.checkpoint(), host.words.networks_key(p)),
            (picture, p.image_conditioning[index], p.tiling, p.get_token_merging_ratio()),
            (sigmas, self._settings.noise_inverse_retouch),
            [(level.text, level.weights) for level in levels],
            drawn.key([level.asked for level in levels]),
        )

    def _noise_of(
        self,
        p: Any,
        picture: Tensor,
        index: int,
        sigmas: Tensor,
        levels: Sequence[_Level],
        drawn: Pass,
        progress: _Progress,
    ) -> Tensor:
        """The noise of one picture: added in the host's own way it gives the inverted latent. [1, C, h, w]"""
        model = host.sampling.model(p)
        image_cond = p.image_conditioning[index : index + 1]

        def denoise(x: Tensor, i: int) -> Tensor:
            level = levels[i - 1]
            parts = len(level.weights)
            x, image = (rows.expand(parts, *rows.shape[1:]) for rows in (x, image_cond))
            sigma = sigmas[i].to(x).expand(parts)
            cond = host.sampling.condition(level.text, image)
            # numbered backwards, so that a grid that moves lies where it will lie when this level is drawn
            step = Step(len(levels) - i, i - 1, len(levels))
            out = drawn.denoise(model, x, sigma, cond, step, level.asked, progress.after_batch)
            denoised = (out * level.weights.to(out)).sum(0, keepdim=True)
            progress.after_step(denoised)
            return denoised

        inverted = invert(denoise, picture, sigmas)
        return host.sampling.noise_between(picture, inverted, sigmas[-1].to(inverted))


def _levels(p: Any, conds: Any, steps: int) -> list[list[_Level]]:
    """For each picture its prompt at the noise levels of the inversion, from the lowest to the highest."""
    schedule, entry = host.sampling.img2img_steps(p)
    first = schedule - entry - 1  # the step of the whole schedule where img2img enters it
    plan: list[list[_Level]] = []
    for i in range(1, steps + 1):
        step = max(0.0, schedule * (steps - i) / steps - first)
        parts_of, texts = host.words.positives(conds, step)
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
    return _Level(text, weights, Asked(step, tuple(range(start, stop))))


def _pictures(p: Any) -> Tensor:
    """What the host has encoded, before masks. [N, 3, H, W] in 0 ... 1"""
    found = [np.asarray(image, dtype=np.float32) / 255 for image in host.pictures.encoded(p)]
    return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2)


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
            disable=host.job.progress_hidden(),
        )
        host.job.report_steps("Noise inversion", 0, self._steps)
        return self

    def __exit__(self, *_error: Any) -> None:
        self._bar.close()
        host.job.report_nothing()

    def after_batch(self) -> None:
        """One more model call is done."""
        self._bar.update()
        host.job.stop_if_interrupted()

    def after_step(self, denoised: Tensor) -> None:
        """One more step is done; `denoised` is what the model sees in it."""
        self._done += 1
        host.job.report_steps("Noise inversion", self._done, self._steps)
        host.job.preview(denoised)
