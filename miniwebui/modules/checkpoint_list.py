"""The checkpoint files that can be chosen, and how a name in a setting or an infotext finds its file."""

import json
import os
import re

from modules import errors, hashes, paths, shared

model_dir = "Stable-diffusion"
model_path = os.path.abspath(os.path.join(paths.models_path, model_dir))
EXTENSIONS = (".safetensors", ".ckpt")

checkpoints_list: dict[str, "CheckpointInfo"] = {}
checkpoint_aliases: dict[str, "CheckpointInfo"] = {}


def read_metadata_from_safetensors(filename: str) -> dict:
    """The `__metadata__` of a safetensors file; values that are JSON objects come decoded.

    Raises ValueError if the file is not of that format.
    """
    with open(filename, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > os.path.getsize(filename):
            raise ValueError(f"{filename} does not begin as a safetensors file does")
        header = json.loads(file.read(length))
    return {key: _decoded(value) for key, value in header.get("__metadata__", {}).items()}


def _decoded(value):
    if isinstance(value, str) and value.startswith("{"):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def model_hash(filename: str) -> str:
    """The WebUI's old hash, of a small part of the file; infotexts of that time name it."""
    import hashlib

    try:
        with open(filename, "rb") as file:
            file.seek(0x100000)
            return hashlib.sha256(file.read(0x10000)).hexdigest()[:8]
    except FileNotFoundError:
        return "NOFILE"


class CheckpointInfo:
    """A checkpoint file and every name it goes by. The hash is known once the file was loaded."""

    def __init__(self, filename: str):
        self.filename = filename
        self.is_safetensors = filename.lower().endswith(".safetensors")
        self.name = self._relative_name()
        self.name_for_extra = os.path.splitext(os.path.basename(filename))[0]
        self.model_name = os.path.splitext(self.name.replace("/", "_").replace("\\", "_"))[0]
        self.hash = model_hash(filename)
        self.sha256: str | None = None
        self.shorthash: str | None = None
        self.title = self.name
        self.short_title = self.name_for_extra
        self.ids = [self.hash, self.model_name, self.title, self.name_for_extra, f"{self.name} [{self.hash}]"]
        self.metadata = self._read_metadata()

    def _relative_name(self) -> str:
        absolute = os.path.abspath(self.filename)
        for folder in (shared.cmd_opts.ckpt_dir, model_path):
            if folder and absolute.startswith(os.path.abspath(folder) + os.sep):
                return os.path.relpath(absolute, os.path.abspath(folder))
        return os.path.basename(self.filename)

    def _read_metadata(self) -> dict:
        if not self.is_safetensors:
            return {}
        try:
            return read_metadata_from_safetensors(self.filename)
        except (OSError, ValueError) as error:
            errors.report(f"Cannot read the metadata of {self.filename}: {error}")
            return {}

    def register(self) -> None:
        checkpoints_list[self.title] = self
        for alias in self.ids:
            checkpoint_aliases[alias] = self

    def calculate_shorthash(self) -> str:
        """The first ten digits of the file's SHA-256; from then on they are part of the title."""
        if self.shorthash is None:
            self.sha256 = hashes.sha256(self.filename, f"checkpoint/{self.name}")
            self.shorthash = self.sha256[:10]
            listed = checkpoints_list.pop(self.title, None) is not None
            self.title = f"{self.name} [{self.shorthash}]"
            self.short_title = f"{self.name_for_extra} [{self.shorthash}]"
            self.ids += [self.shorthash, self.sha256, self.title, self.short_title]
            if listed:
                self.register()
        return self.shorthash


def checkpoint_tiles(use_short: bool = False) -> list[str]:
    return [info.short_title if use_short else info.title for info in checkpoints_list.values()]


def _files_in(folder: str | None) -> list[str]:
    """Checkpoint files below a folder, by name."""
    if not folder or not os.path.isdir(folder):
        return []
    found = [os.path.join(root, name) for root, _, names in os.walk(folder) for name in names]
    is_vae = re.compile(r"\.vae\.(ckpt|safetensors)$", re.IGNORECASE)
    return sorted(path for path in found if path.lower().endswith(EXTENSIONS) and not is_vae.search(path))


def list_models() -> None:
    """Look for checkpoints again: the one of --ckpt first, which is then also the chosen one."""
    checkpoints_list.clear()
    checkpoint_aliases.clear()
    commanded = shared.cmd_opts.ckpt
    if commanded and os.path.isfile(commanded):
        info = CheckpointInfo(commanded)
        info.register()
        shared.opts.data["sd_model_checkpoint"] = info.title
    for filename in [*_files_in(model_path), *_files_in(shared.cmd_opts.ckpt_dir)]:
        if not commanded or os.path.abspath(filename) != os.path.abspath(commanded):
            CheckpointInfo(filename).register()


def _without_hash(title: str) -> str:
    """'name [hash]' -> 'name'."""
    name, bracket, code = title.strip().rpartition("[")
    return name.rstrip() if bracket and code.endswith("]") else title


def get_closet_checkpoint_match(search_string: str | None) -> CheckpointInfo | None:
    """The checkpoint of a name, else the shortest title that contains it, with or without its hash."""
    if not search_string:
        return None
    if search_string in checkpoint_aliases:
        return checkpoint_aliases[search_string]
    for wanted in (search_string, _without_hash(search_string)):
        found = [info for info in checkpoints_list.values() if wanted in info.title]
        if found:
            return min(found, key=lambda info: len(info.title))
    return None


def select_checkpoint() -> CheckpointInfo:
    """The checkpoint that the settings name, else the first one. Raises FileNotFoundError."""
    commanded = shared.cmd_opts.ckpt
    if commanded and commanded != paths.default_sd_model_file and not os.path.isfile(commanded):
        raise FileNotFoundError(f"The checkpoint {commanded} (--ckpt) does not exist.")
    chosen = checkpoint_aliases.get(shared.opts.sd_model_checkpoint)
    if chosen is not None:
        return chosen
    if not checkpoints_list:
        raise FileNotFoundError(
            f"No checkpoint found: put a .safetensors file into {model_path}, or name one with --ckpt."
        )
    first = next(iter(checkpoints_list.values()))
    if shared.opts.sd_model_checkpoint:
        errors.report(f"There is no checkpoint '{shared.opts.sd_model_checkpoint}'; {first.title} is used.")
    return first
