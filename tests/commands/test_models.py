"""Kept models at work, from the command line: predictions of files, labelled rows, and HTTP."""

from __future__ import annotations

import json
import os
import socket
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from forks import ForkedCommand
from kept_models import CLASSES, MEMBERS, WIDTH, bank, make_model
from postgres import free_port
from sklearn.metrics import balanced_accuracy_score, f1_score, recall_score

from lossfleet.runners.tables import files, reading
from lossfleet.sweeps.commands.cli import main
from lossfleet.sweeps.commands.in_order import in_order, read_ahead
from lossfleet.sweeps.keeping import sample
from lossfleet.sweeps.keeping.importance import column_importance
from lossfleet.sweeps.keeping.judgement import judge

ROWS = 389


@pytest.fixture
def model(workdir):
    return make_model(workdir / "model")


def predict(*arguments: str) -> int:
    return main(["predict", "model", *arguments])


def as_predicted(path: str) -> pd.DataFrame:
    is_parquet = path.endswith(".parquet")
    return pd.read_parquet(path) if is_parquet else pd.read_csv(path, float_precision="round_trip")


@pytest.mark.parametrize("output", ["p.csv", "p.parquet"])
@pytest.mark.parametrize("name", ["rows.csv", "rows.csv.gz", "rows.parquet"])
def test_a_file_is_predicted_to_the_last_bit_batch_by_batch(model, name, output, monkeypatch):
    # A block of a CSV file must hold a row; Parquet's batches are of rows.
    monkeypatch.setattr(files, "BLOCK_BYTES", 4096)
    monkeypatch.setattr(reading, "PARQUET_BATCH_ROWS", 101)
    table = bank(ROWS, seed=4)
    shuffled = table[table.columns[::-1]].assign(more="not looked at")
    if name.endswith(".parquet"):
        shuffled.astype({"job": str}).to_parquet(name)
    else:
        shuffled.to_csv(name, index=False)
    assert predict(name, "--output", output) == 0
    found, expected = as_predicted(output), model.predict(table).astype({"class": str})
    pd.testing.assert_frame_equal(found, expected, check_exact=True, check_dtype=False)
    assert not list(Path().glob("*.new"))


def test_without_output_the_predictions_are_printed_with_what_is_not_known(model, capfd):
    table = bank(29, seed=5).astype({"job": object})
    table.loc[[3, 4], "job"] = "astronaut"
    table.loc[7, "age"] = np.nan
    table.to_csv("rows.csv", index=False)
    assert predict("rows.csv", "--decision", "prior") == 0
    printed, told = capfd.readouterr()
    lines = [line.split(",")[0].strip('"') for line in printed.splitlines()]
    expected = model.predict(table, decision="prior")["class"].tolist()
    assert lines == ["class", *expected]
    assert "column 'job': 2 cells of a category that training never saw; it was left out" in told
    assert "column 'age': 1 cells missing, which training never saw; its median was taken" in told
    assert "29 rows" in told


def test_results_come_in_order_and_few_are_made_ahead():
    """The second item is slower than the first; the error of an item comes when all before it were taken."""
    taken, cores = [], len(os.sched_getaffinity(0))

    def items():
        for number in range(11):
            taken.append(number)
            yield number

    def work(number):
        time.sleep(0.02 * (number % 2))
        if number == 7:
            raise ValueError(number)
        return number

    found = []

    def take():
        for number in in_order(work, items()):
            assert len(taken) <= number + cores + 1
            found.append(number)

    with pytest.raises(ValueError, match="7"):
        take()
    assert found == list(range(7))
    assert list(read_ahead(iter(range(5)))) == list(range(5))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda table: table.drop(columns="age"), "no column 'age'; expected the columns age, balance"),
        (lambda table: table.rename(columns={"job": "jobs"}), "no column 'job'.*did you mean jobs"),
        (lambda table: table.assign(age=["1"] * 300 + ["old"] * 89), "'age' has 'old' in row 301"),
        (lambda table: table.assign(balance=[*[0.5] * 388, 1e39]), "'balance' has 1e\\+39 in row 389"),
    ],
)
def test_rows_that_cannot_be_used_are_refused_and_nothing_is_written(
    model, change, words, capsys, monkeypatch
):
    monkeypatch.setattr(files, "BLOCK_BYTES", 4096)
    change(bank(ROWS)).to_csv("rows.csv", index=False)
    assert predict("rows.csv", "--output", "p.csv") == 2
    told = capsys.readouterr().err
    assert pd.Series([told]).str.contains(words).all(), told
    assert "data.path" not in told
    assert not list(Path().glob("p.*"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["predict", "model", "no.csv"], "no.csv is no file"),
        (["predict", "model", "rows.json"], "the file is 'rows.json'; expected a file that ends in .csv"),
        (["predict", "model", "rows.csv", "--output", "p.txt"], "--output is p.txt"),
        (["predict", "model", "rows.csv", "--output", "no/p.csv"], "--output is no/p.csv"),
        (["predict", "model", "rows.csv", "--decision", "prio"], "did you mean prior?"),
        (["predict", "model"], "required: file"),
        (["predict", ".", "rows.csv"], "a folder without a file MLmodel"),
        (["evaluate", "model", "rows.csv", "--target", "z"], "no column 'z'"),
        (["evaluate", "model", "rows.csv"], "no column 'y'"),
        (["evaluate", "model", "rows.csv", "--importance", "columns.txt"], "--importance is columns.txt"),
        (["evaluate", "model", "rows.csv", "--importance", "no/columns.png"], "in a folder that is there"),
        (["serve", "model", "--port", "0"], "--port is 0"),
        (["export", "model", "--format", "onnx"], "--format is onnx"),
        (["export", "model", "--format", "ckpt", "--output", "no/m.ckpt"], "--output is no/m.ckpt"),
        (["keep", "nothing"], "no sweep nothing under studies/"),
        (["keep", "nothing", "--members", "0"], "--members is 0"),
    ],
)
def test_what_cannot_be_done_is_refused(model, arguments, words, capsys):
    bank(7).to_csv("rows.csv", index=False)
    assert main(arguments) == 2
    assert words in capsys.readouterr().err


def labelled(model, share: float = 0.7) -> pd.DataFrame:
    """Rows whose class is the predicted one as often as a share says."""
    random = np.random.default_rng(9)
    table = bank(ROWS, seed=6)
    predicted = model.predict(table)["class"].astype(str).to_numpy()
    other = random.choice(CLASSES, ROWS)
    return table.assign(y=np.where(random.random(ROWS) < share, predicted, other))


def test_labelled_rows_are_measured_as_scikit_learn_measures(model, capsys):
    table = labelled(model)
    table.to_csv("rows.csv", index=False)
    assert main(["evaluate", "model", "rows.csv"]) == 0
    lines = {line.split("  ")[0]: line for line in capsys.readouterr().out.splitlines()}
    predicted = model.predict(table)["class"].astype(str)
    expected = {
        "balanced accuracy": balanced_accuracy_score(table["y"], predicted),
        "macro f1": f1_score(table["y"], predicted, average="macro"),
    }
    recalls = recall_score(table["y"], predicted, average=None, labels=CLASSES)
    expected |= {f"recall of {name}": value for name, value in zip(CLASSES, recalls, strict=True)}
    for name, value in expected.items():
        assert f"{value:.4f}" in lines[name]
        assert "0.8000 (0.700 to 0.900)" in lines[name]


def test_columns_that_matter_are_drawn_and_named(model, capsys, caplog):
    table = labelled(model, 1.0).astype({"job": object})
    table.loc[7, "job"] = "astronaut"
    table.to_csv("rows.csv", index=False)
    assert main(["evaluate", "model", "rows.csv", "--importance", "columns.png"]) == 0
    printed = capsys.readouterr()
    said = printed.out.splitlines()[-1]
    assert said.startswith("columns.png: shuffled, these columns cost most balanced accuracy: ")
    # Told once, however often the rows are predicted.
    assert printed.err.count("a category that training never saw") == 1
    assert not caplog.records
    assert Path("columns.png").read_bytes().startswith(b"\x89PNG")
    labels = table["y"].map(CLASSES.index).to_numpy()
    found = column_importance(model, table, labels).set_index("column")
    # A column that does not vary cannot matter, and the others do as often as they are shuffled by hand.
    assert found.loc["campaign", "mean"] == 0
    random = np.random.default_rng(3)
    for name in ("age", "balance", "job"):
        losses = []
        for _ in range(20):
            shuffled = table.assign(**{name: random.permutation(table[name])})
            predicted = model.predict(shuffled)["class"].cat.codes
            losses.append(1 - balanced_accuracy_score(labels, predicted))
        error = np.std(losses) * np.sqrt(1 / 5 + 1 / 20)
        assert found.loc[name, "mean"] == pytest.approx(np.mean(losses), abs=4 * error)
    assert f"{found.index[0]} {found['mean'].iloc[0]:.3f}" in said


def test_a_sample_is_drawn_from_all_batches_alike(monkeypatch):
    monkeypatch.setattr(sample, "MOST_ROWS", 100)
    drawn = sample.Sample()
    for start in range(0, 1000, 50):
        drawn.add(pd.DataFrame({"row": range(start, start + 50)}))
    rows = drawn.rows()["row"].to_numpy()
    assert len(set(rows)) == 100
    # The mean of 100 of 1,000 numbers, whose standard deviation is 289.
    assert abs(rows.mean() - 499.5) < 4 * 289 / 10


def test_a_label_that_is_no_class_is_refused_by_its_row(model, capsys):
    table = labelled(model).assign(y=lambda rows: rows["y"].where(rows.index != 17, "yess"))
    table.to_csv("rows.csv", index=False)
    assert main(["evaluate", "model", "rows.csv", "--target", "y"]) == 2
    assert "column 'y' has 'yess' in row 18; expected one of the classes no, yes" in capsys.readouterr().err


SCORE = {"mean": 0.6, "low": 0.5, "high": 0.7, "error": 0.03, "deviation": 0.04}


def test_another_decision_is_set_beside_what_was_expected_of_it(workdir, capsys):
    expected = {"test_accuracy": SCORE, "test_decided_accuracy": {**SCORE, "mean": 0.4444}}
    stored = {"threshold": {"class": "no", "at_least": 0.8}, "decision": "threshold"}
    model = make_model(workdir / "model", classes=CLASSES[:2], expected=expected, **stored)
    table = bank(ROWS, seed=5).assign(y=["no", "yes", "no"] * 129 + ["no", "no"])
    table.to_csv("rows.csv", index=False)
    for options, said, mean in (
        ((), "threshold", "0.4444"),
        (("--decision", "argmax"), "argmax", "0.6000"),
        (("--decision", "threshold=0.3"), "threshold=0.3", "unknown"),
    ):
        assert main(["evaluate", "model", "rows.csv", "--target", "y", *options]) == 0
        printed = capsys.readouterr().out
        assert f"decisions by {said}\n" in printed
        (line,) = [line for line in printed.splitlines() if line.startswith("accuracy")]
        accuracy = (model.predict(table, decision=said)["class"].astype(str) == table["y"]).mean()
        assert line.split()[1:3] == [f"{accuracy:.4f}", mean]
    assert predict("rows.csv", "--decision", "costs") == 2
    assert "the decision is costs; expected one of argmax, prior, threshold" in capsys.readouterr().err


def test_the_cost_of_new_rows_is_set_beside_that_of_the_final_evaluation():
    confusion, costs = np.array([[50, 10], [5, 35]]), [[0, 2], [8, 1]]
    description = {"classes": ["a", "b"], "costs": costs, "made": {"splits": 10}}
    beyond = {**SCORE, "low": -0.1, "high": 1.042}
    description["expected"] = {
        "test_decided_cost": SCORE,
        "test_decided_mcc": beyond,
        "test_decided_accuracy": beyond,
    }
    found = {score.name: score for score in judge(confusion, description, "costs")}
    assert found["cost"].measured == pytest.approx((10 * 2 + 5 * 8 + 35 * 1) / 100)
    assert found["cost"].expected == SCORE["mean"]
    assert [found[name].interval for name in ("cost", "mcc", "accuracy")] == [
        (0.5, 0.7),
        (-0.1, 1.0),
        (0.0, 1.0),
    ]
    assert "cost" not in {score.name for score in judge(confusion, description, "argmax")}


def test_a_difference_is_more_than_chance_where_it_is(model):
    as_expected = np.array([[80, 10, 10], [10, 80, 10], [10, 10, 80]])
    for confusion, differs in ((as_expected, False), (as_expected[::-1], True)):
        scores = judge(confusion, model.description, "argmax")
        assert [score.name for score in scores][:2] == ["balanced accuracy", "macro f1"]
        assert scores[0].expected == 0.8
        assert {score.name: score.differs for score in scores}["balanced accuracy"] is differs
    # A rate of false alarms: what was expected is drawn again, as final splits of single trainings draw it.
    random = np.random.default_rng(3)
    alarms = 0
    for seed in range(20):
        accuracy = np.clip(random.normal(0.8, 0.05), 0, 1)
        rows = random.multinomial(300, [accuracy, 1 - accuracy])
        confusion = np.array([[rows[0] // 2, rows[1] // 2], [rows[1] - rows[1] // 2, rows[0] - rows[0] // 2]])
        score = {"mean": 0.8, "low": 0.7, "high": 0.9, "error": 0.025, "deviation": 0.05}
        two = {"classes": ["a", "b"], "expected": {"test_accuracy": score}, "made": {"splits": 10}}
        alarms += any(each.differs for each in judge(confusion, two, "argmax", seed=seed))
    assert alarms <= 3


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The address of a server, started as a user starts it, and the model that it serves."""
    folder = tmp_path_factory.mktemp("served")
    made = make_model(folder / "model", costs=[[0, 1, 1], [1, 0, 1], [4, 9, 0]])
    port = free_port()
    server = ForkedCommand(("serve", "model", "--port", str(port)), folder)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(400):
            try:
                urllib.request.urlopen(f"{address}/ping", timeout=5).close()
                break
            except OSError:
                assert server.poll() is None, server.errors.read_text()
                time.sleep(0.5)
        yield address, made
    finally:
        server.end()


def post(address: str, body: bytes | dict, kind: str = "application/json") -> tuple[int, dict]:
    data = json.dumps(body).encode() if isinstance(body, dict) else body
    request = urllib.request.Request(f"{address}/invocations", data, {"Content-Type": kind})
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        text = error.read().decode()
        return error.code, {"text": text}


def split_of(table: pd.DataFrame) -> dict:
    return {"dataframe_split": json.loads(table.to_json(orient="split", index=False, double_precision=15))}


def test_the_server_answers_as_predict_does(served):
    address, model = served
    # Numbers that every format writes as they are.
    table = bank(31, seed=8).round({"balance": 4})
    expected = model.predict(table).astype({"class": str})
    csv = table.to_csv(index=False).encode()
    records = {"dataframe_records": json.loads(table.to_json(orient="records", double_precision=15))}
    bodies = [(split_of(table), "application/json"), (records, "application/json"), (csv, "text/csv")]
    reordered = split_of(table[table.columns[::-1]]), "application/json"
    for body, kind in (*bodies, reordered):
        status, answer = post(address, body, kind)
        assert status == 200, answer
        pd.testing.assert_frame_equal(pd.DataFrame(answer["predictions"]), expected, check_exact=True)
    for decision in ("prior", "costs"):
        status, answer = post(address, split_of(table) | {"params": {"decision": decision}})
        predicted = model.predict(table, decision=decision)["class"].tolist()
        assert [row["class"] for row in answer["predictions"]] == predicted


def test_the_server_takes_many_requests_at_once(served):
    address, model = served
    tables = [bank(1 + number % 7, seed=number).round({"balance": 4}) for number in range(200)]
    with ThreadPoolExecutor(200) as threads:
        answers = list(threads.map(lambda table: post(address, split_of(table)), tables))
    for table, (status, answer) in zip(tables, answers, strict=True):
        assert status == 200
        expected = model.predict(table).astype({"class": str})
        pd.testing.assert_frame_equal(pd.DataFrame(answer["predictions"]), expected, check_exact=True)


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (b"{not json", "application/json", "JSON"),
        ({"rows": []}, "application/json", "dataframe_split"),
        (split_of(bank(3).drop(columns="age")), "application/json", "age"),
        (split_of(bank(3).assign(age="old")), "application/json", "age"),
        (split_of(bank(3)) | {"params": {"decision": "guess"}}, "application/json", "guess"),
        (b"age,balance\n1", "text/csv", "campaign"),
        (b"<rows/>", "application/xml", "content types"),
    ],
)
def test_the_server_says_why_it_refuses(served, body, kind, words):
    status, answer = post(served[0], body, kind)
    assert 400 <= status < 500
    assert words in answer["text"]


def test_a_damaged_model_and_a_taken_port_are_refused_before_a_server_starts(model, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["serve", "model", "--port", str(port)]) == 2
        assert f"port {port} cannot be used" in capsys.readouterr().err
    Path("model/data/weights.safetensors").write_bytes(b"nothing")
    assert main(["serve", "model", "--port", str(port)]) == 2
    assert "weights.safetensors is damaged" in capsys.readouterr().err
    assert model.classes == CLASSES


def test_exports_load_into_stock_layers_and_give_the_same_logits(model, capsys):
    import mindspore as ms
    from mindspore import Tensor, nn

    features = model.encoder.features(bank(53, seed=9))
    assert main(["export", "model", "--format", "ckpt"]) == 0
    assert main(["export", "model", "--format", "mindir", "--output", "graph.mindir"]) == 0
    assert "graph.mindir" in capsys.readouterr().out
    parameters = ms.load_checkpoint("model.ckpt")
    members = []
    for member in range(MEMBERS):
        cell = nn.SequentialCell([nn.Dense(features.shape[1], WIDTH), nn.ReLU(), nn.Dense(WIDTH, 3)])
        prefix = f"members.{member}."
        own = {
            name.removeprefix(prefix): each for name, each in parameters.items() if name.startswith(prefix)
        }
        assert ms.load_param_into_net(cell, own) == ([], [])
        members.append(cell(Tensor(features)).asnumpy())
    assert np.abs(members[0] - members[1]).max() > 0.1
    expected = model.logits(features)
    np.testing.assert_allclose(np.mean(members, axis=0), expected, rtol=0, atol=1e-5)
    graph = nn.GraphCell(ms.load("graph.mindir"))
    for rows in (features, features[:7]):
        np.testing.assert_allclose(graph(Tensor(rows)).asnumpy(), expected[: len(rows)], rtol=0, atol=1e-5)
