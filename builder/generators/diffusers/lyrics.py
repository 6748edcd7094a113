"""Lyrics for songs, made by rules from the genre and the mood of a prompt and a seed.

Every choice depends on a SHA-2 digest alone, so lyrics are the same on every machine and Python.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha512

from ...clip import Prompt

LINE_SECONDS = 3.5  # in which a line is sung
FORMS = ((2, "verse"), (6, "verse chorus"), (12, "verse chorus verse chorus"))  # from so many lines on
DARK = ("sad", "dark", "melanchol", "lonely", "somber", "tense", "angry", "aggressive", "brood", "haunt", "gloom")
BRIGHT = ("happy", "upbeat", "joy", "energ", "euphor", "cheer", "playful", "uplift", "triumph", "party", "bright")

# A theme has places, things that move, and what the chorus says. Verse lines rhyme by pairs: endings share a row.
PLACES = {
    "dark": (
        "under the broken lights",
        "in a house of cold stone",
        "along the empty harbor",
        "behind the factory wall",
    ),
    "bright": (
        "out on the open road",
        "down by the summer shore",
        "over the city roofs",
        "in the middle of the crowd",
    ),
    "calm": ("beside the quiet river", "below the northern sky", "in the garden after rain", "on a slow train home"),
}
MOVERS = {
    "dark": ("the shadows", "the sirens", "your letters", "the clouds", "old voices"),
    "bright": ("the colors", "our footsteps", "the drums", "the swallows", "the lanterns"),
    "calm": ("the branches", "the hours", "the harbor bells", "soft echoes", "the snowflakes"),
}
RHYMES = {
    "dark": (
        ("keep calling out my name", "burn down without a flame", "will never be the same"),
        ("fall silent in the night", "turn slowly out of sight", "give up without a fight"),
        ("go down into the deep", "have promises to keep", "are walking in their sleep"),
    ),
    "bright": (
        ("keep rising with the sun", "have only just begun", "are moving as one"),
        ("are dancing in the street", "keep falling to the beat", "bring music to our feet"),
        ("light up along the way", "are here with us to stay", "begin another day"),
    ),
    "calm": (
        ("drift slowly out to sea", "come whispering to me", "are wandering and free"),
        ("are resting in the snow", "know where the rivers go", "have nowhere else to go"),
        ("are waiting for the spring", "remember everything", "fold every tired wing"),
    ),
}
HOOKS = {
    "dark": ("Hold on, hold on till morning", "Nobody taught me how to leave", "I still fear the thunder"),
    "bright": ("Turn it up, we are alive", "Come on and run with me", "Tonight belongs to everyone"),
    "calm": ("Stay a while, stay a while", "Let the evening carry us", "I will be here when you wake"),
}
ANSWERS = ("oh, again and again", "and the echo comes back", "one more time for us", "until the song is over")


def write_lyrics(prompt: Prompt, seed: int, seconds: float) -> str:
    """Write the lyrics of a song, as long as they can be sung in the clip.

    Args:
        prompt: Its mood chooses the theme; its genre takes part in the choice of the words.
        seed: Of the clip.
        seconds: The length of the clip.

    Returns:
        Lines under the marks `[verse]` and `[chorus]`.
    """
    theme = choose_theme(prompt)
    lines = max(2, int(seconds / LINE_SECONDS))
    form = [parts for least, parts in FORMS if lines >= least][-1].split()
    each = max(2, min(4, lines // len(form)))
    digest = sha512(f"lyrics/{seed}/{prompt.genre}/{prompt.subgenre}/{theme}".encode()).digest()
    chorus = _write_chorus(theme, digest, each)
    verses = 0
    blocks = []
    for part in form:
        if part == "chorus":
            blocks.append(["[chorus]", *chorus])
        else:
            blocks.append(["[verse]", *_write_verse(theme, digest[8 + 12 * verses :], each)])
            verses += 1
    return "\n\n".join("\n".join(block) for block in blocks)


def choose_theme(prompt: Prompt) -> str:
    """Choose a theme by the mood, or by the mode of the key where no mood is known: "dark", "bright" or "calm"."""
    mood = (prompt.mood or "").lower()
    if any(word in mood for word in DARK):
        return "dark"
    if any(word in mood for word in BRIGHT):
        return "bright"
    return "dark" if not mood and (prompt.key or "").endswith("minor") else "calm"


def _write_verse(theme: str, digest: bytes, count: int) -> list[str]:
    """Lines that rhyme by pairs."""
    lines = []
    for number in range(count):
        rhymes = RHYMES[theme][(digest[0] + number // 2) % len(RHYMES[theme])]
        ending = rhymes[(digest[1] + number) % len(rhymes)]
        mover = MOVERS[theme][(digest[2] + number) % len(MOVERS[theme])]
        place = f"{PLACES[theme][(digest[3] + number) % len(PLACES[theme])]} " if number % 2 == 0 else ""
        line = f"{place}{mover} {ending}"
        lines.append(line[0].upper() + line[1:])
    return lines


def _write_chorus(theme: str, digest: bytes, count: int) -> list[str]:
    """A hook that comes back, with answers between."""
    hook = _pick(HOOKS[theme], digest[4])
    return [hook if number % 2 == 0 else f"{hook}, {_pick(ANSWERS, digest[5] + number)}" for number in range(count)]


def _pick(options: Sequence[str], number: int) -> str:
    return options[number % len(options)]
