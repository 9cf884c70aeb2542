"""What the commands print and write when all is well."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.small import SMALL

import tatami as library
from tatami import native
from tatami.training.model import load_model
from tatami.training.run_folder import RunFolder

NATIVE = pytest.mark.skipif(not native.is_built(), reason="built without native kernels")

FIELDS = {
    "accuracy",
    "loss",
    "epochs",
    "seconds",
    "images_per_second",
    "backend",
    "precision",
    "threads",
    "seed",
    "weights_sha256",
    "run_dir",
}


def test_train_ends_with_a_report_and_a_run(tatami):
    ended = tatami("train", *SMALL)
    assert ended.code == 0
    for text in ("Accuracy ", "on 359 test images", "trained", "Confusion:", "Most confused", "Next"):
        assert text in ended.out
    assert "tatami predict runs/digits-perceptron-001 IMAGE.png" in ended.out
    assert "epoch 3/3" in ended.err


def test_train_writes_everything_into_the_run_folder(small_run):
    pytest.importorskip("matplotlib")
    names = {path.name for path in small_run.iterdir()}
    assert names >= {"run.json", "last.safetensors", "best.safetensors", "history.jsonl"}
    assert names >= {"curves.png", "confusion.png", "worst.png"}
    assert all(
        (small_run / name).read_bytes().startswith(b"\x89PNG") for name in names if name.endswith(".png")
    )
    assert [json.loads(line)["epoch"] for line in (small_run / "history.jsonl").read_text().splitlines()] == [
        1,
        2,
        3,
    ]
    settings = json.loads((small_run / "run.json").read_text())
    assert settings["source"]["dataset"] == "digits"
    assert settings["settings"]["optimizer"]["learning_rate"] == 0.5


def test_runs_are_numbered(tatami):
    assert [tatami("train", *SMALL, "--json").json["run_dir"] for _ in range(2)] == [
        "runs/digits-perceptron-001",
        "runs/digits-perceptron-002",
    ]


def test_with_json_stdout_holds_one_object_and_the_rest_goes_to_stderr(tatami):
    ended = tatami("train", *SMALL, "--seed", 3, "--json")
    assert len(ended.out.splitlines()) == 1
    assert set(ended.json) >= FIELDS
    assert ended.json["seed"] == 3
    assert ended.json["epochs"] == 3
    assert ended.json["weights_sha256"] == load_model(ended.json["run_dir"]).weights_sha256
    assert "Accuracy " in ended.err


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(tatami):
    first, again, other = (
        tatami("train", *SMALL, "--seed", seed, "--json").json["weights_sha256"] for seed in (1, 1, 2)
    )
    assert first == again != other


def test_every_option_of_training_is_heard(tatami):
    words = (
        "--momentum 0.5 --nesterov --weight-decay 0.01 --schedule warmup-cosine --clip 1 --validation 0.25 "
        "--patience 9 --preprocessing standardise --backend reference --precision f64 --threads 1 "
        "--checkpoint-seconds 5 --checkpoint-steps 4 --out here"
    )
    ended = tatami("train", "digits", *SMALL, *words.split())
    assert ended.code == 0
    values = json.loads((RunFolder(Path("here")).settings_file).read_text())
    settings = values["settings"]
    optimizer = library.SGD(0.5, weight_decay=0.01, momentum=0.5, nesterov=True)
    assert settings["optimizer"] == optimizer.to_json()
    assert settings["schedule"]["type"] == "WarmUp"
    assert values["preprocessing"]["type"] == "Standardise"
    expected = {
        "clip": 1.0,
        "validation": 0.25,
        "patience": 9,
        "precision": "f64",
        "threads": 1,
        "batch_size": 20,
    }
    assert {name: settings[name] for name in expected} == expected
    assert (settings["checkpoint_seconds"], settings["checkpoint_steps"]) == (5.0, 4)


def test_ox_trains_the_exercise(tatami):
    ended = tatami("train", "ox", "--epochs", 1, "--json")
    assert ended.json["training_loss"] == pytest.approx(1.9818, abs=1e-4)
    assert ended.json["network"] == "ox"
    settings = json.loads((RunFolder(Path(ended.json["run_dir"])).settings_file).read_text())
    assert settings["settings"]["loss"] == {"type": "SquaredError", "reduction": "sum"}


def test_early_stopping_ends_before_all_epochs(tatami):
    ended = tatami(
        "train", *SMALL, "--epochs", 400, "--lr", 3, "--validation", 0.3, "--patience", 2, "--json"
    )
    assert ended.json["epochs"] < 400
    assert ended.json["epochs"] == ended.json["best_epoch"] + 2


def test_without_matplotlib_a_line_says_which_extra_draws(tatami, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    ended = tatami("train", *SMALL)
    assert ended.code == 0
    assert "No pictures: matplotlib draws them; install it with: pip install 'tatami[plot]'" in ended.err


def test_evaluate_agrees_with_the_report_of_training(tatami):
    trained = tatami("train", *SMALL, "--json").json
    ended = tatami("evaluate", trained["run_dir"], "--json")
    assert ended.code == 0
    assert {name: ended.json[name] for name in ("accuracy", "loss", "weights_sha256", "correct")} == {
        name: trained[name] for name in ("accuracy", "loss", "weights_sha256", "correct")
    }
    assert sum(map(sum, ended.json["confusion"])) == 359


def test_evaluate_takes_a_checkpoint_and_a_data_set(tatami, small_run):
    assert "digits test images" in tatami("evaluate", small_run / "last.safetensors", "digits").out


def test_evaluate_draws_on_demand(tatami, small_run):
    pytest.importorskip("matplotlib")
    assert "worst.png" in tatami("evaluate", small_run, "--pictures", "drawn").out


def test_predict_names_class_probability_and_runners_up(tatami, small_run, seven):
    ended = tatami("predict", small_run, seven, seven, "--top", 2, "--json")
    assert ended.code == 0
    first, second = ended.json["predictions"]
    assert first == second
    assert first["class"] == first["top"][0]["class"]
    assert len(first["top"]) == 2
    assert first["top"][0]["probability"] >= first["top"][1]["probability"]
    assert "probability" in tatami("predict", small_run, seven).out


def test_predict_sees_a_seven_that_somebody_drew(tatami, seven):
    run = tatami("train", "digits", "--network", "simple_convnet", "--epochs", 6, "--json").json["run_dir"]
    prediction = tatami("predict", run, seven, "--json").json["predictions"][0]
    assert prediction["class"] == "7"


def test_summary_of_a_name_a_file_and_a_run(tatami, tmp_path, small_run):
    assert "354,726" in tatami("summary", "arai").out
    assert tatami("summary", "mlp", "--input", "1x8x8", "--classes", 3, "--json").json["output_shape"] == [3]
    (tmp_path / "net.json").write_text(json.dumps(library.build("lenet5").to_json()))
    assert "lenet5" in tatami("summary", "net.json").out
    assert tatami("summary", small_run, "--json").json["name"] == "perceptron"


def test_a_network_from_a_file_is_trained(tatami, tmp_path):
    (tmp_path / "net.json").write_text(json.dumps(library.build("mlp", (1, 8, 8)).to_json()))
    assert tatami("train", *SMALL, "--network", "net.json", "--json").json["network"] == "mlp"


def test_gradcheck_says_that_all_agree(tatami):
    ended = tatami("gradcheck", "simple_convnet", "--input", "1x8x8", "--sample", 3, "--json")
    assert ended.code == 0
    assert ended.json["passed"]
    assert "all agree" in ended.err
    assert {row["layer"] for row in ended.json["tensors"]} == {"input", "conv1", "dense1", "dense2"}


def test_gradcheck_fails_with_the_worst_derivative(tatami):
    ended = tatami("gradcheck", "ox", "--tolerance", "1e-30", "--sample", 2)
    assert ended.code == 1
    assert "gradients disagree, the worst:" in ended.err


def test_doctor_names_versions_machine_and_backends(tatami):
    ended = tatami("doctor", "--json")
    assert ended.code == 0
    assert ended.json["versions"]["tatami"] == library.__version__
    reference, native_one = ended.json["backends"]
    assert reference == {
        "name": "reference",
        "available": True,
        "reason": None,
        "default": not native.is_built(),
    }
    assert native_one["default"] == native_one["available"] == native.is_built()
    assert "Backends" in ended.err


@NATIVE
def test_doctor_names_the_instruction_sets_and_what_chose_one(tatami, monkeypatch):
    def native_backend():
        return next(b for b in tatami("doctor", "--json").json["backends"] if b["name"] == "native")

    found = native_backend()
    assert found["instruction_set"] == found["instruction_sets"][0]
    assert found["instruction_sets"] == list(native.available())
    assert found["threads"] >= 1
    monkeypatch.setenv("TATAMI_ISA", "baseline")
    assert (native_backend()["instruction_set"], native_backend()["forced"]) == ("baseline", "baseline")
    assert "baseline, forced by TATAMI_ISA of" in tatami("doctor").out
    monkeypatch.setenv("TATAMI_ISA", "axv2")
    assert not native_backend()["available"]
    assert "not available: unknown instruction set (TATAMI_ISA) 'axv2'" in tatami("doctor").out


def test_doctor_says_why_the_kernels_are_missing(tatami, monkeypatch):
    monkeypatch.setattr(native, "_kernels", None)
    monkeypatch.setattr(native, "_missing", "it was installed without a C++ compiler")
    told = tatami("doctor").out
    assert "not available: it was installed without a C++ compiler" in told
    assert "available, the default" in told


@NATIVE
def test_summary_says_where_each_layer_runs(tatami):
    ended = tatami("summary", "arai", "--backend", "native", "--json")
    places = ended.json["where_layers_run"]
    assert places["conv1"] == {"predicting": "fused into pool1", "training": "fused into pool1"}
    assert "max pool" in places["pool1"]["predicting"]
    assert places["dropout1"] == {"predicting": "no work", "training": "dropout"}
    assert "Where the layers run: native backend" in ended.err
    assert "reference backend, f32" in tatami("summary", "arai", "--backend", "reference").out


@pytest.mark.parametrize("command", ["train", "evaluate", "predict", "summary", "gradcheck", "doctor"])
def test_every_command_explains_itself(tatami, command):
    ended = tatami(command, "--help")
    assert ended.code == 0
    assert "Usage: tatami" in ended.out
    assert "--json" in ended.out


def test_the_commands_are_listed(tatami):
    ended = tatami("--help")
    assert all(
        name in ended.out for name in ("train", "evaluate", "predict", "summary", "gradcheck", "doctor")
    )
    assert tatami("--version").out.startswith("tatami ")


def test_the_module_is_the_command():
    ended = subprocess.run(
        [sys.executable, "-m", "tatami", "summary", "ox", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(ended.stdout.splitlines()[-1])["name"] == "ox"


def test_training_does_not_import_what_it_may_never_need():
    script = (
        "import sys, gc, tatami.cli.main as main\n"
        "main.tatami.get_command(None, 'train')\n"
        "print(gc.isenabled(), *sorted({'urllib.request', 'ssl', 'tqdm', 'matplotlib', 'PIL', 'concurrent.futures',"
        " 'multiprocessing'} & set(sys.modules)))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=True, timeout=60
    )
    assert ended.stdout.split() == ["True"]
