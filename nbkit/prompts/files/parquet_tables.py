"""Tables in Parquet files, of which only what is needed is read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from nbkit.errors import InputError
from nbkit.prompts.files.choice import Column, describe_column

INDEX_OF_PANDAS = "__index_level_"
SAMPLED_ROWS = 100
STREAMED_ROWS = 1000
BUFFER_BYTES = 2**20
"""Of a column that are read at a time, where rows are streamed."""


class ParquetTable:
    """A Parquet file of which only the head is read so far.

    Raises
    ------
    InputError
        The bytes, or later the columns, cannot be read as Parquet.
    """

    def __init__(self, name: str, data: bytes | Path) -> None:
        from pyarrow import BufferReader, parquet

        self._name = name
        try:
            source = BufferReader(data) if isinstance(data, bytes) else str(data)
            self._file: Any = parquet.ParquetFile(source, buffer_size=BUFFER_BYTES)
            schema = self._file.schema_arrow
        except Exception as error:  # damaged files surface as whatever the part of pyarrow at hand raises
            self._refuse(error)
        # pandas writes the index of a filtered or sorted table as one more column.
        self._fields = [field for field in schema if not field.name.startswith(INDEX_OF_PANDAS)]

    @property
    def names(self) -> list[str]:
        """The columns' names."""
        return [field.name for field in self._fields]

    def columns(self) -> list[Column]:
        """The columns, each by its type and by its first values."""
        texts = [field.name for field in self._fields if _may_hold_text(field.type)]
        try:
            # Images and the like are not read.
            batch = next(self._file.iter_batches(batch_size=SAMPLED_ROWS, columns=texts), None) if texts else None
            sample = {} if batch is None else {key: batch.column(key).to_pylist() for key in set(texts)}
        except Exception as error:  # whatever class, as in opening the file
            self._refuse(error)
        return [
            describe_column(field.name, sample.get(field.name, ()), self.names, _may_hold_text(field.type))
            for field in self._fields
        ]

    def rows(self, names: list[str]) -> list[dict[str, Any]]:
        """All rows, of these columns."""
        try:
            table = self._file.read(columns=names)
            cells = [table.column(name).to_pylist() for name in names]
        except Exception as error:  # whatever class, as in opening the file
            self._refuse(error)
        return [dict(zip(names, row, strict=True)) for row in zip(*cells, strict=True)]

    @property
    def count(self) -> int:
        """How many rows there are."""
        return int(self._file.metadata.num_rows)

    def stream(self, names: list[str]) -> Iterator[dict[str, Any]]:
        """All rows, of these columns, some at a time."""
        try:
            for batch in self._file.iter_batches(batch_size=STREAMED_ROWS, columns=names):
                cells = [batch.column(name).to_pylist() for name in names]
                yield from (dict(zip(names, row, strict=True)) for row in zip(*cells, strict=True))
        except Exception as error:  # whatever class, as in opening the file
            self._refuse(error)

    def _refuse(self, error: Exception) -> NoReturn:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{self._name} cannot be read as Parquet: {reason.removesuffix('.')}.") from None


def _may_hold_text(kind: Any) -> bool:
    from pyarrow import types

    if types.is_dictionary(kind):
        return _may_hold_text(kind.value_type)
    without_text = (
        types.is_primitive,  # numbers, booleans, dates and times
        types.is_decimal,
        types.is_null,
        types.is_binary,
        types.is_large_binary,
        types.is_fixed_size_binary,
    )
    return not any(is_of(kind) for is_of in without_text) and str(kind) != "binary_view"
