"""Tokenizers: WordPiece and byte-level BPE trained on a corpus, the same in every process, and those of a folder."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from raykd.errors import ModelError
from raykd.models.hub_errors import reading

TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "tokenizer.model")
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
KINDS = ("wordpiece", "bpe")
ALPHABET = 1000
"""Most characters of a WordPiece vocabulary; rarer ones are unknown."""
SMALLEST_BPE = 256 + len(SPECIAL)
LARGEST_CORPUS = 20_000_000
"""Characters that a vocabulary is learnt from, some 200,000 short texts: of a million it took 39 s."""
# The start of a word while WordPiece is trained. A private-use character: the normalizer removes those from texts.
WORD_START = "\ue000"


def train_tokenizer(kind: str, texts: Iterable[str], vocab_size: int, max_length: int) -> PreTrainedTokenizerFast:
    """A lower-case tokenizer of at most `vocab_size` tokens, a function of the texts (in any order) alone.

    Of texts of more than `LARGEST_CORPUS` characters together it is trained on a part.

    Args:
        kind: `wordpiece` (BERT's) or `bpe` (byte-level, nothing is unknown to it).
        max_length: recorded as the length that the tokenizer's model takes.

    Raises:
        ModelError: a byte-level vocabulary that has no room for the 256 bytes.
    """
    rows = _some(list(texts))
    tokenizer = _wordpiece(rows, vocab_size) if kind == "wordpiece" else _bpe(rows, vocab_size)
    cls, sep = SPECIAL.index("[CLS]"), SPECIAL.index("[SEP]")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", cls), ("[SEP]", sep)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=max_length,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        **{f"{token.strip('[]').lower()}_token": token for token in SPECIAL},
    )


def read_tokenizer(path: Path, where: str) -> PreTrainedTokenizerBase:
    """The tokenizer in a folder.

    Raises:
        ModelError: there is none, it is unreadable, or it cannot pad.
    """
    # Without its files transformers makes an empty tokenizer, for which every word is unknown.
    if not any((path / file).is_file() for file in TOKENIZER_FILES):
        raise ModelError(where, "has no tokenizer files", "save the tokenizer beside the model")
    with reading(where, "tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False, local_files_only=True)
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise ModelError(where, "its tokenizer has no fast form", "save it with a tokenizer.json")
    if tokenizer.pad_token_id is None:
        raise ModelError(where, "its tokenizer has no padding token", "choose an encoder: BERT, RoBERTa, ELECTRA, …")
    return tokenizer


def check_vocab_size(kind: str, vocab_size: int) -> None:
    """ModelError where a byte-level vocabulary has no room for the 256 bytes."""
    if kind == "bpe" and vocab_size < SMALLEST_BPE:
        raise ModelError(
            "tokenizer bpe", f"vocab_size {vocab_size} is too small", f"at least {SMALLEST_BPE}: all bytes"
        )


def _some(texts: list[str]) -> list[str]:
    """The texts, or so many that they have `LARGEST_CORPUS` characters: by their checksums, so in any order."""
    if sum(map(len, texts)) <= LARGEST_CORPUS:
        return texts
    ordered = sorted(texts, key=lambda text: (zlib.crc32(text.encode()), text))
    ends = np.cumsum([len(text) for text in ordered])
    return ordered[: max(1, int(np.searchsorted(ends, LARGEST_CORPUS, side="right")))]


def _wordpiece(texts: Sequence[str], vocab_size: int) -> Tokenizer:
    """WordPiece whose vocabulary comes from BPE over words that begin with a mark.

    The library's own WordPiece trainer numbers the `##` pieces in the order of a randomly seeded hash map and breaks
    ties by these numbers, so that two processes learn two vocabularies. BPE numbers characters by code point.
    """
    normalizer = normalizers.BertNormalizer(lowercase=True)
    alphabet = _alphabet(texts, normalizer, min(ALPHABET, (vocab_size - len(SPECIAL)) // 2))
    words = Tokenizer(models.BPE())
    words.normalizer = normalizer
    words.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.BertPreTokenizer(),
            pre_tokenizers.Metaspace(replacement=WORD_START, prepend_scheme="always", split=False),
        ]
    )
    # The trainer drops rare characters by an unstable sort; it keeps those that it is given, and no others fit.
    start = [WORD_START, *alphabet]
    words.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocab_size,
            min_frequency=2,
            initial_alphabet=start,
            limit_alphabet=len(start),
            show_progress=False,
        ),
    )
    trained = sorted(words.get_vocab().items(), key=lambda item: item[1])
    pieces = [*SPECIAL, *alphabet, *(f"##{letter}" for letter in alphabet)]
    pieces += [token[1:] if token[0] == WORD_START else f"##{token}" for token, _ in trained if token != WORD_START]
    vocabulary = {piece: k for k, piece in enumerate(list(dict.fromkeys(pieces))[:vocab_size])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def _alphabet(texts: Sequence[str], normalizer: normalizers.Normalizer, size: int) -> list[str]:
    """The `size` most frequent characters, ties by code point, in the order of their code points."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(normalizer.normalize_str(text))
    letters = [letter for letter in counts if not letter.isspace()]
    return sorted(sorted(letters, key=lambda letter: (-counts[letter], letter))[:size])


def _bpe(texts: Sequence[str], vocab_size: int) -> Tokenizer:
    """Byte-level BPE as GPT-2 has it, lower-case."""
    check_vocab_size("bpe", vocab_size)
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocab_size,
            min_frequency=2,
            special_tokens=SPECIAL,
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        ),
    )
    return tokenizer
