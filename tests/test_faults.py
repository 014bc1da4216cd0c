"""Errors at random calls of ours and of the host's: nothing is left, and the next picture is right to the bit."""

import logging

from tools.fuzz_faults import Tally


def test_random_faults_leave_nothing(webui, tmp_path, monkeypatch):
    """`python -m tools.fuzz_faults` tries more of them."""
    monkeypatch.setattr(logging.root, "disabled", True)
    tally = Tally()
    tally.go_on(seed=0, number=20, folder=tmp_path, after_each=lambda: None)
    assert tally.reached >= 15
    assert tally.found == []
