"""robust-kbench task folders as task files: func_forward.py with config_forward.json becomes one source."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping
from pathlib import Path

from kforge.errors import TaskError

PROGRAM, CONFIG = "func_forward.py", "config_forward.json"
MAX_WORKLOADS = 64
_MAX_NAME = 64
_PARTS = ("multi_input_configs", "multi_init_configs", "multi_shared_configs")

_ADAPTER = """

# Added by kforge from config_forward.json: every combination of its settings is a workload.
import inspect as _inspect

_get_inputs_of = get_inputs
_input_settings = {}
_init_settings = {}
WORKLOADS = @WORKLOADS@


def get_inputs():
    return _get_inputs_of(**_input_settings)


def get_init_inputs():
    signature = _inspect.signature(Model)
    known = {name: value for name, value in _init_settings.items() if name in signature.parameters}
    bound = signature.bind(**known)
    bound.apply_defaults()
    return list(bound.args)
"""


def is_robust(path: Path) -> bool:
    """Whether this file is the program of a robust-kbench folder."""
    return path.name == PROGRAM and path.with_name(CONFIG).is_file()


def compose(source: str, path: Path) -> str:
    """The folder's program with its settings as ``WORKLOADS``; the program's lines keep their numbers.

    Raises:
        TaskError: the settings file is not of the known form.
    """
    config = path.with_name(CONFIG)
    try:
        settings = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TaskError(f"{config} cannot be read as JSON: {error}.", f"Correct {config}.") from error
    workloads = _workloads(settings, config)
    return source.rstrip("\n") + "\n" + _ADAPTER.replace("@WORKLOADS@", repr(workloads))


def _workloads(settings: object, config: Path) -> dict[str, dict[str, dict[str, object]]]:
    parts = [_part(settings, name, config) for name in _PARTS]
    found: dict[str, dict[str, dict[str, object]]] = {}
    for of_inputs, of_init, shared in itertools.product(*parts):
        overrides = {"_input_settings": {**of_inputs, **shared}, "_init_settings": {**of_init, **shared}}
        if overrides in found.values():
            continue
        found[_name({**of_inputs, **of_init, **shared}, parts, len(found))] = overrides
    if len(found) > MAX_WORKLOADS:
        raise TaskError(
            f"{config} makes {len(found)} workloads; kforge takes at most {MAX_WORKLOADS}.",
            f"Shorten the lists of {config}.",
        )
    return found


def _part(settings: object, name: str, config: Path) -> list[Mapping[str, object]]:
    """One list of settings: the ``multi_`` one, else its ``single_`` one, else one empty setting."""
    if not isinstance(settings, dict):
        raise TaskError(f"{config} is no JSON object.", f'Write {{"{name}": [{{}}]}} into {config}.')
    value = settings.get(name) or settings.get(name.replace("multi_", "single_")) or [{}]
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise TaskError(f"{config}: {name} is no list of objects.", f'Write "{name}": [{{"batch_size": 4}}].')
    return value


def _name(setting: Mapping[str, object], parts: list[list[Mapping[str, object]]], ordinal: int) -> str:
    """What tells this workload from the others, for tables: ``w0-batch_size8-num_features64``.

    Where that is too long, keys shrink to initials: ``w0-bs8-nf64``.
    """
    varying = [
        key
        for part in parts
        for key in dict.fromkeys(key for item in part for key in item)
        if len({json.dumps(item.get(key)) for item in part}) > 1
    ]
    chosen = [key for key in varying if key in setting]
    name = f"w{ordinal}"
    for shorten in (str, _initials):
        text = re.sub(r"[^A-Za-z0-9_.-]", "", "-".join(f"{shorten(key)}{setting[key]}" for key in chosen))
        name = f"w{ordinal}-{text}" if text else name
        if len(name) <= _MAX_NAME:
            break
    return name[:_MAX_NAME]


def _initials(key: str) -> str:
    return "".join(word[:1] for word in key.split("_"))
