"""``tatami data info``: classes, counts, mean and variance, duplicates, labels that may be wrong."""

from collections.abc import Sequence
from typing import Any

import click

from tatami.cli.console import Console, percent, several
from tatami.cli.data.choices import chosen_splits, name_of, part_option
from tatami.cli.options import channels_option, data_option, json_option, size_option
from tatami.data import Dataset
from tatami.data.statistics import (
    MOST_COMPARED,
    Duplicate,
    NearDuplicate,
    Suspect,
    channel_statistics,
    duplicates,
    in_both,
    near_duplicates,
    suspicious_labels,
)

MOST_LISTED = 10


@click.command("info")
@click.argument("dataset")
@part_option
@data_option
@size_option
@channels_option
@json_option
def info_command(dataset: str, part: str, as_json: bool, **options: Any) -> None:
    """Describe DATASET in numbers: classes, brightness, duplicates, suspicious labels."""
    console = Console(machine=as_json)
    splits = chosen_splits(dataset, options)
    data: Dataset = getattr(splits, part)
    counts = data.class_counts()
    mean, variance = channel_statistics(data)
    console.fields(
        {
            "data set": data.name,
            "to train on": several(len(splits.train), "image"),
            "to test on": several(len(splits.test), "image"),
            "shape": "x".join(map(str, data.image_shape)),
            "values": f"{data.images.dtype}, 0 to {data.format.maximum:g}",
            "mean": "  ".join(f"{value:.4g}" for value in mean),
            "variance": "  ".join(f"{value:.4g}" for value in variance),
        }
    )
    console.heading(f"Classes of the images to {part} on")
    console.table(
        ("class", "images", "share"),
        [
            (name, int(count), percent(count / len(data)))
            for name, count in zip(data.class_names, counts, strict=True)
        ],
        left=(0,),
    )
    same = duplicates(data)
    wrong = [group for group in same if group.contradicts_itself]
    near = near_duplicates(data)
    seen = in_both(splits.train, splits.test)
    suspects = suspicious_labels(data)
    console.heading("Worth a look")
    console.line(
        f"  {several(len(same), 'group')} of equal images, {len(wrong)} of them with different labels"
    )
    for group in (wrong or same)[:MOST_LISTED]:
        names = ", ".join(sorted({data.class_names[label] for label in group.labels}))
        called = ", ".join(name_of(data, sample) for sample in group.samples[:MOST_LISTED])
        console.line(f"    {called}: {names}")
    console.line(f"  {several(len(near), 'pair')} of nearly equal images")
    for pair in near[:MOST_LISTED]:
        first, second = pair.samples
        console.line(f"    {name_of(data, first)}, {name_of(data, second)}: {pair.alike:.4f} alike")
    console.line(
        f"  {several(len(seen), 'image')} to test on that {'is' if len(seen) == 1 else 'are'} also trained on"
    )
    for first, second in seen[:MOST_LISTED]:
        console.line(f"    {name_of(splits.train, first)}, {name_of(splits.test, second)}")
    compared = min(len(data), MOST_COMPARED)
    console.line(
        f"  {several(len(suspects), 'image')} of {compared:,} with all 5 neighbours in another class"
    )
    for suspect in suspects[:MOST_LISTED]:
        console.line(
            f"    {name_of(data, suspect.sample)}: labelled {data.class_names[suspect.label]}, "
            f"looks like {data.class_names[suspect.neighbours]}"
        )
    console.json(
        {
            "dataset": data.name,
            "part": part,
            "images": len(data),
            "shape": list(data.image_shape),
            "counts": {name: int(count) for name, count in zip(data.class_names, counts, strict=True)},
            "mean": mean.tolist(),
            "variance": variance.tolist(),
            "duplicates": [list(group.samples) for group in same],
            "contradictions": [list(group.samples) for group in wrong],
            "near_duplicates": [list(pair.samples) for pair in near],
            "in_train_and_test": [list(pair) for pair in seen],
            "suspicious": [suspect.sample for suspect in suspects],
            "files": files_of(data, same, near, suspects),
        }
    )


def files_of(
    data: Dataset,
    same: Sequence[Duplicate],
    near: Sequence[NearDuplicate],
    suspects: Sequence[Suspect],
) -> dict[str, str]:
    """Return the files of the samples that are worth a look, by their numbers; none where the data have no files."""
    if not {"file", "path"} & set(data.columns):
        return {}
    numbers = {number for group in same for number in group.samples}
    numbers |= {number for pair in near for number in pair.samples}
    numbers |= {suspect.sample for suspect in suspects}
    return {str(number): name_of(data, number) for number in sorted(numbers)}
