from tile_utils import settings
from tile_utils.help_texts import HELP
from tools import control_reference


def test_the_reference_is_current():
    assert control_reference.TARGET.read_text(encoding="utf-8") == control_reference.reference(), (
        "run `.venv/bin/python -m tools.control_reference`"
    )


def test_every_control_has_a_help_text_and_no_other():
    for cls, texts in HELP.items():
        assert list(texts) == [spec.name for spec in settings.control_fields(cls)]
        assert all(text.endswith(".") for text in texts.values())
