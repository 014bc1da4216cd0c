"""What the demo ControlNet learns from: lines of painted pictures, and how it stands beside the frozen checkpoint."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from miniwebui.checkpoint_layout import CheckpointError
from miniwebui.controlnet_layout import load_controlnet
from painted_world import canvases, files, loop
from painted_world import training as program
from painted_world.canvases import KINDS, random_canvas
from painted_world.checkpoint_file import save_controlnet
from painted_world.controlnet import SHARES, Controlled, make_controlnet, write_controlnet
from painted_world.denoiser import make_unet
from painted_world.lines import (
    SKETCHES,
    drawn_by_hand,
    edges,
    random_edges,
    read_lines,
    sketch_canvases,
    unpacked,
)
from painted_world.painter import HORIZON, MARGIN, Scene, Thing, paint


@pytest.fixture
def cached(tmp_path):
    """A few canvases of each kind that the ControlNet learns from."""
    rng = np.random.default_rng(3)
    for kind in SHARES:
        shard = [random_canvas(kind, rng) for _ in range(2)]
        (tmp_path / f"canvases-{kind}-000.pkl").write_bytes(pickle.dumps(shard))
    return tmp_path


def test_edges_are_where_the_things_are():
    picture = paint(Scene("meadow", "day", (Thing("balloon", "red", 128.0),)), np.random.default_rng(4))
    found = edges(picture, 0.1, 0.3)
    assert found.shape == (256, 256)
    assert 200 < found.sum() < 3000
    assert found[: int(HORIZON) - 40, 96:160].sum() > 5 * found[: int(HORIZON) - 40, :64].sum()
    picture = paint(Scene("mountains", "sunset", style="painting"), np.random.default_rng(4))
    counts = [random_edges(picture, np.random.default_rng(seed)).sum() for seed in range(8)]
    assert max(counts) > 1.3 * min(counts)


def test_sketches_lie_over_their_canvases(cached):
    sketch_canvases(cached, 1, 1)
    for kind in SHARES:
        lines = unpacked(read_lines(cached, kind))
        assert lines.shape == (2, SKETCHES, KINDS[kind].height, KINDS[kind].width)
        for canvas, sketches in zip(canvases.read_canvases([cached / f"canvases-{kind}-000.pkl"]), lines):
            finest = edges(canvas.image, 0.02, 0.03)[MARGIN:-MARGIN, MARGIN:-MARGIN]
            near = torch.nn.functional.max_pool2d(torch.from_numpy(finest)[None].float(), 5, 1, 2)[0]
            assert (sketches * near).sum() > 0.98 * sketches.sum()


def test_sketches_are_made_once_and_again_for_other_canvases(cached):
    sketch_canvases(cached, 1, 1)
    path = cached / "lines-close-000.pt"
    first = path.stat().st_mtime_ns
    sketch_canvases(cached, 1, 1)
    assert path.stat().st_mtime_ns == first
    (cached / "canvases-close-000.pkl").touch()
    sketch_canvases(cached, 1, 1)
    assert path.stat().st_mtime_ns > first


def test_drawings_vary_around_the_same_lines():
    lines = torch.zeros(64, 64)
    lines[32] = 1
    drawn = [drawn_by_hand(lines, torch.Generator().manual_seed(seed)) for seed in range(40)]
    assert all(each.min() >= 0 and each.max() <= 1 for each in drawn)
    assert all(each[:29].sum() + each[36:].sum() == 0 for each in drawn)
    assert len({round(float(each.sum()), 3) for each in drawn}) > 15
    assert sum(torch.equal(each, lines) for each in drawn) > 4


def test_it_begins_as_nothing_and_its_file_gives_the_same_network(tmp_path):
    torch.manual_seed(1)
    unet = make_unet().eval()
    network = make_controlnet(unet).eval()
    x, t, context, hints = (
        torch.randn(2, 4, 16, 24), torch.tensor([10, 900]), torch.randn(2, 77, 64), torch.rand(2, 3, 128, 192),
    )  # fmt: skip
    with torch.no_grad():
        assert torch.equal(Controlled(unet, network, hints)(x, t, context).sample, unet(x, t, context).sample)
        for parameter in network.parameters():
            parameter.normal_(0, 0.1)
        changed = Controlled(unet, network, hints)(x, t, context).sample
        assert not torch.allclose(changed, unet(x, t, context).sample)
        save_controlnet(tmp_path / "single.safetensors", network, {})
        network.save_pretrained(tmp_path)
        for name, error in (("single", 2e-2), ("diffusion_pytorch_model", 1e-6)):
            loaded = load_controlnet(tmp_path / f"{name}.safetensors", unet)
            again = Controlled(unet, loaded, hints)(x, t, context).sample
            assert (again - changed).abs().max() < error * changed.abs().max()
    assert (tmp_path / "single.safetensors").stat().st_size < 4 * 2**20


def test_keys_are_those_of_the_usual_single_file(tmp_path):
    """As in lllyasviel's files, read by programs that know no other names."""
    from safetensors.torch import load_file

    save_controlnet(tmp_path / "a.safetensors", make_controlnet(make_unet()), {})
    keys = load_file(tmp_path / "a.safetensors").keys()
    assert all(key.startswith("control_model.") for key in keys)
    for key in (
        "input_hint_block.0.weight", "input_hint_block.14.bias", "zero_convs.0.0.weight", "zero_convs.5.0.bias",
        "middle_block_out.0.weight", "middle_block.1.transformer_blocks.0.attn2.to_k.weight", "time_embed.2.bias",
        "input_blocks.0.0.weight", "input_blocks.3.0.in_layers.2.weight",
    ):  # fmt: skip
        assert f"control_model.{key}" in keys
    bare = {
        key.removeprefix("control_model."): value
        for key, value in load_file(tmp_path / "a.safetensors").items()
    }
    from safetensors.torch import save_file

    save_file(bare, tmp_path / "bare.safetensors")
    load_controlnet(tmp_path / "bare.safetensors", make_unet())
    bare.pop("middle_block_out.0.bias")
    save_file(bare, tmp_path / "bare.safetensors")
    with pytest.raises(CheckpointError, match=r"controlnet_mid_block.bias has the shape nothing"):
        load_controlnet(tmp_path / "bare.safetensors", make_unet())


def test_only_the_controlnet_learns(webui, checkpoint, cached):
    run = program.Run(cached, 1, 1.0, "cpu", 1, None, {"lines": 2})
    vae = cached / program.NORMALISED
    files.save(program.load_checkpoint(checkpoint).vae.state_dict(), vae)
    program.encode_canvases(cached, vae, "cpu", 1)
    sketch_canvases(cached, 1, 1)
    settings = replace(run.settings("lines"), start=checkpoint)
    job = program.LinesJob(settings, 8)
    before = {key: value.clone() for key, value in job._parts.unet.state_dict().items()}
    started = {key: value.clone() for key, value in job.networks.state_dict().items()}
    optimiser = torch.optim.SGD(job.networks.parameters(), lr=1e-2)
    for seed in range(2):
        job.loss(0.0, torch.Generator().manual_seed(seed)).backward()
        optimiser.step()
    assert all(torch.equal(value, before[key]) for key, value in job._parts.unet.state_dict().items())
    changed = [
        key for key, value in job.networks.state_dict().items() if not torch.equal(value, started[key])
    ]
    assert any("zero" in key or "controlnet_down_blocks" in key for key in changed)
    assert any("controlnet_cond_embedding" in key for key in changed)
    assert loop.state_path(settings).name == "lines.pt"
    write_controlnet(
        program.of_network(job.networks.state_dict(), "controlnet"), cached / "so-far.safetensors"
    )
    went_on = program.LinesJob(
        replace(settings, first=cached / "so-far.safetensors"), 8
    ).networks.state_dict()
    assert all((went_on[key] - value).abs().max() < 1e-3 for key, value in job.networks.state_dict().items())
    assert any(not torch.equal(went_on[key], value) for key, value in started.items())
