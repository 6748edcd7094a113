"""From a row to a score."""

from __future__ import annotations

import math
from collections.abc import Mapping

from ...clip import Clip, Prompt
from ...errors import RecipeError
from ...taxonomy import Taxonomy
from .bass import bass
from .chance import Chance
from .chords import chords
from .form import lay_out
from .lineup import Player, line_up
from .melody import melody
from .rhythm import drums
from .score import Note, Production, Score, Track
from .song import Song, in_triplets
from .style import PARTS, Style, Vocabulary
from .theory import Chord, Key, chord

PLAY = {"drums": drums, "bass": bass, "chords": chords, "pad": chords, "lead": melody, "voice": melody}
# Melodies first, for those who follow them; the rest is the order of the bandstand.
_ORDER = {"voice": 0, "lead": 1, "drums": 2, "bass": 3, "chords": 4, "pad": 5}
_LEVELS = {"drums": -1.0, "bass": -1.5, "chords": -6.0, "pad": -8.5, "lead": -3.0, "voice": -2.0}
_STROKE = 38  # a snare drum
_IN_KEY = 0.9  # share of the pitched notes that lie in the key's scale, at least


def compose(
    clip: Clip, taxonomy: Taxonomy, styles: Mapping[tuple[str, str], Style], vocabulary: Vocabulary, seconds: float
) -> Score:
    """The score of a row: what the prompt says as it says it, what it leaves open from the genre by the clip's seed.

    Raises RecipeError for a prompt that asks for what the taxonomy does not have.
    """
    chance, prompt = Chance(clip.seed), clip.prompt
    genre_name, subgenre_name = _where(prompt, taxonomy, chance)
    genre = taxonomy.genres[genre_name]
    subgenre, style = genre.subgenres[subgenre_name], styles[genre_name, subgenre_name]
    mood = _mood(prompt, taxonomy, genre.moods, chance)
    tempo = prompt.tempo_bpm or chance.integer(*subgenre.tempo)
    key = _key(prompt, taxonomy.moods[mood].mode if prompt.mood else None, style, chance)
    players = line_up(prompt, taxonomy, genre, subgenre, style, chance)

    beats = seconds * tempo / 60.0
    bars = math.ceil(beats / style.metre)
    form = chance.weighted(style.forms)
    song = Song(
        chance=chance,
        style=style,
        vocabulary=vocabulary,
        tempo=tempo,
        key=key,
        swing=_swing(style, vocabulary, chance),
        density=min(1.0, max(0.0, taxonomy.moods[mood].density + chance.bell(0.12))),
        register=taxonomy.moods[mood].register_shift,
        beats=beats,
        passages=lay_out(vocabulary.forms[form], bars),
        chords=_chords(style, vocabulary, key, bars, chance),
    )
    ordered = sorted(players, key=lambda player: (_ORDER[player.part], player.second))
    tracks = {player.instrument: _track(song, player) for player in ordered}
    listed = sorted(players, key=lambda player: PARTS.index(player.part))
    band = tuple(tracks[player.instrument] for player in listed if tracks[player.instrument].notes)
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
        production=_production(style, chance),
    )


def _where(prompt: Prompt, taxonomy: Taxonomy, chance: Chance) -> tuple[str, str]:
    if prompt.genre not in taxonomy.genres:
        raise RecipeError(
            f"taxonomy {taxonomy.name!r} has no genre {prompt.genre!r}", f"it has: {', '.join(taxonomy.genres)}"
        )
    known = taxonomy.genres[prompt.genre].subgenres
    if prompt.subgenre is None:
        return prompt.genre, chance.pick(list(known))
    if prompt.subgenre not in known:
        raise RecipeError(
            f"genre {prompt.genre!r} has no sub-genre {prompt.subgenre!r}", f"it has: {', '.join(known)}"
        )
    return prompt.genre, prompt.subgenre


def _mood(prompt: Prompt, taxonomy: Taxonomy, usual: tuple[str, ...], chance: Chance) -> str:
    mood = prompt.mood or chance.pick(usual)
    if mood not in taxonomy.moods:
        raise RecipeError(f"taxonomy {taxonomy.name!r} has no mood {mood!r}", f"it has: {', '.join(taxonomy.moods)}")
    return mood


def _key(prompt: Prompt, mode: str | None, style: Style, chance: Chance) -> Key:
    if prompt.key is None:
        return Key(chance.integer(0, 11), mode or ("minor" if chance.happens(style.minor) else "major"))
    try:
        return Key.parse(prompt.key)
    except ValueError as error:
        raise RecipeError(f"the prompt's key: {error}") from None


def _swing(style: Style, vocabulary: Vocabulary, chance: Chance) -> float:
    """How far this clip swings. Where some of the style's grooves are triplets, it is hardly at all or like them."""
    swing = chance.uniform(*style.swing)
    if style.swing_grid == 8 and any(in_triplets(vocabulary.grooves[name]) for name in style.grooves):
        return max(0.75, swing) if swing > 0.3 else min(0.1, swing)
    return swing


def _chords(style: Style, vocabulary: Vocabulary, key: Key, bars: int, chance: Chance) -> list[tuple[float, Chord]]:
    """A progression of the key's mode over and over, now and then from its middle: (beat, chord) in order."""
    fit = {
        name: weight for name, weight in style.progressions.items() if vocabulary.progressions[name].mode == key.mode
    }
    written = [bar.split() for bar in vocabulary.progressions[chance.weighted(fit)].bars.split("|")]
    harmony = chance.weighted(style.harmony)
    # A change a bar is slow at a fast tempo and quick at a slow one; both are heard.
    first = len(written) // 2 if len(written) > 2 and chance.happens(0.2) else 0
    timeline = []
    for bar in range(bars + 1):
        numerals = written[(first + bar) % len(written)]
        for place, numeral in enumerate(numerals):
            start = bar * style.metre + round(place * style.metre / len(numerals))
            timeline.append((float(start), chord(numeral, key, harmony)))
    # Repeated chords are one held chord.
    return [item for place, item in enumerate(timeline) if place == 0 or item[1] != timeline[place - 1][1]]


def _track(song: Song, player: Player) -> Track:
    """A player's part, as far as the clip goes."""
    level = _LEVELS[player.part] + song.style.levels.get(player.part, 0.0) + song.chance.bell(1.5)
    level -= 2.0 if player.second else 0.0
    echoes = player.part in ("lead", "chords", "voice") and song.chance.happens(song.style.echo)
    notes = PLAY[player.part](song, player)
    if player.part != "drums":
        notes = [_in_range(note, *song.vocabulary.envelope(player.program).range) for note in notes]
    if echoes:
        notes = _echoed(notes, song.chance.pick((0.5, 0.75, 0.75, 1.0)))
    heard = sorted(
        (note for note in notes if note.start < song.beats - 0.05), key=lambda note: (note.start, note.pitch)
    )
    if not heard and player.asked:  # the pattern begins after so short or so slow a clip ends
        heard = [_one_note(song, player)]
    return Track(player.instrument, player.part, player.program, player.part == "drums", round(level, 2), heard)


def _one_note(song: Song, player: Player) -> Note:
    """The least that a named instrument plays: the first chord's root, or a stroke, from the first beat on."""
    if player.part == "drums":
        return Note(0.0, 1.0, _STROKE, 0.6)
    low, high = song.vocabulary.envelope(player.program).range
    pitch = (low + high) // 2
    pitch -= (pitch - song.chord_at(0.0)[0].root) % 12
    return Note(0.0, song.beats, pitch if pitch >= low else pitch + 12, 0.6)


def _in_range(note: Note, low: int, high: int) -> Note:
    """The note in the octave that its instrument can play."""
    pitch = note.pitch
    while pitch > high:
        pitch -= 12
    while pitch < low:
        pitch += 12
    return note if pitch == note.pitch else Note(note.start, note.duration, pitch, note.velocity)


def _echoed(notes: list[Note], delay: float) -> list[Note]:
    """Notes with two echoes, each softer."""
    echoes = [
        Note(note.start + turn * delay, min(note.duration, delay), note.pitch, note.velocity * fade)
        for note in notes
        for turn, fade in ((1, 0.45), (2, 0.22))
    ]
    return notes + echoes


def _keep_in_key(tracks: tuple[Track, ...], key: Key) -> None:
    """Bend chromatic notes back into the scale, melodies first, until enough of them are in the asked key."""
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


def _production(style: Style, chance: Chance) -> Production:
    """The recording: the style's room, drive and pump, and a desk and an ear that differ from clip to clip."""
    room = chance.uniform(*style.room)
    return Production(
        room=-26.0 + 22.0 * room,
        room_seconds=0.25 + 2.2 * room * chance.uniform(0.6, 1.2),
        tilt=chance.uniform(*style.tilt) + chance.bell(0.15),
        shelf=chance.uniform(*style.shelf) + chance.bell(0.6),
        presence=(400.0 * 2.0 ** chance.uniform(0.0, 3.5), chance.bell(1.1)),
        top=chance.uniform(10_500.0, 15_500.0),
        drive=chance.uniform(*style.drive),
        pump=chance.uniform(*style.pump),
        loudness=-16.0 + chance.bell(1.5),
    )
