from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.clip import Prompt
from builder.errors import RecipeError
from builder.prompts import make_prompts
from builder.prompts.grammar import CLOSINGS, OPENINGS, SINGLES, compose_prompt, count_clips, with_articles
from builder.recipe import Recipe
from builder.settings import PromptSettings
from builder.taxonomy import Taxonomy

from ..test_taxonomy import BLOCK, write

TAXONOMIES = {name: Taxonomy.load(name) for name in ("paper", "gtzan")}


def recipe(taxonomy: str = "paper", **prompts: Any) -> Recipe:
    return Recipe(name="test", taxonomy=taxonomy, prompts=PromptSettings(**prompts))


@st.composite
def composed(draw: st.DrawFn, **fixed: Any) -> tuple[Prompt, PromptSettings, Taxonomy]:
    """Any prompt that a shipped taxonomy can give."""
    taxonomy = TAXONOMIES[draw(st.sampled_from(sorted(TAXONOMIES)))]
    choices: dict[str, Any] = {
        "seed": draw(st.integers(0, 2**63 - 1)),
        "strategy": draw(st.sampled_from(["template", "repeat", "tags"])),
        "vocals": draw(st.sampled_from(["unspecified", "instrumental", "with-vocals"])),
        "instrumentation": draw(st.booleans()),
    }
    prompt_settings = PromptSettings(per_genre=1, **(choices | fixed))
    genre = taxonomy.genres[draw(st.sampled_from(taxonomy.genre_names))]
    return (
        compose_prompt(taxonomy, genre, prompt_settings, draw(st.integers(0, 10_000_000))),
        prompt_settings,
        taxonomy,
    )


@settings(max_examples=400, deadline=None)
@given(composed())
def test_every_prompt_is_clean_text(drawn: tuple[Prompt, PromptSettings, Taxonomy]) -> None:
    prompt, chosen, _ = drawn
    for text in (prompt.text, prompt.description):
        assert text == text.strip()
        assert not re.search(r"\s{2,}|\s[,.:]|[{}\[\]|]|\(n\)|[,.:]{2}|, and built|None", text), text
        assert not re.search(r"\b([\w-]+) \1\b", text.removeprefix(doubled(prompt))), text
        assert not re.search(
            r"\b[Aa] (?!euphoric|Eurodisco|one)[aeio8]|\b[Aa]n (?!R&B|8|hi-NRG)[^aeiouAEIOU]", text
        ), text
    if chosen.strategy != "tags":
        assert prompt.description.endswith(".")
        assert all(sentence[0].isupper() or sentence[0].isdigit() for sentence in prompt.description.split(". "))


def doubled(prompt: Prompt) -> str:
    """What strategy `repeat` says twice on purpose."""
    tag = prompt.text.split(" ")[0]
    return f"{tag} {tag}"


@settings(max_examples=300, deadline=None)
@given(composed())
def test_labels_are_what_the_text_says(drawn: tuple[Prompt, PromptSettings, Taxonomy]) -> None:
    prompt, chosen, taxonomy = drawn
    text = prompt.description.lower()
    genre = taxonomy.genres[prompt.genre]
    assert prompt.subgenre is not None and prompt.subgenre.lower() in text
    assert prompt.mood is not None and re.search(rf"\b{prompt.mood}\b", text)
    assert all(name.lower() in text for name in prompt.instruments)
    assert (f"{prompt.tempo_bpm} bpm" in text) if prompt.tempo_bpm else ("bpm" not in text)
    assert (prompt.key.lower() in text) if prompt.key else not re.search(r"\b[a-g][b#]? (major|minor)\b(?!-)", text)
    if prompt.tempo_bpm:
        low, high = genre.subgenres[prompt.subgenre].tempo
        assert low <= prompt.tempo_bpm <= high
    if prompt.key:
        assert prompt.key.split()[1] == taxonomy.moods[prompt.mood].mode
    assert prompt.vocals == chosen.vocals
    assert ("instrumental" in text) == (chosen.vocals == "instrumental")
    assert bool(re.search(r"vocal|sung", text)) == (chosen.vocals == "with-vocals")


@settings(max_examples=200, deadline=None)
@given(composed())
def test_ensembles_can_play_together(drawn: tuple[Prompt, PromptSettings, Taxonomy]) -> None:
    prompt, chosen, taxonomy = drawn
    assert prompt.subgenre is not None
    line_up = taxonomy.genres[prompt.genre].subgenres[prompt.subgenre].instruments
    items = [taxonomy.instruments[name] for name in prompt.instruments]
    if not chosen.instrumentation:
        assert not items
        return
    assert 2 <= len(items) <= 4
    assert list(prompt.instruments) == [name for name in line_up if name in prompt.instruments]
    rhythm = [item.roles for item in items if item.roles in (("drums",), ("bass",))]
    assert len(rhythm) == len(set(rhythm)) and len(rhythm) < len(items)
    assert chosen.vocals != "instrumental" or not any(item.is_voice for item in items)


@settings(max_examples=150, deadline=None)
@given(composed(instrumentation=False))
def test_no_instrument_is_named_where_instrumentation_is_off(
    drawn: tuple[Prompt, PromptSettings, Taxonomy],
) -> None:
    prompt, _, taxonomy = drawn
    assert prompt.subgenre is not None
    text = prompt.description.lower().replace(prompt.subgenre.lower(), "")
    assert not [name for name in taxonomy.instrument_names if re.search(rf"\b{re.escape(name.lower())}\b", text)]


def test_strategies_decorate_one_description() -> None:
    by_strategy = {s: make_prompts(recipe(strategy=s, per_genre=3, seed=5)) for s in ("template", "repeat", "tags")}
    for template, repeat, tags in zip(*by_strategy.values(), strict=True):
        tag = TAXONOMIES["paper"].genres[template.genre].tag
        article = "An" if tag[0] in "EO" else "A"
        assert template.text == f"{article} {tag} track. {template.description}"
        assert repeat.text == f"{tag} {tag} {repeat.description}"
        assert repeat.description == template.description
        assert tags.text == f"{tag}, {tags.description}"
        assert tags.instruments == template.instruments
        assert tags.description.split(", ")[:2] == [template.subgenre, template.mood]


def test_modifiers_leave_the_other_labels_as_they_are() -> None:
    plain, bare, sung = (
        make_prompts(recipe(per_genre=40, **modifiers))
        for modifiers in ({}, {"instrumentation": False}, {"vocals": "with-vocals"})
    )
    for a, b, c in zip(plain, bare, sung, strict=True):
        assert (a.subgenre, a.mood, a.tempo_bpm, a.key) == (b.subgenre, b.mood, b.tempo_bpm, b.key)
        assert c.description.startswith(a.description)


def test_several_values_get_equal_shares_of_each_genre() -> None:
    varied = {"vocals": ["instrumental", "with-vocals"], "strategy": ["template", "repeat", "tags"]}
    chosen = recipe(per_genre=31, seed=3, instrumentation=[True, False], **varied)
    prompts = make_prompts(chosen)
    for genre in TAXONOMIES["paper"].genre_names:
        own = [prompt for prompt in prompts if prompt.genre == genre]
        tag = TAXONOMIES["paper"].genres[genre].tag
        shares = (
            Counter(prompt.vocals for prompt in own),
            Counter((p.text.startswith(f"{tag} {tag}"), p.text.startswith(f"{tag},")) for p in own),
        )
        for share, kinds in zip(shares, (2, 3), strict=True):
            assert len(share) == kinds and max(share.values()) - min(share.values()) <= 1
        assert 12 <= sum(not prompt.instruments for prompt in own) <= 19
        # The text says what the label says, and sung clips are of all sub-genres.
        for prompt in own:
            sung = re.search(r"\b(vocals|vocalist|sung)\b", prompt.description) is not None
            assert sung == (prompt.vocals == "with-vocals") or "instrumental" in prompt.description
        assert len({prompt.subgenre for prompt in own if prompt.vocals == "with-vocals"}) > 8
    more = make_prompts(recipe(per_genre=40, seed=3, instrumentation=[True, False], **varied))
    assert set(prompts) <= set(more)


def test_a_list_of_one_value_is_that_value() -> None:
    listed, plain = recipe(per_genre=4, vocals=["instrumental"]), recipe(per_genre=4, vocals="instrumental")
    assert listed == plain and listed.fingerprint() == plain.fingerprint()


@pytest.mark.parametrize("taxonomy", ["paper", "gtzan"])
@pytest.mark.parametrize("total", [1, 7, 103])
def test_a_total_is_divided_to_within_one_clip(taxonomy: str, total: int) -> None:
    shares = count_clips(recipe(taxonomy, total=total))
    assert sum(shares.values()) == total
    assert max(shares.values()) - min(shares.values()) <= 1
    made = Counter(prompt.genre for prompt in make_prompts(recipe(taxonomy, total=total)))
    assert made == Counter({genre: count for genre, count in shares.items() if count})


def test_the_paper_recipe_has_over_50_000_distinct_prompts() -> None:
    prompts = make_prompts(Recipe.load("paper"))
    assert len(prompts) == 57_562
    assert len({prompt.text for prompt in prompts}) > 50_000
    assert [*dict.fromkeys(prompt.genre for prompt in prompts)] == TAXONOMIES["paper"].genre_names
    shares = Counter(prompt.genre for prompt in prompts)
    assert max(shares.values()) - min(shares.values()) <= 1
    assert 0.68 < sum(prompt.tempo_bpm is not None for prompt in prompts) / len(prompts) < 0.72
    assert 0.38 < sum(prompt.key is not None for prompt in prompts) / len(prompts) < 0.42


@pytest.mark.parametrize("taxonomy", ["paper", "gtzan"])
def test_a_hundred_clips_of_a_genre_show_all_of_it(taxonomy: str) -> None:
    prompts = make_prompts(recipe(taxonomy, per_genre=100, seed=1))
    for genre in TAXONOMIES[taxonomy].genres.values():
        mine = [prompt for prompt in prompts if prompt.genre == genre.name]
        named = {name for prompt in mine for name in prompt.instruments}
        assert Counter(p.subgenre for p in mine).keys() == genre.subgenres.keys()
        assert max(Counter(p.subgenre for p in mine).values()) - min(Counter(p.subgenre for p in mine).values()) <= 1
        assert {prompt.mood for prompt in mine} == set(genre.moods)
        assert len(named) >= 0.95 * len(genre.instruments), set(genre.instruments) - named


def test_asking_for_more_keeps_the_first_ones() -> None:
    few, many = (make_prompts(recipe(per_genre=n, seed=3)) for n in (20, 50))
    for name in TAXONOMIES["paper"].genre_names:
        kept = [prompt for prompt in many if prompt.genre == name][:20]
        assert kept == [prompt for prompt in few if prompt.genre == name]


def test_seeds_differ() -> None:
    one, two = ({p.text for p in make_prompts(recipe(per_genre=50, seed=seed))} for seed in (1, 2))
    assert len(one & two) < 0.05 * len(one)


HASHED = """
import hashlib
from builder.prompts import make_prompts
from builder.recipe import Recipe
texts = [repr(p) for t in ("paper", "gtzan")
         for p in make_prompts(Recipe(name="x", taxonomy=t, prompts={"per_genre": 60, "seed": 9}))]
print(hashlib.sha256("\\n".join(texts).encode()).hexdigest())
"""


@pytest.mark.parametrize("hash_seed", ["0", "4242"])
def test_prompts_do_not_depend_on_the_process(hash_seed: str) -> None:
    here = [repr(p) for name in ("paper", "gtzan") for p in make_prompts(recipe(name, per_genre=60, seed=9))]
    done = subprocess.run(
        [sys.executable, "-c", HASHED],
        env=os.environ | {"PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[3],
    )
    assert done.stdout.strip() == hashlib.sha256("\n".join(here).encode()).hexdigest()


@pytest.mark.parametrize("template", [*SINGLES, *OPENINGS, *CLOSINGS])
def test_templates_are_well_formed(template: str) -> None:
    assert template.count("[") == template.count("]")
    assert template.endswith(".")
    slots = {"mood", "instrumental", "subgenre", "noun", "key", "tempo", "word", "more", "instruments", "production"}
    assert set(re.findall(r"{(\w+)}", template)) <= slots | {"scene"}


@pytest.mark.parametrize("group", [SINGLES, CLOSINGS])
def test_instruments_can_be_said_in_every_last_sentence(group: tuple[str, ...]) -> None:
    assert all("{instruments}" in template for template in group)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("A(n) uplifting a(n) dark", "An uplifting a dark"),
        ("A(n) euphoric", "A euphoric"),
        ("a(n) Eurodisco", "a Eurodisco"),
        ("a(n) R&B", "an R&B"),
        ("a(n) IDM", "an IDM"),
        ("a(n) UK", "a UK"),
        ("a(n) one-chord", "a one-chord"),
        ("a(n) unison", "a unison"),
        ("a(n) uninhibited", "an uninhibited"),
        ("a(n) 808", "an 808"),
        ("a(n) 12-bar", "a 12-bar"),
        ("a(n) hi-NRG", "a hi-NRG"),
        ("a(n) ROCK", "a ROCK"),
        ("a(n) Hip-Hop", "a Hip-Hop"),
    ],
)
def test_articles_follow_the_sound(given: str, text: str) -> None:
    assert with_articles(given) == text


def test_an_inline_genre_works_end_to_end(tmp_path: Path) -> None:
    write(tmp_path)
    text = "name: mine\ntaxonomy: mine.yaml\nprompts: {per_genre: 30, vocals: instrumental}\n"
    (tmp_path / "recipe.yaml").write_text(text, encoding="utf-8")
    prompts = make_prompts(Recipe.load(tmp_path / "recipe.yaml"))
    polka = [prompt for prompt in prompts if prompt.genre == "polka"]
    assert len(prompts) == 60 and len(polka) == 30
    assert all(prompt.text.startswith("A Polka track. ") for prompt in polka)
    assert {name for prompt in polka for name in prompt.instruments} == set(BLOCK["instruments"])


def test_a_total_beyond_the_taxonomys_words_is_refused_with_the_number(tmp_path: Path) -> None:
    poor = BLOCK["subgenres"]["Bohemian polka"] | {"tempo": [120, 120]}  # type: ignore[index]
    block = BLOCK | {"subgenres": {"Bohemian polka": poor}}
    (tmp_path / "t.yaml").write_text(yaml.safe_dump({"name": "poor", "genres": [block]}), encoding="utf-8")
    (tmp_path / "r.yaml").write_text(
        "name: poor\ntaxonomy: t.yaml\nprompts: {total: 9000, strategy: tags, instrumentation: off}\n",
        encoding="utf-8",
    )
    with pytest.raises(RecipeError, match=r"asked for 9000 clips, but its words supply about (\d+)") as error:
        make_prompts(Recipe.load(tmp_path / "r.yaml"))
    supply = int(re.findall(r"about (\d+)", error.value.message)[0])
    enough = Recipe.load(tmp_path / "r.yaml").model_copy(
        update={
            "prompts": PromptSettings(total=supply, strategy="tags", instrumentation=False),
            "taxonomy": str(tmp_path / "t.yaml"),
        }
    )
    assert len(make_prompts(enough)) == supply
