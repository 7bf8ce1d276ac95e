"""What a control sees, says and is: the base of the control pack."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from kforge.data.tasks.loader import Value


@dataclass(frozen=True, slots=True)
class Sample:
    """One draw with its outputs."""

    inputs: tuple[Value, ...]
    outputs: tuple[Tensor, ...]


@dataclass(frozen=True, slots=True)
class Scene:
    """What a control may look at.

    Attributes:
        inputs: of this draw.
        others: other inputs under this draw's weights: what constants are fitted on.
        stale: outputs of another draw altogether.
        reweighted: outputs for these inputs under other weights; None where the model has none.
        run: the reference under this draw's weights, on any inputs; None where it cannot take them.
    """

    inputs: tuple[Value, ...]
    others: tuple[Sample, ...]
    stale: tuple[Tensor, ...]
    reweighted: tuple[Tensor, ...] | None
    run: Callable[[Sequence[Value]], tuple[Tensor, ...] | None]

    @property
    def models(self) -> tuple[Tensor, ...]:
        """Tensors with the shapes and types that outputs have."""
        return self.others[0].outputs


@dataclass(frozen=True, slots=True)
class Answer:
    """A control's outputs, and what exactly it did where its name does not say it."""

    outputs: tuple[Tensor, ...]
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a control cannot be tried here."""

    reason: str


class Blind(ABC):
    """A way not to do the work that never sees a right output of this draw.

    ``is_map`` marks maps of single input values: where the reference is one, the control does its work.
    """

    name: ClassVar[str]
    is_map: ClassVar[bool] = False

    @abstractmethod
    def answer(self, scene: Scene) -> Answer | Refusal:
        """Outputs for the scene's draw."""


class PartRight(ABC):
    """A control whose definition is that part of its output is right."""

    name: ClassVar[str]
    is_map: ClassVar[bool] = False

    @abstractmethod
    def partly(self, scene: Scene, right: Sequence[Tensor]) -> Answer | Refusal:
        """Outputs of which part is taken from ``right``."""


def template_of(scene: Scene) -> tuple[Tensor, ...]:
    """The mean over the batch of other draws' outputs, repeated along the batch."""
    outputs = []
    for position, model in enumerate(scene.models):
        mean = torch.stack([s.outputs[position].double() for s in scene.others]).mean(0)
        if model.dim():
            mean = mean.mean(0, keepdim=True).expand(model.shape)
        outputs.append(cast(mean, model))
    return tuple(outputs)


def cast(values: Tensor, model: Tensor) -> Tensor:
    """Values in the type of an output, rounded where that is an integer."""
    if not model.dtype.is_floating_point:
        values = values.nan_to_num(0.0, 0.0, 0.0).round()
    return values.to(model.dtype).contiguous()


def alike(found: Sequence[Tensor], models: Sequence[Tensor]) -> bool:
    """Whether outputs have the shapes and types that they must have."""
    return len(found) == len(models) and all(
        f.shape == m.shape and f.dtype == m.dtype for f, m in zip(found, models, strict=True)
    )
