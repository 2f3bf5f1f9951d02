"""Trained tokenizers: the same in every process, round trips, pairs, and folders without one."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from raykd.errors import ModelError
from raykd.models import tokenizer_fingerprint, tokenizers
from raykd.models.tokenizers import SPECIAL, read_tokenizer, train_tokenizer

TRAINER = """
import json, sys
from raykd.models.fingerprint import tokenizer_fingerprint
from raykd.models.tokenizers import train_tokenizer
texts = json.load(sys.stdin)
print(*[tokenizer_fingerprint(train_tokenizer(kind, texts, 300, 32)) for kind in ("wordpiece", "bpe")])
"""


def test_the_same_texts_give_the_same_tokenizer_in_every_process() -> None:
    # Many words with like counts, so that ties decide which pieces are learnt.
    words = ["".join(letters) for letters in itertools.product("abcdé", "xyz", "mno", "abc")] * 2
    texts = [" ".join(words[k::7]) for k in range(7)]
    here = [tokenizer_fingerprint(train_tokenizer(kind, texts, 300, 32)) for kind in ("wordpiece", "bpe")]
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    command = [sys.executable, "-c", TRAINER]
    backwards = json.dumps(texts[::-1])
    there = subprocess.run(command, env=environment, input=backwards, capture_output=True, text=True, check=True)
    assert there.stdout.split() == here


def test_of_a_large_corpus_a_part_is_read_whatever_its_order(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"text{k} {'even' if k % 2 else 'odd'}" for k in range(400)] * 2
    whole = tokenizer_fingerprint(train_tokenizer("wordpiece", texts, 200, 32))
    monkeypatch.setattr(tokenizers, "LARGEST_CORPUS", sum(map(len, texts)))
    assert tokenizer_fingerprint(train_tokenizer("wordpiece", texts, 200, 32)) == whole
    monkeypatch.setattr(tokenizers, "LARGEST_CORPUS", 1000)
    part = train_tokenizer("wordpiece", texts, 200, 32)
    assert tokenizer_fingerprint(part) != whole
    assert tokenizer_fingerprint(train_tokenizer("wordpiece", texts[::-1], 200, 32)) == tokenizer_fingerprint(part)
    assert part.unk_token_id not in part("odd even")["input_ids"]


@pytest.mark.parametrize("kind", ["wordpiece", "bpe"])
def test_a_tokenizer_reads_its_texts_lower_cased_and_pairs_with_types(kind: str, texts: list[str]) -> None:
    tokenizer = train_tokenizer(kind, texts, 400, 32)
    assert [tokenizer.convert_ids_to_tokens(k) for k in range(5)] == SPECIAL
    assert len(tokenizer) <= 400
    assert tokenizer.unk_token_id not in tokenizer(texts[2].upper())["input_ids"]
    text = tokenizer.decode(tokenizer("The Kettle")["input_ids"], skip_special_tokens=True)
    assert isinstance(text, str)
    assert text.strip() == "the kettle"
    pair = tokenizer("good", "not good")
    ids, types = pair["input_ids"], pair["token_type_ids"]
    assert ids[0] == tokenizer.cls_token_id
    first = ids.index(tokenizer.sep_token_id) + 1
    assert types == [0] * first + [1] * (len(ids) - first)
    assert ids.count(tokenizer.sep_token_id) == 2


@pytest.mark.parametrize("kind", ["wordpiece", "bpe"])
def test_a_saved_tokenizer_reads_the_same_beside_a_bert_config(kind: str, tmp_path: Path, texts: list[str]) -> None:
    tokenizer = train_tokenizer(kind, texts, 300, 32)
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    for again in (read_tokenizer(tmp_path, "here"), AutoTokenizer.from_pretrained(tmp_path)):
        assert again(texts, texts[::-1]) == tokenizer(texts, texts[::-1])
        assert again.model_max_length == 32


def test_rare_characters_give_way_when_the_vocabulary_is_small() -> None:
    texts = ["plain words"] * 10 + ["".join(chr(0x4E00 + k) for k in range(3000))]
    tokenizer = train_tokenizer("wordpiece", texts, 64, 16)
    assert len(tokenizer) <= 64
    assert tokenizer.unk_token_id not in tokenizer("plain words")["input_ids"]
    assert tokenizer.unk_token_id in tokenizer("一")["input_ids"] or "一" in tokenizer.get_vocab()


def test_byte_level_bpe_knows_every_character_and_needs_room_for_all_bytes(texts: list[str]) -> None:
    tokenizer = train_tokenizer("bpe", texts, 261, 32)
    assert tokenizer.unk_token_id not in tokenizer("naïve 😀 一")["input_ids"]
    with pytest.raises(ModelError, match="at least 261"):
        train_tokenizer("bpe", texts, 260, 32)


def test_a_folder_without_tokenizer_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ModelError, match="no tokenizer files"):
        read_tokenizer(tmp_path, "here")


def test_a_damaged_tokenizer_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ModelError, match="tokenizer cannot be read") as caught:
        read_tokenizer(tmp_path, "here")
    assert "\n" not in str(caught.value)


def test_the_fingerprint_follows_what_ids_a_text_becomes(tmp_path: Path, texts: list[str]) -> None:
    tokenizer = train_tokenizer("wordpiece", texts, 120, 32)
    before = tokenizer_fingerprint(tokenizer)
    tokenizer(texts, truncation=True, max_length=5, padding=True)  # leaves its settings behind in the tokenizer
    assert tokenizer_fingerprint(tokenizer) == before
    tokenizer.save_pretrained(tmp_path)
    assert tokenizer_fingerprint(tmp_path) == before
    assert tokenizer_fingerprint(train_tokenizer("wordpiece", texts, 100, 32)) != before
    cased = json.loads((tmp_path / "tokenizer.json").read_text())
    cased["normalizer"]["lowercase"] = False
    (tmp_path / "tokenizer.json").write_text(json.dumps(cased))
    assert tokenizer_fingerprint(tmp_path) != before
