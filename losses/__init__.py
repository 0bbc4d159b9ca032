"""Losses for imbalanced classification in MindSpore."""

from losses.mining import hard_example_mask, hard_example_mask_ratio
from losses.softmax import softmax_cross_entropy, softmax_focal_loss

__all__ = ["hard_example_mask", "hard_example_mask_ratio", "softmax_cross_entropy", "softmax_focal_loss"]
