"""Encoder and decoder with the module names of `ldm`/`sgm`, in plain torch: what the WebUI's checkpoints have."""

import torch.nn.functional as F
from torch import nn


class ResnetBlock(nn.Module):
    def __init__(self, channels, out_channels, groups):
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, channels, eps=1e-6)
        self.conv1 = nn.Conv2d(channels, out_channels, 3, padding=1)
        self.norm2 = nn.GroupNorm(groups, out_channels, eps=1e-6)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        if channels != out_channels:
            self.nin_shortcut = nn.Conv2d(channels, out_channels, 1)

    def forward(self, x):
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return h + (self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x)


class AttnBlock(nn.Module):
    def __init__(self, channels, groups):
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, eps=1e-6)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(channels, channels, 1) for _ in range(4))

    def forward(self, x):
        h = self.norm(x)
        q, k, v = (f(h).flatten(2) for f in (self.q, self.k, self.v))
        weights = (q.transpose(1, 2) @ k * x.shape[1] ** -0.5).softmax(-1)
        return x + self.proj_out((v @ weights.transpose(1, 2)).view_as(x))


class Upsample(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Downsample(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x):
        return self.conv(F.pad(x, (0, 1, 0, 1)))


def middle(channels, groups):
    mid = nn.Module()
    mid.block_1, mid.block_2 = (ResnetBlock(channels, channels, groups) for _ in range(2))
    mid.attn_1 = AttnBlock(channels, groups)
    return mid


def level(channels, out_channels, blocks, groups):
    part = nn.Module()
    sizes = [channels] + [out_channels] * blocks
    part.block = nn.ModuleList(ResnetBlock(a, b, groups) for a, b in zip(sizes, sizes[1:]))
    part.attn = nn.ModuleList()
    return part


class Net(nn.Module):
    def run(self, part, x):
        for block in part.block:
            x = block(x)
        for name in ("upsample", "downsample"):
            x = getattr(part, name)(x) if hasattr(part, name) else x
        return x

    def run_middle(self, x):
        return self.mid.block_2(self.mid.attn_1(self.mid.block_1(x)))

    def finish(self, x):
        return self.conv_out(F.silu(self.norm_out(x)))


class Encoder(Net):
    def __init__(self, widths=(32, 32, 64, 64), blocks=1, groups=8):
        super().__init__()
        self.conv_in = nn.Conv2d(3, widths[0], 3, padding=1)
        self.down = nn.ModuleList()
        for i, (a, b) in enumerate(zip((widths[0], *widths), widths)):
            self.down.append(level(a, b, blocks, groups))
            if i + 1 < len(widths):
                self.down[-1].downsample = Downsample(b)
        self.mid = middle(widths[-1], groups)
        self.norm_out = nn.GroupNorm(groups, widths[-1], eps=1e-6)
        self.conv_out = nn.Conv2d(widths[-1], 8, 3, padding=1)

    def forward(self, x):
        x = self.conv_in(x)
        for part in self.down:
            x = self.run(part, x)
        return self.finish(self.run_middle(x))


class Decoder(Net):
    def __init__(self, widths=(32, 32, 64, 64), blocks=2, groups=8):
        super().__init__()
        self.conv_in = nn.Conv2d(4, widths[-1], 3, padding=1)
        self.mid = middle(widths[-1], groups)
        self.up = nn.ModuleList()
        for i in reversed(range(len(widths))):
            part = level(widths[min(i + 1, len(widths) - 1)], widths[i], blocks, groups)
            if i > 0:
                part.upsample = Upsample(widths[i])
            self.up.insert(0, part)
        self.norm_out = nn.GroupNorm(groups, widths[0], eps=1e-6)
        self.conv_out = nn.Conv2d(widths[0], 3, 3, padding=1)

    def forward(self, x):
        x = self.run_middle(self.conv_in(x))
        for part in reversed(self.up):
            x = self.run(part, x)
        return self.finish(x)
