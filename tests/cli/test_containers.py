"""Every container with every objective from the command line: condensed, resumed, read, pruned; what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import hmn
from hmn.cli.flags import MethodFlags
from hmn.cli.main import main
from hmn.condensation.loop import condensing
from hmn.condensation.state import CondenseState
from hmn.containers.artifact.load import info
from hmn.containers.choose import choose_shape
from hmn.containers.container import container_class
from hmn.containers.frequency import FrequencyShape
from hmn.containers.mosaic import MosaicShape
from hmn.data.real import RealData
from hmn.recipes.settings import AugmentConfig, CondenseConfig, NetworkConfig, StartConfig
from tests.cli.test_main import refused
from tests.condensation.test_loop import toy

TINY = [
    "--condense.epochs",
    "1",
    "--condense.inner-steps",
    "2",
    "--condense.start.steps",
    "4",
    "--condense.network.width",
    "4",
    "--condense.network.update-batches",
    "1",
    "--condense.real-per-class",
    "4",
    "--condense.generated-per-class",
    "4",
]
KINDS = ("pixels", "mosaic", "factorized", "linear", "inr", "frequency")
DIGITS = ["condense", "digits", "--ipc", "10", "--recipe", "quick"]


@pytest.fixture(scope="module")
def condensed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of every container, each by another objective."""
    place = tmp_path_factory.mktemp("runs")
    objectives = ("features", "gradient", "distribution", "gradient", "distribution", "features")
    for kind, objective in zip(KINDS, objectives, strict=True):
        flags = ["--container", kind, "--objective", objective, "--out", str(place / kind)]
        assert main([*DIGITS, *flags, *TINY]) == 0
    return place


@pytest.mark.parametrize("kind", KINDS)
def test_condensed_folders_say_what_they_hold(
    kind: str, condensed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = condensed / kind
    stored = info(out)
    assert stored.shape.kind == kind and stored.ledger.num_floats <= stored.ledger.budget == 10 * 10 * 64
    assert f'container = "{kind}"' in (out / "recipe.toml").read_text()
    assert 'name = "quick-changed"' in (out / "recipe.toml").read_text()
    assert len(hmn.load(out)) == stored.shape.num_images
    assert main(["ledger", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["container"] == kind and told["floats"] == stored.ledger.num_floats
    assert main(["ledger", "digits", "--ipc", "10", "--container", kind, "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)
    assert {key: planned[key] for key in ("images", "parts")} == {key: told[key] for key in ("images", "parts")}
    assert main(["ledger", str(out)]) == 0 and kind in capsys.readouterr().out
    assert main(["show", str(out), "--out", str(tmp_path / "sheet.png")]) == 0
    assert main(["generate", str(out), "--out", str(tmp_path / "all.npz"), "--format", "npz"]) == 0
    # The same command again goes on with nothing; another container in the same folder is refused.
    capsys.readouterr()
    other = "linear" if kind == "pixels" else "pixels"
    again = [*DIGITS, "--objective", json_setting(out, "objective"), "--out", str(out), "--resume", *TINY]
    assert main([*again, "--container", kind]) == 0
    capsys.readouterr()
    refused(capsys, [*again, "--container", other], "other", "settings")


def json_setting(out: Path, name: str) -> str:
    """A setting of the [condense] table of a run's recipe."""
    import tomllib

    return str(tomllib.loads((out / "recipe.toml").read_text())["condense"][name])


def test_evaluation_names_the_container(condensed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--steps", "3", "--seeds", "1", "--width", "4", "--against", "random", "--json"]
    assert main(["evaluate", str(condensed / "linear"), *flags]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["method"] == "linear" and report["recipe"] == "quick-changed"
    assert [row["method"] for row in report["against"]] == ["random real"]


@pytest.mark.parametrize("kind", KINDS)
def test_pruning_image_by_image_or_the_reason_why_not(
    kind: str, condensed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["prune", str(condensed / kind), "--out", str(tmp_path / "small"), "--method", "random", "--to", "1"]
    if kind == "factorized":
        refused(capsys, command, "base and a hallucinator", "one by one")
        assert not (tmp_path / "small").exists()
        return
    assert main(command) == 0
    smaller = info(tmp_path / "small")
    assert smaller.shape.kind == kind and smaller.shape.images_per_class == (1,) * 10
    assert smaller.ledger.num_floats < info(condensed / kind).ledger.num_floats


MISTAKES = [
    (["--container", "pixels", "--sizes.factor", "2"], "sizes.factor 2", "mosaic"),
    (["--sizes.width", "4"], "sizes.width 4", "inr"),
    (["--container", "mosaic", "--sizes.factor", "0"], "sizes.factor 0", "at least 1"),
    (["--container", "linear", "--sizes.bases", "5000"], "5000 bases", "at most"),
    (["--container", "frequency", "--sizes.coefficients", "65"], "65 coefficients", "at most 64"),
    (["--container", "inr", "--sizes.coefficients", "9"], "sizes.coefficients 9", "frequency"),
    (["--container", "wardrobe"], "wardrobe", "pixels"),
    (["--objective", "hope"], "hope", "distribution"),
    (["--container", "factorized", "--over-budget", "10%"], "--over-budget 10%", "hallucinator"),
    (["--container", "factorized", "--images", "7"], "multiple", "7"),
    (["--condense.momentum", "1"], "condense.momentum 1", "below 1"),
]


@pytest.mark.parametrize(("flags", "got", "expected"), MISTAKES, ids=[" ".join(flags) for flags, _, _ in MISTAKES])
def test_mistakes(
    flags: list[str], got: str, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(capsys, [*DIGITS, *flags, "--out", str(tmp_path / "new")], got, expected)
    assert not (tmp_path / "new").exists()


def test_sizes_reach_the_planner() -> None:
    sizes = {"image_shape": (3, 32, 32), "num_classes": 10}
    shape = choose_shape("cifar10", 1, container="mosaic", sizes={"factor": 4}, **sizes).shape
    assert isinstance(shape, MosaicShape) and shape.factors == (4,) and shape.images_per_class == (16,) * 10
    bounded = choose_shape("cifar10", 10, container="mosaic", sizes={"bound": 20}, **sizes).shape
    assert isinstance(bounded, MosaicShape) and max(bounded.images_per_class) <= 20 and len(bounded.factors) > 1
    few = choose_shape("cifar10", 1, container="frequency", sizes={"coefficients": 30}, **sizes).shape
    assert isinstance(few, FrequencyShape) and few.coefficients == 30 and few.images_per_class == (102,) * 10
    assert choose_shape("cifar10", 1, container="linear", **sizes).shape.images_per_class == (115,) * 10
    assert choose_shape("cifar10", 1, **sizes).shape.kind == "hmn"
    assert MethodFlags(objective="gradient").given(seed=0, ipc=None) == {"seed": 0, "condense.objective": "gradient"}


def new_state(kind: str, real: RealData, config: CondenseConfig) -> CondenseState:
    shape = choose_shape("toy", 3, container=kind, image_shape=(1, 8, 8), num_classes=3).shape
    container = container_class(kind)(shape, class_names=real.class_names, normalisation=real.normalisation)
    return CondenseState(container, real, config, seed=0)


@pytest.mark.parametrize("kind", ["pixels", "mosaic"])
def test_containers_of_images_begin_at_real_ones(kind: str) -> None:
    real = toy()
    config = CondenseConfig(epochs=0, start=StartConfig(kind="real", steps=5))
    state = new_state(kind, real, config)
    assert list(condensing(state)) == []
    wanted = real.images(state.targets)
    error = (state.container.render_all() - wanted).abs()
    assert float(error.max()) == 0.0 if kind == "pixels" else 0 < float(error.mean()) < 0.2
    noise = new_state(kind, real, CondenseConfig(epochs=0, start=StartConfig(kind="noise")))
    assert list(condensing(noise)) == []
    assert float((noise.container.render_all() - wanted).abs().mean()) > float(error.mean())


def test_fitting_goes_on_from_what_was_taken_over() -> None:
    real = toy()
    config = CondenseConfig(epochs=0, start=StartConfig(kind="fitted", steps=20))
    state = new_state("mosaic", real, config)
    records = list(condensing(state))
    assert [record.done for record in records] == [10, 20] and records[-1].loss < records[0].loss


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("kind", ["pixels", "linear"])
def test_a_restored_state_ends_with_the_same_bits(kind: str, optimizer: str) -> None:
    """DSA's settings: cosine distance, SGD, networks trained on what is generated."""
    real = toy()
    config = CondenseConfig(
        objective="gradient",
        distance="cosine",
        optimizer=optimizer,
        lr=0.05,
        schedule="constant",
        epochs=2,  # type: ignore[arg-type]
        inner_steps=2,
        real_per_class=6,
        generated_per_class=4,
        start=StartConfig(kind="real", steps=10),
        network=NetworkConfig(width=8, update_batches=2, update_batch_size=256, trained_on="generated"),
    )
    whole = new_state(kind, real, config)
    losses = [record.loss for record in condensing(whole)]
    broken = new_state(kind, real, config)
    steps = condensing(broken)
    for _ in range(len(losses) - 3):
        next(steps)
    restored = new_state(kind, real, config)
    restored.load_state_dict(broken.state_dict())
    assert [record.loss for record in condensing(restored)] == losses[-3:]
    for name, values in whole.container.state_dict().items():
        assert torch.equal(values, restored.container.state_dict()[name]), name


def test_networks_can_be_trained_on_what_is_generated() -> None:
    """With generated images that are all black the network learns nothing of the real ones."""
    real, found = toy(), {}
    for trained_on in ("real", "generated"):
        network = NetworkConfig(width=8, update_batches=90, update_batch_size=30, trained_on=trained_on)  # type: ignore[arg-type]
        config = CondenseConfig(
            objective="distribution",
            epochs=1,
            inner_steps=1,
            real_per_class=6,
            generated_per_class=2,
            lr=1e-9,
            start=StartConfig(kind="noise"),
            network=network,
        )
        state = new_state("pixels", real, config)
        for parameter in state.container.parameters():
            parameter.data.zero_()
        list(condensing(state))
        assert state.objective.net is not None
        with torch.no_grad():
            logits = state.objective.net(real.normalisation.apply(real.images(torch.arange(len(real)))))
        found[trained_on] = float((logits.argmax(1) == real.labels).float().mean())
    assert found["real"] > 0.8 and found["generated"] < 0.6


def test_the_objective_distribution_lowers_its_own_loss() -> None:
    real = toy()
    config = CondenseConfig(
        objective="distribution",
        epochs=1,
        inner_steps=150,
        real_per_class=10,
        generated_per_class=3,
        lr=0.02,
        augment=AugmentConfig(strategy="none"),
        start=StartConfig(kind="noise"),
        network=NetworkConfig(width=8, update_batches=0),
    )
    losses = [record.loss for record in condensing(new_state("pixels", real, config))]
    assert sum(losses[-20:]) < 0.7 * sum(losses[:20])
