"""Make everything that is trained here, from nothing: paint, VAE, latents, UNet and text encoder, and the small files.

.venv/bin/python -m painted_world.training [--only vae] [--steps unet=4000] [--start demo.safetensors] [--device cuda]

What a run that was interrupted has reached lies in painted_world/work/; the same command goes on from there.
"""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from miniwebui.checkpoint_layout import Components, load_checkpoint
from painted_world import files
from painted_world.adapters import EmbeddingJob, LoraJob, attach, write_embedding, write_lora
from painted_world.autoencoder import DecoderJob, VaeJob, make_vae
from painted_world.canvases import paint_canvases, read_canvases
from painted_world.controlnet import LinesJob, write_controlnet
from painted_world.denoiser import UnetJob, make_text_encoder, make_unet
from painted_world.export import CHECKPOINT, MODELS, export
from painted_world.judge import JudgeJob, JudgeNet, write_judge
from painted_world.latents import encode as encode_picture
from painted_world.latents import encode_canvases, normalise_latents
from painted_world.lines import sketch_canvases
from painted_world.loop import (
    Job,
    Settings,
    averaged_weights,
    pick_device,
    stands_on_its_base,
    state_path,
    train,
    worker_count,
)
from painted_world.upscaler import CompactUpscaler, UpscalerJob, write_upscaler

NORMALISED, SEED = "vae-normalised.pt", "seed"
EMBEDDINGS = MODELS.parent / "embeddings"


@dataclass(frozen=True)
class Stage:
    """One network to train.

    Attributes:
        base: what it stands on, the normalised VAE or the finished checkpoint, if any.
        prepare: makes what it learns from, where that is more than the canvases.
    """

    job: Callable[[Settings, int], Job]
    steps: int
    rate: float
    base: Literal["", "vae", "checkpoint"] = ""
    prepare: Callable[[Run], None] = lambda run: None


@dataclass(frozen=True)
class Run:
    """One run of this program: where its files are, and how it trains."""

    work: Path
    seed: int
    share: float
    device: str
    workers: int
    start: Path | None
    steps: dict[str, int]

    def settings(self, name: str) -> Settings:
        stage = STAGES[name]
        below = {"": None, "vae": self.work / NORMALISED, "checkpoint": CHECKPOINT}[stage.base]
        start = self.start if name in ("vae", "unet") else below
        first = self.start if name == "lines" else None
        number = list(STAGES).index(name)
        steps = self.steps.get(name, stage.steps)
        base = files.content_hash(below) if below and below.exists() else ""
        return Settings(
            name,
            self.work,
            self.seed + number,
            steps,
            stage.rate,
            self.device,
            self.workers,
            start,
            base,
            first,
        )


def write_normalised_vae(run: Run) -> None:
    """Rescale the latent to the constant that Stable Diffusion's programs assume, unless that is done already.

    Where no VAE has been trained, it is the checkpoint's.
    """
    normalised, trained = run.work / NORMALISED, state_path(run.settings("vae"))
    is_newer = (
        trained.exists() and normalised.exists() and trained.stat().st_mtime > normalised.stat().st_mtime
    )
    if normalised.exists() and not is_newer:
        return
    if not trained.exists():
        files.save(load_checkpoint(CHECKPOINT).vae.state_dict(), normalised)
        return
    vae = make_vae().eval().requires_grad_(False)
    vae.load_state_dict(of_network(averaged_weights(run.settings("vae")), "vae"))
    some = read_canvases(sorted(run.work.glob("canvases-scene-*.pkl"))[:1])
    latents = [encode_picture(vae, torch.from_numpy(canvas.image).permute(2, 0, 1)) for canvas in some]
    normalise_latents(vae, torch.stack(latents))
    files.save(vae.state_dict(), normalised)


def encode(run: Run) -> None:
    """The canvases' latents."""
    write_normalised_vae(run)
    encode_canvases(run.work, run.work / NORMALISED, run.device, run.workers)


def encode_and_sketch(run: Run) -> None:
    """The canvases' latents and lines."""
    encode(run)
    sketch_canvases(run.work, run.seed, os.cpu_count() or 1)


STAGES = {
    "vae": Stage(VaeJob, 5000, 1.5e-3),
    "decoder": Stage(DecoderJob, 3000, 1e-3, "vae", write_normalised_vae),
    "unet": Stage(UnetJob, 24000, 1.5e-3, "vae", encode),
    "judge": Stage(JudgeJob, 1000, 2e-3),
    "upscaler": Stage(UpscalerJob, 1200, 2e-3),
    "lora": Stage(LoraJob, 400, 1e-2, "checkpoint", encode),
    "embedding": Stage(EmbeddingJob, 60, 4e-3, "checkpoint", encode),
    "lines": Stage(LinesJob, 2600, 1.5e-3, "checkpoint", encode_and_sketch),
}


def of_network(weights: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """One network's tensors out of those of several."""
    return {
        key.removeprefix(f"{name}."): value for key, value in weights.items() if key.startswith(f"{name}.")
    }


def finished_vae(run: Run) -> dict[str, Tensor]:
    """The normalised VAE, with the decoder that was trained further where there is one."""
    decoder = run.settings("decoder")
    if stands_on_its_base(decoder):
        return of_network(averaged_weights(decoder), "vae")
    vae: dict[str, Tensor] = files.load(run.work / NORMALISED)
    return vae


def write_checkpoint(run: Run) -> None:
    """The demo checkpoint, of what the UNet's training has reached; nothing while there is none for this VAE."""
    if not stands_on_its_base(run.settings("unet")):
        return
    weights = averaged_weights(run.settings("unet"))
    parts = Components(make_unet().eval(), make_vae().eval(), make_text_encoder().eval())
    parts.vae.load_state_dict(finished_vae(run))
    parts.unet.load_state_dict(of_network(weights, "unet"))
    parts.text_encoder.load_state_dict(of_network(weights, "text_encoder"))
    export(parts)


def write_small_file(run: Run, name: str) -> None:
    """The judge, the upscaler, the LoRA, the embedding or the ControlNet."""
    weights = averaged_weights(run.settings(name))
    if name == "upscaler":
        upscaler = CompactUpscaler()
        upscaler.load_state_dict(of_network(weights, "upscaler"))
        write_upscaler(upscaler, MODELS / "ESRGAN" / "demo-4x.safetensors")
    elif name == "judge":
        judge = JudgeNet()
        judge.load_state_dict(of_network(weights, "judge"))
        write_judge(judge)
    elif name == "lines":
        write_controlnet(of_network(weights, "controlnet"), MODELS / "ControlNet" / "demo-lines.safetensors")
    elif name == "lora":
        beside = attach(make_unet())
        beside.load_state_dict(weights)
        write_lora(beside, MODELS / "Lora" / "snow.safetensors")
    else:
        write_embedding(weights["embedding.weight"], EMBEDDINGS / "dusk-glow.safetensors")


def make(run: Run, names: Iterable[str]) -> None:
    """These stages in turn; what is finished already is left as it is, unless what it stands on has changed."""
    run.work.mkdir(parents=True, exist_ok=True)
    (run.work / SEED).write_text(str(run.seed))
    paint_canvases(run.work, run.seed, run.share, os.cpu_count() or 1)
    for name in names:
        stage = STAGES[name]
        stage.prepare(run)
        train(stage.job, run.settings(name))
        if stage.base == "vae":
            write_checkpoint(run)
        elif name != "vae":
            write_small_file(run, name)


def stage_steps(given: str) -> tuple[str, int]:
    """STAGE=N."""
    name, _, count = given.partition("=")
    if name not in STAGES or not count.isdecimal() or int(count) < 1:
        raise argparse.ArgumentTypeError(
            f"{given!r} is not STAGE=N: a stage is one of {', '.join(STAGES)}, N a number of steps from 1"
        )
    return name, int(count)


def usable_device(given: str) -> str:
    """auto, cpu, or cuda where there is one."""
    if given not in ("auto", "cpu", "cuda"):
        raise argparse.ArgumentTypeError(f"{given!r} is none of auto, cpu and cuda")
    if given == "cuda" and not torch.cuda.is_available():
        raise argparse.ArgumentTypeError("PyTorch finds no CUDA device here; auto and cpu are allowed")
    return given


def existing_file(given: str) -> Path:
    path = Path(given)
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"there is no file {given}")
    return path


def read_options(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line's; an error of theirs ends the program with one sentence."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=STAGES, default=list(STAGES), metavar="STAGE")
    parser.add_argument(
        "--steps", nargs="+", type=stage_steps, default=[], metavar="STAGE=N", help="other numbers of steps"
    )
    parser.add_argument(
        "--start",
        type=existing_file,
        help="checkpoint whose VAE, UNet and text encoder to begin with; with --only lines a ControlNet's file",
    )
    parser.add_argument("--share", type=float, default=1.0, help="part of the canvases that is painted")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", type=usable_device, default="auto", help="auto, cpu or cuda")
    parser.add_argument("--work", type=Path, default=Path(__file__).parent / "work")
    options = parser.parse_args(arguments)
    seed = options.work / SEED
    if seed.exists() and (begun := seed.read_text().strip()) != str(options.seed):
        parser.error(
            f"argument --seed: {options.seed}, but {options.work} was begun with {begun}; "
            "give that one, or another --work"
        )
    return options


def main() -> None:
    options = read_options()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    device = pick_device(options.device)
    workers = worker_count(device)
    run = Run(options.work, options.seed, options.share, device, workers, options.start, dict(options.steps))
    make(run, options.only)


if __name__ == "__main__":
    main()
