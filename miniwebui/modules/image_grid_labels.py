"""Texts above and beside a grid of pictures."""

from __future__ import annotations

import itertools

from PIL import Image, ImageColor, ImageDraw, ImageFont

from modules.shared import opts

ACTIVE, INACTIVE = "#000000", "#999999"
FONT_FRACTION = 25
"""Part of width + height of a cell that a line is high."""


class GridAnnotation:
    """A line of text; `size` is known once it is drawn."""

    def __init__(self, text="", is_active=True):
        self.text = text
        self.is_active = is_active
        self.size = None


def get_font(fontsize):
    return ImageFont.load_default(max(1, fontsize))


def _wrapped(texts, font, width) -> list[GridAnnotation]:
    """The annotations, broken between words where a line would be wider."""
    lines = []
    for annotation in texts:
        line = ""
        for word in str(annotation.text).split():
            longer = f"{line} {word}".strip()
            if line and font.getlength(longer) > width:
                lines.append(GridAnnotation(line, annotation.is_active))
                longer = word
            line = longer
        lines.append(GridAnnotation(line, annotation.is_active))
    return [line for line in lines if line.text]


def _draw(draw, lines, x, y, fontsize, width, spacing) -> None:
    """Lines centred at x, from y downwards; one that is too wide is written smaller."""
    for line in lines:
        size = fontsize
        while size > 1 and get_font(size).getlength(line.text) > width:
            size -= 1
        color = ACTIVE if line.is_active else INACTIVE
        draw.text((x, y + fontsize / 2), line.text, font=get_font(size), fill=color, anchor="mm")
        y += fontsize + spacing


def draw_grid_annotations(im, width, height, hor_texts, ver_texts, margin=0) -> Image.Image:
    """A grid of cells of width × height with lists of GridAnnotation over its columns and beside its rows.

    Raises:
        ValueError: there are not as many lists as columns or rows.
    """
    cols, rows = im.width // width, im.height // height
    if (cols, rows) != (len(hor_texts), len(ver_texts)):
        raise ValueError(f"{len(hor_texts)} × {len(ver_texts)} texts for a grid of {cols} × {rows}")
    fontsize = max(8, (width + height) // FONT_FRACTION)
    spacing = fontsize // 2
    font = get_font(fontsize)
    pad_left = width * 3 // 4 if any(line.text for texts in ver_texts for line in texts) else 0
    heads = [_wrapped(texts, font, width) for texts in hor_texts]
    sides = [_wrapped(texts, font, pad_left) for texts in ver_texts]
    highest = max((len(lines) * (fontsize + spacing) for lines in heads), default=0)
    pad_top = highest + spacing if highest else 0

    background = ImageColor.getcolor(opts.grid_background_color, "RGB")
    size = (im.width + pad_left + margin * (cols - 1), im.height + pad_top + margin * (rows - 1))
    result = Image.new("RGB", size, background)
    draw = ImageDraw.Draw(result)
    for row, col in itertools.product(range(rows), range(cols)):
        left, top = col * width, row * height
        cell = im.crop((left, top, left + width, top + height))
        result.paste(cell, (pad_left + left + col * margin, pad_top + top + row * margin))
    for col, lines in enumerate(heads):
        x = pad_left + (width + margin) * col + width / 2
        _draw(
            draw,
            lines,
            x,
            (pad_top - len(lines) * (fontsize + spacing) + spacing) / 2,
            fontsize,
            width,
            spacing,
        )
    for row, lines in enumerate(sides):
        middle = pad_top + (height + margin) * row + height / 2
        top = middle - (len(lines) * (fontsize + spacing) - spacing) / 2
        _draw(draw, lines, pad_left / 2, top, fontsize, pad_left, spacing)
    return result
