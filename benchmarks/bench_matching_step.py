"""The matching step of one class: the product's central difference against other ways to the same gradient.

    python benchmarks/bench_matching_step.py [--repeats 5]

64 real and 85 generated images of 32 pixels, ConvNet-3 of width 128 and 32, eager. Times are medians of alternated
repetitions; errors are relative, of the image gradient, against double backward in float64. The last line is a JSON
object: ratio_X_wW is the time of form X over the product's (above 1: the product is faster).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.reference.matching import gradient_matching

from hmn.data.source import Batch
from hmn.nets import Net, build_net
from hmn.objectives import gradient_match
from hmn.objectives.base import convolution_kernels
from hmn.runtime import keep_freed_memory

Form = Callable[[Net, Batch, Batch], Tensor]


def product(net: Net, real: Batch, generated: Batch) -> Tensor:
    """Central difference with the ReLU masks held."""
    return gradient_match(net, real, generated).image_grad


def double_backward(net: Net, real: Batch, generated: Batch) -> Tensor:
    """The straightforward way: differentiate the squared distance through the gradient, in float32."""
    kernels = convolution_kernels(net)
    g_real = torch.autograd.grad(F.cross_entropy(net(real.images), real.labels), kernels)
    images = generated.images.detach().requires_grad_()
    g_generated = torch.autograd.grad(F.cross_entropy(net(images), generated.labels), kernels, create_graph=True)
    loss = torch.stack([(a - b).square().sum() for a, b in zip(g_generated, g_real, strict=True)]).sum()
    return torch.autograd.grad(loss, images)[0]


def forward_over_reverse(net: Net, real: Batch, generated: Batch) -> Tensor:
    """Exact: the Jacobian-vector product, along the distance's gradient, of the first-order image gradient."""
    kernels = {name: p.detach() for name, p in net.named_parameters() if p.dim() == 4}
    others = {name: p.detach() for name, p in net.named_parameters() if p.dim() != 4}

    def loss(kernels: dict[str, Tensor], images: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(torch.func.functional_call(net, {**kernels, **others}, (images,)), labels)

    g_real = torch.func.grad(loss)(kernels, real.images, real.labels)
    g_generated = torch.func.grad(loss)(kernels, generated.images, generated.labels)
    along = {name: 2 * (g_generated[name] - g_real[name]) for name in kernels}
    image_gradient = torch.func.grad(loss, argnums=1)
    tangent = torch.func.jvp(lambda k: image_gradient(k, generated.images, generated.labels), (kernels,), (along,))[1]
    assert isinstance(tangent, Tensor)
    return tangent


FORMS: dict[str, Form] = {
    "product": product,
    "double_backward": double_backward,
    "forward_over_reverse": forward_over_reverse,
}


def main() -> None:
    """Time the forms in turn and print medians, ratios and errors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    keep_freed_memory()
    report: dict[str, float] = {}
    for width in (128, 32):
        generator = torch.Generator().manual_seed(0)
        net = build_net("convnet3", num_classes=10, image_shape=(3, 32, 32), width=width, generator=generator)
        real = Batch(torch.randn(64, 3, 32, 32, generator=generator), torch.full((64,), 3))
        generated = Batch(torch.randn(85, 3, 32, 32, generator=generator), torch.full((85,), 3))
        _, exact = gradient_matching(net, real, generated, distance="squared")
        times: dict[str, list[float]] = {name: [] for name in FORMS}
        for repeat in range(repeats + 1):  # the first round warms up
            for name, form in FORMS.items():
                start = time.perf_counter()
                found = form(net, real, generated)
                if repeat:
                    times[name].append(time.perf_counter() - start)
                else:
                    report[f"error_{name}_w{width}"] = float((found.double() - exact).norm() / exact.norm())
        for name in FORMS:
            seconds, ours = median(times[name]), median(times["product"])
            print(f"width {width}, {name}: {seconds:.3f} s, error {report[f'error_{name}_w{width}']:.1e}")
            if name != "product":
                report[f"ratio_{name}_w{width}"] = round(seconds / ours, 2)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
