"""Descriptions written by a local chat model, and kept in a JSONL file.

As in arXiv 2407.02156, a language model writes single-sentence descriptions, one genre at a time. Every reply has a
seed, and the corpus can be made again from the file, without the model.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BackendError, DataError, RecipeError
from ..io.untrusted import refuse_code, require_hub
from ..taxonomy import Genre
from . import grammar
from .sources import read_descriptions

if TYPE_CHECKING:
    from ..recipe import Recipe

Message = dict[str, str]
Reply = Callable[[list[Message], int], str]  # messages and a seed -> the model's reply

BATCH = 10  # descriptions asked for in one message
MAX_IDLE = 8  # replies in a row without a usable new description, before the model is given up
_WORDS = range(5, 81)

_SYSTEM = "You write short, concrete descriptions of music for a text-to-music model."
_TASK = """Write {count} different descriptions of {tag} music, each a single English sentence of 10 to 30 words.
This time stay close to {subgenre}. Describe the sound: mood, rhythm, tempo, {content}, production.
{vocals}Name no artists, no titles and no lyrics.
Answer with a numbered list of {count} sentences and nothing else."""
_VOCALS = {
    "unspecified": "",
    "instrumental": "The music is instrumental: mention no singing.\n",
    "with-vocals": "The music has vocals: say what they are like.\n",
}
_UNSUNG = "Say nothing about vocals.\n"  # where clips of one corpus differ in them; their texts add it


def ask_chat_model(recipe: Recipe, reply: Reply | None = None, progress: Callable[[int], Any] | None = None) -> int:
    """Let the recipe's chat model write the descriptions that are missing from its JSONL file.

    Each batch is appended and synced to disk, so that an interrupted run resumes after the last one.

    Args:
        recipe: Its source of descriptions is a chat model.
        reply: Called in place of the model. Default: the `ChatModel` that the recipe names.
        progress: Called with the number of new descriptions in each batch.

    Returns:
        How many descriptions were added.

    Raises:
        RecipeError: If the recipe's source is not a chat model, or the file holds descriptions of another one.
        BackendError: If the model cannot be loaded, or gives too few usable replies.
        DataError: If the file cannot be written.
    """
    source, taxonomy = recipe.prompts.source, recipe.labels
    if source.kind != "chat" or source.model is None or source.path is None:
        raise RecipeError("prompts.source is not a chat model", "set source: {kind: chat, model: ..., path: ...}")
    file = recipe.folder / source.path
    if file.suffix.lower() != ".jsonl":
        raise RecipeError(f"prompts.source.path: answers are kept as JSONL, not {file.name!r}", "end it in .jsonl")
    kept = _kept(file, recipe)
    added = 0
    for name, wanted in grammar.count_clips(recipe).items():
        texts, seeds = kept[name]
        idle = turn = 0
        while len(texts) < wanted:
            seed = grammar.derive_seed(recipe.prompts.seed, name, "chat", turn)
            turn += 1
            if seed in seeds:
                continue
            reply = reply or ChatModel(source.model, source.revision)
            answer = reply(build_messages(taxonomy.genres[name], recipe, turn - 1), seed)
            fresh = [text for text in parse_reply(answer) if text.casefold() not in texts][: wanted - len(texts)]
            idle = 0 if fresh else idle + 1
            if idle == MAX_IDLE:
                raise BackendError(
                    f"chat model {source.model!r}: {MAX_IDLE} replies in a row held no usable new description of"
                    f" {name} ({len(texts)} of {wanted} so far, kept in {file}); the last one began {answer[:80]!r}",
                    "name a larger, instruction-tuned model, or ask for fewer clips",
                )
            texts.update(text.casefold() for text in fresh)
            _append(file, ({"genre": name, "description": t, "model": _label(recipe), "seed": seed} for t in fresh))
            added += len(fresh)
            if progress is not None:
                progress(len(fresh))
    return added


def build_messages(genre: Genre, recipe: Recipe, turn: int) -> list[Message]:
    """Write the messages that ask for a batch of descriptions of a genre.

    Args:
        genre: The genre.
        recipe: The recipe, which states whether descriptions name instruments, and whether there are vocals.
        turn: Number of the batch, from 0. Each asks for another sub-genre, in turn.

    Returns:
        The system's message and the user's.
    """
    subgenres = list(genre.subgenres)
    task = _TASK.format(
        count=BATCH,
        tag=genre.tag,
        subgenre=subgenres[turn % len(subgenres)],
        content="instruments" if recipe.prompts.instrumentation else "harmony (but no instruments)",
        vocals=_UNSUNG if isinstance(vocals := recipe.prompts.vocals, tuple) else _VOCALS[vocals],
    )
    return [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": task}]


def parse_reply(answer: str) -> list[str]:
    """Return the usable descriptions in a reply, each once.

    A reply is a JSON list, or lines with or without numbers and bullets.
    """
    descriptions: dict[str, str] = {}
    for item in _items(answer):
        text = re.sub(r"\*\*|__|`", "", item)
        text = re.sub(r"^\s*(?:[-*•–]|\(?\d{1,3}[.):])\s*", "", text)
        text = " ".join(text.split()).strip("\"'“”‘’ *,")
        is_talk = re.match(r"(sure|certainly|of course|here (are|is)|okay|let me|i )", text, re.IGNORECASE)
        if not text[:1].isalnum() or text.endswith(":") or is_talk or len(text.split()) not in _WORDS:
            continue
        text = text[0].upper() + text[1:] + ("" if text[-1] in ".!?" else ".")
        descriptions.setdefault(text.casefold(), text)
    return list(descriptions.values())


def _items(answer: str) -> list[str]:
    start, end = answer.find("["), answer.rfind("]")
    if 0 <= start < end:
        try:
            listed = json.loads(answer[start : end + 1])
        except (ValueError, RecursionError):
            listed = []
        values = [item.get("description") if isinstance(item, dict) else item for item in listed]
        if texts := [item for item in values if isinstance(item, str)]:
            return texts
    lines = answer.splitlines()
    # Some models number their sentences in one running paragraph.
    return [
        item for line in lines for item in (re.split(r"\s(?=\d{1,2}[.)]\s)", line) if line[:1].isdigit() else [line])
    ]


class ChatModel:
    """A chat model on this machine, called as a function: messages and a seed -> its reply.

    Args:
        name: A Hub id or a folder.
        revision: Of the Hub's repository. Default: the newest.
        max_new_tokens: The longest reply.

    Raises:
        BackendError: If it cannot be loaded, or has no chat template.
    """

    def __init__(self, name: str, revision: str | None = None, max_new_tokens: int = 64 * BATCH) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            require_hub(name, "prompts.source.model: {}", revision)
            refuse_code(name, revision)
            self.tokenizer: Any = AutoTokenizer.from_pretrained(name, revision=revision, trust_remote_code=False)
            self.model: Any = AutoModelForCausalLM.from_pretrained(
                name, revision=revision, dtype="auto", device_map=device, trust_remote_code=False
            )
        except (OSError, ValueError, KeyError) as error:
            raise BackendError(
                f"chat model {name!r} cannot be loaded: {str(error).strip().splitlines()[0]}",
                "check prompts.source.model and revision; a model folder works without a network",
            ) from error
        if self.tokenizer.chat_template is None:
            raise BackendError(f"{name!r} has no chat template", "name an instruction-tuned (chat) model")
        self.model.eval()
        self.max_new_tokens = max_new_tokens

    def __call__(self, messages: list[Message], seed: int) -> str:
        """Return the model's reply, sampled at temperature 1 with a seed."""
        import torch

        inputs = self.tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_dict=True, return_tensors="pt"
        ).to(self.model.device)
        pad = self.tokenizer.pad_token_id
        devices = [self.model.device] if self.model.device.type == "cuda" else []
        with torch.inference_mode(), torch.random.fork_rng(devices):
            torch.manual_seed(seed)
            tokens = self.model.generate(
                **inputs,
                do_sample=True,
                temperature=1.0,
                top_k=0,
                top_p=0.95,
                max_new_tokens=self.max_new_tokens,
                pad_token_id=self.tokenizer.eos_token_id if pad is None else pad,
            )
        reply: str = self.tokenizer.decode(tokens[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        return reply


def _label(recipe: Recipe) -> str:
    source = recipe.prompts.source
    return f"{source.model}@{source.revision}" if source.revision else str(source.model)


def _kept(file: Path, recipe: Recipe) -> dict[str, tuple[set[str], set[int]]]:
    """Read what earlier runs wrote: the descriptions (case folded) and the seeds of each genre."""
    kept: dict[str, tuple[set[str], set[int]]] = {name: (set(), set()) for name in recipe.labels.genre_names}
    _drop_torn_line(file)
    if not file.exists() or not file.stat().st_size:
        return kept
    for name, lines in read_descriptions(file, recipe.labels).items():
        if other_models := {line.model for line in lines} - {_label(recipe)}:
            raise RecipeError(
                f"{file}: holds answers of {', '.join(sorted(map(str, other_models)))}, not of {_label(recipe)}",
                "give prompts.source.path another name, or name that model",
            )
        kept[name] = ({x.description.casefold() for x in lines}, {x.seed for x in lines if x.seed is not None})
    return kept


def _drop_torn_line(file: Path) -> None:
    """Cut off an incomplete last line, which a killed run left."""
    if not file.is_file():
        return
    with file.open("rb+") as handle:
        whole = handle.read().rfind(b"\n") + 1
        handle.truncate(whole)


def _append(file: Path, lines: Iterable[dict[str, Any]]) -> None:
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a", encoding="utf-8") as handle:
            handle.write(text)
            handle.flush()
            os.fsync(handle.fileno())
    except OSError as error:
        raise DataError(
            f"cannot write {file}: {error.strerror or error}", "make room, then run the same command again"
        ) from error
