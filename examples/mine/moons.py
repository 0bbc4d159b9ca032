from typing import Annotated

import numpy as np
import pandas as pd
from annotated_types import Ge
from sklearn.datasets import make_moons


def moons(
    *, rows: Annotated[int, Ge(100)] = 600, few: Annotated[int, Ge(10)] = 60
) -> tuple[pd.DataFrame, np.ndarray]:
    """Two half-moons, of one of which only some rows are there."""
    points, labels = make_moons((rows, few), noise=0.3, random_state=0)
    return pd.DataFrame(points, columns=["x", "y"]), np.array(["common", "rare"])[labels]
