from mindspore import Tensor, ops

from lossfleet.losses import softmax_cross_entropy


def my_poly1(logits: Tensor, labels: Tensor, *, epsilon: float = 1.0) -> Tensor:
    """-log p_t + epsilon (1 - p_t), arXiv 2204.12511."""
    cross_entropy = softmax_cross_entropy(logits, labels)
    return cross_entropy + epsilon * (1 - ops.exp(-cross_entropy))
