"""``tatami train``: from a data set to a saved model and a report."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from tatami.cli.choices import (
    Source,
    choose_loss,
    choose_optimizer,
    choose_schedule,
    network_for_task,
    network_settings,
    source_of_run,
)
from tatami.cli.console import Console, several
from tatami.cli.defaults import EXAMPLES, LEARNING_RATES, Defaults, defaults_for
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
from tatami.cli.task_report import (
    draw_pictures_of,
    measures_in_json,
    next_commands,
    report_measured,
    title_of,
)
from tatami.data import DatasetSplits
from tatami.data.augmentation import ENGINE_NAMES, POLICIES, OpenCV, choose_policy
from tatami.data.groups import groups_of
from tatami.errors import DataError, SettingError
from tatami.inspect.pictures import import_ahead
from tatami.models.architectures import ARCHITECTURES
from tatami.training.progress import ProgressBar
from tatami.training.run import Run, resume, train
from tatami.training.run_folder import RunFolder, next_run_folder
from tatami.training.tasks import TASKS, Classify, Reconstruct, Task, task_of
from tatami.training.tasks.classify import natural_task

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
@click.option(
    "--task",
    metavar="NAME",
    help="What to learn: classify, regress (numbers), segment (a class for every pixel), reconstruct (the input), or "
    "sequence (a class for every step; with a target for a whole sequence the data decide between class and number). "
    "Without it what the data are made for.",
)
@click.option(
    "--network", metavar="NAME|FILE", help=f"{', '.join(ARCHITECTURES)}, or a JSON file of a network."
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="A setting of the named network, such as units=128; several times for several.",
)
@click.option("--loss", metavar="NAME", help="Another loss than the task's, such as dice or huber.")
@click.option(
    "--noise",
    type=float,
    metavar="S",
    help="For reconstruct: normal noise on the input, which is to be removed.",
)
@click.option(
    "--target",
    "targets",
    multiple=True,
    metavar="COLUMN",
    help="Column of a CSV file to learn; repeat it for several.",
)
@click.option("--length", type=int, metavar="N", help="Letters of a piece of text (40).")
@click.option(
    "--only",
    metavar="CLASS,...",
    help="Learn from the examples of these classes only; the others are what `tatami anomaly` is to find.",
)
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
    default="0",
    show_default=True,
    metavar="N|auto[:KIND]",
    help="How many make batches ahead of time; KIND is threads or processes, chosen for the data without it.",
)
@click.option("--skip-bad", is_flag=True, help="Leave out images of a folder that cannot be read; list them.")
@click.option(
    "--folds", type=int, metavar="K", help="Train K times, each time testing on another K-th of the images."
)
@click.option(
    "--group-by", metavar="COLUMN[:REGEX]",
    help="Images that agree in this, such as those of a writer, are validated on (with --folds also tested on) "
    "together or not at all. A column of the CSV file; for a folder of images 'folder' (below the class) or 'file'; "
    "what a regular expression finds in it.",
)  # fmt: skip
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

    The folder has one sub-folder of images for each class; for --task segment the sub-folders images and masks. A CSV
    file gives numbers to learn, an .npz file arrays, a text file letters.

    The defaults depend on the data set. The run folder (runs/<dataset>-<network>-<number> without --out) holds the
    checkpoints, the history and pictures.
    """
    console = Console(machine=options["as_json"])
    given = {name: value for name, value in options.items() if is_given(ctx, name)}
    from tatami.cli.folds import begin_folds, is_cross_validation, resume_folds

    if options["resume_from"] is not None and is_cross_validation(options["resume_from"]):
        resume_folds(console, dataset, given)
        return
    if options["folds"] is not None and options["resume_from"] is None:
        begin_folds(console, dataset or example_for(options["task"]), options)
        return
    if options["resume_from"] is not None:
        run, splits = go_on(console, dataset, given)
    else:
        run, splits = begin(console, dataset or example_for(options["task"]), options)
    report(console, run, splits)


def example_for(task: str | None) -> str:
    """Return the data set that a task is tried with where none is named."""
    return EXAMPLES.get(task or "classify", "digits")


def is_given(ctx: click.Context, name: str) -> bool:
    """Say whether an option stands on the command line."""
    return ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE


def begin(console: Console, dataset: str, options: dict[str, Any]) -> tuple[Run, DatasetSplits]:
    """Begin a new run."""
    source = source_of(dataset, options)
    import_ahead()
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
        task=checked_task(options["task"]),
        targets=tuple(options["targets"]),
        length=options["length"],
        only=tuple(filter(None, (options["only"] or "").split(","))),
    )


def checked_task(name: str | None) -> str | None:
    """Return the name of a task, or raise with the nearest one."""
    return None if name is None else task_of(name).name


def chosen_task(options: dict[str, Any], splits: DatasetSplits) -> Task:
    """Return the task that was named, else the one that the data are made for.

    With --task sequence a target for a whole sequence makes it a classification or a regression.
    """
    natural = natural_task(splits.train)
    name = options["task"] or natural
    if name == "sequence" and natural in ("classify", "regress"):
        if len(splits.image_shape) > 2:
            raise DataError(
                f"data set {splits.name} has examples of shape {splits.image_shape}; --task sequence needs sequences "
                f"(features, time) or texts: a text file, an .npz file, or one of text, adding, tones"
            )
        name = natural
    if options["noise"] is not None and name != "reconstruct":
        raise SettingError(f"--noise is for --task reconstruct; with --task {name} use --augment noise")
    task = TASKS[name]()
    return replace(task, noise=options["noise"] or 0.0) if isinstance(task, Reconstruct) else task


def loaded(console: Console, source: Source) -> DatasetSplits:
    """Load the data set, and list the images that were skipped."""
    skipped: list[str] = []
    splits = source.load(skipped)
    if skipped:
        console.note(f"skipped {several(len(skipped), 'image')} that cannot be read:")
        for reason in skipped:
            console.note(f"  {reason}")
    return splits


def begin_on(
    console: Console, dataset: str, source: Source | None, splits: DatasetSplits, options: dict[str, Any]
) -> tuple[Run, DatasetSplits]:
    """Begin a new run on images that are loaded."""
    task = chosen_task(options, splits)
    task.require_data(splits.train)  # before a network is built for targets that are not there
    defaults = defaults_for(dataset, task.name, splits.train)
    name = options["network"] or defaults.network
    network, own_loss = network_for_task(name, splits.train, task, network_settings(options["settings"]))
    settings = chosen_settings(options, defaults) | {"task": task}
    check_groups(console, splits, settings["group_by"], settings["validation"], options["folds"])
    if options["loss"] is not None:
        settings["loss"] = choose_loss(options["loss"])
    elif own_loss is not None:
        settings["loss"] = own_loss
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
    console.note(describe(splits, task))
    console.note(
        f"{network.name}: {several(network.parameter_count, 'parameter')}, "
        f"{several(network.multiply_adds, 'multiply-add')} per {thing_of(splits)}"
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


def check_groups(
    console: Console, splits: DatasetSplits, group_by: str | None, validation: float, folds: int | None
) -> None:
    """Raise where no images would be kept together; say where the data themselves tear groups apart."""
    if group_by is None or folds is not None:
        return
    if not validation:
        raise SettingError(
            "--group-by keeps images together where they are divided, and nothing is: validate on a share of them with "
            "--validation, or divide them with --folds"
        )
    learned = set(groups_of(splits.train, group_by))
    torn = learned & set(groups_of(splits.test, group_by)) if splits.test.columns else set()
    if torn:
        console.note(
            f"{several(len(torn), 'group')} of {len(learned)} are also among the test images, as the data divide "
            f"them; keep them apart in train/ and test/, in the column 'part', or with --folds"
        )


def chosen_settings(options: dict[str, Any], defaults: Defaults) -> dict[str, Any]:
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
        "workers": workers_of(options["workers"]),
        "watch": options["watch"],
        "diagnosis": not options["no_diagnosis"],
        "group_by": options["group_by"],
    }
    if options["augment"] is not None:
        settings["augmentation"] = choose_policy(options["augment"])
    names = ("backend", "precision", "threads", "checkpoint_seconds", "checkpoint_steps")
    return settings | {name: options[name] for name in names if options[name] is not None}


def go_on(console: Console, dataset: str | None, given: dict[str, Any]) -> tuple[Run, DatasetSplits]:
    """Go on with a run that was stopped."""
    refuse_changes(
        dataset,
        set(given) - WITH_RESUME,
        "the run goes on as it began; only --epochs, --patience, --threads, --workers and --data may change. Begin a "
        "new run for anything else",
    )
    path: Path = given["resume_from"]
    source = source_of_run(path)
    if "data_folder" in given:
        source = replace(source, data_folder=str(given["data_folder"].resolve()))
    import_ahead()
    splits = source.load()
    console.note(describe(splits, task_of_run(path)))
    changeable = ("epochs", "patience", "threads", "workers", "checkpoint_seconds", "checkpoint_steps")
    settings = {name: given[name] for name in changeable if name in given}
    if "workers" in settings:
        settings["workers"] = workers_of(settings["workers"])
    run = resume(path, splits, progress=ProgressBar(), **settings)
    return run, splits


def task_of_run(path: Path) -> Task:
    """Return the task of a run, as it was written when the run began; older runs classify."""
    settings = RunFolder.open(path).settings().get("settings", {})
    return Task.from_json(settings["task"]) if "task" in settings else Classify()


def workers_of(text: str) -> int | str:
    """Return the setting of the workers: a number where it is one."""
    return int(text) if text.isdecimal() else text


def refuse_changes(dataset: str | None, fixed: set[str], reason: str) -> None:
    """Raise if what a resumed run cannot change was given."""
    if fixed or dataset:
        what = ", ".join([*(["DATASET"] if dataset else []), *(option_name(name) for name in sorted(fixed))])
        raise SettingError(f"{what} cannot be given with --resume: {reason}")


def option_name(name: str) -> str:
    """Return how an option is written."""
    spelled = {"learning_rate": "--lr", "resume_from": "--resume", "settings": "--set", "targets": "--target"}
    return spelled.get(name, "--" + name.replace("_", "-"))


def describe(splits: DatasetSplits, task: Task) -> str:
    """Describe a data set in a line."""
    shape = "x".join(map(str, splits.image_shape))
    return (
        f"{splits.name}: {several(len(splits.train), thing_of(splits))} of {shape} to train on, "
        f"{len(splits.test):,} to test on, {targets_in_words(splits, task)}"
    )


def thing_of(splits: DatasetSplits) -> str:
    """Return what one of the data is called."""
    return "image" if len(splits.image_shape) == 3 else "example"


def targets_in_words(splits: DatasetSplits, task: Task) -> str:
    """Say what is to be learned of each example."""
    names = task.names(splits.train)
    if task.name == "classify":
        return f"{len(names)} classes"
    if task.name == "regress":
        return f"to say {', '.join(names[:6])}"
    if task.name == "segment":
        return f"masks of {len(names)} classes"
    return f"{len(names)} classes for every step" if names else "to be given back"


def report(console: Console, run: Run, splits: DatasetSplits) -> None:
    """Print what came out, draw the pictures, and end with the JSON object."""
    assert run.folder is not None
    history = run.history
    title = title_of(splits.name, run.model, run.test)
    draw_pictures_of(console, run.folder.path, run.model, run.test, splits.test, history, title)
    report_measured(console, run.model, run.test, "test image", history, splits.test)
    files = sorted(entry.name for entry in run.folder.path.iterdir() if entry.is_file())
    console.heading(f"Saved in {run.folder.path}")
    console.line("  " + "  ".join(files))
    console.heading("Next")
    for line in next_commands(run.folder.path, run.model):
        console.line(f"  {line}")
    console.json(result(run))


def result(run: Run) -> dict[str, Any]:
    """Return the JSON object of a run."""
    assert run.test is not None
    assert run.folder is not None
    settings, history = run.checkpoint.settings, run.history
    last = history.records[-1]
    return {
        **measures_in_json(run.model, run.test),
        "loss": run.test.loss,
        "epochs": len(history),
        "seconds": history.seconds,
        "images_per_second": history.images_per_second,
        "backend": settings.backend,
        "precision": settings.precision,
        "threads": threads_in_use(settings.backend, settings.threads),
        "seed": settings.seed,
        "task": settings.task.name,
        "group_by": settings.group_by,
        "augmentation": None if settings.augmentation is None else settings.augmentation.to_json(),
        "weights_sha256": run.weights_sha256,
        "run_dir": str(run.folder.path),
        "dataset": run.checkpoint.data["name"],
        "network": run.model.network.name,
        "steps": last.step,
        "best_epoch": history.best_epoch,
        "training_loss": last.loss,
        "validation_loss": last.validation_loss,
        **{f"training_{name}": value for name, value in last.measures.items()},
        **{f"validation_{name}": last.validation_measures.get(name) for name in last.measures},
    }
