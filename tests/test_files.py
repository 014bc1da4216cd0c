import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tile_utils.files import write_whole


@given(st.text(st.characters()))
def test_the_new_text_or_the_old_one(tmp_path_factory, text):
    folder = tmp_path_factory.mktemp("files")
    path = folder / "a.json"
    path.write_text("before")
    try:
        write_whole(path, text)
    except UnicodeEncodeError:
        assert path.read_text() == "before"
    else:
        assert path.read_bytes() == text.encode()
    assert list(folder.iterdir()) == [path]


def test_nothing_is_left_where_nothing_can_be_written(tmp_path):
    (tmp_path / "a.json").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_whole(tmp_path / "a.json", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "none" / "a.json", "text")


def test_rights_and_links_stay(tmp_path):
    path, link = tmp_path / "a.json", tmp_path / "link.json"
    path.write_text("before")
    path.chmod(0o640)
    link.symlink_to(path)
    write_whole(link, "after")
    assert path.read_text() == "after"
    assert path.stat().st_mode & 0o777 == 0o640
    assert link.is_symlink()
    write_whole(tmp_path / "new.json", "text")
    umask = os.umask(0)
    os.umask(umask)
    assert (tmp_path / "new.json").stat().st_mode & 0o777 == 0o666 & ~umask
