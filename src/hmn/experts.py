"""The experts of trajectory matching as files of a run's folder: an epoch each, so that no epoch is trained twice.

Resuming would otherwise train them again, for hours on real data; and in published settings memory need not hold them
(100 networks after each of 27 epochs are 3.6 GB). A finished run needs them no more, and its folder has none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import final, overload

import torch

from hmn.checkpoint import load_checkpoint, save_checkpoint
from hmn.condense import CondenseRecord
from hmn.data.real import RealData
from hmn.errors import UserError
from hmn.expert_growth import Expert, Grown, epochs_of, new_expert, next_epoch
from hmn.objectives.unroll import Weights
from hmn.settings import CondenseConfig, TrajectoryConfig
from hmn.trajectory import TrajectoryState

EXPERTS = "experts"
"""Their folder, in the run's."""
_FILE = re.compile(r"\.?\d{4,}-\d{3,}\.safetensors(\.[0-9a-f]{8}\.tmp)?")
_SEEDS_APART = 1_000_003


@final
class ExpertFiles(Sequence[Expert]):
    """Experts that are read when they are asked for, and trained where they are not there."""

    def __init__(
        self, folder: Path, real: RealData, config: CondenseConfig, own: TrajectoryConfig, *, seed: int,
        device: torch.device | str = "cpu",
    ) -> None:  # fmt: skip
        self.folder, self.real, self.config, self.own, self.seed, self.device = folder, real, config, own, seed, device

    def __len__(self) -> int:
        return self.own.experts

    @overload
    def __getitem__(self, number: int) -> Expert: ...
    @overload
    def __getitem__(self, number: slice) -> list[Expert]: ...
    def __getitem__(self, number: int | slice) -> Expert | list[Expert]:
        numbers = range(len(self))[number]
        if isinstance(numbers, int):
            return _Epochs(self, numbers)
        found: list[Expert] = [_Epochs(self, one) for one in numbers]
        return found

    def grown(self, number: int, epochs: int) -> Grown:
        """An expert after some epochs."""
        path = self.folder / f"{number:04d}-{epochs:03d}.safetensors"
        try:
            return Grown(**load_checkpoint(path))
        except UserError:  # not there, or damaged: the seed makes the same again
            pass
        if epochs:
            found = next_epoch(self.real, self.config, self.own, self.grown(number, epochs - 1), self.device)
        else:
            seed = ((self.seed + 1) * _SEEDS_APART + number) % 2**63
            found = new_expert(self.real, self.config, seed=seed)
        self.folder.mkdir(exist_ok=True)
        save_checkpoint(path, found._asdict())
        return found


@final
class _Epochs(Sequence[Weights]):
    """One expert's weights, before training and after each epoch."""

    def __init__(self, files: ExpertFiles, number: int) -> None:
        self.files, self.number = files, number

    def __len__(self) -> int:
        return 1 + epochs_of(self.files.own)

    @overload
    def __getitem__(self, epochs: int) -> Weights: ...
    @overload
    def __getitem__(self, epochs: slice) -> list[Weights]: ...
    def __getitem__(self, epochs: int | slice) -> Weights | list[Weights]:
        chosen = range(len(self))[epochs]
        if isinstance(chosen, int):
            return self.files.grown(self.number, chosen).weights
        return [self.files.grown(self.number, one).weights for one in chosen]


def train_experts(state: TrajectoryState, files: ExpertFiles) -> Iterator[CondenseRecord]:
    """Train what is not trained yet, yielding a record after every epoch."""
    epochs = epochs_of(files.own)
    total = len(files) * epochs
    while state.expert_epochs_done < total:
        number, done = divmod(state.expert_epochs_done, epochs)
        loss = files.grown(number, done + 1).loss
        state.expert_epochs_done += 1
        yield CondenseRecord("experts", state.expert_epochs_done, total, loss)


def forget_experts(out: Path) -> None:
    """Remove the experts of a run's folder, and nothing that is not theirs."""
    folder = out / EXPERTS
    if folder.is_symlink() or not folder.is_dir():
        return
    for path in folder.iterdir():
        if _FILE.fullmatch(path.name):
            path.unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()
