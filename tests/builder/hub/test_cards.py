"""Cards as they stand on the Hub: with the repository's own name in all that is typed, and links both ways."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest
import yaml

from builder.hub.cards import adapt_dataset_card, adapt_model_card, update_sums

from ... import markdown as page

MODEL, DATASET = ("org/ear", "https://hub.example/org/ear"), ("org/songs", "https://hub.example/datasets/org/songs")


@pytest.mark.parametrize("name", ["corpus", 'a "b" \\ c', "x.y"])
def test_all_that_is_typed_loads_from_the_hub(name: str) -> None:
    quoted = json.dumps(name)
    code = f'a = load_dataset({quoted}, "passt")\nb = load_dataset(\n    {quoted}, split="train")\n'
    card = adapt_dataset_card(
        f"---\nlicense: mit\n---\n\n# t\n\n## Load it\n\n```python\n{code}```\n", "org/songs", None
    )
    (shown,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    assert shown == code.replace(quoted, '"org/songs"')


def test_a_corpus_card_on_the_hub(made: Path) -> None:
    """Its pictures are where it says, it links the model, and it is cited by where it is."""
    text = (made / "corpus" / "README.md").read_text(encoding="utf-8")
    card = adapt_dataset_card(text, "org/songs", MODEL)
    assert not page.broken_links(card, made / "corpus") and not page.ragged(card)
    assert f'href="{MODEL[1]}"' in page.html(card) and "](assets/clips.svg)" in card
    assert set(re.findall(r'load_dataset\(\s*"([^"]*)"', card)) == {"org/songs"}
    own, method = re.findall(r"```bibtex\n(.*?)```", card, re.DOTALL)
    assert "  howpublished = {Hugging Face Hub, org/songs},\n" in own and "howpublished" not in method
    assert yaml.safe_load(card.split("---\n")[1]) == yaml.safe_load(text.split("---\n")[1])
    (entry,) = (
        line
        for line in update_sums((made / "corpus/SHA256SUMS").read_text(), {"README.md": card}).splitlines()
        if "README" in line
    )
    assert entry == f"{hashlib.sha256(card.encode()).hexdigest()}  README.md"


def test_a_model_card_on_the_hub(made: Path) -> None:
    text = (made / "model" / "README.md").read_text(encoding="utf-8")
    card = adapt_model_card(text, "org/ear", DATASET)
    assert not page.broken_links(card, made / "model") and not page.ragged(card)
    assert f'href="{DATASET[1]}"' in page.html(card)
    assert 'model="org/ear", trust_remote_code=True' in card and 'from_pretrained("org/ear")' in card
    assert yaml.safe_load(card.split("---\n")[1])["datasets"] == ["org/songs"]
