"""Classifier-free guidance around the denoiser (Ho & Salimans, arXiv 2207.12598), as the WebUI does it."""

import torch

from modules import prompt_parser, scripts, sd_samplers_common, shared
from modules.script_callbacks import (
    AfterCFGCallbackParams,
    CFGDenoisedParams,
    CFGDenoiserParams,
    cfg_after_cfg_callback,
    cfg_denoised_callback,
    cfg_denoiser_callback,
)
from modules.shared import opts, state


def catenate_conds(conds):
    """Conditions (tensors, or dicts of tensors) one below the other."""
    if not isinstance(conds[0], dict):
        return torch.cat(conds)
    return {key: torch.cat([cond[key] for cond in conds]) for key in conds[0]}


def subscript_cond(cond, a, b):
    """Rows a to b of a condition."""
    if not isinstance(cond, dict):
        return cond[a:b]
    return {key: value[a:b] for key, value in cond.items()}


def pad_cond(tensor, repeats, empty):
    """Append the empty prompt's tokens, `repeats` times."""
    if isinstance(tensor, dict):
        tensor["crossattn"] = pad_cond(tensor["crossattn"], repeats, empty)
        return tensor
    return torch.cat([tensor, empty.repeat((tensor.shape[0], repeats, 1)).to(tensor)], dim=1)


def condition_dict(text_cond, image_cond: torch.Tensor) -> dict:
    """The `cond` of a denoiser call; SDXL's text condition is a dict already."""
    text = text_cond if isinstance(text_cond, dict) else {"c_crossattn": [text_cond]}
    return {**text, "c_concat": [image_cond]}


class CFGDenoiser(torch.nn.Module):
    """The denoiser that a sampler calls: one call per step, on a batch of latents.

    Subclasses give `inner_model`, a property over `model_wrap`; a refiner switch empties `model_wrap`.
    """

    def __init__(self, sampler):
        super().__init__()
        self.sampler = sampler
        self.model_wrap = None
        self.p = None

        self.mask = None
        self.nmask = None
        self.init_latent = None
        self.mask_before_denoising = False

        self.steps = None
        """steps that the user asked for"""
        self.total_steps = None
        """expected calls of this denoiser"""
        self.step = 0

        self.image_cfg_scale = None
        self.cond_scale_miltiplier = 1.0
        self.need_last_noise_uncond = False
        self.last_noise_uncond = None
        self.padded_cond_uncond = False
        self.padded_cond_uncond_v0 = False

    @property
    def inner_model(self):
        raise NotImplementedError

    def combine_denoised(self, x_out, conds_list, uncond, cond_scale):
        """uncond + Σ weight · scale · (cond − uncond) for every picture.

        x_out: rows of all conds, then one uncond row per picture; conds_list: [(row, weight), …] per picture.
        """
        denoised_uncond = x_out[-uncond.shape[0] :]
        denoised = torch.clone(denoised_uncond)
        for index, conds in enumerate(conds_list):
            for row, weight in conds:
                denoised[index] += (x_out[row] - denoised_uncond[index]) * (weight * cond_scale)
        return denoised

    def combine_denoised_for_edit_model(self, x_out, cond_scale):
        """InstructPix2Pix (Brooks et al., arXiv 2211.09800, eq. 3): guided by the text and by the picture.

        x_out: rows with text and picture, with the picture only, with neither.
        """
        both, picture, neither = x_out.chunk(3)
        return neither + self.image_cfg_scale * (picture - neither) + cond_scale * (both - picture)

    def get_pred_x0(self, x_in, x_out, sigma):
        """The picture that the denoiser's output stands for."""
        return x_out

    def update_inner_model(self):
        """Another checkpoint is in use: take its denoiser and its conditions."""
        self.model_wrap = None
        c, uc = self.p.get_conds()
        self.sampler.sampler_extra_args["cond"] = c
        self.sampler.sampler_extra_args["uncond"] = uc

    def pad_cond_uncond(self, cond, uncond):
        """Bring both to one length with the empty prompt."""
        empty = shared.sd_model.cond_stage_model_empty_prompt
        missing = (cond.shape[1] - uncond.shape[1]) // empty.shape[1]
        if missing < 0:
            cond = pad_cond(cond, -missing, empty)
        elif missing > 0:
            uncond = pad_cond(uncond, missing, empty)
        self.padded_cond_uncond = missing != 0
        return cond, uncond

    def pad_cond_uncond_v0(self, cond, uncond):
        """Bring uncond to cond's length: repeat its last token, or cut it (as before WebUI 1.6)."""
        vectors = uncond["crossattn"] if isinstance(uncond, dict) else uncond
        missing = cond.shape[1] - vectors.shape[1]
        if missing > 0:
            vectors = torch.hstack([vectors, vectors[:, -1:].repeat([1, missing, 1])])
        else:
            vectors = vectors[:, : cond.shape[1]]
        self.padded_cond_uncond_v0 = missing != 0
        if isinstance(uncond, dict):
            uncond["crossattn"] = vectors
            return cond, uncond
        return cond, vectors

    def _blend_with_original(self, current_latent, sigma):
        """Inpainting: keep the original outside of the mask."""
        blended = current_latent * self.nmask + self.init_latent * self.mask
        if self.p.scripts is None:
            return blended
        mba = scripts.MaskBlendArgs(
            current_latent, self.nmask, self.init_latent, self.mask, blended, denoiser=self, sigma=sigma
        )
        self.p.scripts.on_mask_blend(self.p, mba)
        return mba.blended_latent

    @property
    def _is_edit(self) -> bool:
        """Is InstructPix2Pix guided by the picture too? With a scale of 1 that is plain guidance by the text."""
        return shared.sd_model.cond_stage_key == "edit" and self.image_cfg_scale not in (None, 1.0)

    def _skips_uncond(self, sigma, s_min_uncond: float) -> bool:
        """Whether this step does without the negative prompt; the infotext says so."""
        notes = self.p.extra_generation_params
        if opts.skip_early_cond != 0.0 and self.step / self.total_steps <= opts.skip_early_cond:
            notes["Skip Early CFG"] = opts.skip_early_cond
            return True
        eligible_step = self.step % 2 or opts.s_min_uncond_all
        if not eligible_step or s_min_uncond <= 0 or sigma[0] >= s_min_uncond or self._is_edit:
            return False
        notes["NGMS"] = s_min_uncond
        if opts.s_min_uncond_all:
            notes["NGMS all steps"] = opts.s_min_uncond_all
        return True

    def _same_length(self, tensor, uncond):
        """Pad cond or uncond where the settings say so."""
        self.padded_cond_uncond = self.padded_cond_uncond_v0 = False
        if tensor.shape[1] == uncond.shape[1]:
            return tensor, uncond
        if opts.pad_cond_uncond_v0:
            return self.pad_cond_uncond_v0(tensor, uncond)
        if opts.pad_cond_uncond:
            return self.pad_cond_uncond(tensor, uncond)
        return tensor, uncond

    def _call_inner_model(self, x_in, sigma_in, text_cond, image_cond_in, a: int, b: int):
        """One denoiser call, on rows a to b; `text_cond` is of these rows only."""
        return self.inner_model(x_in[a:b], sigma_in[a:b], cond=condition_dict(text_cond, image_cond_in[a:b]))

    def _denoise_rows(
        self, x_in, sigma_in, tensor, uncond, image_cond_in, batch_size: int, skip_uncond: bool
    ):
        """All rows through the inner model, in one call or several."""
        if skip_uncond or tensor.shape[1] == uncond.shape[1]:
            unconds = [] if skip_uncond else [uncond] * (1 + self._is_edit)
            cond_in = catenate_conds([tensor, *unconds])
            if opts.batch_cond_uncond:
                # c_concat keeps the rows of a skipped uncond, as in the WebUI
                return self.inner_model(x_in, sigma_in, cond=condition_dict(cond_in, image_cond_in))
            x_out = torch.zeros_like(x_in)
            for a in range(0, x_out.shape[0], batch_size):
                b = a + batch_size
                part = subscript_cond(cond_in, a, b)
                x_out[a:b] = self._call_inner_model(x_in, sigma_in, part, image_cond_in, a, b)
            return x_out

        x_out = torch.zeros_like(x_in)
        rows = batch_size * 2 if opts.batch_cond_uncond else batch_size
        count = tensor.shape[0]
        for a in range(0, count, rows):
            b = min(a + rows, count)
            part = subscript_cond(tensor, a, b)
            x_out[a:b] = self._call_inner_model(x_in, sigma_in, part, image_cond_in, a, b)
        end = x_in.shape[0]
        start = end - uncond.shape[0]
        x_out[start:] = self._call_inner_model(x_in, sigma_in, uncond, image_cond_in, start, end)
        return x_out

    def _show_preview(self, x_in, x_out, denoised, sigma, rows: list[int], uncond_rows: int) -> None:
        """Keep the latest picture for an interrupt, and hand the live preview what its setting names."""
        self.sampler.last_latent = self.get_pred_x0(x_in[rows], x_out[rows], sigma)
        if opts.live_preview_content == "Prompt":
            preview = self.sampler.last_latent
        elif opts.live_preview_content == "Negative prompt":
            preview = self.get_pred_x0(x_in[-uncond_rows:], x_out[-uncond_rows:], sigma)
        else:
            preview = self.get_pred_x0(x_in[rows], denoised, sigma)
        sd_samplers_common.store_latent(preview)

    def forward(self, x, sigma, uncond, cond, cond_scale, s_min_uncond, image_cond):
        """Denoise x [B, C, h, w] at noise levels sigma [B], guided by the prompts' schedules."""
        if state.interrupted or state.skipped:
            raise sd_samplers_common.InterruptedException
        if sd_samplers_common.apply_refiner(self, sigma):
            cond = self.sampler.sampler_extra_args["cond"]
            uncond = self.sampler.sampler_extra_args["uncond"]

        conds_list, tensor = prompt_parser.reconstruct_multicond_batch(cond, self.step)
        uncond = prompt_parser.reconstruct_cond_batch(uncond, self.step)
        if self.mask_before_denoising and self.mask is not None:
            x = self._blend_with_original(x, sigma)

        batch_size = len(conds_list)
        repeats = torch.tensor([len(conds) for conds in conds_list], device=x.device)
        if self._is_edit and batch_size != len(tensor):
            raise ValueError("InstructPix2Pix draws no prompt with AND (only with an Image CFG scale of 1).")
        third = (
            [x, sigma, torch.zeros_like(image_cond)] if self._is_edit else [x[:0], sigma[:0], image_cond[:0]]
        )
        x_in, sigma_in, image_cond_in = (
            torch.cat([rows.repeat_interleave(repeats.to(rows.device), dim=0), rows, more])
            for rows, more in zip((x, sigma, image_cond), third)
        )
        params = CFGDenoiserParams(
            x_in, image_cond_in, sigma_in, state.sampling_step, state.sampling_steps, tensor, uncond, self
        )
        cfg_denoiser_callback(params)
        x_in, image_cond_in, sigma_in = params.x, params.image_cond, params.sigma
        tensor, uncond = params.text_cond, params.text_uncond

        skip_uncond = self._skips_uncond(sigma, s_min_uncond)
        if skip_uncond:
            x_in, sigma_in = x_in[:-batch_size], sigma_in[:-batch_size]
        tensor, uncond = self._same_length(tensor, uncond)
        x_out = self._denoise_rows(x_in, sigma_in, tensor, uncond, image_cond_in, batch_size, skip_uncond)
        return self._guide(x_in, x_out, sigma, conds_list, uncond, cond_scale, skip_uncond)

    def _guide(self, x_in, x_out, sigma, conds_list, uncond, cond_scale, skip_uncond: bool):
        """Denoised rows -> the guided picture; callbacks, mask, preview and step count go with it."""
        first_rows = [conds[0][0] for conds in conds_list]
        if skip_uncond:
            # the cond's own picture stands in for the uncond's, so that guidance changes nothing
            x_out = torch.cat([x_out, x_out[first_rows]])

        cfg_denoised_callback(
            CFGDenoisedParams(x_out, state.sampling_step, state.sampling_steps, self.inner_model)
        )
        if self.need_last_noise_uncond:
            self.last_noise_uncond = torch.clone(x_out[-uncond.shape[0] :])

        scale = 1.0 if skip_uncond else cond_scale * self.cond_scale_miltiplier
        if self._is_edit:
            denoised = self.combine_denoised_for_edit_model(x_out, scale)
        else:
            denoised = self.combine_denoised(x_out, conds_list, uncond, scale)
        if not self.mask_before_denoising and self.mask is not None:
            denoised = self._blend_with_original(denoised, sigma)
        self._show_preview(x_in, x_out, denoised, sigma, first_rows, uncond.shape[0])

        after = AfterCFGCallbackParams(denoised, state.sampling_step, state.sampling_steps)
        cfg_after_cfg_callback(after)
        self.step += 1
        return after.x
