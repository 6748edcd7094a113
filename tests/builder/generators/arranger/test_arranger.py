from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.audio import measure_loudness
from builder.clip import Clip, Prompt
from builder.errors import RecipeError
from builder.generators.arranger import Arranger, Score
from builder.generators.arranger.composing.form import lay_out_form
from builder.generators.arranger.composing.lineup import VOICES
from builder.generators.arranger.pattern import apply_swing, parse_steps
from builder.generators.arranger.rng import SeededRandom
from builder.generators.arranger.style import PARTS, FormSection, Vocabulary, read_styles
from builder.generators.arranger.theory import TONICS, Chord, Key, nearest_pitch, parse_chord, scale_walk, voice_chord
from builder.settings import GeneratorSettings
from builder.taxonomy import Taxonomy

NAMES = ("paper", "gtzan")
SINGERS = (41, 82)  # the lowest bass's and the highest soprano's pitch
TAXONOMIES = {name: Taxonomy.load(name) for name in NAMES}
ARRANGERS = {name: Arranger(GeneratorSettings(), TAXONOMIES[name]) for name in NAMES}
SUBGENRES = [
    (name, genre, sub) for name in NAMES for genre, block in TAXONOMIES[name].genres.items() for sub in block.subgenres
]


def clip(genre: str = "pop", seed: int = 0, **asked: Any) -> Clip:
    return Clip("c", Prompt("", "", genre, **asked), "g", seed, "train")


def is_sung(score: Score) -> bool:
    return any(track.role == "voice" for track in score.tracks)


# --- what the prompt asks for


@pytest.mark.parametrize(("taxonomy", "genre", "sub"), SUBGENRES)
def test_every_subgenre_plays(taxonomy: str, genre: str, sub: str) -> None:
    arranger = ARRANGERS[taxonomy]
    low, high = TAXONOMIES[taxonomy].genres[genre].subgenres[sub].tempo
    for seed in range(4):
        score = arranger.compose(clip(genre, seed, subgenre=sub))
        assert (score.genre, score.subgenre) == (genre, sub) and low <= score.tempo <= high
        assert len(score.tracks) >= 2 and all(track.notes for track in score.tracks)
        beats = 10 * score.tempo / 60
        for track in score.tracks:
            for note in track.notes:
                assert 0 <= note.start < beats and note.duration > 0
                assert 0 <= note.pitch <= 127 and 0 < note.velocity <= 1
            if not track.is_drum:
                low_pitch, high_pitch = Vocabulary.load().envelope(track.program).range
                if track.role == "voice":
                    low_pitch, high_pitch = SINGERS
                pitches = [note.pitch for note in track.notes]
                assert min(pitches) >= low_pitch - 1 and max(pitches) <= high_pitch + 1, track.instrument
        # A note starts at least every two bars.
        starts = sorted(note.start for track in score.tracks for note in track.notes)
        assert starts[0] < score.metre
        assert max(np.diff([*starts, beats])) <= 2 * score.metre


@settings(max_examples=150, deadline=None)
@given(data=st.data(), seed=st.integers(0, 2**63 - 1))
def test_score_follows_the_prompt(data: st.DataObject, seed: int) -> None:
    name, genre, sub = data.draw(st.sampled_from(SUBGENRES))
    taxonomy = TAXONOMIES[name]
    named = tuple(data.draw(st.lists(st.sampled_from(taxonomy.genres[genre].instruments), max_size=5, unique=True)))
    mode = data.draw(st.sampled_from(["major", "minor"]))
    key = f"{data.draw(st.sampled_from(TONICS))} {mode}"
    tempo = data.draw(st.integers(40, 240))
    vocals = data.draw(st.sampled_from(["instrumental", "with-vocals", "unspecified"]))
    mood = data.draw(st.sampled_from([None, *taxonomy.moods]))
    asked = clip(genre, seed, subgenre=sub, mood=mood, instruments=named, tempo_bpm=tempo, key=key, vocals=vocals)
    score = ARRANGERS[name].compose(asked)

    played = {track.instrument: track for track in score.tracks}
    assert set(named) <= set(played)
    for instrument in named:
        table = taxonomy.instruments[instrument]
        assert played[instrument].role in table.roles and played[instrument].is_drum == (table.roles == ("drums",))
        if not played[instrument].is_drum:
            assert played[instrument].program == table.program
    assert score.tempo == tempo and str(score.key) == key
    assert score.in_key() >= 0.85
    if vocals == "with-vocals":
        assert is_sung(score)
    if vocals == "instrumental":
        assert not is_sung(score)
        assert all(
            track.program not in VOICES
            for track in score.tracks
            if not track.is_drum and track.instrument not in named
        )


def test_open_labels_are_drawn_from_the_genre_by_the_seed() -> None:
    scores = [ARRANGERS["paper"].compose(clip("funk", seed)) for seed in range(80)]
    assert {score.subgenre for score in scores} == set(TAXONOMIES["paper"].genres["funk"].subgenres)
    assert len({score.tempo for score in scores}) > 15 and len({str(score.key) for score in scores}) > 15
    assert {is_sung(score) for score in scores} == {True, False}


def test_a_mood_chooses_the_mode_and_the_density() -> None:
    def notes(mood: str) -> float:
        scores = [ARRANGERS["paper"].compose(clip("pop", seed, mood=mood, tempo_bpm=100)) for seed in range(40)]
        assert {score.key.mode for score in scores} == {TAXONOMIES["paper"].moods[mood].mode}
        return float(np.mean([len(track.notes) for score in scores for track in score.tracks]))

    assert notes("euphoric") > 1.1 * notes("serene")


def test_swing_delays_the_off_beats() -> None:
    score = ARRANGERS["gtzan"].compose(clip("jazz", 3, subgenre="swing", tempo_bpm=120))
    assert score.swing >= 0.7
    offbeats = [n.start % 1 for t in score.tracks if t.is_drum for n in t.notes if 0.4 < n.start % 1 < 0.8]
    assert np.median(offbeats) == pytest.approx(2 / 3, abs=0.05)
    straight = ARRANGERS["paper"].compose(clip("electronica", 3, subgenre="techno", tempo_bpm=120))
    offbeats = [n.start % 1 for t in straight.tracks if t.is_drum for n in t.notes if 0.4 < n.start % 1 < 0.65]
    assert np.median(offbeats) == pytest.approx(0.5, abs=0.02)


def test_four_on_the_floor() -> None:
    for seed in range(5):
        score = ARRANGERS["paper"].compose(clip("electronica", seed, subgenre="techno", instruments=("drum machine",)))
        drums = next(track for track in score.tracks if track.is_drum)
        kicks = [note.start for note in drums.notes if note.pitch == 36]
        assert len(kicks) >= 8 and np.abs(np.array(kicks) - np.round(kicks)).max() < 0.05


def test_a_waltz_has_three_beats() -> None:
    score = ARRANGERS["gtzan"].compose(clip("classical", 1, subgenre="Viennese waltz"))
    assert score.metre == 3


# --- the sound


@pytest.mark.parametrize(("version", "peak", "quietest"), [("1", -1.0, -24), ("2", -0.1, -36)])
def test_levels_edges_and_length(version: str, peak: float, quietest: float) -> None:
    for seconds in (1.0, 2.37, 10.0):
        arranger = Arranger(GeneratorSettings(revision=version, seconds=seconds), TAXONOMIES["paper"])
        for seed, genre in enumerate(TAXONOMIES["paper"].genres):
            audio = arranger.generate([clip(genre, seed)])[0]
            assert len(audio) == round(seconds * 32_000)
            assert np.abs(audio).max() <= 10 ** (peak / 20) + 1e-6 and abs(audio.mean()) < 5e-3
            assert abs(audio[0]) < 1e-3 and abs(audio[-1]) < 1e-3
            if seconds == 10.0:
                assert quietest < measure_loudness(audio, 32_000) < -7
                frames = np.sqrt((audio.reshape(-1, 1600) ** 2).mean(1))
                assert (frames < 1e-3).mean() < 0.25


def test_clips_of_one_prompt_differ_by_seed() -> None:
    one, two = ARRANGERS["paper"].generate(
        [clip("rock", seed, subgenre="punk rock", tempo_bpm=170) for seed in (1, 2)]
    )
    assert abs(np.corrcoef(one, two)[0, 1]) < 0.5


def test_chroma_of_the_sound_is_in_the_key() -> None:
    """The chroma of the sound, measured by librosa, is strongest on the key's own notes."""
    import librosa

    prompt = clip("classical", 5, subgenre="Viennese classical", key="D major", instruments=("piano",))
    audio = ARRANGERS["gtzan"].generate([prompt])[0]
    chroma = librosa.feature.chroma_cqt(y=audio, sr=32_000).mean(1)
    strongest = set(np.argsort(chroma)[-5:].tolist())
    assert strongest <= Key.parse("D major").scale


# --- what it refuses


def test_unused_settings_are_refused_and_all_listed() -> None:
    chosen = GeneratorSettings(model="m", revision="r", temperature=0.5, top_k=3, guidance=9, dtype="float16")
    chosen = chosen.model_copy(update={"top_p": 0.5})
    with pytest.raises(RecipeError) as error:
        Arranger(chosen, TAXONOMIES["paper"])
    for field in ("model", "revision", "temperature", "top_k", "top_p", "guidance", "dtype"):
        assert f"generator.{field}" in str(error.value)
    with pytest.raises(RecipeError, match="plays on the CPU"):
        Arranger(GeneratorSettings(device="cuda"), TAXONOMIES["paper"])
    Arranger(GeneratorSettings(device="cpu", batch_size=3), TAXONOMIES["paper"])


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"genre": "polka"}, "no genre 'polka'"),
        ({"subgenre": "opera"}, "no sub-genre 'opera'"),
        ({"mood": "peckish"}, "no mood 'peckish'"),
        ({"key": "H minor"}, "'H minor' is not a key"),
        ({"instruments": ("vuvuzela",)}, "no instrument 'vuvuzela'"),
    ],
)
def test_prompts_outside_of_the_taxonomy_are_refused(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        ARRANGERS["paper"].compose(clip(**asked))


def faulty(change: Any, sub: str = "techno") -> Taxonomy:
    data = copy.deepcopy(TAXONOMIES["paper"].model_dump())
    change(data["genres"]["electronica"]["subgenres"][sub])
    return Taxonomy.model_validate(data)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda sub: sub.update(style={}), "techno.style: missing"),
        (lambda sub: sub["style"].update(grooves=["no-such"]), "there is no 'no-such' in grooves.yaml"),
        (lambda sub: sub["style"].update(grooves=["waltz-rock"]), "has 3 beats a bar, the style has 4"),
        (lambda sub: sub["style"].update(progressions=["axis"]), "none of them is minor"),
        (lambda sub: sub["style"].update(harmony=["elevenths"]), "elevenths unknown"),
        (lambda sub: sub["style"].update(parts={"kazoo": 0.5}), "no such part: kazoo"),
        (lambda sub: sub["style"].update(swing=[0.5, 7]), "less than or equal to 1"),
        (lambda sub: sub["style"].update(swing=[0.5, 0.1]), "lowest first"),
        (lambda sub: sub["style"].update(grooves=[]), "at least 1"),
        (lambda sub: sub["style"].update(tempi=3), "tempi"),
        (lambda sub: sub["style"].pop("melodies"), "melodies: Field required"),
    ],
)
def test_faults_in_style_data(change: Any, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        Arranger(GeneratorSettings(), faulty(change))


def test_all_faults_are_listed() -> None:
    def change(sub: Any) -> None:
        sub["style"].update(grooves=["a"], basslines=["b"], melodies=["c"])

    with pytest.raises(RecipeError, match=r"3 problems"):
        read_styles(faulty(change), Vocabulary.load())


def test_revision_depends_on_the_styles() -> None:
    same = Arranger(GeneratorSettings(seconds=3), TAXONOMIES["paper"])
    assert same.revision == ARRANGERS["paper"].revision
    changed = Arranger(GeneratorSettings(), faulty(lambda sub: sub["style"].update(looseness=0.9)))
    assert changed.revision != same.revision


# --- theory, patterns, form


def test_keys_and_scales() -> None:
    assert Key.parse("A minor").scale == Key.parse("C major").scale == {0, 2, 4, 5, 7, 9, 11}
    assert Key.parse("Eb major").tonic == 3 and Key.parse("Cb major").tonic == 11
    for label in ("A", "a minor", "A dorian", "A# lydian", ""):
        with pytest.raises(ValueError, match="not a key"):
            Key.parse(label)


@pytest.mark.parametrize(
    ("numeral", "key", "harmony", "root", "tones"),
    [
        ("I", "C major", "triads", 0, (0, 4, 7)),
        ("vi", "C major", "triads", 9, (0, 3, 7)),
        ("bVII", "G major", "triads", 5, (0, 4, 7)),
        ("V7", "A minor", "triads", 4, (0, 4, 7, 10)),
        ("VI", "A minor", "sevenths", 5, (0, 4, 7, 11)),
        ("iim7b5", "A minor", "triads", 11, (0, 3, 6, 10)),
        ("vii", "C major", "triads", 11, (0, 3, 6)),
        ("I", "C major", "dominants", 0, (0, 4, 7, 10)),
        ("IV", "C major", "ninths", 5, (0, 4, 7, 11, 14)),
        ("i", "D minor", "fifths", 2, (0, 7)),
    ],
)
def test_numerals(numeral: str, key: str, harmony: str, root: int, tones: tuple[int, ...]) -> None:
    assert parse_chord(numeral, Key.parse(key), harmony) == Chord(root, tones)


@given(
    st.integers(0, 11),
    st.sampled_from([(0, 4, 7), (0, 3, 7, 10), (0, 7), (0, 3, 6), (0, 4, 7, 11, 14)]),
    st.integers(45, 75),
    st.integers(2, 5),
    st.sampled_from(["close", "open", "root", "power", "shell"]),
)
def test_voicings_have_the_chord_tones_near_the_centre(
    root: int, tones: tuple[int, ...], centre: int, voices: int, shape: str
) -> None:
    pitches: tuple[int, ...] = ()
    for _ in range(4):  # repeated chords must not drift
        pitches = voice_chord(Chord(root, tones), centre, voices, shape, pitches)
        assert list(pitches) == sorted(pitches) and len(set(pitches)) == len(pitches)
        assert {pitch % 12 for pitch in pitches} <= Chord(root, (*tones, 0, 6 if 6 in tones else 7)).classes
        assert abs(np.mean(pitches) - centre) <= 16


@given(st.integers(0, 11), st.floats(20, 100))
def test_nearest(pitch_class: int, around: float) -> None:
    assert (
        nearest_pitch(pitch_class, around) % 12 == pitch_class
        and abs(nearest_pitch(pitch_class, around) - around) <= 6.51
    )


@given(st.integers(30, 90), st.integers(-9, 9))
def test_scale_walk(pitch: int, steps: int) -> None:
    scale = Key(0, "major").scale
    start = scale_walk(pitch, 1, scale)
    there = scale_walk(start, steps, scale)
    assert there % 12 in scale and scale_walk(there, -steps, scale) == start


def test_step_strings() -> None:
    (bar,) = parse_steps("x--. x-x-", 4, "x")
    assert [(step.at, step.length, step.grid) for step in bar] == [(0.0, 1.5, 2), (2.0, 1.0, 2), (3.0, 1.0, 2)]
    assert [len(bar) for bar in parse_steps("x... | ....", 4, "x")] == [1, 0]
    with pytest.raises(ValueError, match="7 steps, which 4 beats do not divide"):
        parse_steps("x...x..", 4, "x")
    with pytest.raises(ValueError, match="holds '\\?'"):
        parse_steps("x?..", 4, "x")


def test_swing_reaches_a_triplet_and_keeps_triplets() -> None:
    assert apply_swing(1.5, 2, 1.0, 8) == pytest.approx(1 + 2 / 3)
    assert apply_swing(1.5, 2, 0.0, 8) == 1.5 and apply_swing(4 / 3, 3, 1.0, 8) == 4 / 3
    assert apply_swing(1.25, 4, 1.0, 16) == pytest.approx(1 + 1 / 3)
    places = [apply_swing(step / 16, 16, 0.7, 8) for step in range(64)]
    assert places == sorted(places)


@given(st.integers(1, 12), st.sampled_from(sorted(Vocabulary.load().forms)))
def test_forms_fill_the_bars_with_all_parts(bars: int, name: str) -> None:
    passages = lay_out_form(Vocabulary.load().forms[name], bars)
    assert [passage.first for passage in passages] == [0, *(passage.last for passage in passages[:-1])]
    assert passages[-1].last == bars and all(passage.first < passage.last for passage in passages)
    assert frozenset().union(*(passage.parts for passage in passages)) == set(PARTS)


def test_form_of_one_section() -> None:
    assert lay_out_form([FormSection(share=1.0)], 3)[0].parts == set(PARTS)


@given(st.integers(0, 2**63 - 1))
def test_random_choices_are_in_range_and_repeatable(seed: int) -> None:
    rng, again = SeededRandom(seed), SeededRandom(seed)
    for _ in range(20):
        assert 3 <= rng.integer(3, 5) <= 5 and abs(rng.bell_curve(1.0)) <= 3.0
        assert rng.weighted_choice({"a": 1.0, "b": 1e-9}) in "ab" and 2.0 <= rng.uniform(2.0, 3.0) <= 3.0
        again.integer(3, 5)
        again.bell_curve(1.0)
        again.weighted_choice({"a": 1.0, "b": 1e-9})
        again.uniform(2.0, 3.0)
    assert rng.uniform(0, 1) == again.uniform(0, 1)
