"""Data sets of the Hugging Face hub to columns."""

from __future__ import annotations

import datasets
from datasets.exceptions import DatasetsError
from huggingface_hub.errors import HTTPError

from raykd.config import DataConfig
from raykd.data.load.columns import RawSplit, choose, class_names, pick
from raykd.errors import DataError, one_line


def read(config: DataConfig, split: str) -> RawSplit:
    """Fetches one split, or takes it from the hub's own cache.

    Raises:
        DataError: it cannot be fetched, or a column is missing.
    """
    name = config.source if config.subset is None else f"{config.source} ({config.subset})"
    where = f"{name}, split {split!r}"
    try:
        data = datasets.load_dataset(config.source, config.subset, split=split)
    except (DatasetsError, HTTPError, OSError, ValueError, RuntimeError) as error:
        mend = "check the name, data.subset and the network; for local files, data.source is an existing folder"
        raise DataError(where, f"cannot be fetched from the hub: {one_line(error, 300)}", mend) from None
    names = choose(config, data.column_names, where)
    schema = data.features.arrow_schema
    return RawSplit(
        pick(data.with_format("arrow")[:], names, config), where, names, class_names(schema, names["label"])
    )
