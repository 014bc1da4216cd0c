"""File names of saved pictures: patterns such as `[seed]-[prompt_spaces]`."""

import datetime
import hashlib
import os
import re
import string

from modules import errors, shared
from modules.shared import opts

INVALID_CHARACTERS = '#<>:"/\\|?*\n\r\t'
MAX_PART_LENGTH = 128
re_nonletters = re.compile(r"[\s" + string.punctuation + "]+")
re_pattern = re.compile(r"\[([^\[\]]+)\]")

_SKIP = object()


def sanitize_filename_part(text, replace_spaces=True):
    """Text without what a file name may not hold (path separators among it), at most 128 characters."""
    if text is None:
        return None
    text = text.replace(" ", "_") if replace_spaces else text
    text = text.translate({ord(character): "_" for character in INVALID_CHARACTERS})
    return text.lstrip(" ")[:MAX_PART_LENGTH].rstrip(" .")


class FilenameGenerator:
    """Fills in a pattern for one picture."""

    default_time_format = "%Y%m%d%H%M%S"

    def __init__(self, p, seed, prompt, image, zip=False, basename=""):
        self.p = p
        self.seed = seed
        self.prompt = prompt
        self.image = image
        self.zip = zip
        self.basename = basename

    replacements = {
        "basename": lambda self: self.basename or "img",
        "seed": lambda self: "" if self.seed is None else self.seed,
        "steps": lambda self: self.p and self.p.steps,
        "cfg": lambda self: self.p and self.p.cfg_scale,
        "width": lambda self: self.image.width,
        "height": lambda self: self.image.height,
        "sampler": lambda self: self.p and sanitize_filename_part(self.p.sampler_name, replace_spaces=False),
        "scheduler": lambda self: self.p and sanitize_filename_part(self.p.scheduler, replace_spaces=False),
        "model_hash": lambda self: shared.sd_model.sd_model_hash,
        "model_name": lambda self: sanitize_filename_part(
            shared.sd_model.sd_checkpoint_info.name_for_extra, replace_spaces=False
        ),
        "date": lambda self: datetime.datetime.now().strftime("%Y-%m-%d"),
        "datetime": lambda self: datetime.datetime.now().strftime(self.default_time_format),
        "job_timestamp": lambda self: getattr(self.p, "job_timestamp", shared.state.job_timestamp),
        "prompt_hash": lambda self: hashlib.sha256((self.prompt or "").encode()).hexdigest()[:8],
        "image_hash": lambda self: hashlib.sha256(self.image.tobytes()).hexdigest(),
        "prompt": lambda self: sanitize_filename_part(self.prompt),
        "prompt_spaces": lambda self: sanitize_filename_part(self.prompt, replace_spaces=False),
        "prompt_words": lambda self: self.prompt_words(),
        "batch_number": lambda self: self.batch_number(),
        "generation_number": lambda self: self.generation_number(),
        "denoising": lambda self: getattr(self.p, "denoising_strength", None) or _SKIP,
        "none": lambda self: "",
    }

    def prompt_words(self):
        words = [word for word in re_nonletters.split(self.prompt or "") if word] or ["empty"]
        return sanitize_filename_part(
            " ".join(words[: opts.directories_max_prompt_words]), replace_spaces=False
        )

    def batch_number(self):
        return _SKIP if self.p.batch_size == 1 or self.zip else self.p.batch_index + 1

    def generation_number(self):
        if (self.p.n_iter == 1 and self.p.batch_size == 1) or self.zip:
            return _SKIP
        return self.p.iteration * self.p.batch_size + self.p.batch_index + 1

    def apply(self, x: str) -> str:
        """The pattern filled in; an unknown name stays as it is, a part that does not apply goes away."""
        result, position = "", 0
        for match in re_pattern.finditer(x):
            text, position = x[position : match.start()], match.end()
            function = self.replacements.get(match.group(1).lower())
            value = self._value(function, match.group(1)) if function else None
            if value is not _SKIP:
                result += text + (match.group() if value is None else str(value))
        return result + x[position:]

    def _value(self, function, name: str):
        try:
            return function(self)
        except Exception:
            errors.report(f"The pattern [{name}] of a file name failed", exc_info=True)
            return None


def get_next_sequence_number(path: str, basename: str) -> int:
    """One more than the highest number that files `basename-NNNN…` (or `NNNNN…`) in a folder begin with."""
    prefix = f"{basename}-" if basename else ""
    numbers = [-1]
    for name in os.listdir(path):
        match = re.match(r"\d+", name[len(prefix) :]) if name.startswith(prefix) else None
        if match:
            numbers.append(int(match.group()))
    return max(numbers) + 1
