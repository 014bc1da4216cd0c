"""Errors at random calls of ours and of the host's: nothing is left, and the next picture is right to the bit."""

import logging

from tools.fuzz_faults import fuzz


def test_random_faults_leave_nothing(webui, tmp_path, monkeypatch):
    """`python -m tools.fuzz_faults` tries more of them."""
    monkeypatch.setattr(logging.root, "disabled", True)
    reached, found = fuzz(seed=0, number=20, folder=tmp_path)
    assert reached >= 15
    assert found == []
