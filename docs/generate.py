"""Pages of the documentation that are made from the code: recipe keys, command line, tutorials. A hook of MkDocs."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

HERE = Path(__file__).parent
SOURCES = {  # what the pages link to, so that links work in the repository too, and the page that is made from it
    "../recipes/recipe.schema.json": "reference/recipe.md",
    "../synthmir/cli.py": "reference/command_line.md",
}
SOURCES |= {
    f"tutorials/{script.name}": f"tutorials/{script.stem}.md" for script in sorted((HERE / "tutorials").glob("*.py"))
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages to those that MkDocs has found."""
    pages = {"reference/recipe.md": recipe_page(), "reference/command_line.md": command_line_page()}
    pages |= {
        f"tutorials/{script.stem}.md": tutorial_page(script) for script in sorted((HERE / "tutorials").glob("*.py"))
    }
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links to a source file at the page that is made from it."""
    folder = posixpath.dirname(page.file.src_uri)

    def replace(link: re.Match[str]) -> str:
        target = SOURCES.get(posixpath.normpath(posixpath.join(folder, link[1])))
        return f"]({posixpath.relpath(target, folder or '.')})" if target else link[0]

    return re.sub(r"\]\(([^)#:\s]+)\)", replace, markdown)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Refuse a page that loads a script, a style or an image from another server."""
    loaded = re.findall(r"<(?:script|img|link|iframe)[^>]+(?:src|href)=[\"']?(?:https?:)?//[^>]*>", output)
    if loaded:
        raise PluginError(f"{page.file.src_uri}: loads from another server: {loaded[0]}")
    return output


def tutorial_page(script: Path) -> str:
    """Turn a script with cells (`# %%` and `# %% [markdown]`) into a page: its comments are text, the rest is code."""
    parts = []
    for cell in script.read_text(encoding="utf-8").split("# %%")[1:]:
        kind, _, body = cell.partition("\n")
        if "markdown" in kind:
            parts.append("\n".join(line.removeprefix("#").removeprefix(" ") for line in body.strip().splitlines()))
        else:
            parts.append(f"```python\n{body.strip()}\n```")
    return "\n\n".join(parts) + "\n"


def recipe_page() -> str:
    """Describe every key of a recipe, from the models that validate it."""
    from builder.recipe import Recipe

    schema = Recipe.model_json_schema()
    lines = [
        "# Recipe keys",
        "",
        "A recipe is a YAML file. Unknown keys are refused, and all faults are listed at once. `synthmir recipe NAME`",
        "prints a recipe with all its defaults. Editors that read JSON schemas complete keys when the first line is",
        "`# yaml-language-server: $schema=recipe.schema.json`; `synthmir recipe --schema` writes that file.",
        "",
        "```yaml",
        (HERE.parent / "recipes" / "demo.yaml").read_text(encoding="utf-8").partition("\n")[2].strip(),
        "```",
        "",
        "## Top level",
        "",
        *_key_table(schema, schema["$defs"]),
    ]
    for path, section in _sections(schema, schema["$defs"], ""):
        lines += [f"## {path}", "", section["description"], "", *_key_table(section, schema["$defs"])]
    return "\n".join(lines)


def _sections(
    schema: dict[str, Any], definitions: dict[str, Any], prefix: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each section below a schema, with its path: "prompts", "prompts.source", ..."""
    for key, field in schema["properties"].items():
        for name in _references(field):
            yield f"{prefix}{key}", definitions[name]
            yield from _sections(definitions[name], definitions, f"{prefix}{key}.")


def _references(field: dict[str, Any]) -> list[str]:
    options = [field, *field.get("anyOf", []), *field.get("allOf", [])]
    return [option["$ref"].rpartition("/")[2] for option in options if "$ref" in option]


def _key_table(schema: dict[str, Any], definitions: dict[str, Any]) -> Iterator[str]:
    yield "| key | values | default | |"
    yield "|---|---|---|---|"
    for key, field in schema["properties"].items():
        required = key in schema.get("required", ())
        if _references(field):
            values, default = "a section", "required" if required else ""
        else:
            values = _describe_values(field)
            default = "required" if required else f"`{json.dumps(field.get('default'))}`"
        yield f"| `{key}` | {values} | {default} | {_escape(field.get('description', ''))} |"
    yield ""


def _describe_values(field: dict[str, Any]) -> str:
    """What a key may hold: `"a"`, a number from 1 to 30, a list, ..."""
    if "anyOf" in field:
        return " or ".join(_describe_values(option) for option in field["anyOf"])
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    kind = {
        "number": "number",
        "integer": "integer",
        "string": "text",
        "boolean": "`true` or `false`",
        "null": "`null`",
    }
    if field.get("type") == "array":
        return f"list of {_describe_values(field['items'])}" if field.get("items") else "list"
    if field.get("type") == "object":
        return "mapping"
    bounds = [
        f"{sign} {field[name]:g}" if isinstance(field[name], float) else f"{sign} {field[name]:,}"
        for name, sign in (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"))
        if name in field and abs(field[name]) < 2**63
    ]
    return " ".join([kind.get(field.get("type", ""), field.get("type", "any value")), ", ".join(bounds)]).strip()


def command_line_page() -> str:
    """Describe every command and option, from the typer application."""
    import typer.main

    from synthmir.cli import app

    group = typer.main.get_command(app)
    lines = [
        "# Command line",
        "",
        "Each command is also a function of the [Python API](api.md) with the same options. The verbs that are easily",
        "mixed up:",
        "",
        "* `export` writes a *model* as ONNX; `convert` writes a *corpus* as audio files.",
        "* `compare` trains with several *strategies* and compares those; `evaluate --against` compares finished",
        "  *models*.",
        "* `plan` calculates on paper; `build --dry-run` times the generator on this machine.",
        "",
        "Exit codes: 0 done, 2 usage or recipe, 3 data, 4 back end missing or failing, 5 Hub, 130 interrupted.",
        "`synthmir --debug COMMAND` shows where an error came from.",
        "",
    ]
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        arguments = " ".join(
            (parameter.metavar or parameter.name).upper()
            for parameter in command.params
            if parameter.param_type_name == "argument"
        )
        lines += [f"## {name}", "", _escape(re.sub(r"\s+", " ", command.help or "")), "", "```"]
        lines += [f"synthmir {name} {arguments} [OPTIONS]".replace("  ", " "), "```", ""]
        lines += ["| option | default | |", "|---|---|---|"]
        for parameter in command.params:
            options = ", ".join(parameter.opts + parameter.secondary_opts)
            shown = parameter.name.upper() if parameter.param_type_name == "argument" else options
            empty = parameter.default is None or parameter.default is False or parameter.default == ()
            default = "required" if parameter.required else "" if empty else f"`{parameter.default}`"
            lines.append(f"| `{shown}` | {default} | {_escape(getattr(parameter, 'help', '') or '')} |")
        lines.append("")
    return "\n".join(lines)


def _escape(text: str) -> str:
    """Text for a cell of a Markdown table."""
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
