"""Comments in prompts: `#` and what follows it in its line is left out, if the option says so."""

import re

from modules import scripts, shared

FIELDS = ("main_prompt", "main_negative_prompt")
HIRES_FIELDS = ("hr_prompt", "hr_negative_prompt")


def strip_comments(text: str) -> str:
    return re.sub(r"\n?#[^\n]*(\n|$)", "\n", text)


class ScriptStripComments(scripts.Script):
    def title(self):
        return "Comments"

    def show(self, is_img2img):
        return scripts.AlwaysVisible

    def process(self, p, *args):
        if not shared.opts.enable_prompt_comments:
            return
        for name in (*FIELDS, *(HIRES_FIELDS if getattr(p, "enable_hr", False) else ())):
            setattr(p, name, strip_comments(getattr(p, name)))
            every = f"all_{name.removeprefix('main_')}s"
            setattr(p, every, [strip_comments(text) for text in getattr(p, every)])
