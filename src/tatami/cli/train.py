"""``tatami train``: from a data set to a saved model and a report."""

from pathlib import Path
from statistics import mean, stdev
from typing import Any

import click

from tatami.cli.choices import Source, choose_network, choose_optimizer, choose_schedule, source_of_run
from tatami.cli.console import Console, percent, several
from tatami.cli.defaults import LEARNING_RATES, Defaults, defaults_for
from tatami.cli.options import (
    backend_option,
    channels_option,
    data_option,
    image_size,
    json_option,
    precision_option,
    size_option,
    threads_in_use,
    threads_option,
)
from tatami.cli.report import draw_pictures, report_accuracy, report_confusion, report_history
from tatami.data import DatasetSplits
from tatami.data.augmentation import ENGINE_NAMES, POLICIES, OpenCV, choose_policy
from tatami.data.folds import stratified_folds
from tatami.errors import SettingError
from tatami.models import MODELS, recipe
from tatami.training.progress import ProgressBar
from tatami.training.run import Run, resume, train
from tatami.training.run_folder import RunFolder, next_run_folder

# What may be given together with --resume; everything else is kept as the run began.
WITH_RESUME = {
    "resume_from",
    "epochs",
    "patience",
    "threads",
    "workers",
    "data_folder",
    "as_json",
    "checkpoint_seconds",
    "checkpoint_steps",
}


@click.command(epilog="Example: tatami train mnist --network arai --epochs 2 --limit 6000")
@click.argument("dataset", required=False)
@click.option("--network", metavar="NAME|FILE", help=f"{', '.join(MODELS)}, or a JSON file of a network.")
@data_option
@click.option("--epochs", type=int, metavar="N", help="Passes over the training images.")
@click.option("--batch-size", type=int, metavar="N", help="Images of one step.")
@click.option("--optimizer", metavar="NAME", help="sgd, adagrad, rmsprop, adam, adamw.")
@click.option("--lr", "learning_rate", type=float, metavar="RATE", help="Learning rate.")
@click.option("--momentum", type=float, metavar="M", help="Momentum of sgd.")
@click.option("--nesterov", is_flag=True, help="Nesterov's form of momentum.")
@click.option("--weight-decay", type=float, metavar="L", help="L2 penalty on weights.")
@click.option("--schedule", metavar="NAME", help="constant, step, cosine, warmup, warmup-cosine.")
@click.option("--clip", type=float, metavar="NORM", help="Largest common norm of all gradients.")
@click.option(
    "--validation", type=float, metavar="SHARE", help="Share of the training images to validate on."
)
@click.option(
    "--patience", type=int, metavar="N", help="Stop after N epochs without a lower validation loss."
)
@click.option("--preprocessing", metavar="NAME", help="none, scale, min-max, standardise, zca, pca.")
@click.option(
    "--augment", metavar="NAME|FILE",
    help=f"Vary the training images: {', '.join(POLICIES)}, or a JSON file of a pipeline.",
)  # fmt: skip
@click.option(
    "--augment-engine", type=click.Choice(ENGINE_NAMES), default="auto", show_default=True,
    help="Who draws varied images: OpenCV (the extra 'augment') is faster, NumPy gives the same bits everywhere.",
)  # fmt: skip
@click.option(
    "--workers",
    type=int,
    default=0,
    show_default=True,
    metavar="N",
    help="Threads that make batches ahead of time.",
)
@click.option("--skip-bad", is_flag=True, help="Leave out images of a folder that cannot be read; list them.")
@click.option(
    "--folds", type=int, metavar="K", help="Train K times, each time testing on another K-th of the images."
)
@click.option("--limit", type=int, metavar="N", help="Train on the first N images only.")
@size_option
@channels_option
@backend_option
@precision_option
@threads_option
@click.option(
    "--seed",
    type=int,
    default=0,
    show_default=True,
    metavar="N",
    help="Of everything that is drawn at random.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="FOLDER", help="Folder of the run, new or empty."
)
@click.option(
    "--resume", "resume_from", type=click.Path(path_type=Path), metavar="RUN",
    help="Go on with a run that was stopped; with more --epochs also with a finished one.",
)  # fmt: skip
@click.option(
    "--watch", multiple=True, metavar="FILTERS",
    help="Record how these filters grow, such as 'conv2[5,17]'; those of small layers are recorded anyway.",
)  # fmt: skip
@click.option(
    "--no-diagnosis", is_flag=True, help="Do not look for dead units, unsuitable rates and the like."
)
@click.option("--checkpoint-seconds", type=float, metavar="S", help="Save at least so often (30).")
@click.option("--checkpoint-steps", type=int, metavar="N", help="Save after so many steps as well.")
@json_option
@click.pass_context
def command(ctx: click.Context, /, dataset: str | None, **options: Any) -> None:
    """Train a network on DATASET: digits (default), another name (tatami data list), or a folder of images.

    The folder has one sub-folder of images for each class.

    The defaults depend on the data set. The run folder (runs/<dataset>-<network>-<number> without --out) holds the
    checkpoints, the history and pictures.
    """
    console = Console(machine=options["as_json"])
    given = {name: value for name, value in options.items() if is_given(ctx, name)}
    if options["folds"] is not None and options["resume_from"] is None:
        cross_validate(console, dataset or "digits", options)
        return
    if options["resume_from"] is not None:
        run, splits = go_on(console, dataset, given)
    else:
        run, splits = begin(console, dataset or "digits", options)
    report(console, run, splits)


def is_given(ctx: click.Context, name: str) -> bool:
    """Say whether an option stands on the command line."""
    return ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE


def begin(console: Console, dataset: str, options: dict[str, Any]) -> tuple[Run, DatasetSplits]:
    """Begin a new run."""
    source = source_of(dataset, options)
    return begin_on(console, dataset, source, loaded(console, source), options)


def source_of(dataset: str, options: dict[str, Any]) -> Source:
    """Return how the data set is loaded."""
    channels = options["channels"]
    return Source.of(
        dataset,
        options["data_folder"],
        image_size(options["size"]),
        None if channels is None else int(channels),
        options["limit"],
        options["skip_bad"],
    )


def loaded(console: Console, source: Source) -> DatasetSplits:
    """Load the data set, and list the images that were skipped."""
    skipped: list[str] = []
    splits = source.load(skipped)
    if skipped:
        console.note(f"skipped {several(len(skipped), 'image')} that cannot be read:")
        for reason in skipped:
            console.note(f"  {reason}")
    return splits


def cross_validate(console: Console, dataset: str, options: dict[str, Any]) -> None:
    """Train once for each fold and print mean and deviation of the accuracies."""
    source = source_of(dataset, options)
    splits = loaded(console, source)
    folds = stratified_folds(splits.train, options["folds"], options["seed"])
    folder = options["out"] or next_run_folder(splits.name, f"{options['network'] or 'default'}-folds")
    runs = []
    for number, fold in enumerate(folds, start=1):
        console.note(f"fold {number} of {len(folds)}")
        # The folds of a run cannot be found again from its source alone, so it is resumed from Python only.
        runs.append(
            begin_on(console, dataset, None, fold, {**options, "out": Path(folder) / f"fold{number}"})[0]
        )
    accuracies = [run.test.accuracy for run in runs if run.test is not None]
    average, spread = mean(accuracies), stdev(accuracies)
    console.heading(
        f"{percent(average)} ± {percent(spread)} over {len(folds)} folds (mean and standard deviation)"
    )
    console.table(
        ("fold", "images", "accuracy"),
        [
            (number, len(fold.test), percent(accuracy))
            for number, (fold, accuracy) in enumerate(zip(folds, accuracies, strict=True), start=1)
        ],
    )
    console.json(
        {
            "dataset": splits.name,
            "folds": len(folds),
            "accuracy_mean": average,
            "accuracy_deviation": spread,
            "accuracies": accuracies,
            "run_dirs": [str(run.folder.path) for run in runs if run.folder],
        }
    )


def begin_on(
    console: Console, dataset: str, source: Source | None, splits: DatasetSplits, options: dict[str, Any]
) -> tuple[Run, DatasetSplits]:
    """Begin a new run on images that are loaded."""
    defaults = defaults_for(dataset)
    name = options["network"] or defaults.network
    network = choose_network(name, splits.image_shape, len(splits.class_names))
    settings = chosen_settings(options, defaults, name)
    augmentation = settings.get("augmentation")
    if augmentation is not None:
        augmentation = augmentation.drawn_by(options["augment_engine"], splits.image_shape)
        settings["augmentation"] = augmentation
        if isinstance(augmentation.engine, OpenCV):
            console.note(
                f"images are varied by OpenCV {augmentation.engine.version}; the run keeps its fingerprint"
            )
    out = options["out"] or next_run_folder(splits.name, network.name)
    RunFolder(out).require_free()
    console.note(describe(splits))
    console.note(
        f"{network.name}: {several(network.parameter_count, 'parameter')}, "
        f"{several(network.multiply_adds, 'multiply-add')} per image"
    )
    run = train(
        network,
        splits,
        preprocessing=options["preprocessing"] or defaults.preprocessing,
        out=out,
        source=source.to_json() if source else {},
        progress=ProgressBar(),
        **settings,
    )
    return run, splits


def chosen_settings(options: dict[str, Any], defaults: Defaults, network: str) -> dict[str, Any]:
    """Return the training settings: what was given, else the data set's defaults."""
    optimizer = options["optimizer"] or defaults.optimizer
    rate = options["learning_rate"]
    if rate is None:
        same = optimizer == defaults.optimizer
        rate = defaults.learning_rate if same else LEARNING_RATES.get(optimizer)
    validation = options["validation"]
    if validation is None:
        validation = defaults.validation
    settings = {
        "epochs": options["epochs"] if options["epochs"] is not None else defaults.epochs,
        "batch_size": options["batch_size"] if options["batch_size"] is not None else defaults.batch_size,
        "optimizer": choose_optimizer(
            optimizer,
            {
                "learning_rate": rate,
                "momentum": options["momentum"],
                "nesterov": options["nesterov"],
                "weight_decay": options["weight_decay"],
            },
        ),
        "schedule": choose_schedule(options["schedule"] or defaults.schedule),
        "validation": validation,
        "seed": options["seed"],
        "clip": options["clip"],
        "patience": options["patience"],
        "workers": options["workers"],
        "watch": options["watch"],
        "diagnosis": not options["no_diagnosis"],
    }
    if options["augment"] is not None:
        settings["augmentation"] = choose_policy(options["augment"])
    if network in MODELS:
        settings["loss"] = recipe(network).loss
    names = ("backend", "precision", "threads", "checkpoint_seconds", "checkpoint_steps")
    return settings | {name: options[name] for name in names if options[name] is not None}


def go_on(console: Console, dataset: str | None, given: dict[str, Any]) -> tuple[Run, DatasetSplits]:
    """Go on with a run that was stopped."""
    fixed = sorted(set(given) - WITH_RESUME)
    if fixed or dataset:
        what = ", ".join([*(["DATASET"] if dataset else []), *(option_name(name) for name in fixed)])
        raise SettingError(
            f"{what} cannot be given with --resume: the run goes on as it began; only --epochs, --patience, --threads, "
            f"--workers and --data may change. Begin a new run for anything else"
        )
    path: Path = given["resume_from"]
    source = source_of_run(path)
    if "data_folder" in given:
        source = Source(**{**source.to_json(), "data_folder": str(given["data_folder"].resolve())})
    splits = source.load()
    console.note(describe(splits))
    changeable = ("epochs", "patience", "threads", "workers", "checkpoint_seconds", "checkpoint_steps")
    settings = {name: given[name] for name in changeable if name in given}
    run = resume(path, splits, progress=ProgressBar(), **settings)
    return run, splits


def option_name(name: str) -> str:
    """Return how an option is written."""
    return {"learning_rate": "--lr", "resume_from": "--resume"}.get(name, "--" + name.replace("_", "-"))


def describe(splits: DatasetSplits) -> str:
    """Describe a data set in a line."""
    shape = "x".join(map(str, splits.image_shape))
    return (
        f"{splits.name}: {several(len(splits.train), 'image')} of {shape} to train on, "
        f"{len(splits.test):,} to test on, {len(splits.class_names)} classes"
    )


def report(console: Console, run: Run, splits: DatasetSplits) -> None:
    """Print what came out, draw the pictures, and end with the JSON object."""
    assert run.test is not None
    assert run.folder is not None
    history = run.history
    title = f"{splits.name}, {run.model.network.name}: {percent(run.test.accuracy)} of {len(splits.test):,} test images"
    draw_pictures(console, run.folder.path, run.test, splits.test, run.model.class_names, history, title)
    report_accuracy(console, run.test, "test image")
    report_history(console, history)
    report_confusion(console, run.test, run.model.class_names)
    files = sorted(entry.name for entry in run.folder.path.iterdir() if entry.is_file())
    console.heading(f"Saved in {run.folder.path}")
    console.line("  " + "  ".join(files))
    console.heading("Next")
    console.line(f"  tatami predict {run.folder.path} IMAGE.png")
    console.line(f"  tatami evaluate {run.folder.path}")
    console.line(f"  tatami report {run.folder.path}")
    console.json(result(run))


def result(run: Run) -> dict[str, Any]:
    """Return the JSON object of a run."""
    assert run.test is not None
    assert run.folder is not None
    settings, history = run.checkpoint.settings, run.history
    last = history.records[-1]
    return {
        "accuracy": run.test.accuracy,
        "loss": run.test.loss,
        "epochs": len(history),
        "seconds": history.seconds,
        "images_per_second": history.images_per_second,
        "backend": settings.backend,
        "precision": settings.precision,
        "threads": threads_in_use(settings.backend, settings.threads),
        "seed": settings.seed,
        "augmentation": None if settings.augmentation is None else settings.augmentation.to_json(),
        "weights_sha256": run.weights_sha256,
        "run_dir": str(run.folder.path),
        "dataset": run.checkpoint.data["name"],
        "network": run.model.network.name,
        "steps": last.step,
        "best_epoch": history.best_epoch,
        "training_loss": last.loss,
        "training_accuracy": last.accuracy,
        "validation_loss": last.validation_loss,
        "validation_accuracy": last.validation_accuracy,
        "test_images": len(run.test.labels),
        "correct": run.test.correct,
    }
