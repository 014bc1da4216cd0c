"""Generations of a script: whatever fails, and in whatever order they begin and end, each is closed once."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import settings as example_settings
from hypothesis import strategies as st

from modules import shared
from tile_host.life import Generation, Lives


class Failed(Exception):
    pass


class Sampler:
    def sample(self):
        return "sampled"

    def sample_img2img(self):
        return "sampled from a picture"


class Processing:
    """What a generation may change of the host's object, and how the host goes through it."""

    scripts = None  # a generation of no page's

    def __init__(self):
        self.sampler, self.is_closed = Sampler(), 0

    def init(self):
        return "ready"

    def close(self):
        self.is_closed += 1


class Watched(Generation):
    """Puts something into `p` and takes it out again; fails where it is told to."""

    def __init__(self, fails=()):
        super().__init__()
        self.fails, self.closed = fails, 0
        self.stack.callback(self._count)

    def _count(self):
        self.closed += 1

    def begin(self, p):
        p.changed = True
        self.stack.callback(vars(p).pop, "changed")
        if "begin" in self.fails:
            raise Failed("begin")

    def begin_pass(self, p):
        if "pass" in self.fails:
            raise Failed("pass")


@pytest.fixture
def job(monkeypatch):
    """`job(number)`: the host begins another one."""
    return lambda number: monkeypatch.setattr(shared.state, "time_start", number, raising=False)


def left_on(p):
    return set(vars(p)) - {"sampler", "is_closed"} | set(vars(p.sampler))


ENDS = ["postprocess", "close", "both", "again"]


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("fails", ["", "make", "off", "begin", "pass"])
def test_every_exit_leaves_nothing(job, fails, end):
    job(1)
    lives, p, made = Lives(), Processing(), []

    def make():
        if fails == "make":
            raise Failed("make")
        if fails == "off":
            return None
        made.append(Watched([fails]))
        return made[-1]

    lives.begin(p, make)
    if fails in ("make", "begin"):
        with pytest.raises(Failed, match=fails):
            p.init()
    assert p.init() == "ready"
    lives.begin_pass(p, lambda generation: generation.begin_pass(p))
    if fails == "pass":
        with pytest.raises(Failed, match="pass"):
            p.sampler.sample()
    assert p.sampler.sample() == "sampled"
    assert p.sampler.sample_img2img() == "sampled from a picture"
    assert (lives.of(p) is not None) == (fails == "")
    if end in ("postprocess", "both"):
        lives.end(p)
    if end in ("close", "both"):
        p.close()
    if end == "again":
        lives.begin(p, lambda: None)
    assert lives.of(p) is None
    assert [generation.closed for generation in made] == [1] * len(made)
    assert left_on(p) == set()
    assert p.is_closed == (end in ("close", "both"))


def test_an_error_comes_out_once_and_where_the_host_calls_next(job):
    """img2img's pass has another method; the other one is given back too."""
    job(1)
    lives, p = Lives(), Processing()
    lives.begin(p, lambda: Watched(["pass"]))
    lives.begin_pass(p, lambda generation: generation.begin_pass(p))
    with pytest.raises(Failed):
        p.sampler.sample_img2img()
    assert p.sampler.sample() == "sampled"


def test_nested_generations_do_not_end_each_other(job):
    """An extension that draws within a hook of another picture's generation, in the same job."""
    job(1)
    lives, outer, inner = Lives(), Processing(), Processing()
    first, second = Watched(), Watched(["pass"])
    lives.begin(outer, lambda: first)
    lives.begin(inner, lambda: second)
    assert (lives.of(outer), lives.of(inner)) == (first, second)
    lives.begin_pass(inner, lambda generation: generation.begin_pass(inner))
    assert (first.closed, second.closed) == (0, 1)
    assert lives.of(outer) is first
    outer.close()
    assert first.closed == 1


def test_what_errors_left_of_another_job_is_closed_before_the_next_is_made(job):
    """The host forgot both; the next job is of a new object."""
    lives, olds = Lives(), [Watched(), Watched()]
    job(1)
    forgotten = [Processing(), Processing()]
    for p, generation in zip(forgotten, olds):
        lives.begin(p, lambda generation=generation: generation)
    job(2)
    seen = []
    lives.begin(Processing(), lambda: seen.append([old.closed for old in olds]))
    assert seen == [[1, 1]]
    assert [left_on(p) for p in forgotten] == [set(), set()]


def test_an_object_that_is_used_again_begins_anew(job):
    job(1)
    lives, p, first, second = Lives(), Processing(), Watched(), Watched()
    lives.begin(p, lambda: first)
    lives.begin(p, lambda: second)
    assert (first.closed, second.closed) == (1, 0)
    assert lives.of(p) is second
    p.close()
    assert (first.closed, second.closed) == (1, 1)
    assert left_on(p) == set()


ACTIONS = st.sampled_from(["begin", "off", "make", "fails", "pass", "fails pass", "end", "close", "job"])


@example_settings(max_examples=200)
@given(st.lists(st.tuples(ACTIONS, st.integers(0, 2)), max_size=25))
def test_any_order_of_events(events):
    """Several objects of several jobs: a generation is alive until its own end, and closed exactly once."""
    lives, made, owner_of = Lives(), [], {}
    objects, alive, number = [Processing() for _ in range(3)], {}, 0

    def make(p, fails=()):
        made.append(Watched(fails))
        owner_of[made[-1]] = p
        return made[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared.state, "time_start", number, raising=False)
        for action, which in events:
            p = objects[which]
            if action == "job":
                number += 1
                patch.setattr(shared.state, "time_start", number)
            elif action in ("begin", "off", "make", "fails"):
                alive = {q: kept for q, kept in alive.items() if q is not p and kept[1] == number}
                if action == "off":
                    lives.begin(p, lambda: None)
                elif action == "make":
                    lives.begin(p, lambda: 1 / 0)
                else:
                    lives.begin(p, lambda p=p, action=action: make(p, ["begin"] if action == "fails" else []))
                if action == "begin":
                    alive[p] = made[-1], number
                with suppress(Failed, ZeroDivisionError):
                    p.init()
            elif action in ("pass", "fails pass"):
                lives.begin_pass(p, lambda _, action=action: 1 / (action == "pass"))
                with suppress(ZeroDivisionError):
                    p.sampler.sample()
                if action == "fails pass":
                    alive.pop(p, None)
            else:
                lives.end(p) if action == "end" else p.close()
                alive.pop(p, None)
            now = {generation for generation, _ in alive.values()}
            assert {q: lives.of(q) for q in objects} == {q: alive.get(q, (None,))[0] for q in objects}
            assert [generation.closed for generation in made] == [int(g not in now) for g in made]
            assert [left_on(q) for q in objects] == [
                {"close", "changed"} if q in alive else set() for q in objects
            ]
