"""The score of a clip: its notes, and how it is produced."""

from __future__ import annotations

from dataclasses import dataclass, field

from .theory import Chord, Key

_STEMS = {"drums": "drums", "bass": "bass", "chords": "harmony", "pad": "harmony", "lead": "melody", "voice": "vocals"}
LEAD_IN = 0.012  # seconds before the first beat, so that the fade-in does not cut attacks


@dataclass(frozen=True, slots=True)
class Note:
    """One note. Times are in beats from the start of the clip, with human inaccuracy."""

    start: float
    duration: float
    pitch: int  # MIDI note number; on a drum track the General-MIDI key of the drum
    velocity: float  # 0..1


@dataclass(slots=True)
class Track:
    """The part of one instrument."""

    instrument: str  # its name in the taxonomy, or "voice"
    role: str  # drums, bass, chords, pad, lead or voice
    program: int  # General-MIDI program; of a drum track the kit
    is_drum: bool
    level: float  # dB relative to the other tracks
    notes: list[Note] = field(default_factory=list)

    @property
    def stem(self) -> str:
        """The stem that the track is in: one of `annotations.annotation.STEMS`."""
        return "drums" if self.is_drum else _STEMS.get(self.role, "other")


@dataclass(frozen=True, slots=True)
class Passage:
    """Bars `first` to `last` - 1, and the parts that play in them."""

    first: int
    last: int
    parts: frozenset[str]


@dataclass(frozen=True, slots=True)
class Production:
    """How a clip is mixed and mastered."""

    room: float  # dB of the reverberation relative to the dry sound
    room_seconds: float  # time in which the reverberation decays by 60 dB
    tilt: float  # dB per octave around 1 kHz
    shelf: float  # dB below 150 Hz
    presence: tuple[float, float]  # Hz, dB
    top: float  # Hz where the treble is cut
    drive: float  # 0 clean .. 1 saturated
    pump: float  # 0..1, how much the kick drum lowers the other instruments
    loudness: float  # LUFS


@dataclass(frozen=True, slots=True)
class Score:
    """The notes of a clip and its production."""

    genre: str
    subgenre: str
    tempo: int  # beats per minute
    metre: int  # beats a bar
    key: Key
    swing: float
    swing_grid: int
    form: str
    seed: int
    tracks: tuple[Track, ...]
    production: Production
    chords: tuple[tuple[float, Chord], ...] = ()  # the beat where each one starts, in order
    passages: tuple[Passage, ...] = ()

    @property
    def pitched(self) -> list[Note]:
        """The notes that have a pitch."""
        return [note for track in self.tracks if not track.is_drum for note in track.notes]

    def in_key(self) -> float:
        """The share of the pitched notes that are in the key's scale."""
        pitched = self.pitched
        return sum(note.pitch % 12 in self.key.scale for note in pitched) / max(1, len(pitched))
