"""The adapter for Forge and reForge, before stand-ins of their sampling functions: same order of calls, same arguments.

The real ones do not run in CI; `tests/data/forge-dfdcbab6.json` and `reforge-3b56b268.json` hold their signatures.
"""

import importlib
import sys
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from modules import shared
from tile_host.hosts import detect
from tile_methods.fuse import fuse
from tile_methods.planner import Layout, Planner, Region
from tile_utils.grid import make_grid
from tile_utils.settings import SettingsError
from tile_utils.surface import Surface, Window

SIZE, TOKENS, UNCOND = (12, 16), 77, 100
REGION = Region(Window(2, 4, 6, 8), words=1, foreground=True)
LAYOUTS = {name: Path(__file__).parent / f"{name.lower()}_layout" for name in (detect.FORGE, detect.REFORGE)}
"""Each host's stand-in: a folder of modules under the host's names."""
PARTS = {
    detect.FORGE: {
        "memory": "backend.memory_management",
        "patcher": "backend.patcher",
        "batches": "backend.sampling.sampling_function",
        "steps": "backend.sampling.sampling_function",
    },
    detect.REFORGE: {
        "memory": "ldm_patched.modules.model_management",
        "patcher": "modules_forge.unet_patcher",
        "batches": "ldm_patched.modules.samplers",
        "steps": "modules_forge.forge_sampler",
    },
}
STEP = {detect.FORGE: "sampling_function", detect.REFORGE: "forge_sample"}
"""The function of a step."""
NETWORKS = {detect.FORGE: "lora_patches", detect.REFORGE: "patches"}
"""What a UNet object calls the networks that are to be merged."""
SCHEDULE = {detect.FORGE: "predictor", detect.REFORGE: "model_sampling"}
"""What a model calls that which knows its timesteps."""
FRESH = ("backend", "ldm_patched", "modules_forge", "tile_host.hosts.forge")


@contextmanager
def in_a_host(name):
    """Inside, the stand-in of that host can be imported, and the adapter that it opens; nothing of both stays."""

    def forget():
        for module in [module for module in sys.modules if module.startswith(FRESH)]:
            del sys.modules[module]

    forget()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detect, "host_name", lambda: name)
        patch.syspath_prepend(str(LAYOUTS[name]))
        try:
            yield
        finally:
            forget()


@pytest.fixture(scope="module", params=list(LAYOUTS))
def forge(request, webui):
    """The adapter's modules, and the parts of the stand-in that it finds for the host's."""
    with in_a_host(request.param):
        parts = {part: importlib.import_module(module) for part, module in PARTS[request.param].items()}
        ours = ("controls", "facts", "sampling", "vae", "words")
        modules = {name: importlib.import_module(f"tile_host.hosts.forge.{name}") for name in ours}
        yield SimpleNamespace(name=request.param, **parts, **modules)


class Model:
    """Sees one pixel at a time, so that tiles change nothing; keeps its calls. `merged`: networks in its weights."""

    merged = ()

    def __init__(self):
        self.calls = []

    def memory_required(self, shape, cond_shapes=None):
        assert cond_shapes is None or all(map(sum, cond_shapes["c_crossattn"]))
        return shape[0] * shape[2] * shape[3]

    def apply_model(self, x, t, c_crossattn=None, control=None, transformer_options={}, **extra):  # noqa: B006
        self.calls.append(
            SimpleNamespace(x=x, text=c_crossattn, options=transformer_options, control=control, **extra)
        )
        told = c_crossattn.mean((1, 2)).view(-1, 1, 1, 1)
        out = torch.tanh(0.5 * x + 0.01 * told) * (1 + t.view(-1, 1, 1, 1)) + len(self.merged)
        for seen in (control or {}).get("output", ()):
            out = out + seen
        return out


def text(number, chunks=1):
    return torch.full((1, TOKENS * chunks, 3), float(number))


class Step:
    """One step of Forge's denoiser: `draw()` gives what its sampling function says."""

    def __init__(self, forge, pictures=1, parts=1, chunks=(1, 1), scale=4.0):
        self.forge, self.model, self.scale = forge, Model(), scale
        self.engine = engine(forge, self.model)
        self.batch = [list(range(first, first + parts)) for first in range(0, pictures * parts, parts)]
        rows = pictures * parts
        self.cond = torch.cat([text(row, chunks[0]) for row in range(rows)])
        self.uncond = None
        if scale != 1 or forge.name == detect.REFORGE:
            self.uncond = torch.cat([text(UNCOND + picture, chunks[1]) for picture in range(pictures)])
        self.x = torch.randn(pictures, 4, *SIZE, generator=torch.Generator().manual_seed(5))
        self.sigma = torch.full((pictures,), 0.7)
        self.p = SimpleNamespace(seeds=[1], comments=[], sampler=SimpleNamespace(model_wrap_cfg=self))
        self.p.comment = self.p.comments.append
        self.p.sampler.config = SimpleNamespace(total_steps=lambda steps: steps)
        self.sampler = SimpleNamespace(sampler_extra_args={"cond": SimpleNamespace(batch=self.batch)})
        self.step, self.total_steps = 3, 20
        self.asked = []

    @property
    def inner_model(self):
        return SimpleNamespace(inner_model=shared.sd_model)

    def update_inner_model(self):
        """What the refiner calls once its checkpoint is there."""

    def draw(self):
        texts = {"text_cond": self.cond, "text_uncond": self.uncond}
        told = SimpleNamespace(x=self.x, sigma=self.sigma, image_cond=None, **texts)
        weights = [[(row, 0.5 + 0.25 * part) for part, row in enumerate(rows)] for rows in self.batch]
        return getattr(self.forge.steps, STEP[self.forge.name])(self, told, self.scale, weights)

    def hooked(self, *regions, tile=8, batch_size=3, hints=None):
        grid = make_grid(SIZE[1], SIZE[0], tile, tile, 4)
        surface = Surface(*SIZE)
        plan = Planner(Layout(surface, grid, "MultiDiffusion", batch_size, self.x.device, regions)).plan(0)
        words = self.forge.words
        units = hints and self.forge.controls.Hints(lambda: None, surface, torch.device("cpu"))

        def call(model, x, sigma, cond, step, asked):
            self.asked.append(asked)
            told = cond if units is None else units.beside(cond)
            denoise = model if units is None else units.shown(model)

            def of_batch(batch, x, sigma, cond):
                texts = words.texts_of(cond)
                own = [patch.words for _ in asked.rows for patch in batch.patches]
                texts = [torch.full_like(t, 50.0) if number else t for t, number in zip(texts, own)]
                return denoise(x, sigma, words.with_texts(cond, texts))

            return fuse(plan, of_batch, x, sigma, told)

        largest = max(len(batch.patches) * batch.windows[0].h * batch.windows[0].w for batch in plan.batches)
        return self.forge.sampling.Sampling().hooked(self.p, call, largest)


def engine(forge, model):
    unet = forge.patcher.UnetPatcher(model)
    objects = SimpleNamespace(unet=unet)
    return SimpleNamespace(forge_objects=objects, forge_objects_original=SimpleNamespace(unet=unet))


@pytest.fixture
def step(forge, monkeypatch):
    """Makes a step whose checkpoint is the host's."""

    def make(**how):
        made = Step(forge, **how)
        monkeypatch.setattr(forge.sampling, "shared", SimpleNamespace(sd_model=made.engine))
        monkeypatch.setattr(sys.modules[__name__], "shared", SimpleNamespace(sd_model=made.engine))
        return made

    return make


KINDS = [
    {"pictures": pictures, "parts": parts, "chunks": chunks, "scale": scale}
    for pictures, parts, chunks, scale in product((1, 2), (1, 3), ((1, 1), (6, 1)), (1, 4))
]


@pytest.mark.parametrize("free", [float("inf"), 130])
@pytest.mark.parametrize("how", KINDS, ids=str)
def test_each_row_of_each_call_is_known_and_tiles_of_pixels_change_nothing(
    forge, step, monkeypatch, how, free
):
    monkeypatch.setattr(forge.memory, "free", free)
    one = step(**how)
    whole = one.draw()
    one.model.calls.clear()
    with one.hooked():
        tiled = one.draw()
    torch.testing.assert_close(tiled, whole)
    pictures, conds = how["pictures"], how["pictures"] * how["parts"]
    asked = [row for each in one.asked for row in each.rows]
    assert sorted(asked) == list(range(conds if how["scale"] == 1 else conds + pictures))
    assert {each.step for each in one.asked} == {3}
    said = iter(one.model.calls)
    per_call = len(one.model.calls) // len(one.asked)
    for each in one.asked:
        for call in (next(said) for _ in range(per_call)):
            copies = len(call.x) // len(each.rows)
            numbers = [row if row < conds else UNCOND + row - conds for row in each.rows]
            assert call.text[:, 0, 0].tolist() == [number for number in numbers for _ in range(copies)]
            told_of(forge, call)


def told_of(forge, call):
    """The host's words about the rows of a call are about these rows."""
    options, rows = call.options, len(call.x)
    marks = (call.text[:, 0, 0] >= UNCOND).int().tolist()
    chunk = rows // len(options["cond_or_uncond"])
    assert [mark for mark in options["cond_or_uncond"] for _ in range(chunk)] == marks
    assert len(options["sigmas"]) == chunk
    own_words_of(forge, options, marks)


def own_words_of(forge, options, marks):
    if forge.name == detect.REFORGE:
        assert options["uuids"] == [f"of {mark}" for mark in options["cond_or_uncond"]]
        return
    assert options["cond_mark"].tolist() == marks
    assert options["cond_indices"] == [i for i, mark in enumerate(marks) if not mark]
    assert options["uncond_indices"] == [i for i, mark in enumerate(marks) if mark]


def test_rows_of_both_kinds_that_cannot_stay_in_chunks_get_a_mark_each(forge):
    options = {"cond_or_uncond": [1, 0], "uuids": ["of 1", "of 0"], "kept": "here"}
    told = forge.sampling._options(options, [0, 1, 1], torch.ones(3))
    assert told["cond_or_uncond"] == [1, 0, 0]
    assert len(told["sigmas"]) == 1
    assert told["kept"] == "here"
    own_words_of(forge, told, [1, 0, 0])


def test_a_region_is_told_its_own_words(step):
    one = step()
    whole = one.draw()
    with one.hooked(REGION):
        changed = (one.draw() - whole).abs().amax((0, 1)) > 1e-4
    window = REGION.window
    assert changed[window.y : window.y + window.h, window.x : window.x + window.w].all()
    assert changed.sum() == window.h * window.w


def test_what_asks_about_the_cond_rows_again_is_tiled_too(forge, step):
    """As perturbed attention guidance does."""

    def again(args):
        batch = forge.batches.calc_cond_uncond_batch
        return batch(args["model"], args["cond"], None, args["input"], args["sigma"], args["model_options"])[
            0
        ]

    one = step(parts=2)
    one.engine.forge_objects.unet.model_options["sampler_post_cfg_function"] = [again]
    whole = one.draw()
    with one.hooked():
        torch.testing.assert_close(one.draw(), whole)
    assert one.asked[-1].rows == (1, 0)
    assert max(call.x.shape[-1] for call in one.model.calls[-4:]) == 8


def test_the_host_counts_on_the_largest_call(forge, step, monkeypatch):
    one = step()
    rule = {detect.FORGE: 1, detect.REFORGE: 1.5}[forge.name]
    monkeypatch.setattr(
        forge.memory, "free", rule * 2 * 64 + 1
    )  # cond and uncond of a tile, not of the canvas
    with one.hooked(batch_size=1):
        forge.steps.sampling_prepare(shared.sd_model.forge_objects.unet, one.x)
        one.draw()
    assert forge.memory.current_loaded_models[-1][1] == 2 * 64
    assert len(one.asked) == 1
    one.draw()
    assert len(one.model.calls[-1].x) == 1


class Net:
    """A control network of one pixel; keeps what it was shown."""

    advanced_mask_weighting = None

    def __init__(self, seed, previous=None):
        generator = torch.Generator().manual_seed(seed)
        self.cond_hint_original = torch.rand(1, 3, 8 * SIZE[0], 8 * SIZE[1], generator=generator)
        self.previous_controlnet, self.cond_hint, self.transformer_options, self.seen = (
            previous,
            None,
            None,
            [],
        )
        self.control_input = "made of another hint"

    def get_control(self, x, t, cond, chunks, *options):
        before = self.previous_controlnet and self.previous_controlnet.get_control(
            x, t, cond, chunks, *options
        )
        size = (8 * x.shape[2], 8 * x.shape[3])
        if self.cond_hint is None or self.cond_hint.shape[2:] != size:
            self.cond_hint, self.control_input = F.interpolate(self.cond_hint_original, size), None
        assert self.control_input is None
        told = options[0] if options else self.transformer_options  # reForge tells it in the call
        assert chunks * len(told["sigmas"]) == len(x)
        self.seen.append(x.shape[2:])
        said = F.avg_pool2d(self.cond_hint, 8).mean(1, keepdim=True) + 0.1 * x
        return {"output": [*(before or {"output": []})["output"], said]}


@pytest.mark.parametrize("how", [{}, {"pictures": 2, "parts": 2, "chunks": (6, 1)}], ids=str)
def test_each_tile_sees_its_own_cut_of_every_hint(step, how):
    one = step(**how)
    first = Net(1)
    second = Net(2, first)
    one.engine.forge_objects.unet.controlnet_linked_list = second
    whole = one.draw()
    hints = first.cond_hint, second.cond_hint
    first.control_input = second.control_input = None
    for net in (first, second):
        net.seen.clear()
    with one.hooked(hints=True):
        torch.testing.assert_close(one.draw(), whole)
    assert set(first.seen) == set(second.seen) == {(8, 8)}  # never the canvas
    assert (first.cond_hint, second.cond_hint) == hints


def test_a_wrapper_of_another_script_draws_and_ours_says_so(step):
    one = step()
    seen = []

    def wrapper(apply_model, told):
        seen.append(told["input"].shape)
        return apply_model(told["input"], told["timestep"], **told["c"])

    one.engine.forge_objects.unet.model_options["model_function_wrapper"] = wrapper
    whole = one.draw()
    with one.hooked():
        assert torch.equal(one.draw(), whole)
    assert seen == [(2, 4, *SIZE)] * 2
    assert not one.asked
    assert "stands back" in one.p.comments[0]


def test_self_attention_guidance_is_refused(step):
    class SelfAttentionGuidance:
        def patch(self):
            def post(args):
                return args["denoised"]

            return post

    one = step()
    one.engine.forge_objects.unet.model_options["sampler_post_cfg_function"] = [
        SelfAttentionGuidance().patch()
    ]
    with one.hooked(), pytest.raises(SettingsError, match="SelfAttentionGuidance Integrated"):
        one.draw()


def nothing_of(forge, *unets):
    for unet in unets:
        options = unet.model_options
        assert forge.sampling.PEAK not in options
        assert forge.sampling.MODIFIERS not in options


def test_nothing_stays_where_nobody_else_was(forge, step):
    one = step()
    before = one.engine.forge_objects.unet
    with one.hooked():
        assert one.engine.forge_objects.unet is not before
    assert one.engine.forge_objects.unet is before
    nothing_of(forge, before)


def test_nothing_stays_on_a_copy_that_another_script_has_made(forge, step):
    one = step()
    with one.hooked():
        unet = one.engine.forge_objects.unet.clone()
        unet.model_options["another"] = "script's"
        one.engine.forge_objects.unet = unet
    assert one.engine.forge_objects.unet is unet
    assert unet.model_options["another"] == "script's"
    nothing_of(forge, unet, one.engine.forge_objects_original.unet)


def test_the_refiners_checkpoint_is_tiled_and_left_clean(forge, step, monkeypatch):
    one = step()
    refiner = engine(forge, Model())
    base, own = one.engine.forge_objects.unet, refiner.forge_objects.unet
    whole = one.draw()
    with one.hooked():
        for where in (forge.sampling, sys.modules[__name__]):
            monkeypatch.setattr(where, "shared", SimpleNamespace(sd_model=refiner))
        one.update_inner_model()
        torch.testing.assert_close(one.draw(), whole)
        assert one.asked
        assert {call.x.shape[-1] for call in own.model.calls} == {8}
    assert (one.engine.forge_objects.unet, refiner.forge_objects.unet) == (base, own)
    nothing_of(forge, base, own)


def test_networks_of_a_region_reach_the_pass_own_unet_and_no_other(forge, step, monkeypatch):
    """The host's activation takes a fresh UNet, with the networks and without anything else."""
    one = step()
    model = one.engine
    monkeypatch.setattr(forge.words, "shared", SimpleNamespace(sd_model=model))
    original = model.forge_objects.unet
    with one.hooked():
        networks = object.__new__(forge.words._MergedNetworks)
        for names in ({"snow": 1}, {}):
            with networks._switched():
                model.forge_objects.unet = fresh = original.clone()
                setattr(fresh, NETWORKS[forge.name], names)
                fresh.patches_uuid = str(names)
                fresh.model_options.clear()
            one.draw()
            assert one.model.merged == list(names)
        assert len(one.asked) == 2
    assert not getattr(original, NETWORKS[forge.name])
    nothing_of(forge, model.forge_objects.unet, original)


def test_the_host_makes_room_for_a_tile_of_the_vae(forge):
    def estimate(shape, dtype):
        return shape[0] * shape[2] * shape[3]

    one, other = (SimpleNamespace(memory_used_encode=estimate, memory_used_decode=estimate) for _ in range(2))
    sets = [SimpleNamespace(vae=vae) for vae in (one, other, one)]
    names = ("forge_objects", "forge_objects_original", "forge_objects_after_applying_lora")
    with forge.vae.counted_on(SimpleNamespace(**dict(zip(names, sets))), 256, 32):
        for vae in (one, other):
            assert vae.memory_used_encode((2, 3, 1024, 200), None) == 2 * 256 * 200
            assert vae.memory_used_decode((1, 4, 128, 16), None) == 32 * 16
    assert one.memory_used_encode is other.memory_used_decode is estimate


def test_conditions_outside_of_sampling_have_the_hosts_names(forge, step, monkeypatch):
    step()
    told, sampling = {"crossattn": text(1), "vector": torch.ones(1, 5)}, forge.sampling.Sampling()
    cond = sampling.condition(told, torch.zeros(1, 5, 1, 1))
    assert {name: tuple(value.shape) for name, value in cond.items()} == {
        "c_crossattn": (1, TOKENS, 3),
        "y": (1, 5),
    }
    seen = torch.zeros(1, 5, *SIZE)
    assert sampling.condition(told, seen)["c_concat"] is seen
    (row,) = forge.words.texts_of(cond)
    assert forge.words.with_texts({"c_concat": 1}, [row])["y"].shape == (1, 5)


@pytest.mark.parametrize(("factor", "expected"), [(1, 0.7), (2, 0.35)])
def test_retouching_divides_the_timestep(forge, step, factor, expected):
    one = step()
    schedule = SimpleNamespace(timestep=lambda sigma: sigma)
    setattr(one.model, SCHEDULE[forge.name], schedule)
    with forge.sampling.Sampling().retouched(None, factor):
        assert schedule.timestep(0.7) == expected
    assert schedule.timestep(0.7) == 0.7


def test_the_model_may_be_called_before_sampling_begins(forge, step):
    """As noise inversion does: rows of one text."""
    one = step()
    net = one.engine.forge_objects.unet.controlnet_linked_list = Net(1)
    net.pre_run = net.cleanup = lambda *_args: None
    net.control_input = None
    sampling = forge.sampling.Sampling()
    cond = sampling.condition(text(1), torch.zeros(1, 5, 1, 1))
    with sampling.ready(one.p, one.x, 64):
        said = sampling.model(one.p)(one.x, one.sigma, cond)
    assert said.shape == one.x.shape
    (call,) = one.model.calls
    assert len(call.control["output"]) == 1
    own_words_of(forge, call.options | {"uuids": ["of 0"]}, [0])


def test_comments_are_those_of_the_host(forge):
    assert forge.words.without_comments("moon # not\nsea").split() == ["moon", "sea"]
