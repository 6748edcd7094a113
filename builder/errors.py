"""The errors that synthmir raises, and the exit code of a command that ends with one."""

from __future__ import annotations

MAX_LINE = 2000  # characters: a message may quote a line of an untrusted file


def make_printable(text: str) -> str:
    """Shorten long lines, and escape what UTF-8 cannot encode (lone surrogates)."""
    lines = text.encode("utf-8", "backslashreplace").decode().split("\n")
    half = MAX_LINE // 2
    return "\n".join(line if len(line) <= MAX_LINE else f"{line[:half]} ... {line[-half:]}" for line in lines)


class SynthmirError(Exception):
    """An error that the user can correct.

    Args:
        message: What is wrong, and where.
        fix: The command or edit that corrects it.

    Attributes:
        exit_code: Of the command that ends with this error.
    """

    exit_code = 1

    def __init__(self, message: str, fix: str | None = None) -> None:
        message, fix = make_printable(message), None if fix is None else make_printable(fix)
        super().__init__(message if fix is None else f"{message}\n  fix: {fix}")
        self.message, self.fix = message, fix


class RecipeError(SynthmirError):
    """A recipe, taxonomy, option or file of descriptions is invalid."""

    exit_code = 2


class DataError(SynthmirError):
    """A corpus, a model folder or audio is missing, damaged or not what it should be."""

    exit_code = 3


class BackendError(SynthmirError):
    """A generator, an embedder or an optional package is missing or fails."""

    exit_code = 4


class HubError(SynthmirError):
    """The Hugging Face Hub refuses a request, or cannot be reached."""

    exit_code = 5
