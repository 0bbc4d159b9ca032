"""Mixup and remix by their definitions, and what is deferred: class weights and resampling."""

from __future__ import annotations

import numpy as np
import pytest
from replicate_runs import EPOCHS, config, focal, replicate

from lossfleet.conf.errors import UserError
from lossfleet.conf.parts import named_part
from lossfleet.runners.data.mixing import mixup, remix
from lossfleet.runners.training.replicate import mixture

COUNTS = np.array([90, 30, 10])


def test_mixup_draws_shares_from_its_distribution_and_mixes_nothing_at_alpha_0():
    labels = np.zeros(20_000, int)
    for alpha in (0.3, 1.0, 4.0):
        share, of_label = mixup(labels, random=np.random.default_rng(0), alpha=alpha)
        np.testing.assert_array_equal(share, of_label)
        np.testing.assert_allclose(share.mean(), 0.5, atol=0.02)
        np.testing.assert_allclose(share.var(), 1 / (4 * (2 * alpha + 1)), rtol=0.05)
    share, of_label = mixup(labels, random=np.random.default_rng(0), alpha=0.0)
    assert (share == 1).all()
    assert (of_label == 1).all()


def test_remix_gives_the_label_of_a_much_rarer_class():
    labels, partners = np.array([0, 0, 2, 2, 1, 0, 0]), np.array([2, 2, 0, 0, 2, 1, 0])
    share, of_label = remix(
        labels,
        partner_labels=partners,
        class_counts=COUNTS,
        random=np.random.default_rng(5),
        alpha=1.0,
        ratio=9.0,
        threshold=0.6,
    )
    expected = [
        0
        if COUNTS[i] / COUNTS[j] >= 9 and s < 0.6
        else 1
        if COUNTS[j] / COUNTS[i] >= 9 and 1 - s < 0.6
        else s
        for i, j, s in zip(labels, partners, share, strict=True)
    ]
    np.testing.assert_array_equal(of_label, expected)
    assert {0.0, 1.0} < set(of_label)


def test_a_mixture_is_of_the_epochs_own_draws_and_repeats_exactly():
    made = replicate(config(mixing=named_part("mixing", "mixup", alpha=1.0)), seed=3)
    epochs = [mixture(made, epoch) for epoch in range(2)]
    for epoch, found in enumerate(epochs):
        np.testing.assert_array_equal(np.sort(found.partners), np.sort(made.plan[epoch]))
        assert (found.partners != made.plan[epoch]).mean() > 0.9
        np.testing.assert_array_equal(found.shares, mixture(made, epoch).shares)
    assert not np.array_equal(epochs[0].shares, epochs[1].shares)


def test_mixing_beside_mining_is_refused():
    with pytest.raises(UserError, match="mixing=mixup is set beside mining=fraction"):
        config(mixing=named_part("mixing", "mixup"), mining=named_part("mining", "fraction"))


@pytest.mark.parametrize(("defer", "first"), [(0.0, 0), (0.5, EPOCHS // 2), (1.0, EPOCHS)])
def test_class_weights_begin_after_their_share_of_the_epochs(defer, first):
    made = replicate(config(focal(1.0, tau=1.0), defer=defer))
    for epoch in range(EPOCHS):
        given = made.given_at(epoch)
        np.testing.assert_array_equal(given["class_counts"], made.given["class_counts"])
        weights = made.given["class_weight"] if epoch >= first else np.ones(3)
        np.testing.assert_array_equal(given["class_weight"], weights)


@pytest.mark.parametrize("sampler", ["oversample", "smote"])
def test_resampling_begins_after_its_share_of_the_epochs(sampler):
    plain, late, never = (
        replicate(config(sampler=name, defer=defer), seed=2)
        for name, defer in (("shuffle", 0.0), (sampler, 0.5), (sampler, 1.0))
    )
    half = EPOCHS // 2
    for made, epochs in ((late, half), (never, EPOCHS)):
        drawn = made.features[made.plan[:epochs]]
        np.testing.assert_array_equal(drawn, plain.features[plain.plan[:epochs]])
    shares = np.bincount(late.labels[late.plan[half:]].ravel(), minlength=3) / late.plan[half:].size
    np.testing.assert_allclose(shares, 1 / 3, atol=0.02)
