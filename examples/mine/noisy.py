from typing import Annotated

import numpy as np
from annotated_types import Ge


def noisy(
    images: np.ndarray, *, random: np.random.Generator, strength: Annotated[float, Ge(0)] = 0.3
) -> np.ndarray:
    """Adds normal noise of up to so many standard deviations, another one for each image."""
    deviation = strength * random.random((len(images), 1, 1, 1))
    return images + deviation * random.normal(size=images.shape)
