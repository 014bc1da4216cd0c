"""Beside offload, casting and compilation; and what is left on a pipeline afterwards: nothing."""

import accelerate
import diffusers
import pytest
import torch
from diffusers.hooks import HookRegistry, ModelHook, apply_group_offloading

from tests import diffusers_models as models
from tests.test_diffusers import PROMPT, SIZE, drawn, picture
from tile_diffusers import tiled_diffusion, tiled_vae

TILES = {"tile": 192, "overlap": 64}
CPU = torch.device("cpu")


def sequential(pipe):
    for part in (pipe.unet, pipe.vae, pipe.text_encoder):
        accelerate.cpu_offload(part, CPU, offload_buffers=bool(part._parameters))


def grouped(kind):
    def offload(pipe):
        apply_group_offloading(
            pipe.unet,
            onload_device=CPU,
            offload_device=CPU,
            offload_type=kind,
            num_blocks_per_group=1 if kind == "block_level" else None,
        )

    return offload


OFFLOAD = {
    "model": lambda pipe: pipe.enable_model_cpu_offload(device="cpu"),
    "sequential": sequential,
    "group, leaves": grouped("leaf_level"),
    "group, blocks": grouped("block_level"),
}


def twice_and_after(pipe, wanted, whole, meanwhile=lambda: None):
    """Two calls in one `with`, and one afterwards."""
    with tiled_diffusion(pipe, **TILES):
        meanwhile()
        for _ in range(2):
            assert torch.allclose(drawn(pipe, **PROMPT, **SIZE), wanted, atol=1e-4)
    assert torch.allclose(drawn(pipe, **PROMPT, **SIZE), whole, atol=1e-4)


def both(pipe):
    """What a pipeline draws in tiles and as a whole."""
    whole = drawn(pipe, **PROMPT, **SIZE)
    with tiled_diffusion(pipe, **TILES):
        tiled = drawn(pipe, **PROMPT, **SIZE)
    assert (tiled - whole).abs().max() > 1e-2
    return tiled, whole


@pytest.fixture(scope="module")
def wanted():
    return both(models.sd())


@pytest.mark.parametrize("inside", [False, True], ids=["before", "inside"])
@pytest.mark.parametrize("kind", OFFLOAD)
def test_offload(kind, inside, wanted):
    pipe = models.sd()
    if not inside:
        OFFLOAD[kind](pipe)
    twice_and_after(pipe, *wanted, (lambda: OFFLOAD[kind](pipe)) if inside else lambda: None)


def test_layer_wise_casting():
    """It rounds the weights, so another pipeline with the same rounding says what is right."""
    cast = [models.sd(), models.sd()]
    for pipe in cast:
        pipe.unet.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.float32)
    wanted = both(cast[0])
    twice_and_after(cast[1], *wanted)
    late = models.sd()
    twice_and_after(
        late,
        *wanted,
        lambda: late.unet.enable_layerwise_casting(
            storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.float32
        ),
    )


def test_control_network_under_offload():
    def pipe():
        return models.sd(diffusers.StableDiffusionControlNetPipeline, controlnet=models.controlnet())

    call = {**PROMPT, "image": picture(seed=4)}
    plain, offloaded = pipe(), pipe()
    with tiled_diffusion(plain, **TILES):
        wanted = drawn(plain, **call)
    sequential(offloaded)
    accelerate.cpu_offload(offloaded.controlnet, CPU)
    with tiled_diffusion(offloaded, **TILES):
        for _ in range(2):
            assert torch.allclose(drawn(offloaded, **call), wanted, atol=1e-4)


@pytest.mark.parametrize("in_place", [False, True], ids=["around", "in place"])
def test_a_compiled_denoiser(in_place):
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    small = {
        "block_out_channels": (32,),
        "down_block_types": ("DownBlock2D",),
        "up_block_types": ("UpBlock2D",),
    }
    pipe = models.sd(net=models.unet(**small, mid_block_type=None))
    with tiled_diffusion(pipe, **TILES):
        wanted = drawn(pipe, **PROMPT, **SIZE)
    if in_place:
        pipe.unet.compile(backend=backend)
    else:
        pipe.unet = torch.compile(pipe.unet, backend=backend)
    before = dict(vars(pipe.unet))
    with tiled_diffusion(pipe, **TILES):
        assert torch.allclose(drawn(pipe, **PROMPT, **SIZE), wanted, atol=1e-4)
        first = len(graphs)
        assert first >= 1
        assert torch.allclose(drawn(pipe, **PROMPT, **SIZE), wanted, atol=1e-4)
        assert len(graphs) == first  # nothing is compiled anew
    assert vars(pipe.unet) == before
    torch._dynamo.reset()


def state(pipe):
    """What the pipeline, its scheduler and every module have of their own, by name, and which of it can be called."""
    nets = [part for part in pipe.components.values() if isinstance(part, torch.nn.Module)]
    parts = [pipe, pipe.scheduler, *(module for net in nets for module in net.modules())]
    return [
        (type(part), {key: id(value) if callable(value) else None for key, value in vars(part).items()})
        for part in parts
    ]


def raising(*_, **__):
    raise RuntimeError("stop")


def interrupting(pipe, step, time, tensors):
    pipe._interrupt = True
    return tensors


MADE = {
    "SD": (models.sd, PROMPT),
    "SDXL": (models.sdxl, PROMPT),
    "SD3": (models.sd3, models.sd3_words()),
    "Flux": (models.flux, models.flux_words()),
    "ControlNet": (
        lambda: models.sd(diffusers.StableDiffusionControlNetPipeline, controlnet=models.controlnet()),
        {**PROMPT, "image": picture()},
    ),
}


@pytest.mark.parametrize("case", MADE)
def test_one_tile_is_the_whole_to_the_bit_and_nothing_is_left(case):
    make, words = MADE[case]
    pipe, words = make(), {**SIZE, **words}
    whole = drawn(pipe, **words)
    before = state(pipe)
    with tiled_diffusion(pipe, tile=320, overlap=64), tiled_vae(pipe.vae, 8):
        assert torch.equal(drawn(pipe, **words), whole)
    assert state(pipe) == before
    for callback in (interrupting, None):
        with tiled_diffusion(pipe, **TILES), tiled_vae(pipe.vae, 8):
            drawn(pipe, callback_on_step_end=callback, **words)
        assert state(pipe) == before
    with pytest.raises(RuntimeError, match="stop"), tiled_diffusion(pipe, **TILES), tiled_vae(pipe.vae, 8):
        drawn(pipe, callback_on_step_end=raising, **words)
    assert state(pipe) == before
    assert torch.equal(drawn(pipe, **words), whole)


def test_a_pipeline_that_was_never_called_is_left_as_it_was():
    pipe = models.sd()
    before = state(pipe)
    with tiled_diffusion(pipe, **TILES):
        assert isinstance(pipe, diffusers.StableDiffusionPipeline)
        pipe.to(torch.bfloat16).to(torch.float32)
    assert state(pipe) == before


class Doubling(ModelHook):
    def new_forward(self, module, *args, **kwargs):
        return tuple(2 * one for one in self.fn_ref.original_forward(*args, **kwargs))


def test_a_hook_of_others_put_on_meanwhile_stays():
    pipe = models.sd()
    registry = HookRegistry.check_if_exists_or_initialize(pipe.unet)
    registry.register_hook(Doubling(), "doubling")
    doubled = drawn(pipe, **PROMPT, **SIZE)
    registry.remove_hook("doubling")
    with tiled_diffusion(pipe, **TILES):
        registry.register_hook(Doubling(), "doubling")
    assert torch.equal(drawn(pipe, **PROMPT, **SIZE), doubled)


def test_a_pipeline_can_be_saved_meanwhile(tmp_path):
    pipe = models.sd()
    with tiled_diffusion(pipe, **TILES):
        pipe.save_pretrained(tmp_path)
    again = diffusers.StableDiffusionPipeline.from_pretrained(tmp_path)
    assert torch.equal(drawn(models.quiet(again), **PROMPT, **SIZE), drawn(pipe, **PROMPT, **SIZE))
