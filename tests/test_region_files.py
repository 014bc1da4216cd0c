import json

import pytest

from tile_utils.settings import RegionSettings, SettingsError

REGIONS = (
    RegionSettings(True, 0.1, 0.2, 0.3, 0.4, 'a "quoted", <b>\n{}', "grey", "Foreground", 0.5, 12),
    RegionSettings(),
)


@pytest.fixture
def files(webui, tmp_path, monkeypatch):
    from tile_host import region_files

    monkeypatch.setattr(region_files, "FOLDER", tmp_path / "region_configs")
    return region_files


def test_regions_come_back(files):
    path = files.save("two people", REGIONS)
    assert path.name == "two people.json"
    assert files.load("two people.json", 8).regions == REGIONS
    assert set(json.loads(path.read_text())["bbox_controls"][0]) == {
        "enable",
        "x",
        "y",
        "w",
        "h",
        "prompt",
        "neg_prompt",
        "blend_mode",
        "feather_ratio",
        "seed",
    }


def test_a_layout_is_replaced_whole(files):
    """Half of a character, which UTF-8 cannot hold, once left an empty file behind."""
    path = files.save("one", REGIONS)
    half = (RegionSettings(prompt="a\ud800b"),)
    files.save("one", half)
    assert files.load("one", 8).regions == half
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    "words", ["", "demo judge", '[{"x": 0.25, "y": 0.5, "prompt": "a red balloon, 猫"}]']
)
def test_the_words_for_each_tile_come_back(files, words):
    files.save("words", REGIONS, words)
    found = files.load("words", 8)
    assert (found.regions, found.tile_prompts) == (REGIONS, words)


def test_a_file_without_words_says_so(files):
    files.save("one", REGIONS)
    assert files.load("one", 8).tile_prompts is None


@pytest.mark.parametrize("name", ["", "..", "../secret", "a/b", "a\\b", "a\0b", ".hidden", "C:x"])
def test_a_name_does_not_leave_the_folder(files, name):
    for action in (lambda: files.save(name, REGIONS), lambda: files.load(name, 8)):
        with pytest.raises(SettingsError, match="allowed is a file name without folders"):
            action()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("nothing", "no JSON object"),
        ("[]", "no JSON object"),
        ("[" * 100_000, "no JSON object"),
        ('{"bbox_controls": ' + "9" * 5000 + "}", "no JSON object"),
        ('{"bbox_controls": {}}', "no list"),
        ('{"bbox_controls": [5]}', "Region 1 is 5; allowed is an object"),
        (
            '{"bbox_controls": [{"x": "left"}]}',
            "Region 1: 'x' is 'left', a text; allowed is a number, 0 to 1",
        ),
        ('{"bbox_controls": [{"x": NaN}]}', "'x' is nan"),
        ('{"bbox_controls": [{"x": 1' + "0" * 400 + "}]}", "'x' is 10+…; allowed is 0 to 1"),
        (
            '{"bbox_controls": [], "tile_prompts": [{"x": 2, "y": 0, "prompt": ""}]}',
            "The region file: 'Words for each tile' allowed is a list",
        ),
        ('{"bbox_controls": [], "tile_prompts": 5}', "The region file: 'Words for each tile' is 5, a number"),
        (json.dumps({"bbox_controls": [{}] * 9}), "9 regions were given; allowed are 8"),
    ],
)
def test_a_file_that_cannot_be_used_is_told(files, text, sentence):
    files.FOLDER.mkdir()
    (files.FOLDER / "bad.json").write_text(text)
    with pytest.raises(SettingsError, match=sentence):
        files.load("bad", 8)


def test_a_file_that_is_no_text_is_told(files):
    files.FOLDER.mkdir()
    (files.FOLDER / "bytes.json").write_bytes(b"\xff\xfe\x00")
    (files.FOLDER / "folder.json").mkdir()
    for name in ("bytes", "folder", "x" * 300):
        with pytest.raises(SettingsError, match="region file .* cannot be read"):
            files.load(name, 8)
    for name in ("folder", "x" * 300):
        with pytest.raises(SettingsError, match="region file .* cannot be written"):
            files.save(name, REGIONS)


def test_a_missing_file_names_the_known(files):
    with pytest.raises(SettingsError, match="There is no region file two.json; known are: none."):
        files.load("two", 8)
    files.save("one", REGIONS)
    files.save("more", REGIONS)
    with pytest.raises(SettingsError, match="There is no region file two.json; known are: more, one."):
        files.load("two", 8)
