"""A kept model of images takes folders, files and arrays, brings them to its shape, and sees what training saw."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from image_files import picture, write_idx, write_picture

from lossfleet.conf.errors import UserError
from lossfleet.runners.images.pixels import Images, standardised
from lossfleet.runners.portable.encoder import Encoder
from lossfleet.runners.portable.images import read_pixels, shaped
from lossfleet.runners.portable.model import Model
from lossfleet.runners.prediction.columns import describe_columns
from lossfleet.runners.prediction.stored import read_model, write_model
from lossfleet.sweeps.commands.evaluate import evaluate_file
from lossfleet.sweeps.commands.predict import predict_file

SHAPE, CLASSES = (3, 6, 4), ["blight", "healthy", "rust"]


def trained_images() -> Images:
    return Images.of(np.random.default_rng(5).integers(0, 256, (31, *SHAPE), np.uint8))


@pytest.fixture
def model(tmp_path) -> Model:
    """A logistic model of random weights."""
    images, random = trained_images(), np.random.default_rng(1)
    weights = {"0.weight": random.normal(0, 0.3, (2, 3, 72)), "0.bias": random.normal(0, 0.3, (2, 3))}
    description = {
        "name": "leaves",
        "lossfleet": "0.2.0",
        "classes": CLASSES,
        "class_counts": [9, 15, 7],
        "columns": describe_columns(images),
        "missing": [],
        "layers": ["dense"],
        "temperature": 1.0,
        "decision": "argmax",
        "prior_exponent": 0.5,
        "expected": {},
        "made": {"config": {"data": {}}},
    }
    example = pd.DataFrame(np.asarray(images)[:2]).add_prefix("pixel_")
    arrays = {name: array.astype(np.float32) for name, array in weights.items()}
    write_model(tmp_path / "model", description, arrays, example, "# A card\n")
    return read_model(tmp_path / "model")


def predicted(tmp_path: Path, path: Path) -> pd.DataFrame:
    predict_file(str(tmp_path / "model"), path, output=tmp_path / "out.csv", decision=None, uri=None)
    return pd.read_csv(tmp_path / "out.csv")


def expected(model: Model, images: np.ndarray) -> np.ndarray:
    """The definition in float64: probabilities (N, C) of images (N, F)."""
    pixels = np.asarray(trained_images(), np.float64).reshape(-1, 3, 24)
    mean, deviation = pixels.mean((0, 2)).repeat(24), pixels.std((0, 2)).repeat(24)
    features = (images.reshape(len(images), -1) - mean) / deviation
    logits = (features @ model.weights["0.weight"].transpose(0, 2, 1).astype(float)).mean(0)
    powers = np.exp(logits + model.weights["0.bias"].mean(0))
    return powers / powers.sum(1, keepdims=True)


def probabilities(table: pd.DataFrame) -> np.ndarray:
    return table[[f"probability_{name}" for name in CLASSES]].to_numpy()


def test_the_encoder_gives_the_bits_of_training():
    images = trained_images()
    encoder = Encoder(describe_columns(images), ())
    features = np.asarray(standardised([images])[0])
    assert encoder.image_shape == SHAPE
    np.testing.assert_array_equal(encoder.pixels(np.asarray(images)), features)
    columns = [f"pixel_{'_'.join(map(str, place))}" for place in np.ndindex(SHAPE)]
    table = pd.DataFrame(np.asarray(images), columns=columns)
    np.testing.assert_array_equal(encoder.features(table), features)


def test_a_folder_is_classified_in_the_shape_of_the_model(tmp_path, model):
    root = tmp_path / "new"
    for number, name in enumerate(["a.png", "b/c.png", "b/d.tif"]):
        write_picture(root / name, picture(number, height=6 + number, width=4 + number))
    write_picture(root / "grey.png", picture(9, height=6, width=4, channels=1))
    (root / "notes.txt").touch()
    table = predicted(tmp_path, root)
    assert table["file"].tolist() == ["a.png", "grey.png", "b/c.png", "b/d.tif"]
    images = np.stack([read_pixels(root / name, SHAPE) for name in table["file"]])
    np.testing.assert_allclose(probabilities(table), expected(model, images), atol=1e-5)
    assert table["class"].tolist() == [CLASSES[n] for n in probabilities(table).argmax(1)]
    alone = predicted(tmp_path, root / "a.png")
    np.testing.assert_allclose(probabilities(alone), probabilities(table)[:1], atol=1e-6)


def test_arrays_are_classified_in_the_shape_of_the_model(tmp_path, model):
    colour = np.stack([picture(n, height=6, width=4) for n in range(5)])
    np.savez(tmp_path / "new.npz", X=colour)
    table = predicted(tmp_path, tmp_path / "new.npz")
    assert table["row"].tolist() == [1, 2, 3, 4, 5]
    np.testing.assert_allclose(probabilities(table), expected(model, colour.transpose(0, 3, 1, 2)), atol=1e-5)
    from PIL import Image

    grey = np.stack([picture(n, height=9, width=9, channels=1) for n in range(5)])
    file = write_idx(tmp_path / "t10k-images-idx3-ubyte.gz", grey)
    images = np.stack([shaped(Image.fromarray(each), SHAPE) for each in grey])
    np.testing.assert_allclose(probabilities(predicted(tmp_path, file)), expected(model, images), atol=1e-5)


def test_images_that_cannot_be_read_are_named_and_nothing_is_written(tmp_path, model):
    root = tmp_path / "new"
    write_picture(root / "a.png", picture(1))
    for name in ("b.png", "c.jpg"):
        (root / name).write_bytes(b"x")
    for path, said in (
        (root, "new has 2 faults:\n  1. b.png is no JPEG"),
        (tmp_path / "nowhere.npz", "is no file"),
        (tmp_path / "model", "has no image"),
    ):
        with pytest.raises(UserError, match=re.escape(said)):
            predicted(tmp_path, path)
        assert not (tmp_path / "out.csv").exists()
    np.savez(tmp_path / "f.npz", X=np.zeros((2, 5, 5)))
    with pytest.raises(UserError, match="or bytes, to resize"):
        predicted(tmp_path, tmp_path / "f.npz")


def test_a_folder_a_class_is_evaluated(tmp_path, model, capsys):
    root = tmp_path / "new"
    images = [picture(n, height=6, width=4) for n in range(12)]
    found = expected(model, np.stack(images).transpose(0, 3, 1, 2)).argmax(1)
    for number, (image, label) in enumerate(zip(images, found, strict=True)):
        # One in four is put where it does not belong.
        label = (label + (number % 4 == 0)) % 3
        write_picture(root / CLASSES[label] / f"{number}.png", image)
    evaluate_file(str(tmp_path / "model"), root, target=None, decision=None, uri=None)
    out = capsys.readouterr().out
    assert "leaves on 12 images of new, decisions by argmax" in out
    assert re.search(r"accuracy +0\.7500", out)


def test_a_kept_model_reads_images_without_lossfleet(tmp_path, model):
    """A copy of its code lies in its folder."""
    file = tmp_path / "a.png"
    pixels = write_picture(file, picture(1, height=6, width=4))
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path / "model/code")!r})
from pathlib import Path
from lossfleet_model_6.images import read_pixels
from lossfleet_model_6.model import Model
model = Model(Path({str(tmp_path / "model/data")!r}))
assert "PIL" not in sys.modules
print(model.predict_images(read_pixels(Path({str(file)!r}), model.encoder.image_shape).reshape(1, -1)).iloc[0, 1])
assert not any(name.split(".")[0] in ("lossfleet", "mindspore") for name in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    expect = expected(model, pixels.transpose(2, 0, 1)[None])[0, 0]
    assert float(done.stdout) == pytest.approx(expect, abs=1e-5)


def test_mlflow_takes_arrays_of_one_signature(tmp_path, model):
    import mlflow
    from mlflow.exceptions import MlflowException
    from mlflow.pyfunc.scoring_server import infer_and_parse_data

    loaded = mlflow.pyfunc.load_model(str(tmp_path / "model"))
    (taken,) = loaded.metadata.signature.inputs.inputs
    assert (taken.type, taken.shape) == (np.uint8, (-1, *SHAPE))
    images = np.asarray(trained_images()).reshape(-1, *SHAPE)
    answer = loaded.predict(images)
    np.testing.assert_allclose(probabilities(answer), expected(model, images), atol=1e-5)
    prior = loaded.predict(images, params={"decision": "prior"})
    assert (
        prior["class"].tolist()
        == model.predict_images(images.reshape(31, -1), decision="prior")["class"].tolist()
    )
    # The example, and what a server makes of a request.
    example = loaded.metadata.load_input_example(str(tmp_path / "model"))
    request = json.loads((tmp_path / "model/serving_input_example.json").read_text())
    for few in (example, infer_and_parse_data(request, loaded.metadata.get_input_schema())):
        pd.testing.assert_frame_equal(loaded.predict(few), answer[:2])
    with pytest.raises(MlflowException, match="does not match expected shape"):
        loaded.predict(images.transpose(0, 2, 3, 1))
