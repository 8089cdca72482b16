"""How far the product's container gradient is from float64 double backward, along a real run.

    python benchmarks/check_gradient.py --data-dir DIR --ipc 1 --width 128 --steps 50

Every sweep's whole container gradient is compared: with float64 where it holds the ReLU masks that float32 found
(same_masks), with float64 as it is (free_masks), and double backward in float32 with float64 (plain_float32), which is
what rounding alone does to any method. The last line is a JSON object with the largest and the median relative errors.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.reference.trajectory import Errors, relative_errors

from hmn.condensation.run import new_state
from hmn.containers.hmn_sizes import preset
from hmn.data.load import load_data
from hmn.data.options import DataOptions
from hmn.recipes.named import recipe
from hmn.recipes.settings import StartConfig


def main() -> None:
    """Run the comparison and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--ipc", type=int, default=1)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--steps", type=int, default=50)
    given = parser.parse_args()
    splits = load_data("cifar10", DataOptions(data_dir=given.data_dir))
    shape = preset("cifar10", given.ipc)
    assert shape is not None
    named = recipe("paper", dataset="cifar10", ipc=given.ipc, image_shape=(3, 32, 32))
    network = replace(named.condense.network, width=given.width, update_batches=8)
    config = replace(named.condense, network=network, start=StartConfig(kind="real", steps=100))
    state = new_state(splits, shape, replace(named, condense=config))
    errors: list[Errors] = []
    for step, error in enumerate(relative_errors(state, steps=given.steps), start=1):
        errors.append(error)
        print(
            f"step {step}: " + ", ".join(f"{name} {value:.1e}" for name, value in error._asdict().items()), flush=True
        )
    report: dict[str, float] = {"ipc": given.ipc, "width": given.width, "steps": len(errors)}
    for name in Errors._fields:
        values = [getattr(error, name) for error in errors]
        report |= {f"error_{name}_max": max(values), f"error_{name}_median": median(values)}
        report[f"above_0.001_{name}"] = sum(value > 1e-3 for value in values)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
