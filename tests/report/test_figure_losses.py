"""`lossfleet plot losses`: curves against the paper's formulas, the file, and wrong usage."""

from __future__ import annotations

import os
import tempfile

import numpy as np
import pytest

from lossfleet.sweeps.commands.cli import main


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
def test_curves_are_the_papers_formulas(gamma):
    """Equations 4 and 10: (1 - p)^gamma log p, and its derivative to the logit."""
    from lossfleet.sweeps.report.figures.losses import loss_curves

    p = np.linspace(0.002, 0.96, 37)
    values, magnitudes = loss_curves(p, gamma)
    np.testing.assert_allclose(values, -((1 - p) ** gamma) * np.log(p), rtol=1e-5)
    slope = (1 - p) ** gamma * (gamma * p * np.log(p) + p - 1)
    np.testing.assert_allclose(magnitudes, np.abs(slope), rtol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "name", "start"),
    [([], "losses.png", b"\x89PNG"), (["--output", "figure.svg"], "figure.svg", b"<?xml")],
)
def test_draws_every_gamma_into_the_file(arguments, name, start, workdir, capsys, monkeypatch):
    from lossfleet.sweeps.report.figures import losses

    drawn = []
    curves = losses.loss_curves
    monkeypatch.setattr(losses, "loss_curves", lambda p, gamma: drawn.append(gamma) or curves(p, gamma))
    assert main(["plot", "losses", *arguments]) == 0
    assert capsys.readouterr().out == f"{name}\n"
    assert (workdir / name).read_bytes().startswith(start)
    assert [path.name for path in workdir.iterdir()] == [name]
    assert drawn == [0.0, 0.5, 1.0, 2.0, 5.0]


@pytest.mark.parametrize("name", ["losses.png", "made.png"])
def test_what_cannot_be_written_is_refused_before_anything_is_drawn(name, workdir, capsys, monkeypatch):
    from lossfleet.sweeps.report.figures import losses

    monkeypatch.setattr(losses, "draw_losses", lambda path: pytest.fail("drawn"))
    # Whatever rights the user of this test has.
    (workdir / "made.png").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: path != workdir)
    assert main(["plot", "losses", "--output", name]) == 2
    told = capsys.readouterr().err
    assert f"{name} cannot be written; expected a file in a folder that this user may write to" in told
    assert f"--output {tempfile.gettempdir()}/{name}" in told


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "plot has no figure; expected one of losses; write for example 'lossfleet plot losses'"),
        (["loses"], "there is no figure loses; expected one of losses; did you mean losses?"),
        (["losses", "more"], "more is no option of lossfleet plot; expected"),
        (
            ["losses", "--output", "a.jpg"],
            "--output is a.jpg; expected a file that ends in .png or .svg",
        ),
        (
            ["losses", "--output", "no/a.png"],
            "--output is no/a.png; expected a file that ends in .png or .svg, in a folder that is there",
        ),
    ],
)
def test_wrong_usage_changes_nothing(arguments, says, workdir, capsys):
    assert main(["plot", *arguments]) == 2
    assert says in capsys.readouterr().err
    assert not list(workdir.iterdir())
