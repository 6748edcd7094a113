"""Colours, fonts and style sheet of the explorer's page. It uses the system's fonts and downloads none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .gradio_loader import load_gradio

# Okabe and Ito 2008, as in builder/plotting.py. The last colours are lighter here: they must also show on black.
PALETTE = (
    *("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9"),
    *("#D55E00", "#9068AB", "#8C8C00", "#8A8F98", "#A0522D"),
)
MARKERS = "●■▲◆▼"  # shapes on the map, for readers who cannot distinguish the colours
CSS = Path(__file__).with_name("page.css").read_text(encoding="utf-8")


def label_colour(index: int) -> str:
    """Return the colour of the label with that index, as "#rrggbb"."""
    return PALETTE[index % len(PALETTE)]


def create_theme() -> Any:
    """Create Gradio's base theme with the system's fonts."""
    themes = load_gradio().themes
    fonts = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")
    font = themes.utils.fonts.Font
    monospaced = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")
    base = themes.Base(
        primary_hue=themes.colors.blue, secondary_hue=themes.colors.blue, neutral_hue=themes.colors.slate,
        font=[font(name) for name in fonts], font_mono=[font(name) for name in monospaced],
    )  # fmt: skip
    # Contrast of subdued text: 7 to 1 on white, 9 to 1 on black. Gradio's own is too low to read.
    return base.set(body_text_color_subdued="*neutral_600", body_text_color_subdued_dark="*neutral_300")
