"""Spreadsheets (.xlsx): the rows below a header that may stand anywhere."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

Cell = str | int | float | None


def records(path: Path, columns: Sequence[str]) -> list[tuple[int, dict[str, Cell]]]:
    """Read the first sheet.

    The header is the first row that names all of `columns`; what stands above it is passed over.
    Names are compared without regard to case and to space around them.

    Args:
        path: The .xlsx file.
        columns: Those that must be there.

    Returns:
        Per row that is not blank its place below the header, from 0, and its cells by the
        header's names in lower case.

    Raises:
        FileNotFoundError: There is no such file.
        ModuleNotFoundError: The package openpyxl is not installed.
        ValueError: No row names all of the columns.
    """
    if find_spec("openpyxl") is None:
        raise ModuleNotFoundError(
            f"reading '{path}' needs the package openpyxl: `make setup` installs it."
        )
    if not path.is_file():
        raise FileNotFoundError(f"the spreadsheet '{path}' does not exist: check its name.")
    wanted = {name.lower() for name in columns}
    grid = _grid(path)
    for at, row in enumerate(grid):
        names = [str(cell).strip().lower() if cell is not None else "" for cell in row]
        if wanted <= set(names):
            return [
                (index, {name: _cell(c) for name, c in zip(names, cells, strict=True) if name})
                for index, cells in enumerate(grid[at + 1 :])
                if any(cell is not None for cell in cells)
            ]
    raise ValueError(
        f"the spreadsheet '{path}' must have a row that names {', '.join(columns)}, but none of "
        f"its {len(grid)} rows does: it is another release, or another file."
    )


def _grid(path: Path) -> list[tuple[Any, ...]]:
    import openpyxl

    book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    try:
        return list(book.worksheets[0].iter_rows(values_only=True))
    finally:
        book.close()


def _cell(value: Any) -> Cell:  # noqa: ANN401
    """A cell: text without space around it, an empty one as null."""
    if isinstance(value, str):
        return value.strip() or None
    return value if isinstance(value, int | float) else None if value is None else str(value)
