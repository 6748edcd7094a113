"""The tabs for what is no part of the corpus: a clip from a typed prompt, and a recording of one's own."""

from __future__ import annotations

import base64
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.audio import AUDIO_SUFFIXES, encode_flac
from builder.errors import DataError, SynthmirError, make_printable

from .cards import fault, note, spectrogram, text, word
from .studio import LONGEST, Made, Studio

if TYPE_CHECKING:
    from .page import Page
    from .timeline import Heard

KEPT_SECONDS = 20 * 60  # of a recording of one's own can be played back
VOCALS = ("instrumental", "with-vocals")
SAID = "as the prompt says"


def generate_tab(page: Page, _: Any) -> None:
    """A prompt, a genre, and what else the recipe's taxonomy has words for."""
    gr = page.gradio
    try:
        recipe = page.clips.recipe
        taxonomy = recipe.labels
    except SynthmirError as error:
        page.plain(fault(error))
        return
    studio = Studio(recipe)
    page.plain(note(about(studio)))
    example = f"A {taxonomy.genre_names[0]} track with ..."
    prompt = gr.Textbox(label="Prompt", lines=3, max_length=LONGEST, placeholder=example)
    with gr.Row():
        genre = gr.Dropdown([(SAID, ""), *taxonomy.genre_names], value="", label="Genre", min_width=220)
        seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=2**53, min_width=100)
    keys = [genre]
    if studio.composes:
        with gr.Accordion("Labels, instead of those in the text", open=False):
            with gr.Row():
                subgenre = gr.Dropdown(subgenres(recipe, ""), value="", label="Sub-genre", min_width=140)
                mood = gr.Dropdown(["", *taxonomy.moods], value="", label="Mood", min_width=140)
                played = gr.Dropdown(
                    list(taxonomy.instruments), value=[], label="Instruments", multiselect=True, min_width=140
                )
            with gr.Row():
                tempo = gr.Textbox(label="Tempo (bpm)", placeholder="120", max_lines=1, min_width=110)
                key = gr.Textbox(label="Key", placeholder="A minor", max_lines=1, min_width=110)
                vocals = gr.Dropdown(["", *VOCALS], value="", label="Vocals", min_width=110)
        genre.change(
            lambda name: gr.update(choices=subgenres(recipe, name), value=""), genre, subgenre, show_progress="hidden",
            api_visibility="private",
        )  # fmt: skip
        keys += [subgenre, mood, played, tempo, key, vocals]
    make = gr.Button(f"Generate with {studio.name}", variant="primary")
    out = page.html(elem_id="made")

    def made(words: str, number: float, genre: str, *labels: Any) -> str:
        names = ("subgenre", "mood", "instruments", "tempo_bpm", "key", "vocals")
        chosen = {name: value for name, value in zip(names, labels, strict=False) if value not in (None, "", [])}
        try:
            if "tempo_bpm" in chosen:
                chosen["tempo_bpm"] = tempo_of(chosen["tempo_bpm"])
            found = studio.make(str(words or ""), genre, int(number or 0), chosen)
        except (SynthmirError, ValueError) as error:
            return fault(error)
        return clip(found, str(words), page.shelf.put(encode_flac(found.samples, found.sampling_rate)))

    gr.on(
        [make.click, prompt.submit], made, [prompt, seed, *keys], out,
        concurrency_limit=1, concurrency_id="generator", api_name="generate", show_progress="full",
    )  # fmt: skip


def about(studio: Studio) -> str:
    """What makes the sound, and from what."""
    recipe = studio.recipe
    if studio.composes:
        how = "It composes from labels: those chosen, then those that the prompt names, the rest drawn by the seed."
    else:
        how = "It plays from the prompt as typed; its weights are loaded with the first clip."
    return f"Generator of the recipe {recipe.name}: {studio.name}, {recipe.generator.seconds:g} s a clip. {how}"


def subgenres(recipe: Any, genre: str) -> list[str]:
    """What can be chosen under a genre, "" for none."""
    block = recipe.labels.genres.get(genre)
    return ["", *(block.subgenres if block else ())]


def tempo_of(words: str) -> int:
    """A tempo as rows hold it. Raises DataError."""
    if not words.strip().isdecimal() or not 30 <= int(words) <= 300:
        raise DataError(f"tempo: {words!r}", "a whole number of beats per minute, 30 to 300")
    return int(words)


def clip(made: Made, prompt: str, name: str) -> str:
    """A new clip as HTML: player, spectrogram, and what it was made from."""
    from .picture import thumbnail

    samples = made.samples if made.samples.ndim == 1 else made.samples.mean(axis=1)
    shown = base64.b64encode(thumbnail(samples, made.sampling_rate)).decode()
    used = "".join(
        f'<dt>{text(what)}</dt><dd dir="auto">{text(which)} <span class="soft">({text(origin)})</span></dd>'
        for what, which, origin in made.used
    )
    levels = f"{word(made.loudness, 'loudness')}, peak {word(made.peak, 'peak')}"
    return (
        f'<article class="made"><audio controls autoplay src="sound/{name}.flac" aria-label="The new clip"></audio>'
        f'<blockquote dir="auto">{text(prompt)}</blockquote>'
        f"{spectrogram(f'data:image/png;base64,{shown}', 'the new clip', len(samples) / made.sampling_rate)}"
        f'<p class="soft">{text(levels)}</p><h3>What it was made from</h3><dl class="facts">{used}</dl></article>'
    )


def listen_tab(page: Page, _: Any) -> None:
    """A recording to drop in, and the classifier's answer over time."""
    gr = page.gradio
    if not page.clips.source.has_model:
        page.plain(note(f"{page.clips.source.name} has no classifier beside it; synthmir train makes one."))
        return
    page.plain(note("Drop in a recording: the run's classifier says what it hears, window by window. "
                 "The file is deleted as soon as it was heard."))  # fmt: skip
    file = gr.File(label="Your audio", file_count="single", type="filepath", height=140, elem_id="own")
    out = page.html(elem_id="heard")
    kept: list[Any] = []  # the classifier, loaded once

    def listen(path: str | None) -> Any:
        from .timeline import Listener, account

        if path is None or not uploaded(path):
            return gr.skip()
        name = Path(path).name
        try:
            if Path(path).suffix.lower() not in AUDIO_SUFFIXES:
                raise DataError("not a kind of file that is read here", f"one of {', '.join(sorted(AUDIO_SUFFIXES))}")
            if not kept:
                model = page.clips.model
                if model is None:
                    raise DataError("the classifier is not there any more", "synthmir train makes one")
                kept.append(Listener(model))
            heard = kept[0].hear(path)
        except SynthmirError as error:
            # where the server put it is nobody's business
            error.message = error.message.removeprefix(f"{make_printable(str(path))}: ")
            return f"<h2>{text(name)}</h2>{fault(error)}"
        finally:
            with contextlib.suppress(OSError):
                Path(path).unlink()
        return account(heard, name, f"sound/{page.shelf.put(playable(heard))}.flac")

    file.upload(
        listen, file, out, concurrency_limit=1, concurrency_id="classifier", api_name="listen", show_progress="full"
    )
    file.clear(lambda: "", None, out, show_progress="hidden", api_visibility="private")


def uploaded(path: str) -> bool:
    """Whether a file is one that was dropped in: only such is read, and deleted."""
    from gradio.utils import get_upload_folder

    return Path(path).resolve().is_relative_to(Path(get_upload_folder()).resolve())


def playable(heard: Heard) -> bytes:
    """The recording as FLAC that any browser plays."""
    return encode_flac(heard.samples[: KEPT_SECONDS * heard.sampling_rate], heard.sampling_rate)
