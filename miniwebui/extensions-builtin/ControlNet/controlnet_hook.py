"""The UNet with what ControlNets add to it. Attribute names and their lifecycle are sd-webui-controlnet's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from controlnet_unit import BOTH, HIGH_RES_ONLY, LOW_RES_ONLY
from torch import Tensor

from modules import devices, prompt_parser, script_callbacks
from modules.processing import StableDiffusionProcessing

MARK = 1024
"""What a prompt's condition begins with, one token long; a negative prompt's begins with the opposite."""
SOFT = 0.825
"""Weight of each layer over that of the next deeper one, where the prompt or the ControlNet is to count more."""


class ControlParams:
    """One unit while a job is drawn.

    Attributes:
        control_model: a PlugableControlModel; control_model_type: its ControlModelType.
        preprocessor: its `name` and settings.
        hint_cond: [1, 3, H, W], 0 ... 1, in pixels; a fourth channel is an inpainting mask. Setting it forgets what
            was made of the one before.
        hr_hint_cond: the same for the hires pass, or None.
        used_hint_cond: the one of the two that the last call took.
        weight, advanced_weighting: of all layers, or of each.
        start_guidance_percent, stop_guidance_percent: 0 ... 1 of the steps; guidance_stopped: not in this one.
        soft_injection: deeper layers count more; cfg_injection: negative prompts are drawn without.
        effective_region_mask: [1, 1, H, W], 0 ... 1, or None.
    """

    def __init__(self, hint_cond: Tensor, **given: Any) -> None:
        self._hint_cond = hint_cond
        self.guidance_stopped = self.global_average_pooling = False
        self.hr_option = BOTH
        self.control_context_override = self.effective_region_mask = self.vision_hint_count = None
        self.union_control_types: list[Any] = []
        self._use(None)
        vars(self).update(given)

    @property
    def hint_cond(self) -> Tensor:
        return self._hint_cond

    @hint_cond.setter
    def hint_cond(self, new_hint_cond: Tensor) -> None:
        self._hint_cond = new_hint_cond
        self._use(None)

    def _use(self, hint: Tensor | None) -> None:
        self.used_hint_cond, self.used_hint_cond_latent, self.used_hint_inpaint_hijack = hint, None, None

    def choose_hint(self, x: Tensor) -> bool:
        """Take the hint whose height is nearer to the latent's; whether it is the hires pass'."""
        if self.used_hint_cond is None:
            self._use(self.hint_cond)
        if self.hr_hint_cond is None:
            return False
        height = x.shape[-2] * 8
        first, second = (abs(height - hint.shape[-2]) for hint in (self.hint_cond, self.hr_hint_cond))
        chosen = self.hint_cond if first < second else self.hr_hint_cond
        if self.used_hint_cond is not chosen:
            self._use(chosen)
        return first >= second

    def disabled_by_hr_option(self, is_in_high_res_fix: bool) -> bool:
        """Whether the unit is not for this pass."""
        return self.hr_option == (LOW_RES_ONLY if is_in_high_res_fix else HIGH_RES_ONLY)

    def apply_effective_region_mask(self, out: Tensor) -> Tensor:
        """A feature [B, C, h, w] where the unit acts."""
        if self.effective_region_mask is None:
            return out
        mask = F.interpolate(self.effective_region_mask.to(out), size=out.shape[-2:], mode="bilinear")
        return out * mask

    def scales(self, count: int, is_in_high_res_fix: bool) -> Sequence[float]:
        """Weights of that many layers, the middle one last."""
        if self.advanced_weighting is not None:
            return self.advanced_weighting
        soft = self.soft_injection or (is_in_high_res_fix and "canny" in self.preprocessor["name"])
        return [self.weight * (SOFT ** (count - 1 - index) if soft else 1.0) for index in range(count)]

    def control(self, x: Tensor, timesteps: Tensor, context: Tensor, cond_mark: Tensor, hires: bool) -> list:
        """What the unit adds to the UNet's skip connections and middle."""
        hint = self.used_hint_cond
        if hint.shape[1] == 4:
            mask = (hint[:, 3:] > 0.5).to(hint)
            hint = hint[:, :3] * (1 - mask) - mask
        found = self.control_model(x=x[:, :4], hint=hint, timesteps=timesteps, context=context)
        if self.cfg_injection:
            found = [part * cond_mark for part in found]
        scaled = zip(found, self.scales(len(found), hires))
        return [self.apply_effective_region_mask(part * scale) for part, scale in scaled]


def mark_prompt_context(x: Any, positive: bool) -> Any:
    """Conditions with the mark in front of their tokens; lists and their like are changed themselves."""
    if isinstance(x, list):
        x[:] = [mark_prompt_context(part, positive) for part in x]
    elif isinstance(x, prompt_parser.MulticondLearnedConditioning):
        mark_prompt_context(x.batch, positive)
    elif isinstance(x, prompt_parser.ComposableScheduledPromptConditioning):
        mark_prompt_context(x.schedules, positive)
    elif isinstance(x, prompt_parser.ScheduledPromptConditioning) and not _is_marked(x.cond):
        mark = torch.full_like(x.cond[:1], MARK if positive else -MARK)
        return prompt_parser.ScheduledPromptConditioning(x.end_at_step, torch.cat([mark, x.cond]))
    return x


def _is_marked(context: Tensor) -> bool:
    return bool((context[..., 0, :].abs() == MARK).all())


def unmark_prompt_context(context: Tensor) -> tuple[Tensor, Tensor]:
    """[B, 1 + tokens, channels] -> 1 for prompts and 0 for negative ones [B, 1, 1, 1], and the context without.

    A context without marks counts as prompts.
    """
    if not _is_marked(context):
        return context.new_ones(context.shape[0], 1, 1, 1), context
    StableDiffusionProcessing.cached_c = [None, None]  # what is kept there is marked
    StableDiffusionProcessing.cached_uc = [None, None]
    return (context[:, 0, 0] > 0).to(context)[:, None, None, None], context[:, 1:]


class UnetHook:
    """Takes the place of the UNet's forward between `hook` and `restore`."""

    def __init__(self, lowvram: bool = False) -> None:
        self.lowvram = lowvram
        self.model: Any = None
        self.sd_ldm: Any = None
        self.control_params: list[ControlParams] | None = None
        self.is_in_high_res_fix = False

    def guidance_schedule_handler(self, x: Any) -> None:
        """Before each step: which units act in it."""
        done = x.sampling_step / x.total_sampling_steps
        for param in self.control_params or []:
            param.guidance_stopped = not param.start_guidance_percent <= done <= param.stop_guidance_percent

    def hook(self, model: Any, sd_ldm: Any, control_params: list[ControlParams], process: Any) -> None:
        """Let these units act on the UNet `model` while `process` is drawn."""
        self.model, self.sd_ldm, self.control_params = model, sd_ldm, control_params
        if getattr(process, "sample_before_CN_hack", None) is None:
            process.sample_before_CN_hack = process.sample

        def process_sample(*args: Any, **kwargs: Any) -> Any:
            mark_prompt_context(kwargs.get("conditioning", []), positive=True)
            mark_prompt_context(kwargs.get("unconditional_conditioning", []), positive=False)
            mark_prompt_context(getattr(process, "hr_c", []), positive=True)
            mark_prompt_context(getattr(process, "hr_uc", []), positive=False)
            return process.sample_before_CN_hack(*args, **kwargs)

        process.sample = process_sample
        model._original_forward = self.original_forward = model.forward
        model.forward = self._forward
        script_callbacks.on_cfg_denoiser(self.guidance_schedule_handler)

    def restore(self) -> None:
        """The UNet as it was."""
        script_callbacks.remove_callbacks_for_function(self.guidance_schedule_handler)
        self.control_params = None
        if hasattr(self.model, "_original_forward"):
            self.model.forward = self.model._original_forward
            del self.model._original_forward

    def _forward(self, x: Tensor, timesteps: Tensor, context: Tensor, y: Any = None, **_: Any) -> Tensor:
        cond_mark, context = unmark_prompt_context(context)
        hires = [param.choose_hint(x) for param in self.control_params]
        self.is_in_high_res_fix = self.model.is_in_high_res_fix = any(hires)
        try:
            total = self._total(x, timesteps, context, cond_mark)
        finally:
            if self.lowvram:
                self._move(devices.cpu)
        if total is None:
            return self.original_forward(x, timesteps, context)
        return self.model.unet(
            x,
            timesteps,
            context,
            down_block_additional_residuals=total[:-1],
            mid_block_additional_residual=total[-1],
            return_dict=False,
        )[0]

    def _move(self, device: torch.device) -> None:
        for param in self.control_params:
            param.control_model.to(device)

    def _total(self, x: Tensor, timesteps: Tensor, context: Tensor, cond_mark: Tensor) -> list[Tensor] | None:
        """What all units that act now add; None if none does."""
        self._move(devices.get_device_for("controlnet"))
        parts = [
            param.control(x, timesteps, context, cond_mark, self.is_in_high_res_fix)
            for param in self.control_params
            if not param.guidance_stopped and not param.disabled_by_hr_option(self.is_in_high_res_fix)
        ]
        return [sum(layer) for layer in zip(*parts)] if parts else None
