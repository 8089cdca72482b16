"""Real images to compare with: random ones, coresets, all of them."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Literal

from hmn.cli_console import note
from hmn.cli_data import DEFAULT_RECIPE
from hmn.cli_sources import SUBSET_SEED, VALIDATION_SEED, VALIDATION_SHARE, WHOLE, Candidate, real_candidate
from hmn.settings import TrainConfig

if TYPE_CHECKING:
    from torch import Tensor

    from hmn.data.real import RealData, Splits
    from hmn.select import Selection

CORESETS: tuple[Selection, ...] = ("random", "herding", "k-center")
FEATURE_STEPS, FEATURE_WIDTH, FEATURE_SEED = 2000, 64, 0
"""The network by whose features herding and k-center choose: optimizer steps, width of a ConvNet, seed."""
LEAST_CHOSEN = 50
"""Images of a class that are chosen and kept at least, where the class has as many: fewer are the first of them."""


class Chooser:
    """Chooses coresets of one set of training images. The network that this takes is trained at most once.

    Choices are kept in the cache folder, by images, network and training.
    """

    def __init__(self, data: RealData) -> None:
        """Args:
        data: training images; nothing else is ever seen.
        """
        from hmn.recipe import recipe

        self.data = data
        named = recipe(DEFAULT_RECIPE, dataset=data.name, ipc=1, image_shape=data.image_shape)
        self.net = named.evaluate.net
        self.width = FEATURE_WIDTH if self.net.startswith("convnet") else None
        self.config = TrainConfig(steps=FEATURE_STEPS, cutmix_probability=0.0)
        self._features: Tensor | None = None
        self._images: str | None = None
        self._cut: tuple[Chooser, RealData] | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """How the features come about."""
        return {
            "net": self.net, "width": self.width, "train_steps": self.config.steps, "seed": FEATURE_SEED,
            "trained_on": f"{len(self.data):,} training images",
        }  # fmt: skip

    def choose(self, method: Selection, per_class: int) -> Tensor:
        """Indices of `per_class` images of each class, class by class, the first chosen first: int64 [classes * it].

        Raises:
            UserError: a class has fewer images.
        """
        import torch

        from hmn.kept import kept
        from hmn.select import select

        counts = self.data.labels.bincount(minlength=self.data.num_classes)
        most = max(per_class, min(LEAST_CHOSEN, int(counts.min())))
        if method == "random" or most > int(counts.min()):
            return select(self.data, method, per_class, features=self._all_features(method), seed=SUBSET_SEED)
        found = kept(self._about(method, most), lambda: {"chosen": self._chosen(method, most)})
        return torch.tensor(found["chosen"]).view(-1, most)[:, :per_class].flatten()

    def in_turns(self, method: Selection, per_class: int) -> Tensor:
        """The same images with the classes taking turns."""
        return self.choose(method, per_class).view(-1, per_class).T.flatten()

    def cut(self) -> tuple[Chooser, RealData]:
        """A chooser of the images less a validation tenth of each class, and that tenth: the same at every call.

        Raises:
            UserError: a class has only one image.
        """
        from hmn.data import split_validation

        if self._cut is None:
            rest, validation = split_validation(self.data, share=VALIDATION_SHARE, seed=VALIDATION_SEED)
            self._cut = Chooser(rest), validation
        return self._cut

    def images_key(self) -> str:
        """Checksum of the images that are chosen from."""
        from hmn.aum import images_checksum

        if self._images is None:
            self._images = images_checksum(self.data)
        return self._images

    def _chosen(self, method: Selection, per_class: int) -> list[int]:
        from hmn.select import select

        return select(self.data, method, per_class, features=self._all_features(method)).tolist()

    def _about(self, method: Selection, per_class: int) -> dict[str, Any]:
        from hmn import facts

        return {
            "what": "coreset", "images": self.images_key(), "method": method, "per_class": per_class,
            "features": self.facts, "config": asdict(self.config), "versions": facts.versions(),
        }  # fmt: skip

    def _all_features(self, method: Selection) -> Tensor | None:
        from hmn.device import choose_device
        from hmn.select import trained_features

        if method == "random":
            return None
        if self._features is None:
            width = "" if self.width is None else f", width {self.width}"
            note(f"features: training {self.net}{width} for {self.config.steps:,} steps on the training images")
            self._features = trained_features(
                self.data, self.config, net=self.net, width=self.width, seed=FEATURE_SEED, device=choose_device()
            )
        return self._features


def coreset(splits: Splits, method: Selection, per_class: int, *, chooser: Chooser | None = None) -> Candidate:
    """Real images chosen from the training split, stored as they are.

    Args:
        splits: choice is among splits.train alone.
        method: random, herding or k-center.
        per_class: images of each class.
        chooser: of splits.train, where other coresets come from the same.

    Raises:
        UserError: a class has fewer images.
    """
    chooser = chooser or Chooser(splits.train)
    index = chooser.choose(method, per_class)
    by_chance = method == "random"
    how = f"at random, seed {SUBSET_SEED}" if by_chance else f"by {method} on features of {feature_words(chooser)}"
    record = {
        "method": method, "per_class": per_class, "seed": SUBSET_SEED if by_chance else FEATURE_SEED,
        "features": None if by_chance else chooser.facts,
    }  # fmt: skip
    return real_candidate(
        f"{method} real", splits.train.subset(index), splits, detail=f"{per_class} per class {how}",
        record={"selection": record},
    )  # fmt: skip


def feature_words(chooser: Chooser) -> str:
    """The network by whose features is chosen, in words."""
    width = "" if chooser.width is None else f" of width {chooser.width}"
    return f"a {chooser.net}{width} trained for {chooser.config.steps:,} steps, seed {FEATURE_SEED}"


def budget_coreset(splits: Splits, method: Selection, target: Candidate, chooser: Chooser) -> Candidate:
    """As many real images as the target's budget holds as floats."""
    found = coreset(splits, method, target.ipc, chooser=chooser)
    return replace(found, detail=f"{found.detail}: the budget in floats")


def whole(splits: Splits, on: Literal["test", "validation"]) -> Candidate:
    """All training images."""
    return real_candidate(WHOLE[on], splits.train, splits, detail="")
