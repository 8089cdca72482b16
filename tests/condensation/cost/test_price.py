"""The cost model: what it makes of exact timings, and its predictions where operations are the only time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

import hmn
from hmn.condensation.cost.price import Memory, absent_bytes, per_image, price
from hmn.condensation.cost.trial import blank_splits, extended
from hmn.condensation.loop import condensing
from hmn.condensation.objectives import matching
from hmn.condensation.objectives.matching import Counts
from hmn.condensation.run import new_state
from hmn.condensation.state import CondenseState
from hmn.containers.hmn_sizes import HmnShape
from hmn.containers.pixels import Pixels
from hmn.containers.shape import Budget
from hmn.data.real import Splits
from hmn.errors import UserError
from hmn.recipes.named import recipe
from hmn.recipes.settings import CondenseConfig, NetworkConfig, Recipe, StartConfig
from hmn.runtime.memory import begin_peak, peak_bytes, resident_bytes
from tests.condensation.cost.flop_clock import FlopClock

WHOLE = Counts(classes=40, real_per_class=64, generated_per_class=80)
ONE, FEW = WHOLE._replace(classes=1), WHOLE._replace(classes=4)


@pytest.fixture(autouse=True)
def _uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HMN_COMPILE", "0")


def test_noise_makes_nothing_negative() -> None:
    assert extended({10: 1.0, 30: 1.0}, 90) == 1.0
    assert extended({10: 2.0, 30: 7.0}, 90) == 21.0  # in proportion: nothing fixed is negative


def test_extension() -> None:
    assert extended({10: 3.0, 30: 5.0}, 50) == pytest.approx(7.0)
    assert extended({10: 3.0}, 20) == pytest.approx(6.0)
    assert extended({10: 3.0, 30: 2.0}, 90) == pytest.approx(2.0)  # more is never cheaper


@pytest.mark.parametrize(
    ("objective", "step_per"), [("gradient", "sweep"), ("features", "sweep"), ("gradient", "class")]
)
def test_prediction_where_operations_are_time(objective: Any, step_per: Any) -> None:
    splits, shape, settings = small_job(objective=objective, step_per=step_per)
    with FlopClock() as clock:
        found = price(splits, shape, settings, clock=lambda: 1e-9 * clock.total, budget_seconds=0.5).estimate
        clock.total = 0
        state = new_state(splits, shape, settings)
        took = []
        for record in condensing(state):
            took.append((record.phase, 1e-9 * clock.total))
            clock.total = 0
    sweeps = [operations for phase, operations in took[1:] if phase == "condense"]
    assert found.seconds_per_sweep == pytest.approx(sweeps[1], rel=0.02)
    if step_per == "sweep":
        assert found.operations_per_sweep == pytest.approx(1e9 * sweeps[1], rel=0.1)
    start = sum(operations for phase, operations in took if phase == "start")
    assert found.start_seconds == pytest.approx(start, rel=0.02)
    # The first sweep is a new network's, with its first training.
    warm_up = settings.condense.network.warm_up_batches * found.update_seconds / 3
    assert sweeps[0] == pytest.approx(found.seconds_per_sweep + warm_up, rel=0.02)
    expected = start + 4 * sweeps[1] + 2 * warm_up
    assert found.total_seconds == pytest.approx(expected, rel=0.02)


def small_job(**values: Any) -> tuple[Splits, HmnShape, Recipe]:
    splits = blank_splits("blank", image_shape=(3, 8, 8), num_classes=6, images_per_class=30)
    shape = HmnShape.plan(Budget.of_images(10, 6, (3, 8, 8), real_per_class=30))
    base = recipe("quick", dataset="blank", ipc=10, image_shape=(3, 8, 8))
    network = NetworkConfig(width=8, update_batches=3, update_batch_size=16, warm_up_batches=2)
    condense = replace(
        base.condense,
        epochs=2,
        inner_steps=2,
        real_per_class=24,
        generated_per_class=20,
        network=network,
        start=StartConfig(kind="real", steps=20, batch=30),
        **values,
    )
    return splits, shape, replace(base, condense=condense)


def test_a_plan_refuses_bad_settings() -> None:
    with pytest.raises(UserError, match=r"condense\.lr"):
        hmn.plan("digits", ipc=1, settings={"condense.lr": -1.0})


def test_stand_ins_take_no_memory() -> None:
    splits = blank_splits("blank", image_shape=(3, 224, 224), num_classes=50, images_per_class=1000)
    assert splits.train.pixels.untyped_storage().nbytes() == 3 * 224 * 224
    assert absent_bytes(splits.train) == (50_000 - 1) * 3 * 224 * 224
    assert splits.train.labels.bincount().tolist() == [1000] * 50


MEMORY = Memory(
    loaded=500,
    resting=1000,
    absent=7,
    parameters=10,
    step=lambda processes: 200.0,
    training=50.0,
    fits={100: 300.0, 400: 900.0},
    start_batch=0,
    rendered=40,
)


def step_bytes(above: dict[Counts, float], *, together: int, held: float = 2.0, processes: int = 1) -> float:
    """Those of a sweep over WHOLE, of whose classes so many are matched together."""
    side = int((matching.CLASSES_TOGETHER_VALUES / together / WHOLE.images) ** 0.5)
    splits = blank_splits("blank", image_shape=(1, side, side), num_classes=40, images_per_class=64)
    container = Pixels(
        Pixels.shape_class.plan(Budget(num_classes=40, image_shape=(1, side, side), floats=40 * 80 * side**2)),
        class_names=splits.train.class_names,
        normalisation=splits.train.normalisation,
    )
    state = CondenseState(container, splits.train, CondenseConfig(), seed=0)
    assert state.objective.counts(state) == WHOLE
    return float(state.objective.step_bytes(state, above, held, processes))


def test_memory_grows_with_what_is_rendered() -> None:
    assert per_image(MEMORY.fits) == 2.0
    # A class a group: beyond the first only rendering grows, by 2 bytes for each of a class's 80 images.
    large = {ONE: 700.0, FEW: 700.0 + 3 * 80 * 2}
    assert step_bytes(large, together=1) == 700 + 39 * 80 * 2
    assert step_bytes(large, together=1, processes=4) == 700 + 9 * 80 * 2
    each = (1000 - 200) / 3 - 160  # of a class in its group
    assert step_bytes({ONE: 200.0, FEW: 1000.0}, together=10) == pytest.approx(1000 + 6 * each + 36 * 160)
    waiting = {ONE: 5000.0, FEW: 5000.0 + 3 * 80 * 1.5}
    assert step_bytes(waiting, together=1, held=1.5) == 5000 + 39 * 80 * 1.5


def test_memory_of_images_that_no_trial_had() -> None:
    """One class with half of its images was the largest: the others are added, and every class's are rendered."""
    half = ONE._replace(real_per_class=32, generated_per_class=40)
    quarter = ONE._replace(real_per_class=16, generated_per_class=20)
    found = step_bytes({quarter: 500.0, half: 900.0}, together=1)
    assert found == pytest.approx(900 + 39 * 40 * 2 + 72 * 400 / 36 + 40 * 40 * 2)


def test_the_highest_phase_decides() -> None:
    assert MEMORY.working() == 2 * 3 * 4 * 10  # a checkpoint
    assert replace(MEMORY, rendered=3200).working() == 900 + 2 * 2800  # all at once, as in a step of the reconstruction
    assert replace(MEMORY, step=lambda processes: 8000 / processes).device(4) == 4 * 4 * 10 / 4 + 2000
    assert replace(MEMORY, loaded=10**6).peak() == 7 + 10**6
    assert MEMORY.peak() == 7 + 1000 + MEMORY.working()
    assert replace(MEMORY, parameters=10**4).working() == 2 * 3 * 4 * 10**4
    assert replace(MEMORY, training=1e6).working() == 1e6
    assert replace(MEMORY, training=1e6).working(processes=4) == 1e6 / 4
    assert replace(MEMORY, start_batch=10**6).working() == pytest.approx(900 + 2 * (10**6 - 400))


def test_peak_memory_begins_anew() -> None:
    if not begin_peak():
        pytest.skip("this system keeps one peak a process")
    resting, before = resident_bytes(), peak_bytes()
    assert resting is not None and before is not None
    values = torch.ones(25 * 2**20)
    del values
    high = peak_bytes()
    assert high is not None and high - before > 80 * 2**20
    begin_peak()
    after = peak_bytes()
    assert after is not None and after < high - 80 * 2**20
