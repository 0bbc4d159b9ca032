"""SGD with momentum for a fleet."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Gt, Lt


class SGD:
    """Stochastic gradient descent with momentum."""

    def __init__(
        self,
        lr: Annotated[float, Gt(0)],
        weight_decay: Annotated[float, Ge(0)] = 0.0,
        momentum: Annotated[float, Ge(0), Lt(1)] = 0.9,
        nesterov: bool = False,
    ) -> None:
        raise NotImplementedError
