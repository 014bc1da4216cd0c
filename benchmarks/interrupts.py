"""How soon does Tiled VAE stop when the user interrupts it, with full previews on?

.venv/bin/python benchmarks/interrupts.py [--times 30] [--side 1024]     (from the repository's root)

In the mini WebUI with the demo's checkpoint: a picture is encoded and its latent decoded, as a generation does it,
while a thread makes full previews of a small latent without a pause, as the page's requests do. Each time an interrupt
comes at a random moment of the encoder, of attention or of the decoder, in turns. Beside the time until the call ended
stands the time that a band takes (between two reports of progress) in calls that were not interrupted.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from miniwebui import webui  # noqa: E402
from painted_world.export import CHECKPOINT  # noqa: E402
from tile_methods.vae import layers  # noqa: E402

PARTS = ("encoder", "attention", "decoder")


class Clock:
    """When a call's parts of work were done, and when its attention began and ended."""

    def __init__(self) -> None:
        self.begun = time.perf_counter()
        self.ticks: list[float] = []
        self.attention = (0.0, 0.0)

    def now(self) -> float:
        return time.perf_counter() - self.begun


@contextmanager
def followed(clock: Clock) -> Iterator[None]:
    """Inside, the clock is told what the tiled networks of this thread do."""
    from tile_host import vae

    thread, attend, progress = threading.get_ident(), layers.attend, vae._Call.progress

    def timed(*args: Any) -> Any:
        before = clock.now()
        out = attend(*args)
        if threading.get_ident() == thread:
            clock.attention = before, clock.now()
        return out

    def noted(call: Any, done: int, total: int) -> None:
        if threading.get_ident() == thread:
            clock.ticks.append(clock.now())
        progress(call, done, total)

    with patch.object(layers, "attend", timed), patch.object(vae._Call, "progress", noted):
        yield


@contextmanager
def previews(state: Any, opts: Any) -> Iterator[list[int]]:
    """Inside, full previews are made one after the other; the list has an entry for each."""
    opts.data.update(live_previews_enable=True, show_progress_type="Full")
    done, ended = [], threading.Event()

    def show() -> None:
        while not ended.is_set():
            state.current_latent = torch.randn(1, 4, 32, 32)
            state.do_set_current_image()
            done.append(1)

    thread = threading.Thread(target=show)
    thread.start()
    yield done
    ended.set()
    thread.join()


def call(state: Any, work: Callable[[], Any], press_at: float | None) -> tuple[Clock, float | None]:
    """(the call's clock, seconds from the interrupt to its end)."""
    state.begin()
    clock, pressed = Clock(), []

    def press() -> None:
        pressed.append(clock.now())
        state.interrupt()

    timer = threading.Timer(press_at or 0, press)
    with followed(clock):
        clock.begun = time.perf_counter()
        if press_at is not None:
            timer.start()
        work()
        ended = clock.now()
    timer.cancel()
    return clock, ended - pressed[0] if pressed else None


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--times", type=int, default=30)
    parser.add_argument("--side", type=int, default=1024, help="pixels of the picture")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    webui.initialize(str(CHECKPOINT))
    from modules import shared  # noqa: TID251 - the host, which must have been started
    from tile_host import vae
    from tile_utils.settings import TiledVAESettings

    shared.cmd_opts.disable_console_progressbars = True
    settings = TiledVAESettings(enabled=True, encoder_tile_size=256, decoder_tile_size=48)
    session, chance = vae.TiledVAEGeneration(settings), random.Random(options.seed)
    session.begin(SimpleNamespace(sd_model=shared.sd_model, extra_generation_params={}))
    network = shared.sd_model.first_stage_model
    picture = torch.rand(1, 3, options.side, options.side) * 2 - 1
    latent = network.encode(picture).mode()
    works = {"encoder": lambda: network.encode(picture), "decoder": lambda: network.decode(latent)}
    waits: dict[str, list[float]] = {part: [] for part in PARTS}
    bands: list[float] = []
    with torch.no_grad(), previews(shared.state, shared.opts) as shown:
        for number in range(options.times):
            part = PARTS[number % len(PARTS)]
            work = works[part if part in works else chance.choice(sorted(works))]
            clock, _ = call(shared.state, work, None)
            bands += [after - before for before, after in zip(clock.ticks, clock.ticks[1:])]
            first, last = clock.attention if part == "attention" else (clock.ticks[0], clock.ticks[-1])
            _, waited = call(shared.state, work, chance.uniform(first, last))
            if waited is not None:
                waits[part].append(waited)
    session.stack.close()
    for name, seconds in {**waits, "all": sum(waits.values(), []), "a band": bands}.items():
        told = f"{statistics.median(seconds):.3f} s in the median, {max(seconds):.3f} s at most"
        print(f"{name}: {told}, of {len(seconds)}")
    print(f"{len(shown)} previews were made meanwhile")


if __name__ == "__main__":
    main()
