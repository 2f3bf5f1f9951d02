"""Which layer of the teacher a layer of the student matches; layers are counted from 1."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

Pairs = tuple[tuple[int, int], ...]


def layer_pairs(layers: str | Mapping[int, int], student: int, teacher: int, seed: int) -> Pairs:
    """(student layer, teacher layer) of each pair, by rising student layer.

    uniform: g(l) = round(l · T / S), so that the last layers meet (Jiao et al., "TinyBERT", 2020, section 3.1);
    last: g(l) = T − S + l and skip: g(l) = l · ⌊T / S⌋ (Sun et al., "Patient Knowledge Distillation", 2019, section
    3.2); top: (S, T) alone. Controls: reverse, the teacher layers of uniform from the last to the first; random, S of
    the teacher's layers in an order drawn from the seed.

    Args:
        layers: the name of a map, or the pairs themselves.
        student, teacher: S and T, how many layers they have.

    Raises:
        ValueError: a layer that is named is not there, or the map needs a teacher that is as deep as the student.
    """
    if isinstance(layers, Mapping):
        for whose, depth, named in (("student", student, layers.keys()), ("teacher", teacher, layers.values())):
            if max(named) > depth:
                raise ValueError(f"the {whose} has {depth} layers, layer {max(named)} is asked for")
        return tuple(sorted(layers.items()))
    own = range(1, student + 1)
    uniform = [max(1, (2 * layer * teacher + student) // (2 * student)) for layer in own]  # rounded half up
    match layers:
        case "top":
            return ((student, teacher),)
        case "uniform":
            theirs = uniform
        case "reverse":
            theirs = uniform[::-1]
        case "last" | "skip" | "random" if teacher < student:
            raise ValueError(f"layers {layers}: the student has {student} layers and the teacher {teacher}")
        case "last":
            theirs = [teacher - student + layer for layer in own]
        case "skip":
            theirs = [layer * (teacher // student) for layer in own]
        case "random":
            drawn = np.random.default_rng([seed, *b"layers"]).permutation(teacher)[:student]
            theirs = [int(layer) + 1 for layer in drawn]
        case _:
            raise ValueError(f"there is no layer map {layers!r}")
    return tuple(zip(own, theirs, strict=True))
