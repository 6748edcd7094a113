"""The error tree. Each error says what is wrong, where, and what mends it; its exit code is the command's."""

from __future__ import annotations


class SynthmirError(Exception):
    """What a user can mend. `message` says what is wrong and where, `fix` the command or edit that mends it."""

    exit_code = 1

    def __init__(self, message: str, fix: str | None = None) -> None:
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
