"""HTML pages from Jinja templates. Every value is escaped, and a missing one is an error."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment

HERE = Path(__file__).parent


@cache
def html_environment(folder: Path) -> Environment:
    """Create the environment for the templates in `folder`, which may include `page_style.html.jinja`.

    There is one for each folder, which keeps the templates that it has compiled.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader([folder, HERE]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
