"""Every task from the command line to the end.

It learns more than a linear model, writes what people look at, can be measured, used, stopped and gone on with,
and says clearly what does not fit.
"""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from tatami.data.made import load_made
from tatami.data.sources import load
from tatami.layers import Convolution, Dense, Embedding, Flatten
from tatami.network import Sequential
from tatami.training.model import load_model

SEGMENT = ("shapes", "--limit", 300, "--epochs", 6, "--batch-size", 10)
REGRESS = ("adding", "--limit", 1500, "--epochs", 8, "--set", "units=32")
TEXT = ("text", "--limit", 400, "--epochs", 12, "--batch-size", 20, "--set", "units=32")
NORMAL = (
    *("digits", "--task", "reconstruct", "--only", "0,1"),
    *("--set", "code=6", "--set", "hidden=[32]", "--epochs", 40),
)


def trained(tmp_path_factory, name, *words):
    from tatami.cli.main import main

    folder = tmp_path_factory.mktemp(name) / "run"
    assert main(["train", *map(str, words), "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def segmented(tmp_path_factory):
    return trained(tmp_path_factory, "segment", *SEGMENT, "--set", "width=6")


@pytest.fixture(scope="module")
def added(tmp_path_factory):
    return trained(tmp_path_factory, "regress", *REGRESS)


@pytest.fixture(scope="module")
def wrote(tmp_path_factory):
    return trained(tmp_path_factory, "sequence", *TEXT)


@pytest.fixture(scope="module")
def normal(tmp_path_factory):
    return trained(tmp_path_factory, "reconstruct", *NORMAL)


def linear(tmp_path, *layers, input_shape):
    path = tmp_path / "linear.json"
    path.write_text(json.dumps(Sequential(*layers, input_shape=input_shape, name="linear").to_json()))
    return path


def pictures_in(folder):
    found = {path.name for path in folder.glob("*.png")}
    for name in found:
        with Image.open(folder / name) as picture:
            assert picture.width > 300, name
    return found


def test_segmentation_learns_more_than_a_linear_model(tatami, segmented, tmp_path):
    measured = tatami("evaluate", segmented, "--json").json
    assert measured["task"] == "segment"
    assert measured["mean_iou"] > 0.75
    assert set(measured["iou"]) == {"ground", "disc", "square"}
    network = linear(tmp_path, Convolution(3, 1), input_shape=(1, 32, 32))
    baseline = tatami("train", *SEGMENT, "--network", network, "--json").json
    assert baseline["mean_iou"] < measured["mean_iou"] - 0.2
    assert pictures_in(segmented) >= {"curves.png", "masks.png", "worst.png"}
    history = [json.loads(line) for line in (segmented / "history.jsonl").read_text().splitlines()]
    assert set(history[0]["metrics"]) == {"mean_iou", "pixel_accuracy"}
    assert history[0]["accuracy"] is None


def test_segmentation_with_dice_and_masks_that_move_with_their_images(tatami):
    words = ("shapes", "--limit", 80, "--epochs", 2, "--augment", "geometric", "--seed", 2)
    first = tatami("train", *words, "--loss", "dice", "--json")
    assert first.code == 0, first.err
    again = tatami("train", *words, "--loss", "dice", "--workers", 2, "--json")
    assert first.json["weights_sha256"] == again.json["weights_sha256"]
    assert 0 < first.json["loss"] < 1


def test_predicted_masks_are_written_in_the_size_of_the_image(tatami, segmented, tmp_path):
    image = load_made("shapes").test.images[0, 0]
    pixels = np.clip((image + 0.3) * 150, 0, 255).astype(np.uint8)
    Image.fromarray(pixels).resize((96, 64)).save(tmp_path / "two.png")
    ended = tatami("predict", segmented, tmp_path / "two.png", "--out", "masks", "--json")
    (entry,) = ended.json["predictions"]
    assert sum(entry["shares"].values()) == pytest.approx(1)
    with Image.open(entry["mask"]) as mask, Image.open(entry["overlay"]) as overlay:
        assert mask.size == overlay.size == (96, 64)
        assert mask.mode == "P"
        assert set(np.unique(np.asarray(mask))) <= {0, 1, 2}
        assert mask.getpalette()[3:6] == [42, 111, 151]
    assert "Written to masks" in ended.err


def test_regression_learns_more_than_a_linear_model(tatami, added, tmp_path):
    measured = tatami("evaluate", added, "--json").json
    assert measured["r2"] > 0.9
    assert measured["targets"] == ["sum"]
    network = linear(tmp_path, Flatten(), Dense(1), input_shape=(2, 20))
    words = [word for word in REGRESS if word not in ("--set", "units=32")]
    assert tatami("train", *words, "--network", network, "--json").json["r2"] < 0.3
    assert pictures_in(added) >= {"curves.png", "regression.png"}


def test_numbers_are_predicted_in_the_units_of_the_data(tatami, added, tmp_path):
    test = load_made("adding").test
    np.save(tmp_path / "three.npy", test.images[:3])
    ended = tatami("predict", added, tmp_path / "three.npy", "--json")
    said = [entry["values"]["sum"] for entry in ended.json["predictions"]]
    np.testing.assert_allclose(said, test.targets[:3, 0], atol=0.4)
    assert ended.json["predictions"][0]["example"].endswith("three.npy[0]")
    assert "three.npy[2]" in ended.err


def test_regression_from_a_table_of_measurements(tatami, tmp_path):
    draws = np.random.default_rng(1).uniform(-1, 1, (400, 3))
    table = tmp_path / "house.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["size", "age", "noise", "price"])
        # A product and large numbers: a linear model cannot know the one, an unscaled one not learn the others.
        writer.writerows([[*map(float, row), 50000 + 20000 * row[0] * row[1]] for row in draws])
    words = ("--task", "regress", "--target", "price", "--epochs", 60, "--json")
    run = tatami("train", table, "--network", "mlp", *words)
    assert run.code == 0, run.err
    assert run.json["r2"] > 0.8
    assert 0 < run.json["rmse"] < 5000
    network = linear(tmp_path, Dense(1), input_shape=(3,))
    assert tatami("train", table, "--network", network, *words).json["r2"] < 0.3
    said = tatami("predict", run.json["run_dir"], table, "--json").json["predictions"]
    assert len(said) == 400
    assert said[0]["values"]["price"] == pytest.approx(50000 + 20000 * draws[0, 0] * draws[0, 1], abs=15000)
    assert tatami("evaluate", run.json["run_dir"], table, "--json").json["r2"] == run.json["r2"]


def test_autoencoders_give_more_back_than_principal_components(tatami):
    splits = load("digits")
    train, test = (part.images.reshape(len(part), -1) / 16 for part in (splits.train, splits.test))
    mean = train.mean(axis=0)
    components = np.linalg.svd(train - mean, full_matrices=False)[2][:4]
    linear_mse = np.mean((test - mean - (test - mean) @ components.T @ components) ** 2)
    words = ("--task", "reconstruct", "--set", "code=4", "--set", "hidden=[128,64]", "--epochs", 40)
    run = tatami("train", "digits", *words, "--json").json
    assert run["mse"] < 0.75 * linear_mse
    assert run["psnr"] == pytest.approx(-10 * np.log10(run["mse"]))


@pytest.mark.parametrize(
    "network",
    [
        "denoising_autoencoder",
        "sparse_autoencoder",
        "convolutional_autoencoder",
        "variational_autoencoder",
        "unet",
    ],
)
def test_every_autoencoder_learns(tatami, network, tmp_path):
    words = ("--task", "reconstruct", "--network", network, "--limit", 400, "--epochs", 8, "--json")
    run = tatami("train", "digits", *words)
    assert run.code == 0, run.err
    history = load_model(run.json["run_dir"])
    assert history.task.name == "reconstruct"
    lines = (tmp_path / run.json["run_dir"] / "history.jsonl").read_text().splitlines()
    first, last = json.loads(lines[0]), json.loads(lines[-1])
    assert last["metrics"]["psnr"] > first["metrics"]["psnr"]
    names = pictures_in(tmp_path / run.json["run_dir"])
    assert names >= {"curves.png", "reconstructions.png", "worst.png"}
    assert ({"samples.png", "latent.png"} <= names) == (network == "variational_autoencoder")
    assert ("denoised" in run.err) is False


def test_noise_is_removed(tatami, tmp_path):
    words = ("--task", "reconstruct", "--noise", 0.3, "--epochs", 20, "--json")
    run = tatami("train", "digits", *words).json
    # Noise of deviation 0.3 has a mean square of 0.09.
    assert run["mse"] < 0.03
    Image.fromarray((load("digits").test.images[0, 0] * 15).astype(np.uint8)).save(tmp_path / "0.png")
    ended = tatami("predict", run["run_dir"], tmp_path / "0.png", "--noise", 0.3, "--out", "clean", "--json")
    (entry,) = ended.json["predictions"]
    assert entry["mse"] < 0.05
    with Image.open(entry["reconstruction"]) as picture:
        assert picture.size == (8, 8)
    assert (tmp_path / "clean" / "before-after.png").is_file()


def test_a_text_is_learned_and_written(tatami, wrote, tmp_path):
    measured = tatami("evaluate", wrote, "--json").json
    assert measured["perplexity"] < 2
    network = linear(tmp_path, Embedding(28, 28), Convolution(28, 1), input_shape=(40,))
    words = [word for word in TEXT if word not in ("--set", "units=32")]
    assert tatami("train", *words, "--network", network, "--json").json["perplexity"] > 2.5
    assert pictures_in(wrote) >= {"curves.png", "letters.png"}
    written = tatami("predict", wrote, "--text", "the small ", "--generate", 40, "--seed", 3)
    assert written.out.startswith("the small ")
    assert len(written.out.rstrip("\n")) <= 50
    assert tatami("predict", wrote, "--text", "the small ", "--generate", 40, "--seed", 3).out == written.out
    assert tatami("predict", wrote, "--text", "the small ", "--generate", 40, "--seed", 4).out != written.out
    likely = tatami("predict", wrote, "--text", "the smal", "--json").json["predictions"][0]
    assert likely["next"][0]["letter"] == "l"
    strange = tatami("predict", wrote, "--text", "qqqqqqqq", "--json").json["predictions"][0]
    assert strange["perplexity"] > likely["perplexity"]


def test_a_text_file_in_japanese_of_any_length_is_continued(tatami, tmp_path):
    (tmp_path / "poem.txt").write_text("いろはにほへとちりぬるを。" * 60, encoding="utf-8")
    words = ("--length", 20, "--epochs", 60, "--batch-size", 10, "--set", "truncate=5", "--json")
    run = tatami("train", "poem.txt", *words)
    assert run.code == 0, run.err
    assert run.json["task"] == "sequence"
    assert run.json["perplexity"] < 1.3
    written = tatami("predict", run.json["run_dir"], "--text", "いろ", "--generate", 30, "--temperature", 0)
    assert written.out.strip() == ("いろはにほへとちりぬるを。" * 3)[:32]
    error = tatami("predict", run.json["run_dir"], "--text", "abc").err
    assert "the text holds 'a', which was not in the text that the model learned from" in error


def test_texts_of_different_lengths_are_classified(tatami, tmp_path):
    table = tmp_path / "words.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for number in range(120):
            letters = "ab" * (number % 6 + 1)
            writer.writerow([letters + "c" * (number % 3), "even"])
            writer.writerow([letters + "a", "odd"])
    run = tatami("train", table, "--task", "sequence", "--epochs", 20, "--batch-size", 20, "--json")
    assert run.code == 0, run.err
    assert run.json["task"] == "classify"
    assert run.json["accuracy"] > 0.95
    said = tatami("predict", run.json["run_dir"], "--text", "abab", "--text", "aba", "--json").json[
        "predictions"
    ]
    assert [entry["class"] for entry in said] == ["even", "odd"]


def test_padded_sequences_end_where_they_end(tatami, tmp_path):
    key = np.random.default_rng(0)
    lengths = key.integers(3, 11, 500)
    x = key.uniform(0.1, 1, (500, 1, 10)).astype(np.float32)
    y = np.array([row[0, length - 1] for row, length in zip(x, lengths, strict=True)], np.float32)
    np.savez(tmp_path / "lasts.npz", x=x, y=y, lengths=lengths)
    words = ("--task", "regress", "--set", "masked=true", "--set", "units=24", "--epochs", 10, "--json")
    run = tatami("train", "lasts.npz", "--network", "sequence_classifier", *words)
    assert run.code == 0, run.err
    assert run.json["r2"] > 0.7
    np.save(tmp_path / "short.npy", np.array([[0.2, 0.9, 0.3]], np.float32))
    (entry,) = tatami("predict", run.json["run_dir"], tmp_path / "short.npy", "--json").json["predictions"]
    assert entry["values"]["y"] == pytest.approx(0.3, abs=0.1)


def test_anomalies_are_found(tatami, normal, tmp_path):
    ended = tatami("anomaly", normal, "--out", "found", "--json")
    result = ended.json
    assert result["auc"] > 0.97
    assert result["found"] > 0.85
    assert result["false_alarms"] < 0.2
    assert len(result["scores"]) == 359
    assert {entry["is_anomaly"] for entry in result["scores"]} == {True, False}
    assert "at most 5.00 % of 29 normal validation examples score higher" in ended.err
    assert pictures_in(tmp_path / "found") == {"roc.png", "scores.png", "anomalies.png"}
    with (tmp_path / "found" / "scores.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [line["verdict"] == "anomaly" for line in lines] == [
        entry["anomaly"] for entry in result["scores"]
    ]
    strict = tatami("anomaly", normal, "--false-alarms", 0, "--out", "strict", "--json").json
    assert strict["threshold"] > result["threshold"]
    assert strict["false_alarms"] <= result["false_alarms"]
    given = tatami("anomaly", normal, "--threshold", 0.5, "--out", "given", "--json").json
    assert given["anomalies"] == 0


def test_anomalies_in_folders_and_files(tatami, normal, tmp_path):
    test = load("digits").test
    for number in range(12):
        name = "good" if test.labels[number] < 2 else "broken"
        place = tmp_path / "parts" / name
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray((test.images[number, 0] * 15).astype(np.uint8)).save(place / f"{number}.png")
    known = tatami("anomaly", normal, "parts", "--normal", "good", "--out", "a", "--json").json
    assert known["auc"] > 0.9
    unknown = tatami("anomaly", normal, tmp_path / "parts" / "good", "--out", "b", "--json")
    assert unknown.json["auc"] is None
    assert "which examples are anomalies is not known" in unknown.err
    one = tatami("anomaly", normal, tmp_path / "parts" / "good" / "0.png", "--out", "c", "--json").json
    assert one["scores"][0]["name"].endswith("0.png")


def test_a_task_is_recorded_and_the_data_say_which_it_is(segmented, added, wrote, normal):
    for folder, name in (
        (segmented, "Segment"),
        (added, "Regress"),
        (wrote, "Sequence"),
        (normal, "Reconstruct"),
    ):
        run = json.loads((folder / "run.json").read_text())
        assert run["settings"]["task"]["type"] == name
    assert load_model(added).task.mean[0] == pytest.approx(1.0, abs=0.1)
    assert load_model(segmented).task.palette[1] == (42, 111, 151)
    assert load_model(segmented).class_names == ("ground", "disc", "square")
    assert "".join(load_model(wrote).class_names) == " abcdefghijklmnopqrstuvwxyz."
    assert json.loads((normal / "run.json").read_text())["source"]["only"] == ["0", "1"]


@pytest.mark.parametrize(
    "words", [SEGMENT[:1], REGRESS[:1], TEXT[:1], NORMAL[:3]], ids=lambda words: words[0]
)
def test_a_run_goes_on_with_the_same_bits(tatami, words):
    words = (*words, "--limit", 60, "--batch-size", 20)
    if words[0] == "digits":
        words = (*words, "--noise", 0.2)
    whole = tatami("train", *words, "--epochs", 3, "--schedule", "constant", "--json").json
    part = tatami("train", *words, "--epochs", 1, "--schedule", "constant", "--json").json
    resumed = tatami("train", "--resume", part["run_dir"], "--epochs", 3, "--json")
    assert resumed.code == 0, resumed.err
    assert resumed.json["weights_sha256"] == whole["weights_sha256"]
    assert resumed.json["loss"] == whole["loss"]


def test_folds_of_a_regression(tatami):
    words = ("adding", "--limit", 90, "--epochs", 1, "--folds", 3, "--set", "units=4", "--json")
    ended = tatami("train", *words)
    assert ended.code == 0, ended.err
    assert len(ended.json["r2_values"]) == 3
    assert ended.json["r2_mean"] == pytest.approx(np.mean(ended.json["r2_values"]))


ERRORS = {
    "masks asked of labels": (
        ("digits", "--task", "segment"),
        "data set digits has a class for each example; --task segment needs a mask for each image: a folder with "
        "images/ and masks/, an .npz file with x and masks, or 'shapes'",
    ),
    "classes asked of masks": (
        ("shapes", "--task", "classify"),
        "data set shapes has a mask for each image, not a class for each example; train with --task segment",
    ),
    "numbers asked of labels": (
        ("digits", "--task", "regress"),
        "data set digits has a class for each example; --task regress needs numbers: a CSV file with a numeric column "
        "(--target NAME), an .npz file with floating-point y, or 'adding'",
    ),
    "a classifier for masks": (
        ("shapes", "--network", "lenet5"),
        "network lenet5 is for classify and regress, not for task segment; choose one of: fcn, unet, or a JSON file",
    ),
    "steps of images": (
        ("digits", "--task", "sequence"),
        "data set digits has examples of shape (1, 8, 8); --task sequence needs sequences (features, time) or texts",
    ),
    "an unknown task": (("digits", "--task", "segmnt"), "unknown task 'segmnt': did you mean 'segment'?"),
    "an unknown setting": (
        ("shapes", "--set", "widht=4"),
        "unknown setting of network unet 'widht': did you mean 'width'? Known: depth, width",
    ),
    "a setting that is none": (("shapes", "--set", "width"), "--set: expected NAME=VALUE such as units=128, got"),
    "noise for masks": (
        ("shapes", "--noise", "0.1"),
        "--noise is for --task reconstruct; with --task segment use --augment noise",
    ),
    "mixed masks": (
        ("adding", "--augment", "mixup"),
        "task regress: the augmentation mixes images, and their targets cannot be mixed alike",
    ),
    "a loss of a network": (
        ("digits", "--task", "reconstruct", "--loss", "evidence_bound"),
        "--loss: evidence_bound belongs to its networks, which bring it themselves",
    ),
    "a class that is not there": (
        ("digits", "--task", "reconstruct", "--only", "0,x"),
        "unknown class of digits 'x'",
    ),
    "a network of text for images": (
        ("digits", "--task", "reconstruct", "--network", "char_rnn"),
        "network char_rnn is for sequence, not for task reconstruct; choose one of: fcn, unet, autoencoder",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ERRORS)
def test_what_does_not_fit_is_said_before_training(tatami, case, tmp_path):
    words, text = ERRORS[case]
    ended = tatami("train", *words)
    assert ended.code == 1
    assert text in ended.err
    assert not (tmp_path / "runs").exists()


def test_a_json_network_that_does_not_fit_its_task(tatami, tmp_path):
    network = linear(tmp_path, Flatten(), Dense(3), input_shape=(1, 32, 32))
    error = tatami("train", "shapes", "--network", network).err
    assert "network linear has outputs of shape (3,), task segment needs (3, 32, 32)" in error
    assert "choose --network unet or fcn" in error
    network = linear(tmp_path, Flatten(), Dense(3), input_shape=(1, 8, 8))
    error = tatami("train", "digits", "--task", "reconstruct", "--network", network).err
    assert (
        "network linear has outputs of shape (3,), task reconstruct needs the input's shape (1, 8, 8)"
        in error
    )


def test_options_that_mean_nothing_to_a_model(tatami, segmented, added, wrote, normal, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((2, 7), np.float32))
    cases = (
        (("predict", added, "x.npy", "--out", "o"), "--out is for models of task segment and reconstruct"),
        (("predict", added, "x.npy"), "the sequence has 7 steps, the model reads 20"),
        (("predict", segmented, "--text", "hi"), "network unet does not read text"),
        (("predict", wrote, "x.npy"), "the model reads text: give it with --text"),
        (("predict", wrote), "the model reads text: give it with --text"),
        (("predict", wrote, "--text", "the", "--temperature", "1"), "--temperature is for --generate N"),
        (("anomaly", segmented), "anomalies are found by one that was trained with --task reconstruct"),
        (("anomaly", normal, "nothing.png"), "nothing.png: no such file"),
        (("anomaly", normal, "--false-alarms", "1"), "a share from 0 up to, but not including, 1, got 1.0"),
        (("evaluate", segmented, "--augment", "shift"), "this model was trained to segment"),
        (("evaluate", segmented, "digits"), "data set digits has a class for each example"),
    )  # fmt: skip
    for words, text in cases:
        ended = tatami(*words)
        assert ended.code == 1, words
        assert text in ended.err, (words, ended.err)


def test_replay_says_what_the_targets_were(tatami, segmented, added, wrote):
    for run, text in ((segmented, "ground"), (added, "sum "), (wrote, "e, ")):
        ended = tatami("data", "replay", run, "--step", 1, "--sample", 0, "--json")
        assert ended.code == 0, ended.err
        assert text in ended.json["samples"][0]["target_text"]


def test_reports_show_what_belongs_to_the_task(tatami, segmented, added, wrote, normal, tmp_path):
    cases = ((segmented, "mean IoU"), (added, "RMSE"), (wrote, "perplexity"), (normal, "PSNR"))
    for run, text in cases:
        ended = tatami("report", run, "--out", "page.html")
        assert ended.code == 0, ended.err
        page = (tmp_path / "page.html").read_text(encoding="utf-8")
        assert text in page
        assert "data:image/png;base64" in page
        assert "Confusion" not in page
    assert tatami("report", segmented, "--lang", "ja", "--out", "ja.html").code == 0
    assert "入力・正解・予測" in (tmp_path / "ja.html").read_text(encoding="utf-8")
