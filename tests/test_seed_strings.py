"""Every key that feeds a seed, written down here a second time: a rename that changes one changes every student."""

from __future__ import annotations

import hashlib
import zlib
from typing import Any

import numpy as np
import pytest
import torch

from raykd.config import DataConfig
from raykd.data import order
from raykd.data.batch import Batch
from raykd.data.holdout import draw_budget, holdout
from raykd.objective.features import linear
from raykd.objective.layer_map import layer_pairs
from raykd.training.dropout import dropout_seed
from raykd.training.job import WorkerContext
from raykd.training.replacement_sampler import ReplacementSampler
from raykd.weighting.policy import model as policy
from raykd.weighting.rules import Random

WORKER = WorkerContext(0, 1, torch.device("cpu"), 1)
MASK = (1 << 64) - 1


def generator(*words: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=np.array(words, dtype=np.uint64)))


@pytest.mark.parametrize(("seed", "step", "micro", "rank"), [(0, 0, 0, 0), (3, 41, 2, 1)])
def test_dropout_is_seeded_by_seed_step_micro_batch_and_rank(seed: int, step: int, micro: int, rank: int) -> None:
    digest = hashlib.blake2b(f"{seed}/{step}/{micro}/{rank}".encode("ascii"), digest_size=7).hexdigest()
    assert dropout_seed(seed, step, micro, rank) == int(digest, 16)


@pytest.mark.parametrize("purpose", ["quiz", "reward"])
def test_a_draw_is_keyed_by_what_it_is_for_step_and_number(purpose: str) -> None:
    encoder: Any = None  # draw() needs none
    ids = np.arange(100, 160)
    sampler = ReplacementSampler(purpose, encoder, ids, 8, seed=5, worker=WORKER)
    for step, draw in ((0, 0), (7, 1)):
        key = zlib.crc32(b"%s/%d/%d" % (purpose.encode(), step, draw))
        assert np.array_equal(sampler.draw(step, draw), ids[generator(5, key).integers(60, size=8)])


def test_a_draw_beside_a_batch_leaves_the_batch_out() -> None:
    encoder: Any = None
    sampler = ReplacementSampler("quiz", encoder, np.arange(20), 50, 1, WORKER, lambda step: np.arange(step, step + 10))
    left = np.setdiff1d(np.arange(20), np.arange(4, 14))
    assert np.array_equal(sampler.draw(4), left[generator(1, zlib.crc32(b"quiz/4/0")).integers(10, size=50)])


class LabelledRows:
    """As `Rows`, of one label and no domains: the strata are then no part of the choice."""

    def __init__(self, count: int) -> None:
        self.count = count

    def labels(self, ids: np.ndarray) -> np.ndarray:
        return np.zeros(len(ids), np.int64)

    def domains(self, ids: np.ndarray) -> None:
        return None


def test_the_budget_and_its_parts_are_keyed_by_their_names() -> None:
    rows: Any = LabelledRows(200)
    config = DataConfig(source="generated", seed=9, validation_from_train=0.1, quiz=0.2, reward=0.3, fraction=0.5)
    budget, rest = draw_budget(rows, np.arange(200), config, "here")
    assert np.array_equal(budget, np.sort(generator(9, zlib.crc32(b"train")).permutation(200)[:100]))
    assert np.array_equal(rest, np.setdiff1d(np.arange(200), budget))
    parts, left = holdout(rows, budget, config, "here"), budget
    for name, count in (("validation", 10), ("quiz", 20), ("reward", 30)):
        chosen = np.sort(generator(9, zlib.crc32(name.encode())).permutation(len(left))[:count])
        assert np.array_equal(parts[name], left[chosen]), name
        left = np.delete(left, chosen)
    assert np.array_equal(parts["train"], left)


def test_the_random_rule_draws_by_the_step_alone() -> None:
    logits_KBC = torch.zeros(5, 4, 2)
    for step in (0, 3, 17):
        batch = Batch(np.arange(4), torch.zeros(4, dtype=torch.int64), {}, step, 0, 4)
        drawn = int(Random(11).weigh(batch, logits_KBC)[0].argmax())
        assert drawn == generator(11, zlib.crc32(f"teacher/{step}".encode("ascii"))).integers(5)


def test_the_order_of_an_epoch_is_keyed_by_seed_and_epoch() -> None:
    ids = np.arange(1000, 1037)
    for epoch in (0, 4):
        assert np.array_equal(order.epoch_order(6, epoch, ids, 8, None), ids[generator(6, epoch).permutation(37)])


def test_rows_of_like_length_are_ordered_by_the_same_generator() -> None:
    """One window: the permutation, a stable sort of all whole batches by length, a permutation of the batches."""
    ids, lengths = np.arange(37), np.random.default_rng(0).integers(3, 9, 37)
    rng = generator(6, 2)
    places = rng.permutation(37)
    whole = sorted(places[:32].tolist(), key=lambda place: lengths[place])
    batches = [whole[k : k + 8] for k in range(0, 32, 8)]
    expected = [place for k in rng.permutation(4) for place in batches[k]] + places[32:].tolist()
    assert order.epoch_order(6, 2, ids, 8, lengths).tolist() == expected


def test_projections_of_features_are_seeded_by_seed_and_name() -> None:
    for seed, name in ((0, "tokens"), (7, "first")):
        key = int(hashlib.blake2b(f"{seed}/{name}".encode("ascii"), digest_size=4).hexdigest(), 16)
        drawn = torch.empty(3, 8).normal_(0.0, 8**-0.5, generator=torch.Generator().manual_seed(key))
        assert torch.equal(linear(8, 3, torch.float32, seed, name).weight, drawn)


def test_the_random_map_of_layers_is_drawn_from_the_seed() -> None:
    drawn = np.random.default_rng([5, *b"layers"]).permutation(12)[:4] + 1
    assert layer_pairs("random", 4, 12, 5) == tuple(enumerate(drawn.tolist(), 1))


def splitmix64(x: int) -> int:
    """Steele, Lea, Flood, "Fast splittable pseudorandom number generators" (2014), in Python's own integers."""
    z = (x + 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def test_the_policys_numbers_are_keyed_by_seed_step_row_and_teacher() -> None:
    seed, step, ids = 3, 12, [0, 5, 900]
    expected = []
    for row in ids:
        key = splitmix64((splitmix64((splitmix64(seed) + step) & MASK) + row) & MASK)
        expected.append([(splitmix64((key + k) & MASK) >> 11) / 2**53 for k in (1, 2, 3, 4)])
    assert policy.uniforms(seed, step, np.array(ids), 4).tolist() == expected
