"""Pictures side by side, to be looked at."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw

GAP, TITLE = 6, 18


def contact_sheet(
    rows: Sequence[Sequence[Image.Image]], width: int, titles: Sequence[str] = ()
) -> Image.Image:
    """Rows of pictures, each scaled to `width` pixels and below its title, if it has one; empty ones are left out."""
    above = TITLE if titles else 0
    titles = [title for title, row in zip(titles, rows) if row]
    rows = [row for row in rows if row]
    scaled = []
    for row in rows:
        factor = (width - GAP * (len(row) - 1)) / sum(image.width for image in row)
        sizes = [(int(image.width * factor), int(image.height * factor)) for image in row]
        scaled.append([image.resize(size, Image.Resampling.LANCZOS) for image, size in zip(row, sizes)])
    height = sum(above + GAP + max(image.height for image in row) for row in scaled) - GAP
    sheet = Image.new("RGB", (width, height), "white")
    pen, top = ImageDraw.Draw(sheet), 0
    for number, row in enumerate(scaled):
        if titles:
            pen.text((4, top + 3), titles[number], fill="black")
        left = 0
        for image in row:
            sheet.paste(image, (left, top + above))
            left += image.width + GAP
        top += above + GAP + max(image.height for image in row)
    return sheet
