"""The page's own scripts, which Gradio runs in the components that they belong to."""

from __future__ import annotations

from pathlib import Path

CHOOSE = Path(__file__).with_name("choose.js").read_text(encoding="utf-8")
MAP = Path(__file__).with_name("map.js").read_text(encoding="utf-8")
