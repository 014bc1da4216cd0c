"""A small part of `tools/fuzz_api.py`: random requests, and several clients at once, to a server of its own."""

import json

import pytest

from tools import fuzz_api

BODIES, CLIENTS, SECONDS = 60, 4, 6


@pytest.fixture(scope="module")
def server():
    with fuzz_api.running_server() as running:
        yield running


def test_every_answer_is_a_picture_or_a_sentence(server):
    watch = fuzz_api.send_bodies(server, BODIES, seed=1)
    assert watch.report() == 0
    assert watch.statuses.total() >= BODIES - 1
    assert watch.statuses[200]
    assert watch.statuses[422]


def test_clients_at_once_get_pictures_and_the_next_is_as_before(server):
    watch = fuzz_api.send_at_once(server, CLIENTS, SECONDS, seed=1)
    assert watch.report() == 0
    assert watch.statuses[200] > CLIENTS
    assert watch.statuses[500]  # of a width that cannot be drawn


@pytest.mark.parametrize(
    ("status", "answer", "is_fault"),
    [
        (200, {"images": []}, False),
        (422, {"detail": "There is no script 'x'."}, False),
        (422, {"detail": [{"loc": ["steps"], "msg": "no number"}]}, False),
        (500, {"error": "ValueError", "errors": "'Width' is 7; allowed is 8 to 16384."}, False),
        (500, {"error": "TypeError", "errors": "'NoneType' object is not iterable"}, True),
        (500, {"error": "ValueError", "errors": ""}, True),
        (500, {"error": "ValueError", "errors": "could not convert string to float: 'x'"}, True),
        (500, {"error": "KeyErrorLike", "errors": "'x'"}, True),
    ],
)
def test_what_counts_as_a_fault(status, answer, is_fault):
    assert bool(fuzz_api.fault(status, json.dumps(answer))) is is_fault
    assert fuzz_api.fault(500, "Internal Server Error")
