"""A kept classifier at work: prediction in NumPy, from a folder with a JSON file and the weights as safetensors.

A copy of this folder lies in every kept model, where MLflow loads it: it imports neither lossfleet nor MindSpore.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

from .encoder import Encoder
from .files import ModelError, read_description, read_weights
from .layers import log_of_mean, network

THRESHOLD, COSTS = "threshold", "costs"
# Rows are multiplied in blocks of this size, a smaller one filled up: so a row has the same bits in any company. Larger
# ones have BLAS start threads, which wait for each other by turning in circles.
BLOCK_ROWS = 256


class Model:
    """Members of the same layers whose logits are averaged, and what turns rows into features and logits into classes.

    A member may be several networks, whose probabilities are averaged first.

    Attributes:
        description: what `model.json` says.
        weights: of the members, `<layer>.weight` and `<layer>.bias`: of a dense layer (members, outputs, inputs) and
            (members, outputs), of others in the shapes of MindSpore's own behind the members.
        classes: names of the C classes.
        encoder: turns rows into features.
    """

    def __init__(self, folder: Path) -> None:
        """Read a model.

        Raises:
            ModelError: a file is missing or damaged, or of another version.
        """
        self.description = read_description(folder)
        self.weights = read_weights(folder, self.description)
        self.classes: list[str] = self.description["classes"]
        self.encoder = Encoder(self.description["columns"], self.description["missing"])

    def logits(self, features: np.ndarray) -> np.ndarray:
        """The mean of the members' logits, (N, C) float32, of features (N, F)."""
        logits = np.empty((len(features), len(self.classes)), np.float32)
        for start in range(0, len(features), BLOCK_ROWS):
            block = features[start : start + BLOCK_ROWS]
            rows = len(block)
            if rows < BLOCK_ROWS:
                block = np.concatenate([block, np.zeros((BLOCK_ROWS - rows, block.shape[1]), np.float32)])
            logits[start : start + rows] = self._forward(block)[:rows]
        return logits

    def _forward(self, block: np.ndarray) -> np.ndarray:
        outputs = network(self.description["layers"], self.weights, block)
        networks = self.description.get("networks", 1)
        if networks > 1:
            outputs = log_of_mean(outputs.reshape(-1, networks, *outputs.shape[1:]))
        return outputs.mean(axis=0)

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """softmax(logits / temperature), (N, C) float64."""
        scaled = logits.astype(np.float64) / self.description["temperature"]
        powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    def decide(self, logits: np.ndarray, decision: str | None = None) -> np.ndarray:
        """The class of each row, (N,) integers.

        Args:
            logits: (N, C).
            decision: argmax, or prior, which is argmax_c of x_c - kappa log prior_c; where the model has them
                threshold, of a class's probability, and costs, the class of the least expected one; of two classes
                threshold=0.3 too. None for the model's own.

        Raises:
            ModelError: there is no such decision.
        """
        decision = decision or self.description["decision"]
        if decision == "prior":
            prior = np.array(self.description.get("prior", self.description["class_counts"]), np.float64)
            logits = logits - self.description["prior_exponent"] * np.log(prior / prior.sum())
        elif decision == COSTS and COSTS in self.description:
            return (self.probabilities(logits) @ np.array(self.description[COSTS])).argmin(axis=1)
        elif decision.partition("=")[0] == THRESHOLD:
            positive, threshold = self._threshold(decision)
            return np.where(self.probabilities(logits)[:, positive] >= threshold, positive, 1 - positive)
        elif decision != "argmax":
            raise self._no_decision(decision)
        return logits.argmax(axis=1)

    def _threshold(self, decision: str) -> tuple[int, float]:
        """The class that a threshold is on, and the threshold: the model's own, or that behind the sign."""
        rarest = self.classes[int(np.argmin(self.description["class_counts"]))]
        stored = {"class": rarest} | self.description.get(THRESHOLD, {})
        _, is_given, number = decision.partition("=")
        try:
            threshold = float(number if is_given else stored["at_least"])
        except (ValueError, KeyError):
            raise self._no_decision(decision) from None
        if len(self.classes) != 2 or not 0 <= threshold <= 1:
            raise self._no_decision(decision)
        return self.classes.index(stored["class"]), threshold

    def _no_decision(self, decision: str) -> ModelError:
        known = ["argmax", "prior", *(name for name in (THRESHOLD, COSTS) if name in self.description)]
        known += ["threshold=NUMBER from 0 to 1"] if len(self.classes) == 2 else []
        return ModelError(f"the decision is {decision}", f"one of {', '.join(known)}", "choose one of them")

    def predict(
        self,
        rows: pd.DataFrame,
        *,
        decision: str | None = None,
        first_row: int = 1,
        told: Counter[tuple[str, str]] | None = None,
    ) -> pd.DataFrame:
        """The class of each row and one probability a class, `probability_<class>`; args and errors as above."""
        return self._predicted(self.encoder.features(rows, first_row=first_row, told=told), decision)

    def predict_images(self, pixels: np.ndarray, *, decision: str | None = None) -> pd.DataFrame:
        """The same of images (N, F), whose pixels are in the order of the model's shape."""
        return self._predicted(self.encoder.pixels(pixels), decision)

    def _predicted(self, features: np.ndarray, decision: str | None) -> pd.DataFrame:
        logits = self.logits(features)
        predicted = pd.Categorical.from_codes(self.decide(logits, decision), self.classes)
        table = pd.DataFrame(
            self.probabilities(logits), columns=[f"probability_{name}" for name in self.classes]
        )
        table.insert(0, "class", predicted)
        return table
