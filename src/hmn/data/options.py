"""How a data set is found and read, stated once for Python and the command line, whose help needs no numpy."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hmn.errors import UserError


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """How to find and read a data set. The verbs' data flags are made from it, with the lines below as their help.
    Raises UserError: a size below 1, channels other than 1 or 3, a seed outside 0..2^63 - 1, or a share outside (0, 1).
    """

    data_dir: Path | None = None
    """Folder that holds named data sets (default: $HMN_DATA)."""
    download: bool = False
    """Fetch a named data set that is not there."""
    size: int | None = None
    """Resize and crop every image to this side, in pixels."""
    channels: int | None = None
    """1 for grey, 3 for colour."""
    skip_bad: bool = False
    """Go on past images that cannot be read, and count them."""
    image_column: str | None = None
    """Parquet: column of the images."""
    label_column: str | None = None
    """Parquet: column of the labels."""
    split_seed: int | None = None
    """Data without a test split: seed by which one is split off (default: 0)."""
    test_share: float | None = None
    """Data without a test split: share of each class to split off (default: 0.2)."""
    progress: bool | None = None
    """Whether to show a bar on stderr; None shows one where stderr is a terminal."""
    cache: bool = True
    """Keep the decoded images in $HMN_CACHE or the platform's cache folder."""

    def __post_init__(self) -> None:
        if self.size is not None and self.size < 1:
            raise UserError(f"--size {self.size}: expected a side of at least 1 pixel")
        if self.channels not in (None, 1, 3):
            raise UserError(f"--channels {self.channels}: expected 1 (grey) or 3 (RGB)")
        if self.test_share is not None and not 0 < self.test_share < 1:
            raise UserError(f"test share {self.test_share}: expected a fraction between 0 and 1, for example 0.2")
        if self.split_seed is not None and not 0 <= self.split_seed < 2**63:
            raise UserError(f"split seed {self.split_seed}: expected 0 or more, below 2^63")

    def absolute(self) -> DataOptions:
        """The same with the data folder from the root."""
        return self if self.data_dir is None else replace(self, data_dir=self.data_dir.expanduser().resolve())

    def recorded(self) -> dict[str, Any]:
        """What shapes the data, as JSON holds it: enough to read the data of a finished run again."""
        values = {name: getattr(self, name) for name in SHAPING}
        return {name: str(value.resolve()) if isinstance(value, Path) else value for name, value in values.items()}

    def completed(self, recorded: object, *, same_place: bool) -> DataOptions:
        """These, with a run's `recorded` ones where none are given; its data folder only in the same place."""
        if not isinstance(recorded, dict):
            return self
        changes: dict[str, Any] = {}
        for name in SHAPING if same_place else SHAPING[1:]:
            given, value = getattr(self, name), recorded.get(name)
            if (given is None or given is False) and value is not None:  # seed 0 is given
                changes[name] = Path(value) if name == "data_dir" else value
        return replace(self, **changes)


SHAPING = ("data_dir", "size", "channels", "skip_bad", "image_column", "label_column", "split_seed", "test_share")
"""Options that the data of a finished run are read with again; the folder comes first."""
