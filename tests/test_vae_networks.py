"""Which networks run tiled, which are left alone, and what is said then."""

import contextlib
import re
import threading
from functools import partial

import accelerate
import pytest
import torch
from diffusers import AutoencoderKLQwenImage, AutoencoderTiny
from diffusers.hooks import apply_group_offloading, apply_layerwise_casting
from diffusers.models.autoencoders.autoencoder_kl_hunyuan_video import HunyuanVideoDecoder3D
from torch import nn

from tests import ldm_vae
from tests.vae_networks import diffusers_vae, input_for, network
from tile_methods.vae import tiled_vae
from tile_methods.vae.program import UnsupportedNetwork
from tile_methods.vae.recognise import recognise
from tile_methods.vae.run import run


def with_activation(name):
    torch.manual_seed(1)
    vae = diffusers_vae(act_fn=name)
    return vae.decoder


def one_way(conv):
    """A convolution that continues at the opposite edge in one direction, as an extension makes it."""

    def padded(x, weight, bias):
        x = nn.functional.pad(nn.functional.pad(x, (1, 1, 0, 0), mode="circular"), (0, 0, 1, 1))
        return nn.functional.conv2d(x, weight, bias)

    conv._conv_forward = padded


class Doubled(nn.Conv2d):
    def forward(self, x):
        return 2 * super().forward(x)


def changed(net, change):
    """A diffusers decoder with one part that is not what it seems."""
    block = net.up_blocks[1].resnets[0]
    conv = block.conv1
    if change == "padding in one direction":
        one_way(conv)
    elif change == "reflected padding":
        block.conv1 = nn.Conv2d(conv.in_channels, conv.out_channels, 3, padding=1, padding_mode="reflect")
    elif change == "groups":
        block.conv1 = nn.Conv2d(conv.in_channels, conv.out_channels, 3, padding=1, groups=2)
    elif change == "dilation":
        block.conv1 = nn.Conv2d(conv.in_channels, conv.out_channels, 3, padding=2, dilation=2)
    elif change == "a subclass":
        block.conv1 = Doubled(conv.in_channels, conv.out_channels, 3, padding=1)
    elif change == "a hook":
        conv.register_forward_hook(lambda module, args, out: out * 2)
    elif change == "a forward":
        block.forward = lambda x, temb=None, forward=block.forward: forward(x, temb) * 2
    elif change == "another norm":
        block.norm1 = nn.InstanceNorm2d(conv.in_channels)
    elif change == "dropout":
        block.dropout.p = 0.5
        block.train()
    elif change == "a scale":
        block.output_scale_factor = 2.0
    return net


CHANGES = [
    "padding in one direction", "reflected padding", "groups", "dilation", "a subclass", "a hook", "a forward",
    "another norm", "dropout", "a scale",
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_network_with_one_strange_part_is_left_alone_and_the_part_is_named(change, caplog):
    vae, z = diffusers_vae(), input_for("Decoder", 12, 14)
    changed(vae.decoder, change).requires_grad_(False)
    torch.manual_seed(5)
    expected = vae.decode(z).sample
    torch.manual_seed(5)
    with tiled_vae(vae, tile_size=8):
        assert torch.allclose(vae.decode(z).sample, expected, atol=1e-6)
    assert re.search(r"cannot be tiled \(up_blocks\.1\.resnets\.0.*\); it runs as a whole", caplog.text)


@pytest.mark.parametrize("name", ["relu", "gelu", "mish", "silu"])
def test_the_activation_is_the_networks(name):
    net, x = with_activation(name), input_for("Decoder", 12, 14)
    assert [type(task.activation).__name__.lower() for task in recognise(net).tasks[1:2]] == [name]
    assert (run(net, x, tile_size=5) - net(x)).abs().max() <= 1e-4


def test_a_class_that_was_patched_is_noticed(monkeypatch):
    """The ldm layout has its activation in the code, where nothing but the result tells."""
    net, x = network("ldm", "Decoder"), input_for("Decoder", 12, 14)
    run(net, x, tile_size=8)
    monkeypatch.setattr(ldm_vae.F, "silu", nn.functional.gelu)
    with pytest.raises(UnsupportedNetwork, match=r"mid\.block_1 computes something else"):
        run(net, x, tile_size=8)


def test_a_forward_of_its_own_runs_instead(caplog):
    vae = diffusers_vae()
    vae.decoder.forward = lambda z: torch.zeros(1, 3, 5, 5)
    with tiled_vae(vae, tile_size=8):
        assert vae.decode(input_for("Decoder", 12, 14)).sample.shape == (1, 3, 5, 5)
    assert "the network has another forward" in caplog.text


def offloaded(vae, way):
    if way == "sequential offload":
        accelerate.cpu_offload(vae.decoder, execution_device="cpu")
    elif way == "group offload by block":
        apply_group_offloading(vae.decoder, torch.device("cpu"), num_blocks_per_group=1)
    elif way == "group offload by leaf":
        apply_group_offloading(vae.decoder, torch.device("cpu"), offload_type="leaf_level")
    else:
        apply_layerwise_casting(vae.decoder, torch.float16, torch.float32)


@pytest.mark.parametrize("mode", ["exact", "fast"])
@pytest.mark.parametrize(
    "way", ["sequential offload", "group offload by block", "group offload by leaf", "layer-wise casting"]
)
def test_hooks_that_bring_weights_are_run_around_each_task(way, mode, caplog):
    vae, z = diffusers_vae(), input_for("Decoder", 12, 14)
    offloaded(vae, way)
    expected = vae.decode(z).sample
    kinds = {name: (p.device.type, p.dtype) for name, p in vae.decoder.named_parameters()}
    if way == "sequential offload":
        assert ("meta", torch.float32) in kinds.values()
    with tiled_vae(vae, tile_size=8, mode=mode):
        out = vae.decode(z).sample
    assert "runs as a whole" not in caplog.text
    assert (out - expected).abs().max() <= (1e-4 if mode == "exact" else 0.5)
    assert {name: (p.device.type, p.dtype) for name, p in vae.decoder.named_parameters()} == kinds


def test_weights_are_brought_once_for_a_task_of_many_bands():
    vae, brought = diffusers_vae(), []

    class Counting(accelerate.hooks.AlignDevicesHook):
        def pre_forward(self, module, *args, **kwargs):
            brought.append(module)
            return args, kwargs

    Counting.__name__ = "AlignDevicesHook"
    Counting.__module__ = "accelerate.hooks"
    conv = vae.decoder.up_blocks[3].resnets[0].conv1
    accelerate.hooks.add_hook_to_module(conv, Counting())
    run(vae.decoder, input_for("Decoder", 12, 14), tile_size=2)
    assert brought == [conv] * 3  # twice in the trial


def test_own_tiles_and_slices_are_off_meanwhile_and_back_afterwards():
    vae, z = diffusers_vae(), input_for("Decoder", 24, 28).repeat(2, 1, 1, 1)
    vae.tile_latent_min_size, vae.tile_sample_min_size = 8, 64
    expected = vae.decode(z).sample
    vae.enable_tiling()
    assert (vae.decode(z).sample - expected).abs().max() > 0.1
    with tiled_vae(vae, tile_size=8):
        vae.enable_slicing()
        assert (vae.decode(z).sample - expected).abs().max() <= 1e-4
    assert vae.use_tiling
    assert vae.use_slicing
    assert type(vae).__name__ == "AutoencoderKL"
    assert not isinstance(vars(type(vae)).get("use_tiling"), property)


@pytest.mark.parametrize("wanting", ["training", "input"])
def test_where_gradients_are_wanted_the_network_gives_them(wanting, caplog):
    vae, z = diffusers_vae().requires_grad_(True), input_for("Decoder", 12, 14)
    vae.train(wanting == "training")
    z.requires_grad_(wanting == "input")
    with torch.enable_grad(), tiled_vae(vae, tile_size=8):
        vae.decode(z).sample.mean().backward()
    grad = z.grad if wanting == "input" else vae.decoder.conv_in.weight.grad
    assert grad.abs().max() > 0
    assert "Gradients are wanted" in caplog.text


def test_in_evaluation_without_no_grad_it_stays_tiled_and_without_gradients():
    vae, z = diffusers_vae().requires_grad_(True), input_for("Decoder", 12, 14)
    with torch.enable_grad(), tiled_vae(vae, tile_size=8):
        assert not vae.decoder(z).requires_grad


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (partial(HunyuanVideoDecoder3D, block_out_channels=(32, 32, 32, 32)), "neither|is a HunyuanVideo"),
        (lambda: AutoencoderKLQwenImage(base_dim=8, z_dim=4).decoder, "neither|is a Qwen"),
        (lambda: AutoencoderTiny().decoder, "neither an encoder nor a decoder"),
    ],
)
def test_networks_of_another_kind_are_told_apart_in_words(make, sentence):
    with pytest.raises(UnsupportedNetwork, match=sentence):
        recognise(make())


def test_a_network_without_resizing_is_fast_all_the_same():
    torch.manual_seed(1)
    net = ldm_vae.Decoder((32,)).eval().requires_grad_(False)
    x = input_for("Decoder", 20, 22)
    for mode in ("exact", "fast"):
        assert (run(net, x, tile_size=5, mode=mode) - net(x)).abs().max() <= 1e-4


def test_two_threads_at_once():
    """A preview is decoded while the picture is: neither's trial is the other's hook."""
    net, x = network("diffusers", "Decoder"), input_for("Decoder", 12, 14)
    expected, wrong = net(x), []

    def decode():
        for _ in range(3):
            wrong.append(float((run(net, x, tile_size=6) - expected).abs().max()))

    threads = [threading.Thread(target=decode) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wrong) == 9
    assert max(wrong) <= 1e-4


@pytest.mark.parametrize("kind", ["Decoder", "Encoder"])
def test_levels_without_attention(kind):
    """SD3's levels do not even have an empty list of it."""
    net, x = network("ldm", kind), input_for(kind, 40, 24)
    for level in getattr(net, "up", None) or net.down:
        del level.attn
    out = run(net, x, tile_size=16 if kind == "Decoder" else 128)
    assert (out - net(x)).abs().max() <= 1e-4


def test_the_context_tiles_both_ways_and_leaves_nothing(caplog):
    caplog.set_level("DEBUG", "Tiled VAE")
    vae = diffusers_vae()
    x = torch.randn(1, 3, 256, 320)
    code = vae.encode(x).latent_dist.mean
    picture = vae.decode(code).sample
    with tiled_vae(vae, tile_size=16):
        assert "forward" in vars(vae.encoder)
        assert (vae.encode(x).latent_dist.mean - code).abs().max() <= 1e-4
        assert (vae.decode(code).sample - picture).abs().max() <= 1e-4
        assert vae.decode(code[..., :8, :8]).sample.shape[-1] == 64
        assert "8x8 is no more than one tile" in caplog.text
    with contextlib.suppress(KeyError), tiled_vae(vae, tile_size=16):
        raise KeyError
    assert "forward" not in vars(vae.encoder)
    assert "forward" not in vars(vae.decoder)


def test_what_tiles_know_nothing_of_is_left_to_the_network(monkeypatch, caplog):
    vae, given = diffusers_vae(), []
    monkeypatch.setattr(
        vae.decoder, "forward", lambda sample, latent_embeds=None: given.append(latent_embeds)
    )
    with tiled_vae(vae, tile_size=4):
        vae.decoder(torch.randn(1, 4, 8, 8), latent_embeds=torch.ones(1))
    assert given == [torch.ones(1)]
    assert "runs as a whole" in caplog.text


def test_an_unknown_network_runs_as_a_whole(caplog):
    vae = diffusers_vae()
    vae.decoder.conv_in = nn.Conv2d(4, 64, 5, padding=2)
    with pytest.raises(UnsupportedNetwork):
        recognise(vae.decoder)
    z = torch.randn(1, 4, 20, 20)
    expected = vae.decode(z).sample
    with tiled_vae(vae, tile_size=16):
        assert torch.equal(vae.decode(z).sample, expected)
    assert "runs as a whole" in caplog.text


@pytest.mark.parametrize(
    ("x", "tile_size", "sentence"),
    [
        (torch.zeros(4, 9, 9), 8, "shape (4, 9, 9)"),
        (torch.zeros(1, 4, 0, 9), 8, "shape (1, 4, 0, 9)"),
        (torch.full((1, 4, 9, 9), torch.nan), 8, "holds NaN or infinity"),
        (torch.full((1, 4, 9, 9), -torch.inf), 8, "holds NaN or infinity"),
        (torch.zeros(1, 4, 9, 9), 0, "tile size is 0"),
        (torch.zeros(1, 4, 9, 9), 7.5, "tile size is 7.5"),
    ],
)
def test_bad_input_is_told_in_one_sentence(x, tile_size, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        run(network("ldm", "Decoder"), x, tile_size=tile_size)
