"""Three tables of the kinds that people bring, from file to verdict with no setting but path and target."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sweeps_here import sweep_here
from whole_sweeps import journal

from lossfleet.conf.schema import choose
from lossfleet.runners.data.loading import open_dataset
from lossfleet.runners.records import ReplicateRecord
from lossfleet.runners.training.replicate import ReplicateFactory

SMALL = (
    *("data=csv", "strategy=ce,focal", "references=[]", "keep=none", "name=whole", "model.widths=[7]"),
    *("search=random", "pruner=none", "batch_size=512"),
    *(
        "budget.trials=2",
        "budget.replicates=1",
        "budget.epochs=2",
        "budget.rungs=1",
        "budget.final_replicates=2",
    ),
)


def bank() -> str:
    """Calls of a bank: semicolons, quoted words, `unknown` among them, and 999 for never."""
    random = np.random.default_rng(11)
    rows = 1201
    jobs = ["admin.", "blue-collar", "technician", "self-employed", "unknown"]
    table = pd.DataFrame(
        {
            "age": random.integers(18, 90, rows),
            "job": random.choice(jobs, rows),
            "education": random.choice(["basic.9y", "high.school", "university.degree", "unknown"], rows),
            "default": random.choice(["no", "unknown", "yes"], rows, p=[0.78, 0.2, 0.02]),
            "month": random.choice(["may", "jun", "nov"], rows),
            "duration": random.integers(3, 2000, rows),
            "pdays": np.where(random.random(rows) < 0.9, 999, random.integers(0, 20, rows)),
            "emp.var.rate": random.choice([-1.8, 1.1, 1.4], rows),
            "euribor3m": random.uniform(0.6, 5, rows).round(3),
        }
    )
    chance = 0.03 + 0.3 * (table["duration"] > 1200)
    table["y"] = np.where(random.random(rows) < chance, "yes", "no")
    for name in ("job", "education", "default", "month", "y"):
        table[name] = '"' + table[name] + '"'
    header = ";".join(f'"{name}"' for name in table)
    return "\n".join([header, *(";".join(map(str, row)) for row in table.to_numpy().tolist())]) + "\n"


def card_fraud() -> str:
    """Payments of two days: 20,000 rows, 578 payments for each fraud once those that are there twice are left out."""
    random = np.random.default_rng(13)
    rows, repeated, frauds = 20_000, 314, 34
    label = np.zeros(rows, np.int64)
    label[random.choice(rows - repeated, frauds, replace=False)] = 1
    components = random.normal(size=(rows, 12)) + label[:, None] * np.linspace(-1.5, 1.5, 12)
    table = pd.DataFrame(components.round(6), columns=[f"V{place}" for place in range(1, 13)])
    table.insert(0, "Time", np.sort(random.integers(0, 172_792, rows)).astype(float))
    table["Amount"] = random.lognormal(3, 1.5, rows).round(2)
    table["Class"] = label
    payments = np.flatnonzero(label[: rows - repeated] == 0)
    table.iloc[rows - repeated :] = table.iloc[random.choice(payments, repeated, replace=False)]
    return table.sort_values("Time").to_csv(index=False)


def churn() -> str:
    """Customers of a telephone company: an identifier, yes and no, and charges that are blank in the first month."""
    random = np.random.default_rng(17)
    rows = 1009
    tenure = random.integers(0, 72, rows)
    monthly = random.uniform(18, 119, rows).round(2)
    phone = random.choice(["Yes", "No"], rows, p=[0.9, 0.1])
    codes = random.permutation(np.arange(1000, 1000 + rows))
    month = random.random(rows) < 0.55
    table = pd.DataFrame(
        {
            "customerID": [f"{code}-{''.join(random.choice(list('ABCDEFGH'), 5))}" for code in codes],
            "gender": random.choice(["Female", "Male"], rows),
            "SeniorCitizen": (random.random(rows) < 0.16).astype(int),
            "Partner": random.choice(["Yes", "No"], rows),
            "tenure": tenure,
            "MultipleLines": np.where(phone == "No", "No phone service", random.choice(["Yes", "No"], rows)),
            "Contract": np.where(month, "Month-to-month", "Two year"),
            "PaperlessBilling": random.choice(["Yes", "No"], rows),
            "PaymentMethod": random.choice(["Electronic check", "Credit card (automatic)"], rows),
            "MonthlyCharges": monthly,
            "TotalCharges": np.where(tenure == 0, " ", (tenure * monthly).round(2).astype(str)),
            "Churn": np.where(random.random(rows) < np.where(month, 0.42, 0.08), "Yes", "No"),
        }
    )
    return table.to_csv(index=False)


# What makes the file, its target, the rows that are left of it, its class counts, what becomes of its columns, and what
# else is said.
TABLES: dict[str, tuple[Callable[[], str], str, int, str, dict[str, list[str]], list[str]]] = {
    "bank": (
        *(bank, "y", 1201, "no 1,026, yes 175; the rarest is yes"),
        {
            "numbers": ["age", "duration", "pdays", "emp.var.rate", "euribor3m"],
            "categories": ["job (5)", "education (4)", "default (3)", "month (3)"],
        },
        ["1,201 rows; semicolons, UTF-8"],
    ),
    "card_fraud": (
        *(card_fraud, "Class", 19_686, "0 19,652, 1 34; the rarest is 1"),
        {"numbers": ["Time", *(f"V{place}" for place in range(1, 13)), "Amount"]},
        ["20,000 rows; commas, UTF-8", "314 rows left out that repeat an earlier row exactly"],
    ),
    "churn": (
        *(churn, "Churn", 1009, "No 733, Yes 276; the rarest is Yes"),
        {
            "numbers": ["SeniorCitizen", "tenure", "MonthlyCharges", "TotalCharges"],
            "categories": [
                "gender (2)",
                "Partner (2)",
                "MultipleLines (3)",
                "Contract (2)",
                "PaperlessBilling (2)",
            ]
            + ["PaymentMethod (2)"],
            "left out": ["customerID"],
        },
        ["1,009 rows; commas, UTF-8", "column customerID left out: a text of its own in every row"],
    ),
}


@pytest.mark.parametrize(
    ("make", "target", "left", "classes", "columns", "said"), TABLES.values(), ids=TABLES
)
def test_a_table_goes_from_file_to_verdict(
    make, target, left, classes, columns, said, workdir, capsys, monkeypatch
):
    Path("table.csv").write_text(make())
    (plan,) = sweep_here(monkeypatch, *SMALL, "data.path=table.csv", f"data.target={target}").plans
    printed = capsys.readouterr()
    for line in (*said, f"classes (2): {classes}"):
        assert line in printed.err
    dataset = ReplicateFactory.of(plan.studies[0].config).dataset
    assert dataset.reading is not None
    assert {name: found for name, found in dataset.reading.columns.items() if found} == columns
    # Every row is in a part of each split.
    finals = [
        each
        for each in journal(Path(), "whole").read()
        if isinstance(each, ReplicateRecord) and each.stage == "final"
    ]
    assert len(finals) == 4
    for record in finals:
        assert sum(record.metrics[f"{part}_rows"] for part in ("train", "validation", "test")) == left
    sentence = " ".join(printed.out.split())
    assert "has the highest test balanced accuracy" in sentence
    assert "not distinguishable on these 2 splits" in sentence or "is better than" in sentence


def test_what_is_blank_is_missing_and_a_flag_is_a_number(workdir):
    Path("table.csv").write_text(churn())
    features = open_dataset(choose("data", "csv", path="table.csv", target="Churn")).features
    first = features["tenure"] == 0
    assert first.sum() > 3
    assert (features["TotalCharges"].isna() == first).all()
    assert sorted(features["SeniorCitizen"].unique()) == [0, 1]
