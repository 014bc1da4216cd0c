"""Feature maps in the host's memory: no row is read before it is written, whichever way the streams run."""

import pytest
import torch

from tests.stream_model import StreamModel
from tests.vae_networks import input_for, network
from tile_methods.vae.exact import ExactWorker
from tile_methods.vae.layers import Guard
from tile_methods.vae.recognise import recognise
from tile_methods.vae.storage import HostStore

CUDA = torch.device("cuda")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", ["Decoder", "Encoder"])
def test_every_row_is_read_after_it_is_written(kind, dtype, monkeypatch):
    net = network("ldm", kind).to(dtype)
    tasks, x = recognise(net).tasks, input_for(kind, 32, 20).to(dtype)
    expected = net(x)
    with StreamModel(monkeypatch) as model:
        worker = ExactWorker(HostStore(CUDA), 64 * 64 * 32, lambda: None, Guard())
        out = worker.whole(tasks, x, x.device)
    tolerance = 1e-4 if dtype == torch.float32 else 0.05
    assert (out - expected).abs().max() <= tolerance * max(1, expected.abs().max().item())
    assert model.races == 0
    assert model.brought > 100
    assert model.taken > 50
    assert model.queued == model.brought + model.taken  # all of one piece, none on the CPU


def test_the_model_sees_a_row_that_is_read_too_early(monkeypatch):
    """As it was: a slice of rows of a pinned [N, C, h, W] is no one piece, and torch reads it on the CPU at once."""
    with StreamModel(monkeypatch) as model:
        side, band = torch.cuda.Stream(CUDA), torch.ones(1, 4, 6, 5) * 2
        kept = torch.empty(band.shape, pin_memory=True)
        side.wait_stream(torch.cuda.current_stream(CUDA))
        with torch.cuda.stream(side):
            kept.copy_(band, non_blocking=True)
            kept[..., 1:2, :].to(CUDA, non_blocking=True)
    assert model.races == 1


def test_the_band_that_was_written_last_is_not_brought_back(monkeypatch):
    net = network("ldm", "Decoder")
    tasks, x = recognise(net).tasks, input_for("Decoder", 32, 20)
    with StreamModel(monkeypatch) as model:
        store = HostStore(CUDA)
        kept = [store.keep(torch.ones(1, 2, 3, 4)) for _ in range(2)]
        assert torch.equal(store.ready(store.prefetch(kept[1], slice(1, 3))), torch.ones(1, 2, 2, 4))
        assert model.brought == 0
        store.ready(store.prefetch(kept[0], slice(1, 3)))
        assert model.brought == 1
        before = model.brought
        worker = ExactWorker(store, 2**30, lambda: None, Guard())
        worker.whole(tasks[:1], x, x.device)
    assert model.brought == before  # one band each: nothing but the latest
