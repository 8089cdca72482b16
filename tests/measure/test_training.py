"""Accuracies on the way and the choice of a schedule: what `hmn evaluate --curve` and `--schedule` record."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hmn.cli.main import main
from hmn.data.load import load_data
from hmn.nets import build_net
from hmn.recipes.settings import AugmentConfig, TrainConfig
from hmn.train.evaluation import Curve, train_and_test
from hmn.train.loop import accuracy, train

CONFIG = TrainConfig(steps=30, batch_size=32, augment=AugmentConfig(strategy="none"), cutmix_probability=0.0)


def test_points_leave_the_training_as_it_is() -> None:
    splits = load_data("digits")
    source, small = splits.train.subset(torch.arange(100)), splits.test.subset(torch.arange(50))
    options = {"net": "convnet2", "width": 4, "config": CONFIG, "seeds": (0, 1)}
    plain = train_and_test(source, splits.test, **options)
    found = train_and_test(source, splits.test, curve=Curve(points=4, test=small), **options)
    assert found.values == plain.values and plain.curve == ()
    # 4 batches a pass: the points 7.5, 15, 22.5 and 30 fall into passes that end after these steps.
    assert [point.step for point in found.curve] == [8, 16, 24, 30]
    assert all(len(point.values) == 2 for point in found.curve)


def test_points_are_accuracies_of_the_network_so_far() -> None:
    splits = load_data("digits")
    source = splits.train.subset(torch.arange(64))
    config = replace(CONFIG, steps=6)
    found = train_and_test(
        source, splits.test, net="convnet2", width=4, config=config, seeds=(3,), curve=Curve(points=3, test=splits.test)
    )
    generator = torch.Generator().manual_seed(3)
    net = build_net("convnet2", num_classes=10, image_shape=source.image_shape, width=4, generator=generator)
    slow = [
        (record.step, accuracy(net, splits.test, normalisation=source.normalisation))
        for record in train(net, source, config, generator=generator)
    ]
    assert [(point.step, point.values[0]) for point in found.curve] == slow
    assert found.curve[-1].values == found.values  # the last point is the end


def test_a_set_larger_than_the_steps_has_one_point() -> None:
    splits = load_data("digits")
    found = train_and_test(
        splits.train,
        splits.test,
        net="convnet2",
        width=4,
        config=replace(CONFIG, steps=5),
        seeds=(0,),
        curve=Curve(points=5, test=splits.test),
    )
    assert [point.step for point in found.curve] == [5]


def test_the_command_records_curve_and_schedule(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "a.json"
    given = ["evaluate", "digits", "--subset", "10", "--steps", "8", "--net", "convnet2", "--width", "4"]
    given += ["--seeds", "2"]
    assert main([*given, "--curve", "2", "--curve-images", "40", "--schedule", "multistep", "--out", str(out)]) == 0
    found = json.loads(out.read_text())
    assert (found["schedule"], found["lr"], found["curve_images"]) == ("multistep", 0.1, 40)
    assert "multistep" in found["protocol"] and [point["step"] for point in found["curve"]] == [4, 8]
    for point in found["curve"]:
        assert len(point["values"]) == 2 and point["mean"] == pytest.approx(sum(point["values"]) / 2, abs=1e-4)
        assert all((value * 40 / 100).is_integer() for value in point["values"])  # of 40 images
    capsys.readouterr()
    assert main([*given, "--json"]) == 0
    plain = json.loads(capsys.readouterr().out)
    assert "curve" not in plain and (plain["schedule"], plain["lr"]) == ("cosine", 0.01)
    assert plain["accuracy_percent"]["values"] != found["accuracy_percent"]["values"]
    assert main([*given, "--curve", "-1"]) == 2 and main([*given, "--curve-images", "0"]) == 2
