"""Which devices this machine has. Detection runs in a child: it loads GPU drivers."""

from __future__ import annotations

import json
import subprocess
import sys

from kforge.codec import from_json
from kforge.errors import MissingPrerequisite, NoDevice, UsageError
from kforge.eval.sandbox import PACKAGE_ROOT, scrubbed_environment
from kforge.types import DeviceInfo, Language

_PROBE = """
import sys; sys.path.insert(0, sys.argv[1])
from kforge.codec import to_json
from kforge.errors import KforgeError
from kforge.eval.sycl_runtime import list_devices
import json
try:
    print(json.dumps({"devices": [json.loads(to_json(d)) for d in list_devices()]}))
except KforgeError as error:
    print(json.dumps({"missing": [error.message, error.next_step]}))
"""


def detect_devices() -> tuple[DeviceInfo, ...]:
    """All SYCL devices, best first (Level-Zero GPU, OpenCL GPU, OpenCL CPU).

    Raises:
        MissingPrerequisite: the sycl extra is missing, or its libraries do not load.
    """
    try:
        probe = subprocess.run(
            [sys.executable, "-I", "-c", _PROBE, PACKAGE_ROOT],
            capture_output=True, text=True, timeout=60, check=False, env=scrubbed_environment(),
        )  # fmt: skip
        answer = json.loads(probe.stdout.strip().splitlines()[-1])
    except (subprocess.TimeoutExpired, ValueError, IndexError) as error:
        raise MissingPrerequisite(
            "Asking the SYCL runtime for its devices failed or took over a minute.", "run `kforge doctor`"
        ) from error
    if "missing" in answer:
        raise MissingPrerequisite(*answer["missing"])
    return tuple(from_json(DeviceInfo, json.dumps(device)) for device in answer["devices"])


def choose_device(language: Language, wanted: str) -> DeviceInfo:
    """The device to run on.

    Args:
        language: of the candidates.
        wanted: ``auto``, ``cpu``, ``gpu``, or a selector such as ``opencl:cpu:0``.

    Raises:
        NoDevice: there is none of that kind; the message lists what there is.
        UsageError: ``wanted`` is none of these words.
    """
    if language == "cuda":
        raise NoDevice(
            "This version of kforge drives no CUDA device; it drives SYCL devices.", "use --language sycl"
        )
    devices = detect_devices()
    listed = ", ".join(f"{d.selector} ({d.name})" for d in devices) or "none"
    if wanted == "auto":
        matching = list(devices)
    elif wanted in ("cpu", "gpu"):
        matching = [d for d in devices if d.is_cpu == (wanted == "cpu")]
    elif wanted.count(":") in (1, 2):
        matching = [d for d in devices if d.selector.startswith(wanted)]
    else:
        raise UsageError(
            f"--device {wanted!r} is not auto, cpu, gpu or a selector.", f"one of: auto, cpu, gpu, {listed}"
        )
    if not matching:
        raise NoDevice(
            f"No {language} device for --device {wanted}; this machine has: {listed}.",
            "use another --device" if devices else "pip install 'kforge[sycl]' (brings an OpenCL CPU device)",
        )
    return matching[0]
