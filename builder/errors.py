"""The error tree. Each error says what is wrong, where, and what mends it; its exit code is the command's."""

from __future__ import annotations

MAX_TOLD = 2000  # letters of a message; what a stranger's file holds is repeated in it


def make_printable(text: str) -> str:
    """What can be printed and written: no line is endless, and halves of letters stand as escapes."""
    lines = text.encode("utf-8", "backslashreplace").decode().split("\n")
    half = MAX_TOLD // 2
    return "\n".join(line if len(line) <= MAX_TOLD else f"{line[:half]} ... {line[-half:]}" for line in lines)


class SynthmirError(Exception):
    """What a user can mend. `message` says what is wrong and where, `fix` the command or edit that mends it."""

    exit_code = 1

    def __init__(self, message: str, fix: str | None = None) -> None:
        message, fix = make_printable(message), None if fix is None else make_printable(fix)
        super().__init__(message if fix is None else f"{message}\n  fix: {fix}")
        self.message, self.fix = message, fix


class RecipeError(SynthmirError):
    """A recipe, a taxonomy, an option or a source of descriptions that cannot be used."""

    exit_code = 2


class DataError(SynthmirError):
    """A corpus, a model folder or audio that is missing, damaged or not what it should be."""

    exit_code = 3


class BackendError(SynthmirError):
    """A generator, an embedder or an optional package that is missing or fails."""

    exit_code = 4


class HubError(SynthmirError):
    """The Hugging Face Hub refused or could not be reached."""

    exit_code = 5
