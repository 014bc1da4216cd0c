"""Files of a folder, in the order a person would put them, as `modules.util` of the WebUI."""

import os
import re
import tempfile


def write_text(path, text: str) -> None:
    """As `write_bytes`; what cannot be encoded fails before anything is touched."""
    write_bytes(path, text.encode("utf8"))


def write_bytes(path, data: bytes) -> None:
    """Write a file whole or leave it as it was."""
    handle, temporary = tempfile.mkstemp(dir=os.path.dirname(os.path.abspath(path)), suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def natural_sort_key(s, regex=re.compile(r"(\d+)")):  # noqa: B008
    """'img2' before 'img10'."""
    return [int(part) if part.isdigit() else part for part in regex.split(s.lower())]


def listfiles(dirname) -> list[str]:
    """The files of a folder, hidden ones not."""
    names = sorted(os.listdir(dirname), key=natural_sort_key)
    paths = [os.path.join(dirname, name) for name in names if not name.startswith(".")]
    return [path for path in paths if os.path.isfile(path)]


def walk_files(path, allowed_extensions=None):
    """Every file below `path` with one of the extensions ('.png'); those in hidden folders not."""
    for root, _, files in sorted(
        os.walk(path, followlinks=True), key=lambda entry: natural_sort_key(entry[0])
    ):
        if os.sep + "." in root:
            continue
        for name in sorted(files, key=natural_sort_key):
            if allowed_extensions is None or os.path.splitext(name)[1].lower() in allowed_extensions:
                yield os.path.join(root, name)


def topological_sort(dependencies) -> list[str]:
    """Names, each after those it depends on ({name: names}); otherwise in their order. Circles and unknown names do not
    matter."""
    result = []
    visited = set()

    def visit(name):
        if name in visited or name not in dependencies:
            return
        visited.add(name)
        for needed in dependencies[name]:
            visit(needed)
        result.append(name)

    for name in dependencies:
        visit(name)
    return result
