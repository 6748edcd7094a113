"""One track for each loader of mirdata that has audio and annotations, in the format that the loader reads."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import mirdata

from .miniatures import put, sound
from .mirdata_miniatures import midi_file

SECONDS = 2.0
AUDIO = b"audio"  # stands for a file of SECONDS
Files = dict[str, bytes | str | None]

BEATS = [0.25 + 0.5 * number for number in range(4)]
SECTION_TEXT = "0.0\t1.0\t0.0\tintro\n1.0\t2.0\t0.0\tverse\n"
KEY_TEXT = "0.0\t2.0\tKey\tA:minor\n"
CHORD_TEXT = "0.0\t1.0\tC:maj\n1.0\t2.0\tA:min\n"


def beats(gap: str, first: int = 1) -> str:
    return "".join(f"{time:.2f}{gap}{place}\n" for place, time in enumerate(BEATS, first))


def f0(gap: str, hop: float = 0.01, more: str = "") -> str:
    return "".join(f"{number * hop:.4f}{gap}{220.0 if number > 9 else 0}{more}\n" for number in range(round(2 / hop)))


@dataclass(frozen=True)
class Sample:
    """A track: the content of each file that the index names, and the kinds of annotation that come out."""

    kinds: str
    files: Files
    identity: str = "track_1"
    others: dict[str, bytes | str] = field(default_factory=dict)  # files outside the index
    mixed: Files | None = None  # of a multitrack, whose stems have `files`
    level: str = ""
    version: str = ""


RWC = "25\t0\t384\n75\t0\t48\n125\t0\t96\n175\t0\t384\n"
BEATPORT = json.dumps({"bpm": "128", "artists": [{"name": "A"}], "genres": [{"name": "House"}], "sub_genres": []})
FILOSAX = json.dumps({"notes": [{"a_start_time": 0.5, "a_end_time": 1.0, "midi_pitch": 60}]})
SALAMI_TEXT = (
    "# title: A\n# artist: B\n# metre: 4/4\n# tonic: C\n\n0.0\tsilence\n0.5\tA, intro, | C:maj | C:maj |\n"
    "1.5\tsilence\n2.0\tend\n"
)
RWC_TABLE = (
    "Piece No.,Cat. Suffix,Tr. No.,Title,Artist (Vocal),Singer Information,Length,Tempo,Live Instruments Used,Drums\n"
    "No. 1,M01,Tr. 01,Title,Ada,Female,03:29,135,Gt,Drum sequences\n"
)
JTD = "number,beat,piano,bass,drums,metre\n" + "".join(f"{n},{0.5 * n},{0.5 * n},,,{n + 1}\n" for n in range(4))
JTD_ABOUT = json.dumps({"tempo": "120.5", "time_signature": "3", "bandleader": "Ada", "musicians": {"pianist": "Ada"}})
EMPTY_RAGA: Files = dict.fromkeys(("ctonic", "phrases", "metadata"))

SAMPLES: dict[str, Sample] = {
    "beatport_key": Sample("key tempo", {"audio": AUDIO, "key": "D minor|F major\n", "meta": BEATPORT}),
    "billboard": Sample(
        "chords sections",
        {"audio": AUDIO, "salami": SALAMI_TEXT, "lab_full": CHORD_TEXT, "lab_majmin7": None, "lab_majmin7inv": None,
         "lab_majmin": None, "lab_majmininv": None, "bothchroma": None, "tuning": None},
    ),
    "brid": Sample("beats tempo", {"audio": AUDIO, "beats": beats("\t"), "tempo": "90\n"}),
    "candombe": Sample("beats", {"audio": AUDIO, "beats": beats(",1.")}),
    "cante100": Sample("melody notes", {"audio": AUDIO, "spectrum": None, "f0": f0(","), "notes": "0.5,0.5,60\n"}),
    "compmusic_carnatic_rhythm": Sample("beats", {"audio": AUDIO, "beats": beats(","), "meter": "adi\n"}),
    "compmusic_hindustani_rhythm": Sample("beats", {"audio": AUDIO, "beats": beats(","), "meter": "tintal\n"}),
    "compmusic_iamms": Sample(
        "melody sections",
        {"audio": AUDIO, "sections": "0.0\t1.0\talap\n", "sections-finetuned": None, "nyas": None, "pitch": f0("\t"),
         "pitch-finetuned": None, "tonic": None, "tonic-finetuned": None},
    ),
    "compmusic_raga": Sample(
        "melody",
        {"audio": AUDIO, "tonic": None, "tonic_fine_tuned": None, "pitch": f0("\t"), "pitch_post_processed": f0("\t"),
         "nyas_segments": None, "tani_segments": None},
    ),
    "cuidado": Sample("beats tempo", {"audio": AUDIO, "beats": beats(" "), "tempo": "120\n"}),
    "dagstuhl_choirset": Sample(
        "beats notes",
        {**dict.fromkeys(("audio_dyn", "audio_hsm", "f0_crepe_dyn", "f0_crepe_hsm", "f0_crepe_lrx", "f0_pyin_dyn",
                          "f0_pyin_hsm", "f0_pyin_lrx")),
         "audio_lrx": AUDIO, "f0_manual_lrx": f0(","), "score": "0.5,1.0,60\n"},
        mixed={**dict.fromkeys(("audio_str", "audio_stl", "audio_rev", "audio_spl", "audio_spr")),
               "audio_stm": AUDIO, "beat": "0.5,1\n1.0,1.25\n1.5,2\n"},
    ),
    "egfxset": Sample(
        "notes", {"audio": AUDIO}, identity="Clean_Bridge/1-5",
        others={"egfxset_metadata.csv": "Effect ,Model,Effect Type,Knob Names,Knob Type,Setting \n"},
    ),
    "filosax": Sample(
        "notes", {"audio": AUDIO, "annotation": FILOSAX, "midi": None, "musicXML": None, "pdf": None},
        identity="multitrack_01_sax_1", mixed={"annotations": None},
    ),
    "fma_keys": Sample(
        "key", {"audio": AUDIO}, identity="2",
        others={"fma_keys_metadata.csv": "track_id,spotify_uri,key_and_mode\n2,x,F# minor\n"},
    ),
    "hainsworth": Sample("beats tempo", {"audio": AUDIO, "beats": beats("\t"), "tempo": "120\n"}),
    "ikala": Sample("melody", {"audio": AUDIO, "pitch": "57.0\n" * 60, "lyrics": None, "notes_pyin": "0.1,0.2,220\n"}),
    "jtd": Sample(
        "beats tempo time_signature",
        {"audio": AUDIO, "onsets": None, "midi": None, "beats": JTD, "metadata": JTD_ABOUT}, identity="a-b_piano",
        mixed={"audio": AUDIO, "audio-lchan": None, "audio-rchan": None, "beats": JTD, "metadata": JTD_ABOUT},
    ),
    "mdb_stem_synth": Sample("melody", {"audio": AUDIO, "f0": f0(",", 128 / 44_100)}),
    "medleydb_pitch": Sample("melody", {"audio": AUDIO, "pitch": f0(","), "notes_pyin": "0.1,0.2,220\n"}),
    "orchset": Sample("melody", {"audio_mono": AUDIO, "audio_stereo": None, "melody": f0("\t")}),
    "phenicx_anechoic": Sample(
        "notes", {"audio_flute": AUDIO, "notes": "0.5,1.0,A4\n1.0,1.5,B4\n", "notes_original": None},
        identity="beethoven-flute", mixed={},
    ),
    "queen": Sample(
        "chords key sections", {"audio": AUDIO, "chords": CHORD_TEXT, "keys": KEY_TEXT, "sections": SECTION_TEXT}
    ),
    "rwc_classical": Sample("beats sections", {"audio": AUDIO, "beats": RWC, "sections": "0\t100\tA\n100\t200\tB\n"}),
    "rwc_jazz": Sample("beats sections", {"audio": AUDIO, "beats": RWC, "sections": "0\t100\tA\n100\t200\tB\n"}),
    "rwc_popular": Sample(
        "beats chords sections tempo",
        {"audio": AUDIO, "beats": RWC, "sections": "0\t200\tintro\n", "chords": CHORD_TEXT, "voca_inst": None},
        identity="RM-P001", others={"metadata-master/rwc-p.csv": RWC_TABLE},
    ),
    "salami": Sample(
        "sections",
        {"audio": AUDIO, "annotator_1_uppercase": None, "annotator_1_lowercase": None,
         "annotator_2_uppercase": "0.0\tA\n1.0\tB\n2.0\tend\n", "annotator_2_lowercase": None},
        identity="2",
        others={"salami-data-public-hierarchy-corrections/metadata/metadata.csv":
                "2,Codaich,5,8,,200,x,Title,Artist,,,,,,popular,Jazz\n"},
    ),
    "saraga_carnatic": Sample(
        "melody tempo sections",
        {**EMPTY_RAGA, **{f"audio-{name}": None for name in ("ghatam", "mridangam-left", "mridangam-right", "violin",
         "vocal-s", "vocal")}, "audio-mix": AUDIO, "pitch": f0("\t"), "pitch-vocal": None, "sama": "0.5\n1.0\n",
         "tempo": "360,90.5,2.6,8,4\n", "sections": "0.0\t0\t1.0\tpallavi\n"},
    ),
    "saraga_hindustani": Sample(
        "melody sections",
        {**EMPTY_RAGA, "audio": AUDIO, "pitch": f0("\t"), "sama": "0.5\n1.0\n", "tempo": None,
         "sections": "0.0,0,1.0,alap\n"},
    ),
    "scms": Sample("melody", {"audio": AUDIO, "pitch": f0(","), "activations": None}),
    "simac": Sample("beats tempo", {"audio": AUDIO, "beats": "0.5\n1.0\n", "tempo": "120\n"}),
    "slakh": Sample(
        "notes", {"audio": AUDIO, "midi": midi_file(), "metadata": None}, identity="Track00001-S00",
        mixed={"mix": AUDIO, "midi": midi_file(), "metadata": None}, version="baby",
    ),
    "tonality_classicaldb": Sample(
        "key", {"audio": AUDIO, "key": "Eb\tmajor\n", "spectrum": None, "mb": None, "HPCP": None}
    ),
    "tonas": Sample("melody notes", {"audio": AUDIO, "f0": f0(" 0.1 ", more=" 220"), "notes": "0\n0.5,0.5,60,0.5\n"}),
    "vocadito": Sample(
        "melody notes",
        {"audio": AUDIO, "f0": f0(","), "lyrics": None, "notesA1": "0.1,220,0.5\n0.7,230,0.5\n", "notesA2": None},
    ),
}  # fmt: skip


def make_sample(name: str, root: Path) -> str:
    """Write the track and its index, and return the spec that reads it."""
    sample = SAMPLES[name]
    for path, text in sample.others.items():
        put(root / path, text)

    def write(identity: str, files: Files) -> dict[str, list[str | None]]:
        entries: dict[str, list[str | None]] = {}
        for key, content in files.items():
            path = f"{key}/{identity}.{'wav' if content == AUDIO else 'txt'}"
            if content is not None:
                put(root / path, sound("wav", 22_050, seconds=SECONDS) if content == AUDIO else content)
            entries[key] = [path if content is not None else None, None]
        return entries

    index: dict[str, object] = {"version": "1", "tracks": {sample.identity: write(sample.identity, sample.files)}}
    if sample.mixed is not None:
        mix = sample.identity.rpartition("-")[0] if name in ("slakh", "phenicx_anechoic") else "mix_1"
        index["multitracks"] = {mix: {**write("mix", sample.mixed), "tracks": [sample.identity]}}
    put(root / "index.json", json.dumps(index))
    version = f"&version={sample.version}" if sample.version else ""
    return f"mirdata:{name}:{root}?index={root / 'index.json'}{version}"


MADE_BY_HAND = (  # data sets of `mirdata_miniatures`
    "ballroom", "beatles", "giantsteps_key", "giantsteps_tempo", "groove_midi", "gtzan_genre", "guitarset", "maestro",
    "medleydb_melody",
)  # fmt: skip
WITHOUT = {  # loaders without a sample, by the reason
    "no audio in the data set": (
        "acousticbrainz_genre", "cipi", "compmusic_otmm_makam", "da_tacos", "haydn_op20",
    ),
    "annotations are pickle files, which synthmir does not read": ("dali",),
    "not tried: its sections are in a notation of its own": ("compmusic_carnatic_varnam",),
    "no annotation of these kinds; its labels can be evaluated (`?label=ATTRIBUTE`)": (
        "baf", "compmusic_indian_tonic", "compmusic_jingju_acappella",
        "four_way_tabla", "freesound_one_shot_percussive_sounds", "good_sounds", "idmt_smt_audio_effects", "irmas",
        "medley_solos_db", "mridangam_stroke", "mtg_jamendo_autotagging_moodtheme", "openmic2018", "tinysol",
    ),
}  # fmt: skip
ALL_LOADERS = sorted(mirdata.list_datasets())
