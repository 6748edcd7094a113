"""Compose a clip's score: choose tempo, key, chords and players, and let each player write a part."""

from __future__ import annotations

import math
from collections.abc import Mapping

from ....clip import Clip, Prompt
from ....errors import RecipeError
from ....taxonomy import Taxonomy
from ..rng import SeededRandom
from ..score import Note, Production, Score, Track
from ..style import PARTS, Style, Vocabulary
from ..theory import Chord, Key, parse_chord
from .bass import write_bass
from .chords import write_chords
from .form import lay_out_form
from .lineup import Player, choose_players
from .melody import write_melody
from .rhythm import write_drums
from .song import Song, in_triplets

WRITERS = {
    "drums": write_drums,
    "bass": write_bass,
    "chords": write_chords,
    "pad": write_chords,
    "lead": write_melody,
    "voice": write_melody,
}
# Melodies are written first, as other parts may follow them.
_ORDER = {"voice": 0, "lead": 1, "drums": 2, "bass": 3, "chords": 4, "pad": 5}
_LEVELS = {"drums": -1.0, "bass": -1.5, "chords": -6.0, "pad": -8.5, "lead": -3.0, "voice": -2.0}
_STROKE = 38  # a snare drum
_IN_KEY = 0.9  # smallest share of the pitched notes that are in the key's scale


def compose_score(
    clip: Clip,
    taxonomy: Taxonomy,
    styles: Mapping[tuple[str, str], Style],
    vocabulary: Vocabulary,
    seconds: float,
    version: str = "1",
) -> Score:
    """Compose the score of a clip.

    The prompt's labels are followed. What they leave open is drawn from the genre's style by the clip's seed.

    Args:
        clip: The prompt with its labels, and the seed.
        taxonomy: Genres, moods and instruments that prompts may name.
        styles: The style of each (genre, sub-genre).
        vocabulary: The patterns that styles refer to.
        seconds: The length of the clip.
        version: The version of the sound.

    Raises:
        RecipeError: A prompt that names what the taxonomy does not have.
    """
    rng, prompt = SeededRandom(clip.seed), clip.prompt
    genre_name, subgenre_name = _choose_subgenre(prompt, taxonomy, rng)
    genre = taxonomy.genres[genre_name]
    subgenre, style = genre.subgenres[subgenre_name], styles[genre_name, subgenre_name]
    mood = _mood(prompt, taxonomy, genre.moods, rng)
    tempo = prompt.tempo_bpm or rng.integer(*subgenre.tempo)
    key = _key(prompt, taxonomy.moods[mood].mode if prompt.mood else None, style, rng)
    players = choose_players(prompt, taxonomy, genre, subgenre, style, rng, version)

    beats = seconds * tempo / 60.0
    bars = math.ceil(beats / style.metre)
    form = rng.weighted_choice(style.forms)
    song = Song(
        rng=rng,
        style=style,
        vocabulary=vocabulary,
        tempo=tempo,
        key=key,
        swing=_swing(style, vocabulary, rng),
        density=min(1.0, max(0.0, taxonomy.moods[mood].density + rng.bell_curve(0.12))),
        register=taxonomy.moods[mood].register_shift,
        beats=beats,
        passages=lay_out_form(vocabulary.forms[form], bars),
        chords=_chords(style, vocabulary, key, bars, rng),
    )
    ordered = sorted(players, key=lambda player: (_ORDER[player.part], player.second))
    tracks = {player.instrument: _track(song, player) for player in ordered}
    by_part = sorted(players, key=lambda player: PARTS.index(player.part))
    band = tuple(tracks[player.instrument] for player in by_part if tracks[player.instrument].notes)
    _keep_in_key(band, key)
    return Score(
        genre=genre_name,
        subgenre=subgenre_name,
        tempo=tempo,
        metre=style.metre,
        key=key,
        swing=song.swing,
        swing_grid=style.swing_grid,
        form=form,
        seed=clip.seed,
        tracks=band,
        production=_production(style, rng),
        chords=tuple(song.chords),
        passages=tuple(song.passages),
    )


def _choose_subgenre(prompt: Prompt, taxonomy: Taxonomy, rng: SeededRandom) -> tuple[str, str]:
    """The genre, and the sub-genre that the prompt names or the seed draws."""
    if prompt.genre not in taxonomy.genres:
        raise RecipeError(
            f"taxonomy {taxonomy.name!r} has no genre {prompt.genre!r}", f"it has: {', '.join(taxonomy.genres)}"
        )
    known = taxonomy.genres[prompt.genre].subgenres
    if prompt.subgenre is None:
        return prompt.genre, rng.choice(list(known))
    if prompt.subgenre not in known:
        raise RecipeError(
            f"genre {prompt.genre!r} has no sub-genre {prompt.subgenre!r}", f"it has: {', '.join(known)}"
        )
    return prompt.genre, prompt.subgenre


def _mood(prompt: Prompt, taxonomy: Taxonomy, usual: tuple[str, ...], rng: SeededRandom) -> str:
    """The mood that the prompt names or the seed draws from the genre's."""
    mood = prompt.mood or rng.choice(usual)
    if mood not in taxonomy.moods:
        raise RecipeError(f"taxonomy {taxonomy.name!r} has no mood {mood!r}", f"it has: {', '.join(taxonomy.moods)}")
    return mood


def _key(prompt: Prompt, mode: str | None, style: Style, rng: SeededRandom) -> Key:
    """The key that the prompt names, else a tonic by the seed in the mood's mode or one drawn by the style."""
    if prompt.key is None:
        return Key(rng.integer(0, 11), mode or ("minor" if rng.happens(style.minor) else "major"))
    try:
        return Key.parse(prompt.key)
    except ValueError as error:
        raise RecipeError(f"the prompt's key: {error}") from None


def _swing(style: Style, vocabulary: Vocabulary, rng: SeededRandom) -> float:
    """How much the clip swings, 0 to 1. With grooves in triplets it is close to straight or close to a triplet."""
    swing = rng.uniform(*style.swing)
    if style.swing_grid == 8 and any(in_triplets(vocabulary.grooves[name]) for name in style.grooves):
        return max(0.75, swing) if swing > 0.3 else min(0.1, swing)
    return swing


def _chords(style: Style, vocabulary: Vocabulary, key: Key, bars: int, rng: SeededRandom) -> list[tuple[float, Chord]]:
    """A progression in the key's mode, repeated, sometimes from its middle: (beat, chord) in order."""
    fit = {
        name: weight for name, weight in style.progressions.items() if vocabulary.progressions[name].mode == key.mode
    }
    written = [bar.split() for bar in vocabulary.progressions[rng.weighted_choice(fit)].bars.split("|")]
    harmony = rng.weighted_choice(style.harmony)
    first = len(written) // 2 if len(written) > 2 and rng.happens(0.2) else 0
    timeline = []
    for bar in range(bars + 1):
        numerals = written[(first + bar) % len(written)]
        for place, numeral in enumerate(numerals):
            start = bar * style.metre + round(place * style.metre / len(numerals))
            timeline.append((float(start), parse_chord(numeral, key, harmony)))
    # A repeated chord is one longer chord.
    return [item for place, item in enumerate(timeline) if place == 0 or item[1] != timeline[place - 1][1]]


def _track(song: Song, player: Player) -> Track:
    """A player's part, up to the end of the clip."""
    level = _LEVELS[player.part] + song.style.levels.get(player.part, 0.0) + song.rng.bell_curve(1.5)
    level -= 2.0 if player.second else 0.0
    echoes = player.part in ("lead", "chords", "voice") and song.rng.happens(song.style.echo)
    notes = WRITERS[player.part](song, player)
    if player.part != "drums":
        notes = [_in_range(note, *song.vocabulary.envelope(player.program).range) for note in notes]
    if echoes:
        notes = _echoed(notes, song.rng.choice((0.5, 0.75, 0.75, 1.0)))
    played = sorted(
        (note for note in notes if note.start < song.beats - 0.05), key=lambda note: (note.start, note.pitch)
    )
    if not played and player.asked:  # the pattern starts after the end of a short or slow clip
        played = [_one_note(song, player)]
    return Track(player.instrument, player.part, player.program, player.part == "drums", round(level, 2), played)


def _one_note(song: Song, player: Player) -> Note:
    """One note from the first beat on, for an instrument that the prompt names: the chord's root, or a stroke."""
    if player.part == "drums":
        return Note(0.0, 1.0, _STROKE, 0.6)
    low, high = song.vocabulary.envelope(player.program).range
    pitch = (low + high) // 2
    pitch -= (pitch - song.chord_at(0.0)[0].root) % 12
    return Note(0.0, song.beats, pitch if pitch >= low else pitch + 12, 0.6)


def _in_range(note: Note, low: int, high: int) -> Note:
    """The note moved by octaves into the instrument's range."""
    pitch = note.pitch
    while pitch > high:
        pitch -= 12
    while pitch < low:
        pitch += 12
    return note if pitch == note.pitch else Note(note.start, note.duration, pitch, note.velocity)


def _echoed(notes: list[Note], delay: float) -> list[Note]:
    """The notes with two echoes, each softer than the one before."""
    echoes = [
        Note(note.start + turn * delay, min(note.duration, delay), note.pitch, note.velocity * fade)
        for note in notes
        for turn, fade in ((1, 0.45), (2, 0.22))
    ]
    return notes + echoes


def _keep_in_key(tracks: tuple[Track, ...], key: Key) -> None:
    """Move chromatic notes into the scale, melodies first, until a share of _IN_KEY is in the key."""
    pitched = sum(len(track.notes) for track in tracks if not track.is_drum)
    strays = [
        (track, place)
        for track in sorted(tracks, key=lambda track: _ORDER[track.role])
        if not track.is_drum
        for place, note in enumerate(track.notes)
        if note.pitch % 12 not in key.scale
    ]
    for track, place in strays[: max(0, len(strays) - int((1.0 - _IN_KEY) * pitched))]:
        note = track.notes[place]
        pitch = note.pitch + (-1 if (note.pitch - 1) % 12 in key.scale else 1)
        track.notes[place] = Note(note.start, note.duration, pitch, note.velocity)


def _production(style: Style, rng: SeededRandom) -> Production:
    """The production: room, drive and pumping by the style, equaliser and loudness varied by the seed."""
    room = rng.uniform(*style.room)
    return Production(
        room=-26.0 + 22.0 * room,
        room_seconds=0.25 + 2.2 * room * rng.uniform(0.6, 1.2),
        tilt=rng.uniform(*style.tilt) + rng.bell_curve(0.15),
        shelf=rng.uniform(*style.shelf) + rng.bell_curve(0.6),
        presence=(400.0 * 2.0 ** rng.uniform(0.0, 3.5), rng.bell_curve(1.1)),
        top=rng.uniform(10_500.0, 15_500.0),
        drive=rng.uniform(*style.drive),
        pump=rng.uniform(*style.pump),
        loudness=-16.0 + rng.bell_curve(1.5),
    )
