from __future__ import annotations

import errno
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.errors import BackendError, DataError, RecipeError
from builder.prompts import make_prompts
from builder.prompts.chat import BATCH, MAX_IDLE, ChatModel, Message, ask_chat_model, build_messages, parse_reply
from builder.prompts.conflicts import find_conflicts
from builder.prompts.sources import read_descriptions
from builder.recipe import Recipe
from builder.taxonomy import Taxonomy

PAPER = Taxonomy.load("paper")
CSV = """genre,description,mood,instruments,tempo_bpm,key
pop,"A bright, bouncing chorus",joyful,piano; drums,120,Eb major
Electronica,Slow pads over a soft beat.,,,,
funk,A tight pocket.,,,,
orchestral,Brass swells.,,,,
rock,Loud guitars.,,,,
rock,Quiet guitars.,,,,
"""


def load(folder: Path, **prompts: object) -> Recipe:
    """A recipe file in `folder` with these prompt settings, read."""
    (folder / "recipe.yaml").write_text(json.dumps({"name": "test", "prompts": prompts}), encoding="utf-8")
    return Recipe.load(folder / "recipe.yaml")


def from_file(folder: Path, text: str | bytes, name: str = "d.csv", per_genre: int = 1, **more: object) -> Recipe:
    (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return load(folder, per_genre=per_genre, source={"kind": "file", "path": name}, **more)


# A file of descriptions


def test_a_csv_gives_prompts_with_its_labels(tmp_path: Path) -> None:
    prompts = make_prompts(from_file(tmp_path, CSV, per_genre=3))
    assert [p.genre for p in prompts] == [name for name in PAPER.genre_names for _ in range(3)]
    pop = next(prompt for prompt in prompts if prompt.genre == "pop")
    assert pop.text == "A Pop track. A bright, bouncing chorus."
    assert pop.description == "A bright, bouncing chorus."
    assert (pop.mood, pop.tempo_bpm, pop.key, pop.subgenre) == ("joyful", 120, "Eb major", None)
    assert pop.instruments == ("piano", "drums")
    rock = [prompt.description for prompt in prompts if prompt.genre == "rock"]
    assert rock == ["Loud guitars.", "Quiet guitars.", "Loud guitars."]


def test_jsonl_says_the_same_as_csv(tmp_path: Path) -> None:
    lines = [
        {
            "genre": "Pop",
            "description": "A bright, bouncing  chorus",
            "mood": "joyful",
            "instruments": ["piano", "drums"],
        }
        | {"tempo_bpm": 120, "key": "Eb major"},
        *({"genre": g, "description": f"Some {g}."} for g in ("electronica", "funk", "orchestral", "rock")),
    ]
    text = "\ufeff" + "\r\n\r\n".join(json.dumps(line) for line in lines)
    prompts = make_prompts(from_file(tmp_path, text, "d.jsonl"))
    assert prompts[3] == make_prompts(from_file(tmp_path, CSV))[3]


@pytest.mark.parametrize(("name", "mark"), [("d.csv", ";"), ("d.csv", "\t"), ("d.tsv", "\t")])
def test_semicolons_and_tabs_say_the_same_as_commas(tmp_path: Path, name: str, mark: str) -> None:
    plain = make_prompts(from_file(tmp_path, CSV))
    text = "\ufeff" + CSV.replace('"A bright, bouncing chorus"', "A bright# bouncing chorus").replace(
        "piano; drums", '"piano; drums"'
    ).replace(",", mark).replace("#", ",")
    assert make_prompts(from_file(tmp_path, text, name)) == plain


@pytest.mark.parametrize(
    ("prompts", "text"),
    [
        ({"strategy": "repeat"}, "Funk Funk A tight pocket."),
        ({"strategy": "tags"}, "Funk, A tight pocket."),
        ({"vocals": "instrumental"}, "A Funk track. A tight pocket. Instrumental, no vocals."),
        ({"vocals": "with-vocals"}, "A Funk track. A tight pocket. With lead vocals."),
    ],
)
def test_strategies_and_vocals_apply_to_files(tmp_path: Path, prompts: dict[str, object], text: str) -> None:
    assert make_prompts(from_file(tmp_path, CSV, **prompts))[1].text == text


def test_the_clips_of_one_description_share_its_vocals_and_strategies(tmp_path: Path) -> None:
    prompts = make_prompts(
        from_file(tmp_path, CSV, per_genre=6, vocals=["instrumental", "with-vocals"], strategy=["tags", "repeat"])
    )
    own = [prompt for prompt in prompts if prompt.genre == "funk"]
    assert Counter(p.vocals for p in own) == {"instrumental": 3, "with-vocals": 3}
    assert all(p.text.endswith("With lead vocals.") == (p.vocals == "with-vocals") for p in own)
    assert Counter(p.text.startswith("Funk, ") for p in own) == {True: 3, False: 3}


def test_the_articles_of_a_description_are_left_alone(tmp_path: Path) -> None:
    text = "\n".join(["genre,description", *(f"{name},a(n) odd text" for name in PAPER.genre_names)])
    assert make_prompts(from_file(tmp_path, text))[0].text == "An Electronica track. a(n) odd text."


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("d.csv", "", "has no header"),
        ("d.csv", "genre,description\n", "holds no descriptions"),
        ("d.jsonl", "", "holds no descriptions"),
        ("d.csv", "genre,text\npop,x\n", "column 'description' is missing"),
        ("d.csv", "genre,description,moods\npop,x,y\n", "unknown column 'moods' (did you mean 'mood'?). Known: genre"),
        ("d.csv", "genre,description,genre\npop,x,y\n", "column 'genre' is there twice"),
        ("d.csv", "genre,description\npop,a, b\n", "line 2: more cells than columns"),
        ("d.csv", "genre,description\npop,\n", "line 2: description: missing"),
        ("d.csv", "genre,description\npopp,x\n", "line 2: genre 'popp' is not in the taxonomy (did you mean 'pop'?)"),
        ("d.csv", "genre,description,mood\npop,x,glad\n", "line 2: mood 'glad' is not a mood"),
        ("d.csv", "genre,description,subgenre\npop,x,techno\n", "subgenre 'techno' is not a sub-genre of pop"),
        ("d.csv", "genre,description,instruments\npop,x,piano;pianoo\n", "instrument 'pianoo' is not"),
        ("d.csv", "genre,description,tempo_bpm\npop,x,fast\n", "line 2: tempo_bpm: input should be a valid integer"),
        ("d.csv", "genre,description,tempo_bpm\npop,x,999\n", "line 2: tempo_bpm: input should be less than"),
        ("d.csv", "genre,description,key\npop,x,H dur\n", "line 2: key: expected a key, such as `F# minor`"),
        ("d.csv", 'genre,description\npop,"x" y\n', "not valid CSV"),
        ("d.csv", b"genre,description\npop,caf\xe9\n", "line 2: not UTF-8 text"),
        ("d.csv", "genre,description\npop,x\n".encode("utf-16"), "is UTF-16, not UTF-8"),
        ("d.jsonl", '{"genre": "pop"\n', "line 1: not valid JSON"),
        ("d.jsonl", "[" * 100_000, "line 1: not valid JSON"),
        ("d.jsonl", '\n["pop", "x"]\n', "line 2: expected a JSON object, found list"),
        ("d.jsonl", '{"genre": "pop", "description": 5}\n', "line 1: description: input should be a valid string"),
        ("d.jsonl", '{"genre": "pop", "description": "  "}\n', "line 1: description: missing"),
        ("d.jsonl", '{"genre": "pop", "description": "x", "bpm": 5}\n', "line 1: bpm: unknown key"),
        ("d.txt", "genre,description\npop,x\n", "ends in .csv, .tsv or .jsonl"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, name: str, text: str | bytes, words: str) -> None:
    with pytest.raises(RecipeError) as error:
        make_prompts(from_file(tmp_path, text, name))
    assert words in error.value.message
    assert name in error.value.message


def test_all_faults_are_reported_with_their_lines(tmp_path: Path) -> None:
    text = "genre,description\npop,x\n" + "polka,x\n" * 30
    with pytest.raises(RecipeError, match=r"30 problems[\s\S]*line 3: [\s\S]*line 22: [\s\S]*and 10 more"):
        make_prompts(from_file(tmp_path, text))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"there is no file .*nowhere\.csv"):
        make_prompts(load(tmp_path, per_genre=1, source={"kind": "file", "path": "nowhere.csv"}))


def test_a_genre_without_descriptions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="genres without a description: electronica 0 of 1, funk 0 of 1"):
        make_prompts(from_file(tmp_path, "genre,description\npop,x\n"))


def test_instrumentation_off_refuses_labelled_instruments(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="instrumentation is off"):
        make_prompts(from_file(tmp_path, CSV, instrumentation=False))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.sampled_from([".csv", ".jsonl"]))
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes, suffix: str) -> None:
    file = tmp_path_factory.getbasetemp() / f"any{suffix}"
    file.write_bytes(b"genre,description\n" * (suffix == ".csv") + data)
    try:
        assert any(read_descriptions(file, PAPER).values())
    except RecipeError as error:
        assert str(file) in error.message


# Texts that contradict their labels


@pytest.mark.parametrize(
    ("text", "labels", "found"),
    [
        ("Guitars at 90 BPM.", {"tempo": 140}, {"tempo_bpm": (140, 90)}),
        ("Guitars at 90 BPM.", {"tempo": 90}, {}),
        ("A 139.6bpm loop.", {"tempo": 140}, {}),
        ("120-128 BPM house.", {"tempo": 124}, {}),
        ("120 to 128 beats per minute.", {"tempo": 140}, {"tempo_bpm": (140, None)}),
        ("From 90 BPM to 140 BPM.", {"tempo": 140}, {}),
        ("A 2000 BPM joke.", {"tempo": 140}, {}),
        ("A 20 BPM drone.", {"tempo": 140}, {"tempo_bpm": (140, None)}),
        ("808 drums, 16 bars.", {"tempo": 140}, {}),
        ("A song in A minor.", {"key": "C major"}, {"key": ("C major", "A minor")}),
        ("A minor triumph, a major hit.", {"key": "C major"}, {}),
        ("A song in D♭ major.", {"key": "C# major"}, {}),
        ("Set in E-flat minor.", {"key": "Eb major"}, {"key": ("Eb major", "Eb minor")}),
        ("It opens on a G major chord.", {"key": "C major"}, {}),
        ("From C major to E minor.", {"key": "E minor"}, {}),
        ("From C major to E minor.", {"key": "F major"}, {"key": ("F major", None)}),
        ("A lone violin.", {"instruments": ("piano",)}, {"instruments": (("piano",), ("violin",))}),
        ("Guitars and bass.", {"instruments": ("electric guitar", "synth bass", "drums")}, {}),
        ("Electric guitars.", {"instruments": ("guitar",)}, {}),
        (
            "A piano piece, no drums.",
            {"instruments": ("piano", "drums")},
            {"instruments": (("piano", "drums"), ("piano",))},
        ),
        (
            "Without bass or drums.",
            {"instruments": ("piano", "drums")},
            {"instruments": (("piano", "drums"), ("piano",))},
        ),
        ("No vocals but drums.", {"instruments": ("drums",)}, {}),
        ("A lone violin at 90 BPM in C minor.", {}, {}),
    ],
)
def test_what_a_text_names_otherwise_than_its_labels(
    text: str, labels: dict[str, Any], found: dict[str, tuple[Any, Any]]
) -> None:
    known = ("drums", "piano", "violin", "guitar", "electric guitar", "bass", "synth bass")
    given = {"tempo": None, "key": None, "instruments": ()} | labels
    assert find_conflicts(text, **given, known=known) == found


def test_the_grammar_never_contradicts_itself() -> None:
    recipe = Recipe.load("paper").with_options({"prompts.total": 600})
    for p in make_prompts(recipe):
        names = recipe.labels.instrument_names
        assert not find_conflicts(p.description, p.tempo_bpm, p.key, p.instruments, names), p.description


CONFLICT = CSV.replace('"A bright, bouncing chorus"', '"Solo violin in D major, 90 BPM"')
ROW = ["line 2: tempo_bpm is 120, and the text says 90", "line 2: key is Eb major, and the text says D major",
       "line 2: instruments is piano, drums, and the text says violin"]  # fmt: skip


@pytest.mark.parametrize(
    ("believed", "labels"),
    [
        (None, (120, "Eb major", ("piano", "drums"))),
        ("columns", (120, "Eb major", ("piano", "drums"))),
        ("text", (90, "D major", ("violin",))),
        ("empty", (None, None, ())),
    ],
)
def test_the_recipe_decides_what_is_believed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, believed: str | None, labels: tuple[Any, ...]
) -> None:
    from_file(tmp_path, CONFLICT)
    source = {"kind": "file", "path": "d.csv"} | ({"on_conflict": believed} if believed else {})
    recipe = load(tmp_path, per_genre=1, source=source)
    for _ in range(2):
        prompt = make_prompts(recipe)[3]
        assert (prompt.tempo_bpm, prompt.key, prompt.instruments) == labels
    [warning] = caplog.messages  # once, however often it is read
    assert all(row in warning for row in ROW)
    assert f"d.csv: 3 label(s) contradict their text; {'the columns are' if labels[0] == 120 else ''}" in warning


def test_a_contradiction_can_be_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from_file(tmp_path, CONFLICT)
    recipe = load(tmp_path, per_genre=1, source={"kind": "file", "path": "d.csv", "on_conflict": "error"})
    with pytest.raises(RecipeError, match=r"d\.csv: 3 problems") as error:
        make_prompts(recipe)
    assert all(row in error.value.message for row in ROW) and not caplog.messages


def test_what_is_believed_counts_in_the_fingerprint_only_where_it_is_chosen(tmp_path: Path) -> None:
    plain = from_file(tmp_path, CSV)
    # The fingerprint of this recipe as synthmir 0.1 made it, before there was such a setting.
    first = plain.with_options({"generator.revision": "1"})
    assert first.fingerprint() == "100c8075dcb6c62f"
    assert plain.with_options({"prompts.source.on_conflict": "columns"}).fingerprint() == plain.fingerprint()
    assert plain.with_options({"prompts.source.on_conflict": "text"}).fingerprint() != plain.fingerprint()
    for source, message in (
        ({"kind": "file", "path": "d.csv", "on_conflict": "both"}, "prompts.source.on_conflict: input should be"),
        ({"on_conflict": "text"}, "'grammar' does not use on_conflict"),
    ):
        with pytest.raises(RecipeError, match=message):
            load(tmp_path, per_genre=1, source=source)


# A chat model's replies


@pytest.mark.parametrize(
    "answer",
    [
        "1. A slow beat under warm chords.\n2. A fast, bright and happy dance tune.",
        "Sure! Here are two descriptions:\n\n- A slow beat under warm chords\n- A fast, bright and happy dance tune\n",
        '["A slow beat under warm chords.", "A fast, bright and happy dance tune."]',
        '```json\n[{"description": "A slow beat under warm chords"},'
        ' {"description": "a fast, bright and happy dance tune"}]\n```',
        "1) **A slow beat under warm chords.**\n2) *A fast, bright and happy dance tune.*\n"
        "I hope this helps you with it!",
        "1. A slow beat under warm chords. 2. A fast, bright and happy dance tune.",
        "“A slow beat under warm chords.”\n“A slow  beat under warm CHORDS.”\n“A fast, bright and happy dance tune.”",
        "* A slow beat under warm chords.\r\n* A fast, bright and happy dance tune.\r\n* Jazz.\r\n",
    ],
)
def test_lists_of_every_shape_are_read(answer: str) -> None:
    assert parse_reply(answer) == ["A slow beat under warm chords.", "A fast, bright and happy dance tune."]


@pytest.mark.parametrize(
    "answer", ["", "\n\n", "I cannot do that, I am sorry to say.", "[]", "[1, 2]", "...", "1.\n2.\n"]
)
def test_replies_without_a_description_give_none(answer: str) -> None:
    assert parse_reply(answer) == []


def test_a_tempo_at_a_sentences_end_is_no_list() -> None:
    assert parse_reply("A steady groove at a tempo of 90. Drums and low synth drones.") == [
        "A steady groove at a tempo of 90. Drums and low synth drones."
    ]


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=300))
def test_whatever_is_parsed_is_a_clean_line(answer: str) -> None:
    for text in parse_reply(answer):
        assert text == " ".join(text.split())
        assert text[-1] in ".!?" and 5 <= len(text.split()) <= 80


def chat(folder: Path, per_genre: int = 12, **more: object) -> Recipe:
    return load(folder, per_genre=per_genre, source={"kind": "chat", "model": "m", "path": "a.jsonl"}, **more)


def fake(messages: list[Message], seed: int) -> str:
    """Five descriptions that belong to the seed, one of them in every reply."""
    return "\n".join(f"{n}. A tune of shape {n * seed} in slow waltz time." for n in range(5))


def test_answers_are_kept_and_the_corpus_is_made_from_them(tmp_path: Path) -> None:
    recipe = chat(tmp_path)
    counts: list[int] = []
    assert ask_chat_model(recipe, fake, counts.append) == 60 == sum(counts)
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [*lines[0]] == ["genre", "description", "model", "seed"]
    assert Counter(line["genre"] for line in lines) == dict.fromkeys(PAPER.genre_names, 12)
    assert {line["model"] for line in lines} == {"m"}
    prompts = make_prompts(recipe)
    assert [p.description for p in prompts] == [line["description"] for line in lines]
    assert len({(p.genre, p.description) for p in prompts}) == 60
    assert ask_chat_model(recipe, fake) == 0


def test_a_broken_run_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir()
    broken.mkdir()
    ask_chat_model(chat(whole), fake)
    calls = 0

    def dies(messages: list[Message], seed: int) -> str:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise KeyboardInterrupt
        return fake(messages, seed)

    with pytest.raises(KeyboardInterrupt):
        ask_chat_model(chat(broken), dies)
    with (broken / "a.jsonl").open("a") as handle:
        handle.write('{"genre": "pop", "descr')
    with pytest.raises(RecipeError, match="synthmir prompts RECIPE"):
        make_prompts(load(broken, per_genre=12, source={"kind": "chat", "model": "m", "path": "a.jsonl"}))
    ask_chat_model(chat(broken), fake)
    assert (broken / "a.jsonl").read_bytes() == (whole / "a.jsonl").read_bytes()


def test_building_before_asking_names_the_command(tmp_path: Path) -> None:
    ask_chat_model(chat(tmp_path, per_genre=2), fake)
    with pytest.raises(RecipeError, match=r"electronica 2 of 3[\s\S]*synthmir prompts RECIPE"):
        make_prompts(chat(tmp_path, per_genre=3))


def test_a_dull_model_is_given_up(tmp_path: Path) -> None:
    calls = 0

    def dull(messages: list[Message], seed: int) -> str:
        nonlocal calls
        calls += 1
        return "1. The same old song with the same old beat."

    with pytest.raises(BackendError, match=r"no usable new description of electronica \(1 of 12 so far"):
        ask_chat_model(chat(tmp_path), dull)
    assert calls == 1 + MAX_IDLE
    assert len((tmp_path / "a.jsonl").read_text().splitlines()) == 1


def test_answers_of_two_models_are_not_mixed(tmp_path: Path) -> None:
    ask_chat_model(chat(tmp_path, per_genre=1), fake)
    other = load(tmp_path, per_genre=2, source={"kind": "chat", "model": "n", "path": "a.jsonl"})
    with pytest.raises(RecipeError, match="holds answers of m, not of n"):
        ask_chat_model(other, fake)


def test_asking_needs_a_chat_source_and_jsonl(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="not a chat model"):
        ask_chat_model(load(tmp_path, per_genre=1), fake)
    with pytest.raises(RecipeError, match="kept as JSONL"):
        ask_chat_model(load(tmp_path, per_genre=1, source={"kind": "chat", "model": "m", "path": "a.csv"}), fake)


def test_a_full_disk_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match="No space left"):
        ask_chat_model(chat(tmp_path), fake)


def test_the_messages_ask_for_what_the_recipe_wants(tmp_path: Path) -> None:
    genre = PAPER.genres["pop"]
    requests = [
        build_messages(genre, chat(tmp_path, vocals="instrumental", instrumentation=False), n)[1]["content"]
        for n in (0, 1)
    ]
    assert all(word in requests[0] for word in (f"{BATCH} different", "Pop music", "no singing", "no instruments"))
    assert "synth-pop" in requests[0] and "dance-pop" in requests[1]
    both = build_messages(genre, chat(tmp_path, vocals=["instrumental", "with-vocals"]), 0)[1]["content"]
    assert "Say nothing about vocals" in both


@pytest.fixture(scope="module")
def tiny_chat_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-layer Llama with random weights and a tokenizer trained here, saved as the Hub keeps them."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, set_seed

    folder = tmp_path_factory.mktemp("tiny-chat")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet)
    tokenizer.train_from_iterator([CSV, "Write a numbered list of sentences about music."], trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
    fast.chat_template = "{% for m in messages %}<s>{{ m['role'] }}: {{ m['content'] }}</s>{% endfor %}<s>"
    fast.save_pretrained(folder)
    set_seed(0)
    config = LlamaConfig(
        vocab_size=len(fast),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        bos_token_id=0,
        eos_token_id=1,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def test_a_local_model_replies_by_its_seed(tiny_chat_model: Path, tmp_path: Path) -> None:
    import torch

    model = ChatModel(str(tiny_chat_model), max_new_tokens=24)
    asked = build_messages(PAPER.genres["rock"], chat(tmp_path), 0)
    state = torch.random.get_rng_state()
    first, again, other = model(asked, 1), model(asked, 1), model(asked, 2)
    assert first == again != other
    assert "numbered list" not in first  # the reply alone, without what was asked
    assert torch.equal(state, torch.random.get_rng_state())


def test_a_model_that_babbles_is_a_backend_error(
    tiny_chat_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builder.prompts.chat.parse_reply", lambda answer: [])
    monkeypatch.setattr(ChatModel.__init__, "__defaults__", (None, 8))
    source = {"kind": "chat", "model": str(tiny_chat_model), "path": "a.jsonl"}
    with pytest.raises(BackendError, match="held no usable new description of electronica"):
        ask_chat_model(load(tmp_path, per_genre=1, source=source))


def test_a_missing_model_is_a_backend_error(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="cannot be loaded"):
        ChatModel(str(tmp_path / "nothing"))


def test_a_model_that_does_not_chat_is_refused(tiny_chat_model: Path, tmp_path: Path) -> None:
    import shutil

    from transformers import AutoTokenizer

    plain = shutil.copytree(tiny_chat_model, tmp_path / "plain")
    tokenizer = AutoTokenizer.from_pretrained(plain)
    tokenizer.chat_template = None
    (plain / "chat_template.jinja").unlink(missing_ok=True)
    tokenizer.save_pretrained(plain)
    with pytest.raises(BackendError, match="no chat template"):
        ChatModel(str(plain))
