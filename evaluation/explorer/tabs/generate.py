"""The tab "Generate": a new clip from a typed prompt."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from builder.audio import encode_flac
from builder.errors import DataError, SynthmirError

from ..html_parts import escape, format_value, render_error, render_note, render_spectrogram
from ..page_context import Component, PageContext
from ..prompt_generator import LABELS, MAX_LENGTH, GeneratedClip, PromptGenerator

if TYPE_CHECKING:
    from builder.recipe import Recipe

VOCALS = ("instrumental", "with-vocals")
FROM_PROMPT = "as in the prompt"


def add_generate_tab(context: PageContext, _: Component) -> None:
    """Add a prompt, a genre, and fields for the other labels of the recipe's taxonomy."""
    gr = context.gradio
    try:
        recipe = context.clips.recipe
        taxonomy = recipe.labels
    except SynthmirError as error:
        context.add_html(render_error(error))
        return
    generator = PromptGenerator(recipe)
    context.add_html(render_note(describe_generator(generator)))
    example = f"A {taxonomy.genre_names[0]} track with ..."
    prompt = gr.Textbox(label="Prompt", lines=3, max_length=MAX_LENGTH, placeholder=example)
    with gr.Row():
        genre = gr.Dropdown([(FROM_PROMPT, ""), *taxonomy.genre_names], value="", label="Genre", min_width=220)
        seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=2**53, min_width=100)
    fields = [genre]
    if generator.uses_labels:
        fields += _add_label_fields(context, recipe, genre)
    button = gr.Button(f"Generate with {generator.name}", variant="primary")
    output = context.add_clip_html(elem_id="generated-clip")

    def generate(prompt: str, seed: float, genre: str, *labels: Any) -> str:
        chosen = {name: value for name, value in zip(LABELS, labels, strict=False) if value not in (None, "", [])}
        try:
            if "tempo_bpm" in chosen:
                chosen["tempo_bpm"] = parse_tempo(chosen["tempo_bpm"])
            clip = generator.generate(str(prompt or ""), genre, int(seed or 0), chosen)
        except (SynthmirError, ValueError) as error:
            return render_error(error)
        return render_clip(clip, str(prompt), context.audio_cache.put(encode_flac(clip.samples, clip.sampling_rate)))

    gr.on(
        [button.click, prompt.submit], generate, [prompt, seed, *fields], output,
        concurrency_limit=1, concurrency_id="generator", api_name="generate", show_progress="full",
    )  # fmt: skip


def _add_label_fields(context: PageContext, recipe: Recipe, genre: Component) -> list[Component]:
    """Add a field for each of `LABELS`; the sub-genres follow the chosen genre."""
    gr, taxonomy = context.gradio, recipe.labels
    with gr.Accordion("Labels, which override the prompt", open=False):
        with gr.Row():
            subgenre = gr.Dropdown(list_subgenres(recipe, ""), value="", label="Sub-genre", min_width=140)
            mood = gr.Dropdown(["", *taxonomy.moods], value="", label="Mood", min_width=140)
            instruments = gr.Dropdown(
                list(taxonomy.instruments), value=[], label="Instruments", multiselect=True, min_width=140
            )
        with gr.Row():
            tempo = gr.Textbox(label="Tempo (BPM)", placeholder="120", max_lines=1, min_width=110)
            key = gr.Textbox(label="Key", placeholder="A minor", max_lines=1, min_width=110)
            vocals = gr.Dropdown(["", *VOCALS], value="", label="Vocals", min_width=110)
    genre.change(
        lambda name: gr.update(choices=list_subgenres(recipe, name), value=""),
        genre,
        subgenre,
        show_progress="hidden",
        api_visibility="private",
    )
    return [subgenre, mood, instruments, tempo, key, vocals]


def describe_generator(generator: PromptGenerator) -> str:
    """Describe the recipe's generator and what it reads."""
    recipe = generator.recipe
    if generator.uses_labels:
        reads = "It reads labels: those chosen here, then those that the prompt names. The seed draws the others."
    else:
        reads = "It reads the prompt as typed. Its weights are loaded with the first clip."
    return f"Generator of the recipe {recipe.name}: {generator.name}, {recipe.generator.seconds:g} s a clip. {reads}"


def list_subgenres(recipe: Recipe, genre: str) -> list[str]:
    """List the sub-genres of a genre, after "" for none."""
    block = recipe.labels.genres.get(genre)
    return ["", *(block.subgenres if block else ())]


def parse_tempo(text: str) -> int:
    """Parse a tempo in bpm. Raises DataError."""
    if not text.strip().isdecimal() or not 30 <= int(text) <= 300:
        raise DataError(f"tempo: {text!r}", "a whole number of beats per minute, 30 to 300")
    return int(text)


def render_clip(clip: GeneratedClip, prompt: str, name: str) -> str:
    """Render a generated clip: player, spectrogram, and what it was generated from.

    Args:
        clip: The clip.
        prompt: The text that was typed.
        name: Of the clip's file in the page's audio cache.
    """
    from ..thumbnail import render_thumbnail

    samples = clip.samples if clip.samples.ndim == 1 else clip.samples.mean(axis=1)
    image = base64.b64encode(render_thumbnail(samples, clip.sampling_rate)).decode()
    settings = "".join(
        f'<dt>{escape(setting)}</dt><dd dir="auto">{escape(value)} <span class="muted">({escape(origin)})</span></dd>'
        for setting, value, origin in clip.settings
    )
    levels = f"{format_value(clip.loudness, 'loudness')}, peak {format_value(clip.peak, 'peak')}"
    return (
        f'<article class="generated"><audio controls autoplay src="sound/{name}.flac" aria-label="Generated clip">'
        f'</audio><blockquote dir="auto">{escape(prompt)}</blockquote>'
        f"{render_spectrogram(f'data:image/png;base64,{image}', 'the clip', len(samples) / clip.sampling_rate)}"
        f'<p class="muted">{escape(levels)}</p><h3>Settings</h3><dl class="labels">{settings}</dl></article>'
    )
