"""Which devices this machine has. Detection runs in a child: it loads GPU drivers."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from kforge.codec import from_json
from kforge.errors import InfraError, MissingPrerequisite, NoDevice, UsageError
from kforge.eval.sandbox import PACKAGE_ROOT, scrubbed_environment
from kforge.open_types import HostCpu, OpenDevice
from kforge.types import DeviceInfo, Language

# Indexes of devices mean something only together with these.
DEVICE_CHOICE = ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "ONEAPI_DEVICE_SELECTOR")
_PROBE = """
import sys; sys.path.insert(0, sys.argv[1])
import importlib, json
from kforge.codec import to_json
from kforge.errors import InfraError, KforgeError
module, function = sys.argv[2].split(":")
try:
    found = getattr(importlib.import_module(module), function)()
    print(json.dumps({"devices": [json.loads(to_json(d)) for d in found]}))
except InfraError as error:
    print(json.dumps({"broken": [error.message, error.next_step]}))
except KforgeError as error:
    print(json.dumps({"missing": [error.message, error.next_step]}))
"""
# There where the kernel has NVIDIA's driver.
_NVIDIA_CONTROL = "/dev/nvidiactl"
# Language to the function that lists its devices, best first.
_LISTS: Mapping[Language, str] = {
    "sycl": "kforge.eval.sycl_runtime:list_devices",
    "cuda": "kforge.eval.cuda_devices:list_cuda_devices",
}
_WHERE_FROM: Mapping[Language, str] = {
    "sycl": "pip install 'kforge[sycl]' (brings an OpenCL CPU device)",
    "cuda": "run it on a machine with an NVIDIA GPU and driver, or use --language sycl",
}


def detect_devices(language: Language) -> tuple[DeviceInfo, ...]:
    """All devices of a language, best first (SYCL: Level-Zero GPU, OpenCL GPU, OpenCL CPU).

    Raises:
        MissingPrerequisite: the language's extra is missing, or its libraries do not load.
        InfraError: a driver is there and broken.
    """
    try:
        probe = subprocess.run(
            [sys.executable, "-I", "-c", _PROBE, PACKAGE_ROOT, _LISTS[language]],
            capture_output=True, text=True, timeout=60, check=False, env=device_environment(),
        )  # fmt: skip
        answer = json.loads(probe.stdout.strip().splitlines()[-1])
    except (subprocess.TimeoutExpired, ValueError, IndexError) as error:
        raise MissingPrerequisite(
            f"Asking the {language.upper()} runtime for its devices failed or took over a minute.",
            "run `kforge doctor`",
        ) from error
    if "broken" in answer:
        raise InfraError(*answer["broken"])
    if "missing" in answer:
        raise MissingPrerequisite(*answer["missing"])
    return tuple(from_json(DeviceInfo, json.dumps(device)) for device in answer["devices"])


def device_environment() -> dict[str, str]:
    """What a process that uses devices may see of the environment: also which of them the user gave it."""
    return scrubbed_environment({name: os.environ[name] for name in DEVICE_CHOICE if name in os.environ})


def choose_device(language: Language, wanted: str) -> DeviceInfo:
    """The device to run on.

    Args:
        language: of the candidates.
        wanted: ``auto``, ``cpu``, ``gpu``, or a selector such as ``opencl:cpu:0`` or ``cuda:1``.

    Raises:
        NoDevice: there is none of that kind; the message lists what there is.
        UsageError: ``wanted`` is none of these words.
        MissingPrerequisite: the language's extra is missing.
    """
    devices = detect_devices(language)
    listed = ", ".join(f"{d.selector} ({d.name})" for d in devices) or "none"
    if wanted == "auto":
        matching = list(devices)
    elif wanted in ("cpu", "gpu"):
        matching = [d for d in devices if d.is_cpu == (wanted == "cpu")]
    elif wanted.count(":") in (1, 2):
        parts = wanted.split(":")
        matching = [d for d in devices if d.selector.split(":")[: len(parts)] == parts]
    else:
        known = ", ".join(["auto", "cpu", "gpu", *(d.selector for d in devices)])
        hint = "; to build CUDA only, `kforge eval` takes sm_80, sm_89, sm_90a" if language == "cuda" else ""
        raise UsageError(
            f"--device {wanted!r} is not auto, cpu, gpu or a selector.", f"one of: {known}{hint}"
        )
    if not matching:
        raise NoDevice(
            f"No {language} device for --device {wanted}; this machine has: {listed}.",
            "use another --device" if devices else _WHERE_FROM[language],
        )
    return matching[0]


def choose_open_device(wanted: str) -> OpenDevice:
    """Where an open candidate runs: a card if there is one, else this machine's processors.

    Args:
        wanted: ``auto``, ``cpu``, ``gpu``, or a card's selector such as ``cuda:1``.

    Raises:
        NoDevice: there is no card and one is wanted.
        UsageError: ``wanted`` is none of these words.
        MissingPrerequisite: there is a card, and the cuda extra to use it is missing.
        InfraError: there is a card, and its driver does not answer.
    """
    if wanted == "cpu":
        return host_device()
    if wanted == "auto":
        try:
            cards = detect_devices("cuda")
        except MissingPrerequisite:
            if os.path.exists(_NVIDIA_CONTROL):  # the processors would be another device than the one meant
                raise
            cards = ()
        return cards[0] if cards else host_device()
    if wanted == "gpu" or wanted.partition(":")[0] == "cuda":
        try:
            return choose_device("cuda", wanted)
        except NoDevice as missing:
            raise NoDevice(missing.message, "use --device cpu, or a machine with an NVIDIA GPU") from missing
    raise UsageError(
        f"--device {wanted!r} is no device of the open track.", "use --device auto, cpu, gpu or cuda:0"
    )


def host_device() -> HostCpu:
    """This machine's processors, as torch itself uses them; needs no wheel of any language."""
    return HostCpu(_processor_name(), threads=len(os.sched_getaffinity(0)))


def _processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.machine()
