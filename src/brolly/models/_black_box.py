"""Models of which only the answers are known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from ._outputs import check_logits


class QueryBudgetExhausted(RuntimeError):
    """A call would exceed the budget of a `BlackBox`. Attacks end there, with what they have."""


class BlackBox(nn.Module):
    """A callable as a model: a remote service, another framework, a pipeline of your own.

    Args:
        function: Takes a batch `(batch, ...)` and returns scores `(batch, classes)` or labels
            `(batch,)`, as a tensor or a NumPy array.
        returns: Which of the two. Labels become logits of 1 for the label and 0 for the others.
        classes: Number of classes; needed for labels, which do not tell.
        budget: How many examples may be shown in all; None: any number.

    Attributes:
        queries: Examples shown so far. A copy of the module is the module itself: it has one
            counter.

    Raises:
        ValueError: `classes` is missing or below 2, the budget is below 1, or, when called, the
            answer does not fit or a gradient is asked for.
        QueryBudgetExhausted: When called with more examples than the budget has left.

    Example:
        >>> import torch
        >>> from brolly import BlackBox
        >>> model = BlackBox(lambda x: (x.mean(1) > 0.5).long(), returns="labels", classes=2)
        >>> model(torch.tensor([[0.2, 0.4], [0.9, 0.7]])).tolist(), model.queries
        ([[1.0, 0.0], [0.0, 1.0]], 2)
    """

    def __init__(
        self,
        function: Callable[[Tensor], Any],
        *,
        returns: Literal["scores", "labels"] = "scores",
        classes: int | None = None,
        budget: int | None = None,
    ) -> None:
        super().__init__()
        if returns not in ("scores", "labels"):
            raise ValueError(f"returns is {returns!r}; expected 'scores' or 'labels'")
        if returns == "labels" and classes is None:
            raise ValueError("classes is missing; labels do not tell how many there are")
        if classes is not None and classes < 2:
            raise ValueError(f"classes is {classes}; expected 2 or more")
        if budget is not None and budget < 1:
            raise ValueError(f"budget is {budget}; expected 1 or more, or None for no limit")
        self.function, self.returns, self.classes = function, returns, classes
        self.budget, self.queries = budget, 0

    @classmethod
    def from_onnx(
        cls,
        path: str | Path,
        *,
        returns: Literal["scores", "labels"] = "scores",
        classes: int | None = None,
        budget: int | None = None,
    ) -> BlackBox:
        """A network in an ONNX file, run on the CPU by onnxruntime.

        Args:
            path: The file; its network has one input, whose first axis is the batch, and its
                first output counts.
            returns: As in the constructor.
            classes: As in the constructor.
            budget: As in the constructor.

        Raises:
            ValueError: onnxruntime is not installed, the file cannot be read, or it takes
                something else than one floating point input with a free first axis.
        """
        try:
            import onnxruntime
        except Exception as error:  # a broken installation raises anything
            raise ValueError(
                f"onnxruntime cannot be imported ({type(error).__name__}: {error}); install it "
                "with: pip install 'brolly[onnx]'"
            ) from error
        try:
            session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has no common base for its errors
            raise ValueError(f"{path} cannot be opened as an ONNX network: {error}") from error
        entries = session.get_inputs()
        if len(entries) != 1:
            raise ValueError(f"{path} takes {len(entries)} inputs; expected one")
        entry, output = entries[0], session.get_outputs()[0].name
        dtypes = {"tensor(float)": np.float32, "tensor(double)": np.float64}
        if entry.type not in dtypes:
            raise ValueError(
                f"{path} takes {entry.type}; expected one of {', '.join(dtypes)}. Put conversion "
                "and normalisation into the network"
            )
        if entry.shape and isinstance(entry.shape[0], int):
            raise ValueError(
                f"{path} takes batches of {entry.shape[0]} only; export it with a dynamic first "
                "axis"
            )
        dtype = dtypes[entry.type]

        def run(x: Tensor) -> Any:
            return session.run([output], {entry.name: x.cpu().numpy().astype(dtype)})[0]

        return cls(run, returns=returns, classes=classes, budget=budget)

    def __deepcopy__(self, memo: object) -> BlackBox:
        return self

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled() and x.requires_grad:
            with_scores = " (with scores: NES, SPSA, Square, OnePixel)"
            raise ValueError(
                "a BlackBox carries no gradient, and this attack needs one. Attacks that do "
                f"without: HopSkipJump, BoundaryAttack{with_scores * (self.returns == 'scores')}; "
                "or Transfer, with a surrogate that has gradients"
            )
        if self.budget is not None and self.queries + len(x) > self.budget:
            raise QueryBudgetExhausted(
                f"{len(x)} more queries would exceed the budget of {self.budget}, of which "
                f"{self.queries} are spent"
            )
        self.queries += len(x)
        answer = self.function(x.detach())
        if not isinstance(answer, Tensor):
            answer = torch.from_numpy(np.array(answer))
        answer = answer.detach().to(x.device)
        if self.returns == "labels":
            return self._one_hot(answer, x)
        check_logits(answer, len(x))
        if self.classes is not None and answer.shape[1] != self.classes:
            raise ValueError(
                f"the callable returned scores of {answer.shape[1]} classes; expected "
                f"{self.classes}"
            )
        return answer if answer.is_floating_point() else answer.to(x.dtype)

    def _one_hot(self, labels: Tensor, x: Tensor) -> Tensor:
        classes = self.classes or 0
        if labels.shape != (len(x),) or labels.is_floating_point() or labels.dtype == torch.bool:
            raise ValueError(
                f"the callable returned {labels.dtype} of shape {tuple(labels.shape)} for a batch "
                f"of {len(x)}; expected integer labels of shape ({len(x)},). For scores write "
                "returns='scores'"
            )
        if ((labels < 0) | (labels >= classes)).any():
            raise ValueError(
                f"the callable returned labels from {int(labels.min())} to {int(labels.max())}; "
                f"expected 0 to {classes - 1}"
            )
        return nn.functional.one_hot(labels.long(), classes).to(x.dtype)
