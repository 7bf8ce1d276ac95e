"""Which way a call of ``ModelNew`` goes: the kernels, or the eager ``Model`` with the reason told once.

Whatever comes out is what ``Model`` would have given: where the kernels do not apply, ``Model`` itself runs.
"""

from __future__ import annotations

import inspect
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .contents import plans
from .guard import Reason, Workload, mode_matters, other_init
from .runners import device_kind, runner_for

Eager = Callable[..., Any]


class FastPath:
    """The state of one model's kernels; ``model.fast_path``.

    Attributes:
        strict: raise instead of running the eager ``Model``.
        enabled: False runs the eager ``Model`` always, without a warning.
        counts: calls so far, by way: ``kernels`` and ``eager``.
        reasons: calls that ran eager, by kind of reason.
        last_reason: of the last call that ran eager, in words.
    """

    def __init__(self, model: nn.Module, given: Mapping[str, object], names: tuple[str, ...]) -> None:
        self.strict = False
        self.enabled = True
        self.counts: Counter[str] = Counter(kernels=0, eager=0)
        self.reasons: Counter[str] = Counter()
        self.last_reason: str | None = None
        self._names = names
        self._told: set[str] = set()
        self._refused: Reason | None = None
        self._numbers: list[int] = []
        for workload in _workloads():
            reason = other_init(workload, given)
            if reason is None:
                self._numbers.append(workload.number)
            else:
                self._refused = reason
        self._modes = [(m, m.training) for m in model.modules() if m is not model and mode_matters(m)]
        # The class of ``model`` itself is asked too: a Model may look at ``self.training`` in its forward.
        if mode_matters(model):
            self._modes.append((model, model.training))

    def run(self, model: nn.Module, eager: Eager, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:  # noqa: ANN401
        """One call of ``forward``.

        Raises:
            RuntimeError: an input requires a gradient; ``strict`` and the kernels do not apply; or a
                launch failed.
        """
        if torch.is_grad_enabled():
            _refuse_gradients((*args, *kwargs.values()))
        chosen = self._choose(model, args, kwargs)
        if isinstance(chosen, Reason):
            self._fall_back(chosen)
            return eager(*args, **kwargs)
        runner, number, given = chosen
        result = runner.run(number, given)
        self.counts["kernels"] += 1
        return result

    def _choose(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:  # noqa: ANN401
        reason = self._state_reason(model)
        if reason is not None:
            return reason
        values: tuple[Any, ...] | Reason = args if not kwargs else self._by_position(args, kwargs)
        if isinstance(values, Reason):
            return values
        found: Any = self._refused
        for number in self._numbers:
            given = _workloads()[number].match(model, values, device_kind())
            if isinstance(given, Reason):
                found = given
                continue
            device = given[0].device if given else torch.device(device_kind(), 0)
            runner = runner_for(device)
            return runner if isinstance(runner, Reason) else (runner, number, given)
        return found

    def _state_reason(self, model: nn.Module) -> Reason | None:
        if not self.enabled:
            return Reason("disabled", "fast_path.enabled is False")
        if not self._numbers:
            return self._refused
        if torch.is_grad_enabled() and any(p.requires_grad for p in model.parameters()):
            text = (
                "gradients are enabled and parameters require them, which kernels cannot give; call it under "
                "torch.no_grad() or torch.inference_mode(), or call model.requires_grad_(False)"
            )
            return Reason("gradients", text)
        if torch.is_autocast_enabled(device_kind()):
            return Reason("autocast", "autocast is enabled; the kernels compute in the types they were given")
        for module, training in self._modes:
            if module.training is not training:
                mode = "train" if training else "eval"
                text = f"a {type(module).__name__} has left {mode} mode, for which the kernels were built"
                return Reason("mode", text)
        return None

    def _by_position(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...] | Reason:
        rest = self._names[len(args) :]
        if not set(kwargs) <= set(rest):
            return Reason("arguments", f"arguments {', '.join(kwargs)}; the kernels take {self._names}")
        if any(name not in kwargs for name in rest[: len(kwargs)]):
            return Reason("arguments", f"arguments {', '.join(kwargs)} leave out one before them")
        return (*args, *(kwargs[name] for name in rest[: len(kwargs)]))

    def _fall_back(self, reason: Reason) -> None:
        if self.strict and reason.kind != "disabled":
            raise RuntimeError(f"the kernels do not apply (fast_path.strict is True): {reason.text}")
        self.counts["eager"] += 1
        self.reasons[reason.kind] += 1
        self.last_reason = reason.text
        if reason.kind not in self._told and reason.kind != "disabled":
            self._told.add(reason.kind)
            warnings.warn(f"ModelNew runs the eager Model: {reason.text}", RuntimeWarning, stacklevel=2)


_loaded: list[Workload] = []


def _workloads() -> list[Workload]:
    if not _loaded:
        found = [Workload(n, described) for n, described in enumerate(plans()["workloads"])]
        _loaded[:] = found  # two threads may both come here; they write the same
    return _loaded


def _refuse_gradients(values: tuple[Any, ...]) -> None:
    for value in values:
        if isinstance(value, Tensor) and value.requires_grad:
            raise RuntimeError(
                "ModelNew computes no gradients, and an input requires one: call it under torch.no_grad() or "
                "torch.inference_mode(), or use the eager Model of this package for training"
            )


def constructor_arguments(
    model: type[nn.Module], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    """What ``Model`` was constructed with, by name, defaults included."""
    bound = inspect.signature(model).bind(*args, **kwargs)
    bound.apply_defaults()
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    kinds = {name: parameter.kind for name, parameter in bound.signature.parameters.items()}
    return {name: value for name, value in bound.arguments.items() if kinds[name] not in variadic or value}


def forward_names(model: type[nn.Module]) -> tuple[str, ...]:
    """Names of the arguments of ``forward`` that may be given by keyword."""
    parameters = list(inspect.signature(model.forward).parameters.values())[1:]
    return tuple(p.name for p in parameters if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD)
