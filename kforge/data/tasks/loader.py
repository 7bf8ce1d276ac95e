"""Loading a task: its model and inputs for any seed, at one size. The only place that runs task files."""

from __future__ import annotations

import hashlib
import inspect
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from kforge.data.tasks.declared import FULL, Declared, Overrides, Tolerances, declared
from kforge.data.tasks.program import Namespace, Program, compile_program, user_code
from kforge.data.tasks.randomness import CutFactories, Device, own_randomness, place
from kforge.data.tasks.randomness import seed_all as _seed
from kforge.data.tasks.registry import TaskFile, parse_source
from kforge.errors import TaskError
from kforge.types import InputKind

FORMAT_VERSION = 1
"""Part of every task hash; raise it when a change here alters what a task file means."""

Value = Tensor | bool | int | float | str
_HALF = (torch.float16, torch.bfloat16)


@dataclass(frozen=True, slots=True)
class LoadedWorkload:
    """One workload of a task at one size.

    Every method executes the file in a fresh namespace, so nothing that the file's code remembers
    leaks from one call into the next.

    Attributes:
        declared_tolerances: what the file's ``TOLERANCES`` says, None without one.
        declared_kinds: what the file's ``INPUT_KINDS`` says.
        overrides: constants that differ from the file as written.
        probe: overrides of a cheap variant of this workload, for what needs values and not shapes.
        cut_probe: whether there is no cheap variant, so that the factories' sizes are cut instead.
    """

    name: str
    path: Path
    program: Program
    overrides: Overrides
    probe: Overrides
    cut_probe: bool
    declared_tolerances: Tolerances | None
    declared_kinds: Mapping[str, InputKind]

    def model(self, seed: int, device: Device = "cpu") -> nn.Module:
        """Construct the reference on a device, in the train or eval mode that its constructor leaves.

        Raises:
            TaskError: the file's code raised, or ``Model`` is no module class.
        """
        return self.construct(seed, device)[0]

    def construct(self, seed: int, device: Device = "cpu") -> tuple[nn.Module, dict[str, object]]:
        """The model, and its constructor's arguments by name, defaults included.

        The file's factories draw on the device; what it puts on the CPU by name is moved. The same seed
        gives the same weights on the same device, and others on another.

        Raises:
            TaskError: the file's code raised, or ``Model`` is no module class.
        """
        with own_randomness(device), place(device):
            namespace = self._namespace(seed, self.overrides)
            model_class = _model_class(namespace, self.path)
            arguments = self._init_inputs(namespace, seed)
            _seed(seed)
            with user_code(self.path, "constructing Model from get_init_inputs()"):
                model = model_class(*arguments)
                bound = inspect.signature(model_class).bind(*arguments)
                bound.apply_defaults()
        variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        named = {
            name: value
            for name, value in bound.arguments.items()
            if bound.signature.parameters[name].kind not in variadic
        }
        return (model if _is_cpu(device) else model.to(device)), named

    def init_inputs(self, seed: int) -> list[object]:
        """The constructor's arguments in order, as ``construct`` passes them on the CPU.

        Raises:
            TaskError: ``get_init_inputs`` raised, or returned no list.
        """
        with own_randomness("cpu"):
            return self._init_inputs(self._namespace(seed, self.overrides), seed)

    def inputs(self, seed: int, device: Device = "cpu") -> list[Value]:
        """The arguments of ``forward`` for one seed, drawn on a device: tensors and plain scalars.

        Raises:
            TaskError: the file's code raised, or ``get_inputs`` returned something else.
        """
        return list(self.named_inputs(seed, device).values())

    def named_inputs(self, seed: int, device: Device = "cpu") -> dict[str, Value]:
        """Like ``inputs``, keyed by the argument names of ``forward``, in its order.

        Raises:
            TaskError: as ``inputs``, and when ``forward`` does not take that many arguments.
        """
        return self._named_inputs(seed, self.overrides, device)

    def run(self, model: nn.Module, values: list[Value]) -> tuple[tuple[Tensor, ...], bool]:
        """Call the model without gradients.

        Returns:
            its outputs, and whether it returned them in a tuple or list.

        Raises:
            TaskError: ``forward`` raised, or returned something other than tensors.
        """
        with torch.no_grad(), user_code(self.path, "calling Model.forward"):
            result = model(*values)
        outputs = tuple(result) if isinstance(result, tuple | list) else (result,)
        wrong = [type(output).__name__ for output in outputs if not isinstance(output, Tensor)]
        if wrong or not outputs:
            raise TaskError(
                f"{self.path}: Model.forward returned {', '.join(wrong) or 'an empty tuple'}, not tensors.",
                "Let forward() return one tensor, or a tuple or list of tensors.",
            )
        return outputs, isinstance(result, tuple | list)

    def tolerances(self, dtype: torch.dtype) -> Tolerances:
        """Bounds of the KernelBench verdict for an output of this type."""
        if self.declared_tolerances is not None:
            return self.declared_tolerances
        bound = 1e-2 if dtype in _HALF else 1e-4
        return Tolerances(atol=bound, rtol=bound)

    @property
    def input_kinds(self) -> dict[str, InputKind]:
        """Kind of every argument of ``forward``: declared, else inferred from one set of values.

        Costs a call of ``get_inputs``, at the ``small`` size where the file has one, else with the sizes of
        its factory calls cut down: keep the result.

        Raises:
            TaskError: as ``named_inputs``, and when ``INPUT_KINDS`` names an unknown argument.
        """
        values = self._sample()
        unknown = sorted(self.declared_kinds.keys() - values.keys())
        if unknown:
            raise TaskError(
                f"{self.path}: INPUT_KINDS names {', '.join(unknown)}, but forward() gets "
                f"{', '.join(values)}.",
                "Key INPUT_KINDS by the argument names of forward().",
            )
        return {name: self.declared_kinds.get(name) or infer_kind(value) for name, value in values.items()}

    def _sample(self) -> dict[str, Value]:
        """Values as ``get_inputs`` makes them, few of them where the code lets itself be cut."""
        if not self.cut_probe:
            return self._named_inputs(0, self.probe, "cpu")
        try:
            with CutFactories():
                return self._named_inputs(0, self.probe, "cpu")
        except TaskError:  # its code relies on the sizes it asks for
            return self._named_inputs(0, self.probe, "cpu")

    def _namespace(self, seed: int, overrides: Overrides) -> Namespace:
        _seed(seed)
        return self.program.run(overrides)

    def _init_inputs(self, namespace: Namespace, seed: int) -> list[object]:
        _seed(seed)
        with user_code(self.path, "calling get_init_inputs()"):
            arguments = namespace["get_init_inputs"]()
        if not isinstance(arguments, list | tuple):
            raise TaskError(
                f"{self.path}: get_init_inputs() returned {type(arguments).__name__}, not a list.",
                "Return the constructor's arguments as a list; [] when there are none.",
            )
        return list(arguments)

    def _named_inputs(self, seed: int, overrides: Overrides, device: Device) -> dict[str, Value]:
        with own_randomness(device), place(device):
            namespace = self._namespace(seed, overrides)
            model_class = _model_class(namespace, self.path)
            _seed(seed)
            with user_code(self.path, "calling get_inputs()"):
                values = namespace["get_inputs"]()
        _check_inputs(values, self.path)
        if not _is_cpu(device):
            values = [value.to(device) if isinstance(value, Tensor) else value for value in values]
        return _by_argument(model_class, values, self.path)


@dataclass(frozen=True, slots=True)
class LoadedTask:
    """A task at one size; ``workloads`` has at least one entry."""

    task: TaskFile
    size: str
    workloads: tuple[LoadedWorkload, ...]

    @property
    def hash(self) -> str:
        """Identity of the work: source, size, workload names, format version (sha256, hexadecimal)."""
        names = [workload.name for workload in self.workloads]
        identity = json.dumps([self.task.hash, self.size, names, FORMAT_VERSION])
        return hashlib.sha256(identity.encode()).hexdigest()


def load_task(task: TaskFile, size: str) -> LoadedTask:
    """Prepare a task at a size, and run its file once per workload to see that it runs.

    Raises:
        TaskError: the size is not defined, or the file's top level raises.
    """
    facts = declared(parse_source(task.source, task.path), task.path)
    changes = _size_overrides(facts, size, task)
    program = compile_program(task.source, task.path)
    workloads = tuple(
        LoadedWorkload(
            name=name,
            path=task.path,
            program=program,
            overrides={**changes, **extra},
            probe={**facts.sizes.get("small", changes), **extra},
            cut_probe="small" not in facts.sizes,
            declared_tolerances=facts.tolerances,
            declared_kinds=facts.input_kinds,
        )
        for name, extra in facts.workloads.items()
    )
    for workload in workloads:
        with own_randomness("cpu"):
            _model_class(program.run(workload.overrides), task.path)
    return LoadedTask(task=task, size=size, workloads=workloads)


def infer_kind(value: Value) -> InputKind:
    """What an argument means, as far as one set of values tells.

    Integers are indices, booleans masks, scalars fixed; floats are probabilities when no element is
    negative and every row (last dimension) sums to 1, signs when every element is -1 or 1, else real.
    """
    if not isinstance(value, Tensor):
        return "fixed"
    if value.dtype == torch.bool:
        return "mask"
    if not value.is_floating_point():
        return "index"
    if value.is_meta or value.ndim == 0 or value.numel() == 0:
        return "real"
    if bool((value.abs() == 1).all()) and bool((value < 0).any()):
        return "sign"
    if value.shape[-1] > 1 and bool((value >= 0).all()):
        sums = value.sum(dim=-1, dtype=torch.float64)
        allowed = 1e-2 if value.dtype in _HALF else 1e-4
        if bool(((sums - 1).abs() <= allowed).all()):
            return "probability"
    return "real"


def _is_cpu(device: Device) -> bool:
    return torch.device(device).type == "cpu"


def _size_overrides(facts: Declared, size: str, task: TaskFile) -> Overrides:
    if size in facts.sizes:
        return facts.sizes[size]
    if size == "small":
        raise TaskError(
            f"{task.path} defines no size 'small'.",
            'Use --size full, or add SIZES = {"small": {"CONSTANT": VALUE}} to the file, or to a copy of it.',
        )
    raise TaskError(
        f"{task.id} has no size {size!r}; it has {', '.join(facts.sizes)}.",
        f"Use --size {FULL}, or add {size!r} to SIZES in {task.path}.",
    )


def _model_class(namespace: Namespace, path: Path) -> type[nn.Module]:
    model_class = namespace["Model"]
    if not (isinstance(model_class, type) and issubclass(model_class, nn.Module)):
        raise TaskError(
            f"{path}: Model is no torch.nn.Module class.", "Write: class Model(torch.nn.Module): ..."
        )
    if model_class.forward is nn.Module.forward:
        raise TaskError(f"{path}: Model has no forward().", "Write the reference as Model.forward.")
    for name in ("get_inputs", "get_init_inputs"):
        if not callable(namespace[name]):
            raise TaskError(f"{path}: {name} is no function.", f"Write: def {name}(): return [...]")
    return model_class


def _check_inputs(values: object, path: Path) -> None:
    if not isinstance(values, list | tuple):
        raise TaskError(
            f"{path}: get_inputs() returned {type(values).__name__}, not a list.",
            "Return the arguments of forward() as a list, for example [torch.rand(16, 1024)].",
        )
    for position, value in enumerate(values):
        if not isinstance(value, Value):
            raise TaskError(
                f"{path}: get_inputs()[{position}] is a {type(value).__name__}, not a tensor or scalar.",
                "Pass tensors, bool, int, float or str; pass several tensors as several arguments.",
            )
        if isinstance(value, float) and not math.isfinite(value):
            raise TaskError(
                f"{path}: get_inputs()[{position}] is {value}, which no launch plan can carry.",
                "Pass a finite number, or write the constant into Model.",
            )


def _by_argument(model_class: type[nn.Module], values: list[Value], path: Path) -> dict[str, Value]:
    """Name each value after the argument of ``forward`` that gets it."""
    with user_code(path, "reading the arguments of Model.forward"):
        forward = inspect.unwrap(model_class.forward)
        signature = inspect.signature(forward)
    try:
        bound = signature.bind(None, *values)
    except TypeError as error:
        names = ", ".join(list(signature.parameters)[1:])
        code = getattr(forward, "__code__", None)
        place = f"{path}:{code.co_firstlineno}" if code is not None else str(path)
        raise TaskError(
            f"{place}: get_inputs() returned {len(values)} values, but forward() takes ({names}): {error}.",
            "Make get_inputs() return exactly the arguments of forward(), in its order.",
        ) from error
    named: dict[str, Value] = {}
    for name, value in list(bound.arguments.items())[1:]:
        if signature.parameters[name].kind is inspect.Parameter.VAR_POSITIONAL:
            named |= {f"{name}{position}": item for position, item in enumerate(value)}
        else:
            named[name] = value
    return named
