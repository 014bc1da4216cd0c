"""Which rows a model call is about, for every way in which the WebUI's CFGDenoiser sends a step's rows."""

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modules import prompt_parser, sd_models, shared
from tile_host.hosts import a1111
from tile_host.rows import Asked, RowCursor


@dataclass
class Host:
    """What a step is made of: the parts of each picture's prompt, and whether a third block guides by the picture."""

    parts: list[int]
    is_edit: bool = False

    @property
    def conds(self):
        return list(range(sum(self.parts)))

    @property
    def unconds(self):
        return [len(self.conds) + picture for picture in range(len(self.parts))]

    @property
    def rows(self):
        return self.conds + self.unconds * (1 + self.is_edit)

    def calls(self, way, skips_uncond=False):
        """The rows of each of a step's calls."""
        rows, size = (self.conds if skips_uncond else self.rows), len(self.parts)
        if way == "together":
            return [rows]
        if way == "split":
            return chunks(rows, size)
        # texts of two lengths: conds in chunks of twice the batch or the batch, then the unconds
        of_conds = chunks(self.conds, size * (2 if way == "lengths" else 1))
        return of_conds if skips_uncond else [*of_conds, self.unconds]


def chunks(rows, size):
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def texts(rows, lengths=(3, 3), conds=0):
    """A text of its own for each row, of one length for conds and another for unconds."""
    return [torch.full((lengths[row >= conds], 2), float(row)) for row in rows]


pictures = st.lists(st.integers(1, 3), min_size=1, max_size=4)
WAYS = ["together", "split", "lengths", "split lengths"]
hosts = st.builds(Host, pictures) | st.builds(
    Host, st.lists(st.just(1), min_size=1, max_size=4), st.just(True)
)


def ways(host):
    return st.sampled_from(
        WAYS[:2] if host.is_edit else WAYS
    )  # of two lengths InstructPix2Pix fails in the host


@given(st.data(), hosts)
def test_every_call_is_about_the_rows_that_the_host_sends(data, host):
    """Whatever the way, it may change from step to step."""
    cursor = RowCursor()
    for step in range(data.draw(st.integers(1, 4))):
        skips = not host.is_edit and data.draw(st.booleans())
        for call in host.calls(data.draw(ways(host)), skips):
            asked = cursor.next(step, host.rows, len(call), texts(call))
            assert asked == Asked(step, tuple(call))


@given(st.data(), hosts)
def test_what_is_asked_again_is_found_by_its_text(data, host):
    """After the host's own calls an extension may ask about any rows that stand together, as often as it likes."""
    cursor, lengths = RowCursor(), data.draw(st.sampled_from([(3, 3), (3, 6)]))
    for step in range(3):
        for call in host.calls(data.draw(ways(host))):
            cursor.next(step, host.rows, len(call), texts(call, lengths, len(host.conds)))
        for _ in range(data.draw(st.integers(0, 3))):
            start = data.draw(st.integers(0, len(host.rows) - 1))
            again = host.rows[start : data.draw(st.integers(start + 1, len(host.rows)))]
            told = texts(again, lengths, len(host.conds))
            assert cursor.next(step, host.rows, len(again), told).rows == tuple(again)


@given(st.data(), hosts)
def test_what_is_asked_again_where_unconds_are_skipped_is_no_uncond(data, host):
    """The host has its answers, so whatever comes now is asked again, though the step has rows that were not asked."""
    cursor = RowCursor()
    for step in range(3):
        for call in host.calls(data.draw(ways(host)), skips_uncond=True):
            cursor.next(step, host.rows, len(call), texts(call))
        cursor.answered()
        for _ in range(data.draw(st.integers(1, 3))):
            start = data.draw(st.integers(0, len(host.conds) - 1))
            again = host.conds[start : data.draw(st.integers(start + 1, len(host.conds)))]
            assert cursor.next(step, host.rows, len(again), texts(again)).rows == tuple(again)


@given(st.data(), hosts)
def test_what_is_asked_with_words_of_its_own_is_told_the_last_rows(data, host):
    """Such as an extension's own empty prompt: the last rows are unconds."""
    cursor = RowCursor()
    cursor.next(0, host.rows, len(host.rows), texts(host.rows))
    count = data.draw(st.integers(1, len(host.parts)))
    for other in (torch.full((3, 2), -1.0), torch.full((7, 2), 0.0)):  # other words, another length
        assert cursor.next(0, host.rows, count, [other] * count).rows == tuple(host.rows[-count:])


def test_a_step_begins_anew_whatever_was_left_of_the_last():
    cursor, rows = RowCursor(), [0, 1, 2, 3]
    assert cursor.next(0, rows, 2, texts([0, 1])).rows == (0, 1)  # unconds are skipped
    assert cursor.next(1, rows, 2, texts([0, 1])).rows == (0, 1)
    assert cursor.next(1, rows, 2, texts([2, 3])).rows == (2, 3)
    assert cursor.next(1, rows, 2, texts([0, 1])).rows == (0, 1)  # asked again
    assert cursor.next(1, rows, 1, texts([3])).rows == (3,)
    assert cursor.next(1, rows, 1, texts([-1])).rows == (3,)
    assert cursor.next(2, rows, 4, texts(rows)).rows == (0, 1, 2, 3)


def test_equal_texts_of_both_halves_are_told_apart_by_their_order():
    cursor, same = RowCursor(), torch.zeros(3, 2)
    assert cursor.next(0, [0, 1], 1, [same]).rows == (0,)
    assert cursor.next(0, [0, 1], 1, [same]).rows == (1,)


@pytest.mark.parametrize(
    ("key", "image_cfg_scale", "rows"),
    [
        ("txt", None, [0, 1, 2, 3, 4]),
        ("txt", 1.5, [0, 1, 2, 3, 4]),
        ("edit", None, [0, 1, 2, 3, 4]),
        ("edit", 1.0, [0, 1, 2, 3, 4]),  # the host then guides as ever
        ("edit", 1.5, [0, 1, 2, 3, 4, 3, 4]),
    ],
)
def test_the_rows_of_a_step_of_the_webui(monkeypatch, key, image_cfg_scale, rows):
    """Of the host's own conditions: two pictures, the first with AND."""

    class Model:
        cond_stage_key = key

        def get_learned_conditioning(self, texts):
            return torch.zeros(len(texts), 3, 2)

    monkeypatch.setattr(sd_models.model_data, "sd_model", Model())
    cond = prompt_parser.get_multicond_learned_conditioning(shared.sd_model, ["sea AND day", "boat"], 2)
    uncond = prompt_parser.get_learned_conditioning(shared.sd_model, ["grey", "grey"], 2)
    sampler = SimpleNamespace(sampler_extra_args={"cond": cond, "uncond": uncond})
    denoiser = SimpleNamespace(sampler=sampler, image_cfg_scale=image_cfg_scale)
    assert a1111._rows_of_a_step(denoiser) == rows
