"""Random numbers of pictures, from the seeds of a batch, as `modules.rng` of the WebUI draws them.

The setting `randn_source` says where they come from: GPU (the device that draws), CPU, or NV (the numbers
of an NVIDIA GPU, computed on the CPU).
"""

import torch

from modules import devices, rng_philox, shared

nv_rng: rng_philox.Generator | None = None


def _source_device() -> torch.device:
    on_cpu = shared.opts.randn_source == "CPU" or devices.device.type == "mps"
    return devices.cpu if on_cpu else devices.device


def _draw(shape, generator) -> torch.Tensor:
    """Normal numbers on the drawing device; None as generator is the global one."""
    if shared.opts.randn_source == "NV":
        return torch.asarray((generator or nv_rng).randn(shape), device=devices.device)
    return torch.randn(shape, device=_source_device(), generator=generator).to(devices.device)


def manual_seed(seed: int) -> None:
    """Seed the global generator."""
    global nv_rng
    if shared.opts.randn_source == "NV":
        nv_rng = rng_philox.Generator(seed)
    else:
        torch.manual_seed(int(seed))


def create_generator(seed: int):
    """A generator of its own for one picture."""
    if shared.opts.randn_source == "NV":
        return rng_philox.Generator(seed)
    return torch.Generator(_source_device()).manual_seed(int(seed))


def randn(seed: int, shape, generator=None) -> torch.Tensor:
    """Normal numbers; seeds the global generator, and draws from it if no other is given."""
    manual_seed(seed)
    return _draw(shape, generator)


def randn_local(seed: int, shape) -> torch.Tensor:
    """The first normal numbers of a seed; the global generator is left alone."""
    return _draw(shape, create_generator(seed))


def randn_without_seed(shape, generator=None) -> torch.Tensor:
    """The next normal numbers of a generator, or of the global one."""
    return _draw(shape, generator)


def randn_like(x: torch.Tensor) -> torch.Tensor:
    """The next normal numbers of the global generator, in the shape of x."""
    return _draw(x.shape, None).to(device=x.device, dtype=x.dtype)


def slerp(val: float, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    """Spherical interpolation along axis 1 (Shoemake 1985); linear where the directions agree."""
    cosine = (torch.nn.functional.normalize(low, dim=1) * torch.nn.functional.normalize(high, dim=1)).sum(1)
    if cosine.mean() > 0.9995:
        return low * val + high * (1 - val)
    angle = torch.acos(cosine)
    weight_low = torch.sin((1.0 - val) * angle) / torch.sin(angle)
    weight_high = torch.sin(val * angle) / torch.sin(angle)
    return weight_low.unsqueeze(1) * low + weight_high.unsqueeze(1) * high


def _paste_centred(canvas: torch.Tensor, patch: torch.Tensor) -> torch.Tensor:
    """Lay patch over the middle of canvas, both [C, h, w]; what sticks out is cut off."""
    for axis in (1, 2):
        surplus = (canvas.shape[axis] - patch.shape[axis]) // 2
        if surplus < 0:
            patch = patch.narrow(axis, -surplus, patch.shape[axis] + 2 * surplus)
    top = max((canvas.shape[1] - patch.shape[1]) // 2, 0)
    left = max((canvas.shape[2] - patch.shape[2]) // 2, 0)
    height, width = min(patch.shape[1], canvas.shape[1]), min(patch.shape[2], canvas.shape[2])
    canvas[:, top : top + height, left : left + width] = patch[:, :height, :width]
    return canvas


class ImageRNG:
    """The noise of one batch: `next()` gives the initial latents first, then the noise of each step.

    Every picture has its own generator, so that it does not depend on the batch it is drawn in.
    """

    def __init__(
        self,
        shape,
        seeds,
        subseeds=None,
        subseed_strength=0.0,
        seed_resize_from_h=0,
        seed_resize_from_w=0,
    ):
        self.shape = tuple(map(int, shape))
        self.seeds = seeds
        self.subseeds = subseeds
        self.subseed_strength = subseed_strength
        self.seed_resize_from_h = seed_resize_from_h
        self.seed_resize_from_w = seed_resize_from_w
        self.generators = [create_generator(seed) for seed in seeds]
        self.is_first = True

    def _subseed(self, index: int) -> int:
        return self.subseeds[index] if index < len(self.subseeds) else 0

    def _first_of(self, index: int) -> torch.Tensor:
        """The initial latent of one picture: variation mixed in, noise of another size pasted in."""
        seed, generator = self.seeds[index], self.generators[index]
        shape = self.shape
        resized = self.seed_resize_from_h > 0 and self.seed_resize_from_w > 0
        if resized:
            shape = (self.shape[0], int(self.seed_resize_from_h) // 8, int(self.seed_resize_from_w) // 8)
        resized = shape != self.shape

        varied = self.subseeds is not None and self.subseed_strength != 0
        variation = randn(self._subseed(index), shape) if varied else None
        noise = randn(seed, shape, generator=None if resized else generator)
        if variation is not None:
            noise = slerp(self.subseed_strength, noise, variation)
        if resized:
            noise = _paste_centred(randn(seed, self.shape, generator=generator), noise)
        return noise

    def first(self) -> torch.Tensor:
        noises = [self._first_of(index) for index in range(len(self.seeds))]
        delta = shared.opts.eta_noise_seed_delta or 0
        if delta:
            self.generators = [create_generator(seed + delta) for seed in self.seeds]
        return torch.stack(noises).to(shared.device)

    def next(self) -> torch.Tensor:
        """Noise [batch, C, h, w]."""
        if self.is_first:
            self.is_first = False
            return self.first()
        noises = [randn_without_seed(self.shape, generator=generator) for generator in self.generators]
        return torch.stack(noises).to(shared.device)


devices.randn = randn
devices.randn_local = randn_local
devices.randn_like = randn_like
devices.randn_without_seed = randn_without_seed
devices.manual_seed = manual_seed
