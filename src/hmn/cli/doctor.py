"""`hmn doctor`: what the program finds on this machine."""

import os
from pathlib import Path
from typing import Any

from hmn.cli import flags
from hmn.cli.plan import memory_size
from hmn.runtime.console import print_facts, print_json, tell
from hmn.runtime.memory import keep_freed_memory

EXTRAS = {
    "vision": ("torchvision", "timm", "scipy"),
    "data": ("pyarrow",),
    "report": ("matplotlib", "jinja2"),
    "distributed": ("ray", "submitit"),
}
"""Optional packages by the extra that installs them."""


def doctor(*, json: flags.Json = False) -> None:
    """Report versions, machine, extras and folders."""
    found = findings()
    if json:
        print_json(found)
        return
    hardware = found["hardware"]
    machine = {
        "processor": f"{hardware['cpu']}, {hardware['cores']} cores, {hardware['threads']} threads of torch",
        "memory": memory_size(hardware["memory_bytes"]),
        "accelerator": hardware["accelerator"] or "none: everything runs on the processor",
        "freed memory": "kept for the next step"
        if found["keeps_freed_memory"]
        else "handed back: training pays page faults",
        "ConvNets": found["convnet_path"],
    }
    # Four groups of lines, a blank one between them.
    told = {
        "versions": {**found["versions"], "commit": found["commit"] or "none: not a checkout"},
        "machine": machine,
        "extras": {name: extra_words(name, packages) for name, packages in found["extras"].items()},
        "folders": {name: folder_words(**place) for name, place in found["folders"].items()},
    }
    for number, (title, facts) in enumerate(told.items()):
        if number:
            tell("")
        print_facts(title, facts)


def extra_words(extra: str, packages: dict[str, str | None]) -> str:
    """What of an extra is installed, and how to install the rest."""
    here = [f"{package} {version}" for package, version in packages.items() if version]
    absent = [package for package, version in packages.items() if not version]
    command = [f"without {', '.join(absent)}: pip install 'hmn[{extra}]'"] if absent else []
    return "; ".join(here + command)


def folder_words(path: str, exists: bool, problem: str | None) -> str:
    """A folder, and what is wrong with it."""
    return path + (f" ({problem})" if problem else "" if exists else " (not there yet)")


def findings() -> dict[str, Any]:
    """Everything that `hmn doctor` tells."""
    from hmn.nets import native
    from hmn.runtime import facts
    from hmn.runtime.device import choose_device

    return {
        "versions": facts.versions(),
        "commit": facts.commit(),
        "hardware": facts.hardware(native.state()),
        "keeps_freed_memory": keep_freed_memory(),
        "convnet_path": convnet_path(choose_device()),
        "extras": {
            name: {package: facts.installed(package) for package in packages} for name, packages in EXTRAS.items()
        },
        "folders": folders(),
    }


def convnet_path(device: str) -> str:
    """How ConvNets are trained and matched on this machine."""
    import torch

    from hmn.nets import build_net
    from hmn.train.step import training_path

    shape = (3, 32, 32)
    net = build_net("convnet3", num_classes=2, image_shape=shape, width=16, generator=torch.Generator())
    return training_path(net.to(device), shape)


def folders() -> dict[str, dict[str, Any]]:
    """Where named data are looked up and decoded images are kept."""
    from hmn.data.named import data_root
    from hmn.runtime.files import cache_folder

    # A variable that names no folder stops the other verbs; here it is what is asked about.
    told = os.environ.get("HMN_DATA")
    found = {"data": Path(told).expanduser() if told else data_root(None), "cache": cache_folder()}
    return {
        name: {
            "path": str(path),
            "exists": path.exists(),
            "problem": "is a file: expected a folder" if path.exists() and not path.is_dir() else None,
        }
        for name, path in found.items()
    }
