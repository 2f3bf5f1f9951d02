"""The embedded corpus: seeded, noisy as asked, and beyond a bag of words."""

from __future__ import annotations

import time

import numpy as np
import pyarrow as pa
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from raykd.config import GeneratorConfig
from raykd.data.generated.generator import LABELS, TEMPLATES, generate
from raykd.data.generated.vocabulary import DOMAINS, NEGATIVE, POSITIVE


def texts(table: pa.Table) -> list[str]:
    return table.column("text").to_pylist()


def positive(table: pa.Table) -> np.ndarray:
    return np.array([label == "positive" for label in table.column("label").to_pylist()])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_bag_of_words_stays_low(seed: int) -> None:
    made = generate(GeneratorConfig(seed=seed))
    bag = TfidfVectorizer(token_pattern=r"\S+")
    train = bag.fit_transform(texts(made["train"]))
    scores = [
        LogisticRegression(C=strength, max_iter=1000)
        .fit(train, positive(made["train"]))
        .score(bag.transform(texts(made["validation"])), positive(made["validation"]))
        for strength in (0.1, 1.0, 10.0)
    ]
    assert max(scores) <= 0.78


def test_the_seed_decides() -> None:
    first, again, other = (generate(GeneratorConfig(seed=seed)) for seed in (0, 0, 1))
    assert first == again
    assert all(first[split] != other[split] for split in first)


def test_rows_labels_domains() -> None:
    made = generate(GeneratorConfig(rows=500, validation_rows=100, domains=6))
    assert {name: table.num_rows for name, table in made.items()} == {"train": 500, "validation": 100}
    assert set(made["train"].column("domain").to_pylist()) == {domain.name for domain in DOMAINS}
    assert set(made["train"].column("label").to_pylist()) == set(LABELS)
    assert positive(made["validation"]).sum() == 50


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.3])
def test_the_share_of_flipped_labels(noise: float) -> None:
    clean = generate(GeneratorConfig(rows=1000, noise=0.0))
    noisy = generate(GeneratorConfig(rows=1000, noise=noise))
    assert texts(clean["train"]) == texts(noisy["train"])
    assert (positive(clean["train"]) != positive(noisy["train"])).sum() == round(1000 * noise)
    assert clean["validation"] == noisy["validation"]


@pytest.mark.parametrize("seed", range(5))
def test_no_validation_review_stands_in_train(seed: int) -> None:
    made = generate(GeneratorConfig(seed=seed))
    assert not set(texts(made["train"])) & set(texts(made["validation"]))


def test_clean_labels_say_what_the_words_say() -> None:
    """An independent reading of the two commonest ways: the word's polarity, turned by a negation."""
    table = generate(GeneratorConfig(noise=0.0))["train"]
    by_domain = {domain.name: domain for domain in DOMAINS}
    read = 0
    for text, label, name in zip(*(table.column(c).to_pylist() for c in ("text", "label", "domain")), strict=True):
        words = text.split()
        if any(cue in words for cue in ("told", "expected", "more", "less", "than")):
            continue
        good = [word in POSITIVE or word in by_domain[name].positive for word in words]
        bad = [word in NEGATIVE or word in by_domain[name].negative for word in words]
        turned = any(word in ("not", "never") for word in words)
        assert sum(good) + sum(bad) == 1, text
        assert (label == "positive") == (any(good) != turned), text
        read += 1
    assert read > 0.6 * table.num_rows


def test_it_is_fast() -> None:
    start = time.perf_counter()
    generate(GeneratorConfig())
    assert time.perf_counter() - start < 2  # 0.06 s on an idle core


def test_shares_sum_to_one() -> None:
    assert sum(share for share, _ in TEMPLATES) == pytest.approx(1)


def test_a_domains_words_are_its_own() -> None:
    for domain in DOMAINS:
        assert not set(domain.positive) & set(domain.negative)
        assert not set(domain.positive + domain.negative) & set(POSITIVE + NEGATIVE)
    turning = {word for domain in DOMAINS for word in domain.positive} & {w for d in DOMAINS for w in d.negative}
    assert turning == {"predictable"}
