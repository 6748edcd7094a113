"""The page's colours, letters and style sheet. Fonts are the reader's own: none is fetched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .framework import load_gradio

# After Okabe and Ito 2008, as in `evaluation.reporting.plots`; the last are lighter there, to be seen on dark too.
PALETTE = (
    *("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9"),
    *("#D55E00", "#9068AB", "#8C8C00", "#8A8F98", "#A0522D"),
)
SIGNS = "●■▲◆▼"  # the map's shapes, for those who do not tell colours apart
CSS = Path(__file__).with_name("page.css").read_text(encoding="utf-8")


def colour(number: int) -> str:
    """Of the n-th label."""
    return PALETTE[number % len(PALETTE)]


def theme() -> Any:
    """Gradio's plain theme in the system's own fonts."""
    themes = load_gradio().themes
    fonts = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")
    font = themes.utils.fonts.Font
    fixed = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")
    base = themes.Base(
        primary_hue=themes.colors.blue, secondary_hue=themes.colors.blue, neutral_hue=themes.colors.slate,
        font=[font(name) for name in fonts], font_mono=[font(name) for name in fixed],
    )  # fmt: skip
    # Its soft text is too faint to read on white: here 7 to 1, and 9 to 1 on dark.
    return base.set(body_text_color_subdued="*neutral_600", body_text_color_subdued_dark="*neutral_300")
