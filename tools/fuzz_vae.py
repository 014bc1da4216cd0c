"""Random networks, shapes and settings through Tiled VAE: is the result the untiled one's, and what is refused?

.venv/bin/python tools/fuzz_vae.py [--count 1000] [--seed 0] [--keep fuzz.json]     (from the repository's root)

Networks of both layouts and of an asymmetric VAE, of random width, depth, groups, activation and attention, seamless
or not, some with hooks that move weights and some with a part that is not what it seems. Latents are 1 to 70 pixels a
side. Exact results are compared with the network's own forward; a network that is refused must be named a reason, and
one that is strange must be refused. Fast mode's errors (root mean square over the spread of the result) are listed.
With `--keep` the same command goes on where it was stopped. The exit status is 1 if anything was wrong.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import accelerate
import torch
import torch.nn.functional as F
from diffusers import AsymmetricAutoencoderKL, AutoencoderKL
from diffusers.hooks import apply_group_offloading, apply_layerwise_casting
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests import ldm_vae  # noqa: E402
from tile_methods.vae.program import UnsupportedNetwork  # noqa: E402
from tile_methods.vae.run import run  # noqa: E402

CPU = torch.device("cpu")
AREA, ATTENDED = 1200, 20_000
"""Latent pixels at most; and values a channel of the largest map, where a network attends in every level."""
TOLERANCES = {torch.float32: 1e-4, torch.float16: 0.03, torch.bfloat16: 0.15}
"""Of the largest value of the untiled result, or of 1 if that is larger."""


def convolutions(net: nn.Module) -> list[nn.Conv2d]:
    """The 3x3 ones that a picture goes through: an asymmetric VAE has more, for masks."""
    return [
        one
        for name, one in net.named_modules()
        if isinstance(one, nn.Conv2d) and one.kernel_size == (3, 3) and "condition_encoder" not in name
    ]


def one_way(net: nn.Module, rng: random.Random) -> None:
    """A convolution that continues at the opposite edge in one direction."""

    def padded(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        x = F.pad(F.pad(x, (1, 1, 0, 0), mode="circular"), (0, 0, 1, 1))
        return F.conv2d(x, weight, bias)

    rng.choice([one for one in convolutions(net) if one.stride == (1, 1)])._conv_forward = padded


def other_padding(net: nn.Module, rng: random.Random) -> None:
    conv = rng.choice([one for one in convolutions(net) if one.stride == (1, 1)])
    conv.padding_mode = "replicate"


def hooked(net: nn.Module, rng: random.Random) -> None:
    rng.choice(convolutions(net)).register_forward_hook(lambda module, args, out: out * 1.5)


def replaced(net: nn.Module, rng: random.Random) -> None:
    conv = rng.choice(convolutions(net))
    conv.forward = lambda x, forward=conv.forward: forward(x) + 1


def subclassed(net: nn.Module, rng: random.Random) -> None:
    class Louder(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * 1.5

    rng.choice(convolutions(net)).__class__ = Louder


def reparametrised(net: nn.Module, rng: random.Random) -> None:
    """Not strange: the weight is computed, and is what it is."""
    nn.utils.parametrizations.weight_norm(rng.choice(convolutions(net)))


def sequential(net: nn.Module, rng: random.Random) -> None:
    accelerate.cpu_offload(net, execution_device="cpu")


def by_group(net: nn.Module, rng: random.Random) -> None:
    kinds: list[dict[str, Any]] = [
        {"num_blocks_per_group": rng.choice((1, 2))},
        {"offload_type": "leaf_level"},
    ]
    apply_group_offloading(net, CPU, **rng.choice(kinds))


def cast_by_layer(net: nn.Module, rng: random.Random) -> None:
    apply_layerwise_casting(net, torch.float16, torch.float32)


Change = Callable[[nn.Module, random.Random], None]
STRANGE: list[Change] = [one_way, other_padding, hooked, replaced, subclassed]
PLAIN: list[Change] = [reparametrised, sequential, by_group, cast_by_layer]


@dataclass
class Case:
    """One network and what it is asked for."""

    label: str
    net: nn.Module
    x: Tensor
    options: dict[str, Any]
    strange: str | None = None


def make_case(rng: random.Random) -> Case:
    torch.manual_seed(rng.randrange(2**31))
    layout, kind = (
        rng.choice(("ldm", "diffusers", "diffusers", "asymmetric")),
        rng.choice(("Decoder", "Encoder")),
    )
    groups, levels = rng.choice((1, 2, 4, 8)), rng.randint(1, 4)
    widths = tuple(rng.choice((8, 16, 24, 32)) for _ in range(levels))
    depth, activation = rng.randint(1, 2), rng.choice(("silu", "silu", "relu", "gelu", "mish"))
    if layout == "ldm":
        net, activation = getattr(ldm_vae, kind)(widths, depth, groups), "silu"
    else:
        net = getattr(diffusers_vae(layout, widths, depth, groups, activation, rng), kind.lower())
    net = net.eval().requires_grad_(False)
    seamless = rng.random() < 0.15
    for conv in convolutions(net) if seamless else []:
        conv.padding_mode = "circular"
    dtype = rng.choice((torch.float32, torch.float32, torch.float16, torch.bfloat16))
    changed = change(net, rng, seamless)
    dtype = torch.float32 if changed in PLAIN else dtype
    net = net.to(dtype) if changed not in PLAIN else net
    factor = 2 ** (levels - 1)
    height, width = rng.randint(1, 70), rng.randint(1, 70)
    most = ATTENDED // factor**2 if attends_at_full_size(net) else AREA
    if height * width > most:
        height, width = rng.choice(((height, -(-most // height)), (-(-most // width), width)))
    images = rng.choice((1, 1, 2))
    if kind == "Decoder":
        x = torch.randn(images, net.conv_in.in_channels, height, width)
    else:
        x = torch.randn(
            images, 3, height * factor + rng.randrange(factor), width * factor + rng.randrange(factor)
        )
    tile = rng.choice((1, 3, 7, 16, 33, 80)) * (1 if kind == "Decoder" else factor)
    mode = rng.choice(("exact", "exact", "fast"))
    tile = max(tile, max(height, width) // 6 * (1 if kind == "Decoder" else factor), 1)
    options = {"tile_size": tile, "mode": mode, "storage": rng.choice(("auto", "device", "host"))}
    if mode == "fast" and kind == "Encoder":
        options["color_fix"] = rng.random() < 0.3
    name = getattr(changed, "__name__", "")
    label = (
        f"{layout} {kind} {widths}x{depth} groups {groups} {activation} {str(dtype)[6:]} {tuple(x.shape)}"
        f" {options}{' seamless' if seamless else ''} {name}"
    )
    return Case(label, net, x.to(dtype), options, name if changed in STRANGE else None)


def attends_at_full_size(net: nn.Module) -> bool:
    return any(
        hasattr(block, "attentions")
        for part in ("up_blocks", "down_blocks")
        for block in getattr(net, part, ())
    )


def diffusers_vae(
    layout: str, widths: tuple[int, ...], depth: int, groups: int, activation: str, rng: random.Random
) -> nn.Module:
    """A VAE of `diffusers`; the asymmetric one's decoder is of another size than its encoder."""
    count = len(widths)
    if layout == "asymmetric":
        return AsymmetricAutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * count,
            up_block_types=("UpDecoderBlock2D",) * count,
            down_block_out_channels=widths,
            up_block_out_channels=tuple(2 * width for width in widths),
            layers_per_down_block=depth,
            layers_per_up_block=depth + 1,
            act_fn=activation,
            norm_num_groups=groups,
        )
    attention = rng.random() < 0.15
    return AutoencoderKL(
        down_block_types=("AttnDownEncoderBlock2D" if attention else "DownEncoderBlock2D",) * count,
        up_block_types=("AttnUpDecoderBlock2D" if attention else "UpDecoderBlock2D",) * count,
        block_out_channels=widths,
        layers_per_block=depth,
        act_fn=activation,
        latent_channels=rng.choice((4, 16)),
        norm_num_groups=groups,
        mid_block_add_attention=rng.random() < 0.8,
    )


def change(net: nn.Module, rng: random.Random, seamless: bool) -> Change | None:
    """Do something to the network, perhaps."""
    what = rng.random()
    if what < 0.15 and not seamless:
        made = rng.choice(STRANGE)
    elif what < 0.3:
        made = rng.choice(PLAIN)
    else:
        return None
    made(net, rng)
    return made


@dataclass
class Tally:
    """What came of all cases."""

    done: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    tracebacks: list[str] = field(default_factory=list)
    exact_errors: list[float] = field(default_factory=list)
    fast_errors: list[tuple[float, str]] = field(default_factory=list)
    tried: int = 0
    seconds: float = 0.0

    @classmethod
    def of(cls, kept: Path | None) -> Tally:
        """What an earlier run has kept, or a new one."""
        if kept is None or not kept.exists():
            return cls()
        found = json.loads(kept.read_text())
        return cls(**{**found, "done": Counter(found["done"]), "refused": Counter(found["refused"])})

    def try_case(self, case: Case) -> None:
        expected = case.net(case.x)
        if not expected.isfinite().all():
            self.done["the network itself overflows"] += 1
            return
        try:
            out = run(case.net, case.x, **case.options)
        except UnsupportedNetwork as error:
            reason = next((one.__name__ for one in STRANGE if one.__name__ == case.strange), str(error))
            self.refused[reason] += 1
            if case.strange is None:
                self.wrong.append(f"refused: {error}: {case.label}")
            return
        except Exception:
            self.tracebacks.append(f"{case.label}\n{traceback.format_exc()}")
            return
        self._judge(case, out.float(), expected.float())

    def _judge(self, case: Case, out: Tensor, expected: Tensor) -> None:
        self.done[f"{case.options['mode']}, {str(case.x.dtype)[6:]}"] += 1
        if case.strange is not None and case.options["mode"] == "fast":
            self.wrong.append(f"not refused: {case.label}")
            return
        if out.shape != expected.shape:
            self.wrong.append(f"shape {tuple(out.shape)}: {case.label}")
            return
        error = (out - expected).abs().max() / expected.abs().max().clamp_min(1)
        if case.options["mode"] == "fast":
            spread = expected.std().clamp_min(1e-6) if expected.numel() > 1 else 1.0
            self.fast_errors.append((float((out - expected).square().mean().sqrt() / spread), case.label))
            return
        self.exact_errors.append(float(error))
        if not error <= TOLERANCES[case.x.dtype]:
            self.wrong.append(f"error {error:.2e}: {case.label}")

    def report(self) -> None:
        print(f"\n{sum(self.done.values())} done: {dict(self.done)}")
        print(f"{sum(self.refused.values())} refused, by what was done to them: {dict(self.refused)}")
        print(f"{len(self.wrong)} wrong, {len(self.tracebacks)} tracebacks")
        for line in (*self.wrong[:20], *self.tracebacks[:5]):
            print("   ", line)
        if self.exact_errors:
            print(f"exact: largest error {max(self.exact_errors):.1e} of the largest value, all types")
        if errors := sorted(map(tuple, self.fast_errors)):
            median, most = errors[len(errors) // 2][0], errors[int(len(errors) * 0.99)][0]
            print(f"fast, relative to the result's spread: median {median:.4f}, 99 % {most:.4f}; the worst:")
            for error, label in errors[:-6:-1]:
                print(f"    {error:.4f}  {label}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="where to keep what came of it (JSON), and to go on from")
    options = parser.parse_args()
    tally = Tally.of(options.keep)
    with torch.no_grad():
        while tally.tried < options.count:
            start = time.monotonic()
            tally.try_case(make_case(random.Random(f"{options.seed}/{tally.tried}")))
            tally.tried, tally.seconds = tally.tried + 1, tally.seconds + time.monotonic() - start
            if tally.tried % 50:
                continue
            print(f"{tally.tried}: {len(tally.wrong)} wrong, {len(tally.tracebacks)} tracebacks", flush=True)
            if options.keep:
                options.keep.write_text(json.dumps(vars(tally)))
    tally.report()
    print(f"{tally.seconds:.0f} seconds")
    sys.exit(bool(tally.wrong or tally.tracebacks))


if __name__ == "__main__":
    main()
