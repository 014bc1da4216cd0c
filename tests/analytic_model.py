"""A model without networks, of the same numbers on every machine: what pictures that are kept were drawn with."""

import hashlib

import torch
import torch.nn.functional as F

from modules import extra_networks, processing


def encode(texts):
    """Eight numbers of each text's hash, at 77 tokens. [N, 77, 8]"""
    digests = [hashlib.sha256(text.encode()).digest()[:8] for text in texts]
    values = torch.tensor([[byte / 127.5 - 1 for byte in digest] for digest in digests])
    return values[:, None].repeat(1, 77, 1)


class Probe(extra_networks.ExtraNetwork):
    """`<probe:name:0.5>` shifts what the model says."""

    def __init__(self):
        super().__init__("probe")
        self.shift = 0.0

    def activate(self, p, params_list):
        self.shift = sum(float(params.items[1]) for params in params_list)

    def deactivate(self, p):
        self.shift = 0.0


def put_into(model, patch):
    """Let `model` predict from 5x5 pixels, the text and the probe; its VAE takes means. `patch`: a MonkeyPatch."""
    probe = Probe()

    def apply_model(x, t, cond):
        text = cond["c_crossattn"][0].mean(1)
        shift, gain = text[:, :4, None, None], text[:, 4:, None, None]
        seen = x * (0.6 + 0.2 * gain) - 0.4 * F.avg_pool2d(x, 5, 1, 2) + shift + probe.shift
        return torch.tanh(seen) * (0.5 + (t / 1000).view(-1, 1, 1, 1) / 2)

    patch.setitem(extra_networks.extra_network_registry, "probe", probe)
    patch.setattr(model, "get_learned_conditioning", encode)
    patch.setattr(model, "apply_model", apply_model)
    patch.setattr(model, "cond_stage_model_empty_prompt", None)
    patch.setattr(model, "encode_first_stage", lambda image: F.avg_pool2d(image, 8)[:, [0, 1, 2, 0]])
    patch.setattr(model, "get_first_stage_encoding", lambda latent: latent)
    patch.setattr(
        model, "decode_first_stage", lambda z: F.interpolate(z[:, :3] / 4, scale_factor=8).clamp(-1, 1)
    )
    base, txt2img = processing.StableDiffusionProcessing, processing.StableDiffusionProcessingTxt2Img
    for kind, names in ((base, ("cached_c", "cached_uc")), (txt2img, ("cached_hr_c", "cached_hr_uc"))):
        for name in names:  # texts of other models
            patch.setattr(kind, name, [None, None])
