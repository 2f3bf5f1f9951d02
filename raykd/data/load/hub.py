"""Data sets of the Hugging Face hub to columns."""

from __future__ import annotations

import datasets
from datasets.exceptions import DatasetsError
from huggingface_hub.errors import HTTPError

from raykd.data.load.columns import ColumnNames, RawSplit, choose, class_names, pick
from raykd.errors import DataError, one_line


def read(source: str, subset: str | None, split: str, wanted: ColumnNames) -> RawSplit:
    """Fetches one split, or takes it from the hub's own cache.

    Raises:
        DataError: it cannot be fetched, or a column is missing.
    """
    name = source if subset is None else f"{source} ({subset})"
    where = f"{name}, split {split!r}"
    try:
        data = datasets.load_dataset(source, subset, split=split)
    except (DatasetsError, HTTPError, OSError, ValueError, RuntimeError) as error:
        mend = f"check the name, {wanted.key}.subset and the network; for local files, {wanted.key}.source is a folder"
        raise DataError(where, f"cannot be fetched from the hub: {one_line(error, 300)}", mend) from None
    names = choose(wanted, data.column_names, where)
    schema = data.features.arrow_schema
    return RawSplit(
        pick(data.with_format("arrow")[:], names, wanted), where, names, class_names(schema, names.get("label"))
    )
