"""The cost model: what it makes of exact timings, and its predictions where operations are the only time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from hmn.condense.cost.footprint import Memory, absent_bytes, per_image
from hmn.condense.cost.operations import Counts, NetOperations, matching_operations
from hmn.condense.cost.price import batch_seconds, estimate, matching_seconds, price
from hmn.condense.cost.trial import Seen, Sizes, blank_splits, extended
from hmn.condense.loop import condense
from hmn.condense.run import new_state
from hmn.containers.hmn_sizes import HmnShape
from hmn.containers.shape import Budget
from hmn.data.real import Splits
from hmn.errors import UserError
from hmn.recipes.named import recipe
from hmn.recipes.settings import CondenseConfig, NetworkConfig, Recipe, StartConfig
from hmn.runtime.memory import begin_peak, peak_bytes, resident_bytes
from tests.condense.cost.flop_clock import FlopClock

NET = NetOperations(forward=100, first=10)
WHOLE = Counts(classes=40, real_per_class=64, generated_per_class=80, update_batches=32, update_batch_size=64)
SMALL = replace(WHOLE, classes=1, real_per_class=16, generated_per_class=16, update_batches=0)
ONE = replace(WHOLE, classes=1, update_batches=0)
SIZES = Sizes(SMALL, ONE, replace(ONE, classes=4), replace(SMALL, update_batches=3))
PER_IMAGE = 0.001
STARTS = {100: Seen(0.5 + 100 * PER_IMAGE, None), 400: Seen(0.5 + 400 * PER_IMAGE, None)}


@pytest.fixture(autouse=True)
def _uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HMN_COMPILE", "0")


def law(counts: Counts, *, step_per: str = "sweep") -> float:
    """Seconds of a sweep on a machine that keeps to the model."""
    rendered = counts.generated * (counts.classes if step_per == "class" else 1)
    each = 0.02 * counts.classes + 1e-6 * matching_operations(counts, NET, "gradient")
    return 0.3 + each + PER_IMAGE * rendered + 0.05 * counts.update_batches


@pytest.mark.parametrize("step_per", ["sweep", "class"])
def test_the_law_is_found_again(step_per: Any) -> None:
    seen = {name: Seen(law(counts, step_per=step_per), None) for name, counts in SIZES._asdict().items()}
    config = CondenseConfig(step_per=step_per)
    found = matching_seconds(WHOLE, SIZES, seen, STARTS, NET, config)
    assert found == pytest.approx(law(replace(WHOLE, update_batches=0), step_per=step_per))
    assert batch_seconds(WHOLE, SIZES, seen) == pytest.approx(0.05)


def test_fewer_images_are_scaled_by_operations() -> None:
    one = replace(ONE, real_per_class=32, generated_per_class=40)
    sizes = Sizes(SMALL, one, replace(one, classes=4), replace(SMALL, update_batches=1, update_batch_size=16))
    seen = {name: Seen(law(counts), None) for name, counts in sizes._asdict().items()}
    found = matching_seconds(WHOLE, sizes, seen, STARTS, NET, CondenseConfig())
    assert found == pytest.approx(law(replace(WHOLE, update_batches=0)), rel=0.01)
    assert batch_seconds(WHOLE, sizes, seen) == pytest.approx(4 * 0.05)  # this law's batches cost alike; ours do not


def test_noise_makes_nothing_negative() -> None:
    seen = {name: Seen(1.0, None) for name in Sizes._fields}
    assert matching_seconds(WHOLE, SIZES, seen, STARTS, NET, CondenseConfig()) > 0
    assert batch_seconds(WHOLE, SIZES, seen) == 0


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
        for record in condense(state, splits.train, settings.condense):
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


def test_estimate_refuses_bad_settings() -> None:
    splits, shape, settings = small_job()
    with pytest.raises(UserError, match="lr"):
        estimate(splits, shape, replace(settings, condense=replace(settings.condense, lr=-1.0)))


def test_stand_ins_take_no_memory() -> None:
    splits = blank_splits("blank", image_shape=(3, 224, 224), num_classes=50, images_per_class=1000)
    assert splits.train.pixels.untyped_storage().nbytes() == 3 * 224 * 224
    assert absent_bytes(splits.train) == (50_000 - 1) * 3 * 224 * 224
    assert splits.train.labels.bincount().tolist() == [1000] * 50


MEMORY = Memory(
    whole=WHOLE,
    sizes=SIZES,
    loaded=500,
    resting=1000,
    absent=7,
    parameters=10,
    together=1,
    above={"small": 100.0, "one": 200.0, "few": 200.0 + 3 * 80 * 2, "update": 50.0},
    steps={100: 300.0, 400: 900.0},
    start_batch=0,
    held=2.0,
)


def test_memory_grows_with_what_is_rendered() -> None:
    assert per_image(MEMORY.steps) == 2.0
    # A class a group: beyond the first only rendering grows, by 2 bytes for each of a class's 80 images.
    large = replace(MEMORY, above={**MEMORY.above, "one": 700.0, "few": 700.0 + 3 * 80 * 2})
    assert large.working() == 700 + 39 * 80 * 2
    assert large.peak() == 7 + 1000 + large.working()
    assert large.working(processes=4) == 700 + 9 * 80 * 2
    assert large.device(4) == 4 * 4 * 10 / 4 + large.working(4)
    grouped = replace(MEMORY, together=10, above={**MEMORY.above, "few": 1000.0})
    each = (1000 - 200) / 3 - 160  # of a class in its group
    assert grouped.working() == pytest.approx(1000 + 6 * each + 36 * 160)


def test_images_hold_less_while_they_wait_than_when_they_are_sent_back() -> None:
    waiting = replace(MEMORY, held=1.5, above={**MEMORY.above, "few": 200.0 + 3 * 80 * 1.5})
    # All 3,200 images at once, as in a step of the reconstruction: 900 for 400, and 2 for each more.
    assert waiting.working() == 900 + 2 * 2800
    matching = replace(waiting, above={**waiting.above, "one": 5000.0, "few": 5000.0 + 3 * 80 * 1.5})
    assert matching.working() == 5000 + 39 * 80 * 1.5


def test_the_highest_phase_decides() -> None:
    assert replace(MEMORY, loaded=10**6).peak() == 7 + 10**6
    assert replace(MEMORY, parameters=10**4).working() == 2 * 3 * 4 * 10**4
    assert replace(MEMORY, above={**MEMORY.above, "update": 1e6}).working() == 1e6
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
