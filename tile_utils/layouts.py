"""Arrangements of regions to begin with, by the name that the page shows."""

from __future__ import annotations

from typing import Any


def _boxes(columns: int, rows: int) -> list[dict[str, Any]]:
    """The canvas cut evenly, line by line, in steps of the page's number fields."""
    across, down = ([round(i / count, 4) for i in range(count + 1)] for count in (columns, rows))
    return [
        {
            "x": across[column],
            "y": down[row],
            "w": round(across[column + 1] - across[column], 4),
            "h": round(down[row + 1] - down[row], 4),
            "blend_mode": "Background",
        }
        for row in range(rows)
        for column in range(columns)
    ]


LAYOUTS: dict[str, list[dict[str, Any]]] = {
    "Two halves": _boxes(2, 1),
    "Three thirds": _boxes(3, 1),
    "Grid of four": _boxes(2, 2),
    "Person before background": [
        *_boxes(1, 1),
        {"x": 0.3, "y": 0.1, "w": 0.4, "h": 0.9, "blend_mode": "Foreground", "feather_ratio": 0.4},
    ],
}
"""Each region's settings; what is not named stays as it is."""
