"""Several processes share the tiles of a step and the rows of the exact VAE: the same picture, and failing together."""

import pytest
import torch

from tests import rank_pipelines as pipelines
from tests import rank_work as work
from tests.rank_processes import GONE, processes
from tile_methods.fuse import fuse
from tile_methods.ranks import Ranks, shared_out
from tile_methods.vae import run
from tile_methods.vae.job import HANDED_OVER


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    with processes(2, tmp_path_factory.mktemp("two")) as them:
        yield them


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    with processes(3, tmp_path_factory.mktemp("three")) as them:
        yield them


def test_work_is_shared_out_evenly():
    assert shared_out([1] * 5, 2) == [0, 1, 0, 1, 0]
    assert shared_out([1, 1, 5, 2, 2], 2) == [1, 0, 0, 1, 1]
    assert shared_out([], 2) == []
    assert shared_out([3, 1], 1) == [0, 0]


def test_what_is_no_group_is_said():
    with pytest.raises(TypeError, match=r"group is 2; allowed are None and a group of torch\.distributed"):
        Ranks(2)


def test_exchanges(two):
    expected = [[0.0, 0.0], [1.0, 1.0], [1.0, 1.0]], [True, True, False], 2, [4.0]
    assert two(work.exchanges) == [expected, expected]


@pytest.mark.parametrize("shift", [False, True])
@pytest.mark.parametrize("method", ["MultiDiffusion", "Mixture of Diffusers"])
def test_tiles_over_ranks_are_those_of_one(two, method, shift):
    plan = work.planner_of(method, shift).plan(2)
    x = work.randn(2, 4, 40, 56)
    expected = fuse(plan, work.smooth, x, torch.tensor([0.5, 2.0]), {})
    (first, calls), (second, others) = two(work.fused, method, shift)
    assert torch.equal(first, second)
    assert (first - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert abs(sum(calls) - sum(others)) <= 1
    assert sum(calls) + sum(others) == sum(len(batch.patches) for batch in plan.batches)


@pytest.mark.parametrize(
    ("kind", "size", "circular", "options"),
    [
        ("Decoder", (41, 24), False, {}),
        ("Encoder", (41, 24), False, {}),
        ("Decoder", (19, 12), True, {"storage": "host"}),
        ("Encoder", (19, 12), True, {}),
        ("Decoder", (2, 30), False, {}),  # fewer rows than ranks
        ("Decoder", (30, 18), False, {"mode": "fast"}),
        ("Encoder", (19, 18), False, {"mode": "fast", "color_fix": True}),
    ],
)
def test_the_vae_over_ranks_is_that_of_one(three, kind, size, circular, options):
    net, x = work.vae_network(kind, circular), work.picture(kind, *size)
    tile_size = 6 if kind == "Decoder" else 48
    expected = net(x) if not options.get("mode") else run.run(net, x, tile_size=tile_size, **options)
    results = three(work.vae_whole, kind, size, circular, options)
    assert all(torch.equal(result, results[0]) for result in results)
    assert (results[0] - expected).abs().max() <= 1e-5 * max(1, expected.abs().max().item())


@pytest.mark.parametrize("kind", ["Decoder", "Encoder"])
def test_a_rank_alone_that_overflows(two, kind):
    """Its rows are float32 then, the others' are not; both get one tensor."""
    _, _, expected = work.overflowing(kind)
    first, second = two(work.vae_overflow, kind)
    assert first.dtype == torch.float16
    assert torch.equal(first, second)
    assert (first.float() - expected).square().mean().sqrt() <= 0.02 * expected.std()


def test_a_rank_that_runs_out_of_memory_lets_all_try_again(two):
    expected = work.vae_network("Decoder")(work.picture("Decoder", 40, 24))
    for result, tried in two(work.vae_out_of_memory):
        assert tried == [64, 32, 16]
        assert (result - expected).abs().max() <= 1e-4


def test_a_rank_that_is_short_of_memory_lets_all_go_fast(two):
    (first, told), (second, also) = two(work.vae_short_of_memory)
    assert told == also == [HANDED_OVER]
    assert torch.equal(first, second)


@pytest.mark.parametrize("kind", ["Decoder", "Encoder"])
def test_two_ranks_take_little_more_than_half_the_memory(two, kind):
    for alone, shared in two(work.vae_memory, kind):
        assert 0.4 * alone < shared <= 0.55 * alone


def test_a_rank_that_raises_ends_the_others(two):
    (_, _, first), (done, seconds, second) = two(work.steps_until, work.raising)
    assert first == "RankError: Rank 1 failed: OSError: no such tile"
    assert (done, second) == (1, "OSError: no such tile")
    assert seconds < 5
    for _, _, said in two(work.vae_until, work.interrupting):
        assert said.startswith("Interrupted")
    (_, _, first), (_, _, second) = two(work.vae_until, work.raising)
    assert first == "RankError: Rank 1 failed: OSError: no such tile"
    assert two(work.steps_until, work.nothing) == [(3, 0.0, "")] * 2  # and all goes on


def test_ranks_that_do_not_do_the_same_are_told_so(two):
    for _, said in two.try_all(work.on_other_canvases):
        assert said == (
            "RankError: Ranks must make the same calls with the same sizes, and do not: rank 0 is at denoising "
            "(1, 4, 40, 48) of torch.float32; rank 1 is at denoising (1, 4, 40, 56) of torch.float32."
        )


def test_another_seed_is_said(two):
    said = [words for _, _, words in two(work.steps_until, work.nothing, 1)]
    assert said[1].startswith(
        "ValueError: Rank 1 was given another picture than rank 0 for denoising; give the"
    )
    assert said[0] == f"RankError: Rank 1 failed: {said[1]}"


@pytest.mark.parametrize("case", pipelines.CASES)
def test_a_pipeline_over_ranks_draws_the_picture_of_one(two, case):
    alone = pipelines.drawn(None, case)
    first, second = two(pipelines.drawn, case)
    assert torch.equal(first, second)
    assert alone.std() > 0.01
    assert (first - alone).abs().max() <= 1e-4


@pytest.mark.parametrize("return_dict", [True, False])
def test_a_rank_without_a_tile_answers_in_the_same_form(three, return_dict):
    is_tuple, expected = pipelines.told_by_denoiser(None, return_dict)
    assert is_tuple is not return_dict
    for same_form, told in three(pipelines.told_by_denoiser, return_dict):
        assert same_form is is_tuple
        assert (told - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_a_rank_whose_callback_raises_ends_the_others(two):
    failed = "OSError: no such file"
    assert two(pipelines.drawn_until, pipelines.raising) == [f"RankError: Rank 1 failed: {failed}", failed]


def test_after_a_failure_all_can_draw_again(two):
    (said, first), (_, second) = two(pipelines.drawn_again)
    assert said == "RankError: Rank 1 failed: OSError: no such file"
    assert torch.equal(first, second)
    assert (first - pipelines.drawn(None, "SD")).abs().max() <= 1e-4


def test_a_rank_that_is_interrupted_alone_is_missed(two):
    """It decodes already; the other one waits for it to denoise."""
    for said in two(pipelines.drawn_until, pipelines.interrupting):
        assert said.startswith(
            "RankError: Ranks must make the same calls with the same sizes, and do not: rank 0 is at"
        )
        assert "rank 1 is at decoding (1, 4, 24, 40)" in said


def test_pictures_of_different_seeds_are_not_mixed(two):
    said = two(pipelines.drawn_until, None, (1, 2))
    assert said[1].startswith("ValueError: Rank 1 was given another picture than rank 0 for denoising")


@pytest.mark.parametrize("job", [work.steps_until, work.vae_until])
def test_a_rank_that_is_killed_ends_the_others(tmp_path, job):
    with processes(2, tmp_path) as them:
        (_, (_, seconds, said)), gone = them.try_all(job, work.dying)
    assert gone == (False, GONE)
    assert said.startswith("RankError: Another rank than rank 0 is gone (")
    assert seconds < 5


@pytest.mark.parametrize("job", [work.steps_until, work.vae_until])
def test_a_rank_that_hangs_ends_the_others_at_the_timeout(tmp_path, job):
    with processes(2, tmp_path, timeout=4) as them:
        them.ask(job, work.hanging)
        _, (_, seconds, said) = them.answer(0)
    assert said.startswith("RankError: Another rank than rank 0 did not answer within the group's timeout (")
    assert seconds < 10
