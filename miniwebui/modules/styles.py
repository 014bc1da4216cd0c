"""Prompt styles: named texts that are added to a prompt, from CSV files with name, prompt, negative_prompt."""

from __future__ import annotations

import csv
import os
from typing import NamedTuple


class PromptStyle(NamedTuple):
    name: str
    prompt: str | None
    negative_prompt: str | None
    path: str | None = None


def merge_prompts(style_prompt: str, prompt: str) -> str:
    """The style's text with the prompt at `{prompt}`, else after it."""
    if "{prompt}" in style_prompt:
        return style_prompt.replace("{prompt}", prompt)
    return ", ".join(part for part in (prompt.strip(), style_prompt.strip()) if part)


def apply_styles_to_prompt(prompt: str, styles: list[str]) -> str:
    for style in styles:
        prompt = merge_prompts(style, prompt)
    return prompt


class StyleDatabase:
    """Styles by name."""

    def __init__(self, paths: list[str]) -> None:
        self.no_style = PromptStyle("None", "", "", None)
        self.styles: dict[str, PromptStyle] = {}
        self.paths = paths
        self.reload()

    def reload(self) -> None:
        self.styles.clear()
        for path in self.paths:
            if os.path.exists(path):
                self._read(path)

    def _read(self, path: str) -> None:
        with open(path, encoding="utf-8-sig", newline="") as file:
            for row in csv.DictReader(file):
                style = PromptStyle(row["name"], row.get("prompt", ""), row.get("negative_prompt", ""), path)
                self.styles[style.name] = style

    def get_style_prompts(self, styles: list[str]) -> list[str]:
        return [self.styles.get(name, self.no_style).prompt for name in styles]

    def get_negative_style_prompts(self, styles: list[str]) -> list[str]:
        return [self.styles.get(name, self.no_style).negative_prompt for name in styles]

    def apply_styles_to_prompt(self, prompt: str, styles: list[str]) -> str:
        return apply_styles_to_prompt(prompt, self.get_style_prompts(styles))

    def apply_negative_styles_to_prompt(self, prompt: str, styles: list[str]) -> str:
        return apply_styles_to_prompt(prompt, self.get_negative_style_prompts(styles))
