"""Who plays: the instruments that the prompt names, and those that the sub-genre adds for the parts left open."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ...clip import Prompt
from ...errors import RecipeError
from ...taxonomy import Genre, Instrument, Subgenre, Taxonomy
from .chance import Chance
from .style import PARTS, Style

VOICES = {52: 1.0, 53: 2.0, 54: 1.0, 85: 0.7}  # wordless General-MIDI voices and how likely each sings the lead
_USUAL = {"drums": 0.9, "bass": 0.95, "chords": 1.0, "pad": 0.25, "lead": 0.6, "voice": 0.25}


@dataclass(frozen=True, slots=True)
class Player:
    """An instrument with a part."""

    instrument: str
    part: str
    program: int
    second: bool = False  # somebody else has this part as well
    asked: bool = False  # the prompt names it


def line_up(
    prompt: Prompt, taxonomy: Taxonomy, genre: Genre, subgenre: Subgenre, style: Style, chance: Chance
) -> list[Player]:
    """Every named instrument, then one for each part that is left open and that the style likes to hear.

    Raises RecipeError for a name that the taxonomy does not have.
    """
    for name in prompt.instruments:
        if name not in taxonomy.instruments:
            raise RecipeError(f"the arranger knows no instrument {name!r}", f"add it to taxonomy {taxonomy.name!r}")
    players: list[Player] = []
    named = {name: taxonomy.instruments[name] for name in dict.fromkeys(prompt.instruments)}
    for name, instrument in sorted(named.items(), key=lambda item: len(item[1].roles)):
        taken = [player.part for player in players]
        part: str = next((role for role in instrument.roles if role not in taken), instrument.roles[0])
        players.append(_player(name, instrument, part, style, chance, part in taken, asked=True))
    players.sort(key=lambda player: prompt.instruments.index(player.instrument))

    likes = _USUAL | dict(style.parts)
    wants = {part: chance.happens(likes[part]) for part in PARTS}
    wants["voice"] = prompt.vocals == "with-vocals" or (prompt.vocals == "unspecified" and wants["voice"])
    if wants["voice"]:
        wants["lead"] = wants["lead"] and chance.happens(0.4)
    if not any(player.part in ("chords", "pad") for player in players):
        wants["chords"] = wants["chords"] or not wants["pad"]
    for part in PARTS:
        if not wants[part] or any(player.part == part for player in players):
            continue
        if part == "voice":
            players.append(Player("voice", "voice", chance.weighted(VOICES)))
        elif candidates := _candidates(part, taxonomy, genre, subgenre, prompt, players):
            name = chance.weighted(candidates)
            players.append(_player(name, taxonomy.instruments[name], part, style, chance))
    return players


def _player(
    name: str,
    instrument: Instrument,
    part: str,
    style: Style,
    chance: Chance,
    second: bool = False,
    asked: bool = False,
) -> Player:
    program = instrument.program
    if part == "drums" and program == 0 and style.kits:
        program = chance.weighted(style.kits)
    return Player(name, part, program, second, asked)


def _candidates(
    part: str, taxonomy: Taxonomy, genre: Genre, subgenre: Subgenre, prompt: Prompt, players: Iterable[Player]
) -> dict[str, float]:
    """Instruments for a part, the sub-genre's typical ones first; the genre's where it has none."""
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
