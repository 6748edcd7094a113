"""Choose the players: the instruments that the prompt names, and others of the sub-genre for the open parts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ....clip import Prompt
from ....errors import RecipeError
from ....taxonomy import Genre, Instrument, Subgenre, Taxonomy
from ..rng import SeededRandom
from ..style import PARTS, Style

VOICES = {52: 1.0, 53: 2.0, 54: 1.0, 85: 0.7}  # General-MIDI programs of voices, with their weights as lead singer
# How likely somebody sings from version 2 on, by genre. In other genres as the style says, in version 1 in all.
SUNG = {
    "pop": 0.88, "rock": 0.42, "funk": 0.3, "electronica": 0.15, "metal": 0.4, "hiphop": 0.4, "disco": 0.45,
    "country": 0.5, "blues": 0.35, "reggae": 0.45,
}  # fmt: skip
_USUAL = {"drums": 0.9, "bass": 0.95, "chords": 1.0, "pad": 0.25, "lead": 0.6, "voice": 0.25}


@dataclass(frozen=True, slots=True)
class Player:
    """An instrument and the part that it plays."""

    instrument: str
    part: str
    program: int
    second: bool = False  # another player has this part too
    asked: bool = False  # the prompt names it


def choose_players(
    prompt: Prompt,
    taxonomy: Taxonomy,
    genre: Genre,
    subgenre: Subgenre,
    style: Style,
    rng: SeededRandom,
    version: str = "1",
) -> list[Player]:
    """Choose the players of a clip: every instrument that the prompt names, then one for each open part.

    How likely an open part is played is in the style.

    Args:
        prompt: The prompt, with its instruments and its vocals.
        taxonomy: The taxonomy, which has all instruments.
        genre: The genre of the clip.
        subgenre: The sub-genre of the clip, with its usual line-up.
        style: The style of the sub-genre.
        rng: The random numbers of the clip.
        version: The version of the sound.

    Returns:
        The players of the prompt's instruments, in the prompt's order, then the others.

    Raises:
        RecipeError: The taxonomy has no instrument of that name.
    """
    for name in prompt.instruments:
        if name not in taxonomy.instruments:
            raise RecipeError(f"the arranger has no instrument {name!r}", f"add it to taxonomy {taxonomy.name!r}")
    players: list[Player] = []
    named = {name: taxonomy.instruments[name] for name in dict.fromkeys(prompt.instruments)}
    for name, instrument in sorted(named.items(), key=lambda item: len(item[1].roles)):
        taken = [player.part for player in players]
        part: str = next((role for role in instrument.roles if role not in taken), instrument.roles[0])
        players.append(_player(name, instrument, part, style, rng, part in taken, asked=True))
    players.sort(key=lambda player: prompt.instruments.index(player.instrument))

    likely = _USUAL | dict(style.parts)
    if version != "1":
        likely["voice"] = SUNG.get(genre.name, likely["voice"])
    wants = {part: rng.happens(likely[part]) for part in PARTS}
    wants["voice"] = prompt.vocals == "with-vocals" or (prompt.vocals == "unspecified" and wants["voice"])
    if wants["voice"]:
        wants["lead"] = wants["lead"] and rng.happens(0.4)
    if not any(player.part in ("chords", "pad") for player in players):
        wants["chords"] = wants["chords"] or not wants["pad"]
    for part in PARTS:
        if not wants[part] or any(player.part == part for player in players):
            continue
        if part == "voice":
            players.append(Player("voice", "voice", rng.weighted_choice(VOICES)))
        elif candidates := _candidates(part, taxonomy, genre, subgenre, prompt, players):
            name = rng.weighted_choice(candidates)
            players.append(_player(name, taxonomy.instruments[name], part, style, rng))
    return players


def _player(
    name: str,
    instrument: Instrument,
    part: str,
    style: Style,
    rng: SeededRandom,
    second: bool = False,
    asked: bool = False,
) -> Player:
    """A player of an instrument; a standard drum kit may become one of the style's kits."""
    program = instrument.program
    if part == "drums" and program == 0 and style.kits:
        program = rng.weighted_choice(style.kits)
    return Player(name, part, program, second, asked)


def _candidates(
    part: str, taxonomy: Taxonomy, genre: Genre, subgenre: Subgenre, prompt: Prompt, players: Iterable[Player]
) -> dict[str, float]:
    """Instruments for a part with their weights: of the sub-genre, else of the genre, else of the taxonomy."""
    used = {player.instrument for player in players}
    for names in (subgenre.instruments, genre.instruments, tuple(taxonomy.instruments)):
        fit = {}
        for place, name in enumerate(names):
            instrument = taxonomy.instruments.get(name)
            if instrument is None or part not in instrument.roles or name in used:
                continue
            if prompt.vocals == "instrumental" and instrument.program in VOICES and part != "drums":
                continue
            fit[name] = (1.0 if instrument.roles[0] == part else 0.4) / (1.0 + 0.3 * place)
        if fit:
            return fit
    return {}
