"""Every setting of the program, as frozen dataclasses that import nothing heavy.

They stand apart from the code that they configure because `hmn --help` shows them and must answer
without importing torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

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


ObjectiveName = Literal["gradient", "features", "distribution", "trajectory", "unrolled"]
Dtype = Literal["float32", "float16", "int8", "int4"]
"""How values are stored."""


@dataclass(frozen=True, kw_only=True)
class CondenseConfig:
    """Condensation. The defaults are the paper's for CIFAR-10. Source: supplement C.2 of arXiv:2310.07506; IDC."""

    objective: ObjectiveName = "gradient"
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
    """Of the container, while it is matched."""
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
class TrajectoryConfig:
    """Trajectory matching, beside CondenseConfig, whose epochs * inner_steps are its iterations.

    The defaults are MTT's code's (distill.py, buffer.py). Source: MTT (arXiv:2203.11932).
    """

    student_steps: int = 20
    """SGD steps of the student on generated images."""
    student_batch: int = 256
    """Generated images a step (all, where there are fewer)."""
    student_lr: float = 0.01
    """Learning rate of the student to begin with: it is learned too."""
    student_lr_rule: Literal["gradient", "nearest"] = "gradient"
    """gradient: by its derivative, with momentum 0.5 (MTT); nearest: towards the rate that, on the same steps, would
    have ended nearest to the expert."""
    student_lr_lr: float = 1e-5
    """Learning rate of that learning rate, or the share of that way, in logarithms, an iteration; 0 keeps it."""
    derivative: Literal["exact", "direct"] = "exact"
    """exact: through all of the student's steps; direct: of every step by itself, later weights held still (TESLA),
    and of kernels and the linear layer's weight alone. A fraction of the time, where a ConvNet runs on a CPU."""
    differentiate_every: int = 1
    """direct only: one at random of so many successive steps is differentiated, and stands for them."""
    expert_steps: int | None = None
    """SGD steps of the expert that count as an epoch below, its weights kept after each; None is an epoch."""
    expert_epochs: int = 3
    """Epochs of the expert between the student's start and its target."""
    averaged: int = 1
    """The target is the mean of the expert's weights after the last so many of these epochs: SGD at a constant rate
    circles around what it finds, and a mean knows better (SWA, arXiv:1803.05407). 1 is MTT's."""
    max_start_epoch: int = 25
    """The student starts where the expert was after 0 to this many epochs, exclusive."""
    experts: int = 100
    expert_lr: float = 0.01
    expert_batch: int = 256
    strayed: int = 0
    """Networks kept that trained on the container's images as they stood, and then on real ones as experts do for
    `expert_epochs`: students start there too. 0 for none, as in MTT."""
    strayed_every: int = 30
    """Iterations from one such network to the next; the oldest makes way."""
    strayed_share: float = 0.5
    """Of the students, as soon as there is one."""
    strayed_steps: int = 1300
    """Steps on the container's images at most; as many as a random number says, at the student's rate."""


@dataclass(frozen=True, kw_only=True)
class UnrolledConfig:
    """Unrolled training, beside CondenseConfig, whose epochs * inner_steps are its iterations.

    The defaults are LinBa's code's for CIFAR-10 at 1 IPC. Source: Remember the Past (arXiv:2206.02916).
    """

    student_steps: int = 150
    student_per_class: int = 32
    """Generated images of each class a step."""
    student_lr: float = 0.01
    student_momentum: float = 0.9
    max_norm: float = 2.0
    """The container's gradient is shortened to this norm."""


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
    trajectory: TrajectoryConfig = TrajectoryConfig()
    """For that objective alone."""
    unrolled: UnrolledConfig = UnrolledConfig()
    """For that objective alone."""
    evaluate: EvaluateConfig = EvaluateConfig()


OWN_LOOPS = ("trajectory", "unrolled")
"""Objectives with a loop and a table of settings of their own, called as they are."""
