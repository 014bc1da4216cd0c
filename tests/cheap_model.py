"""A UNet in no time, for tests of what is asked of it, and in which order."""

import pytest


def predicted(x, timesteps, encoder_hidden_states, **_):
    """Depends on every pixel, and on the text."""
    return (0.3 * x + 0.1 * encoder_hidden_states.mean((1, 2))[:, None, None, None],)


@pytest.fixture(autouse=True)
def cheap_unet(webui, monkeypatch):
    """Takes the place of the random checkpoint's in a module that imports it."""
    monkeypatch.setattr(webui.shared.sd_model.model.diffusion_model.unet, "forward", predicted)
