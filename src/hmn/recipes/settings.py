"""Every setting of the program, apart from what it configures: `hmn --help` shows them and must not import torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from hmn.recipes.ranges import Count, Momentum, Positive, Range, Seed, Share


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """Differentiable augmentation (DSA, with IDC's semantics).

    Source: DSA (arXiv:2102.08259) in the form of IDC (arXiv:2205.14959), whose default is "color_crop_cutout".
    """

    strategy: str = "color_crop_cutout"
    """Operations joined by "_": color, crop, scale, rotate, flip, cutout; or "none"."""
    at_once: Literal["all", "one"] = "all"
    """all: every listed operation, of crop, scale and rotate one (IDC); one: a single one of those listed (DSA)."""
    brightness: float = 1.0
    """Brightness shift is uniform in +-brightness/2, in normalised units."""
    saturation: float = 2.0
    """Saturation factor is uniform in [0, saturation]."""
    contrast: float = 0.5
    """Contrast factor is uniform in 1 +- contrast."""
    crop_share: Share = 0.125
    """Shift of the crop, at most this share of the side, zero-padded."""
    scale: Annotated[float, Range(1)] = 1.2
    """Zoom factor is uniform in [1/scale, scale], per axis."""
    rotate_degrees: float = 15.0
    cutout_share: Share = 0.5
    """Side of the square hole as a share of the image side."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Training a network on labelled images. Source: supplement C.2 of arXiv:2310.07506."""

    steps: int | None = None
    """Optimizer steps in all; overrides epochs."""
    epochs: int = 2000
    batch_size: int = 64
    lr: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 2e-4
    schedule: Literal["cosine", "multistep", "halfway", "thirds", "constant"] = "cosine"
    """cosine anneals to min_lr; multistep by 0.1 at 30, 60 and 90 % of training (supplement D.3, with lr 0.1); halfway
    by 0.1 after half of it (DC, DSA); thirds by 0.2 after 2/3 and 5/6 (IDC); constant."""
    min_lr: float = 1e-4
    augment: AugmentConfig = AugmentConfig()
    cutmix_probability: float = 0.5
    cutmix_alpha: float = 1.0
    """CutMix draws its area from Beta(alpha, alpha); where CutMix is on, cutout is dropped from the augmentation."""


@dataclass(frozen=True, kw_only=True)
class StartConfig:
    """Where a container starts from."""

    kind: Literal["real", "fitted", "noise"] = "real"
    """real: a random choice of real images, taken over where the container holds images (pixels, mosaic), bases that
    are images (factorized) or frequencies of images (frequency), else fitted to reconstruct them (squared error) before
    matching; fitted: fitted in any case; noise: as drawn."""
    steps: int = 1500
    """Adam steps of the reconstruction."""
    lr: Positive = 0.01
    batch: Count = 1024
    """Images rendered a step, of all classes (all of them where there are fewer)."""

    def steps_for(self, *, exact: bool) -> int:
        """Steps of the reconstruction, for a container that takes real images over (`exact`) or one that does not."""
        return self.steps if self.kind == "fitted" or (self.kind == "real" and not exact) else 0


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """The networks that gradients or features are taken from, trained as condensation goes on."""

    name: str = "convnet3"
    width: Count | None = 128
    trained_on: Literal["real", "generated"] = "real"
    """real images (IDC, the paper), or the generated ones as they are at that moment (DC, DSA)."""
    warm_up_batches: int = 0
    """Batches that a new network is trained on before its first sweep."""
    update_batches: int = 32
    """Batches after each sweep."""
    update_batch_size: Count = 64
    lr: float = 0.01
    momentum: Momentum = 0.9
    weight_decay: float = 5e-4
    cutmix_probability: Share = 0.5


Dtype = Literal["float32", "float16", "int8", "int4"]
"""How values are stored."""


@dataclass(frozen=True, kw_only=True)
class CondenseConfig:
    """Condensation. The defaults are the paper's for CIFAR-10. Source: supplement C.2 of arXiv:2310.07506; IDC."""

    objective: str = "gradient"
    """gradient: match weight gradients (the paper). features: match class means of features, with cross-entropy.
    distribution: match class means of what the classifier sees (DM). trajectory: a student's way to an expert's (MTT).
    unrolled: cross-entropy on real images after a training on generated ones (LinBa)."""
    distance: Literal["squared", "absolute", "cosine"] = "squared"
    """gradient only: of gradients, summed over all convolution kernels; cosine (DC, DSA): over filters and the linear
    layer too."""
    cross_entropy_weight: float = 1.0
    """features only: weight of the trained network's cross-entropy, averaged over a class and summed over classes."""
    epochs: int = 1000
    """Fresh networks."""
    inner_steps: int = 200
    """Sweeps over all classes a network."""
    real_per_class: Count = 64
    generated_per_class: Count = 128
    """At most this many generated images of a class a sweep (a random choice where there are more)."""
    optimizer: Literal["adam", "sgd"] = "adam"
    """What steps the container along its gradients while it is matched."""
    lr: Positive = 0.01
    beta1: Momentum = 0.9
    """adam only."""
    beta2: Momentum = 0.99
    """adam only."""
    momentum: Momentum = 0.5
    """sgd only."""
    schedule: Literal["step", "cosine", "constant"] = "step"
    """step: times 0.1 at 60 and 80 % of the epochs; cosine: to zero, sweep by sweep; constant."""
    step_per: Literal["sweep", "class"] = "sweep"
    """An Adam step after all classes, or after each (as IDC's code does with its unshared pixels)."""
    learned_as: Dtype = "float32"
    """While matched, images are those of a container stored so, and gradients go straight through the rounding."""
    augment: AugmentConfig = AugmentConfig()
    start: StartConfig = StartConfig(kind="noise")
    network: NetworkConfig = NetworkConfig()

    @property
    def num_sweeps(self) -> int:
        return self.epochs * self.inner_steps


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Training networks on a source, several seeds, and testing each at its last epoch."""

    net: str = "convnet3"
    width: Count | None = 128
    protocol: str = "short"
    """Name of the training protocol: hmn list has them."""
    seeds: Count = 3


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that a condensation is made from, besides the data: written beside its results as recipe.toml."""

    name: str
    cost: str
    """What it takes, in words."""
    ipc: Count
    seed: Seed = 0
    minutes: float | None = None
    """Where the recipe's dial stood (--minutes), where it was turned; the iterations are what that came to."""
    container: str = "hmn"
    """What the images are stored as: a name of `hmn.recipes.kinds.CONTAINERS`."""
    sizes: Mapping[str, Count] = field(default_factory=dict)
    """Sizes of that container, where they are not the ones that its plan chooses."""
    condense: CondenseConfig = CondenseConfig()
    settings: Mapping[str, Any] = field(default_factory=dict)
    """The objective's own, by name: its `Settings`, as a table of the objective's name in files and flags."""
    evaluate: EvaluateConfig = EvaluateConfig()
