"""``tatami inspect``: pictures of what a model has learned and of what it sees in an image."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from tatami.cli.console import Console
from tatami.cli.options import filters_option, json_option
from tatami.cli.predict import INVERT
from tatami.data import read_images
from tatami.errors import CheckpointError, SettingError, unknown_name
from tatami.inspect.activations import feature_maps, layer_names
from tatami.inspect.class_activation import last_maps
from tatami.inspect.diagram import write_diagram
from tatami.inspect.filter_banks import filters
from tatami.inspect.filter_growth import chosen_growth, recorded_layers
from tatami.inspect.maximisation import Ascent, maximise_activation
from tatami.inspect.methods import METHODS, attribution_map
from tatami.inspect.units import Unit
from tatami.layers import Dense, Dropout, Flatten
from tatami.network import Network
from tatami.training.filters import layers_with_filters
from tatami.training.growth import Growth
from tatami.training.model import Model, load_model
from tatami.training.run_folder import RunFolder

RESOLUTION = 150


@dataclass(frozen=True)
class Request:
    """What is to be drawn, and of what.

    Attributes:
        run: the folder of the run, or a checkpoint.
        model: the model.
        path: the image file, or None.
        invert: whether to turn dark on light into light on dark.
        class_name: the class to ask about, or None for the one that the model sees.
        unit: the unit to ask about instead, or None.
        layers: layers to draw filters and maps of; all of them if empty.
        filters: filters to draw the growth of; all that were recorded if empty.
    """

    run: Path
    model: Model
    path: Path | None
    invert: str
    class_name: str | None
    unit: Unit | None
    layers: tuple[str, ...]
    filters: tuple[str, ...] = ()

    @property
    def network(self) -> Network:
        """The network."""
        return self.model.network

    @cached_property
    def pixels(self) -> NDArray[Any]:
        """The image as the data set would hold it: (1, C, H, W)."""
        if self.path is None:
            raise SettingError("name an IMAGE: this picture shows what the model sees in one")
        model_format = self.model.preprocessing.format
        return read_images([self.path], self.network.input_shape, model_format, invert=INVERT[self.invert])

    @cached_property
    def x(self) -> NDArray[Any]:
        """The image as the network sees it."""
        return self.model.preprocessing.apply(self.pixels, "float32")

    @cached_property
    def target(self) -> int | Unit:
        """The unit or class to ask about."""
        if self.unit is not None:
            return self.unit
        names = self.model.class_names
        if self.class_name is None:
            return int(np.argmax(self.model.predict(self.pixels)[0]))
        if self.class_name not in names:
            raise unknown_name("class", self.class_name, names)
        return names.index(self.class_name)

    @property
    def asked(self) -> str:
        """What the attributions are about, in words."""
        return str(self.target) if isinstance(self.target, Unit) else self.model.class_names[self.target]

    @property
    def as_ink(self) -> bool:
        """Whether to draw images like ink on paper."""
        return self.model.preprocessing.format.background == "dark"

    def chosen(self, known: list[str]) -> list[str]:
        """Return the layers that were named, or all of the known ones."""
        if not self.layers:
            return known
        if not set(self.layers) & set(known):
            raise unknown_name("layer for this picture", self.layers[0], known)
        return [name for name in known if name in self.layers]


# A picture: the name of its file, and what writes it there.
Picture = tuple[str, Callable[[Path], None]]


def saved(figure: Any) -> Callable[[Path], None]:
    """Return what writes a figure into a file."""
    return lambda path: figure.savefig(path, dpi=RESOLUTION)


def filter_pictures(request: Request) -> Iterator[Picture]:
    """Draw the filters of every convolution, or of the layers that were named."""
    from tatami.inspect.figures import filters_figure

    network = request.network
    known = layers_with_filters(network)
    sliding = [name for name in known if not isinstance(network[name], Dense)]
    for name in request.chosen(known if request.layers else sliding or known[:1]):
        values = filters(network, request.model.parameters, name)
        yield f"filters-{name}.png", saved(filters_figure(values, f"Filters of {name}"))


def growth_pictures(request: Request) -> Iterator[Picture]:
    """Draw how filters grew over the epochs: those that were named, or all that the run recorded."""
    from tatami.inspect.figures import growth_figure

    growth = Growth.load(RunFolder.open(request.run).growth_file)
    asked = request.filters or request.layers or recorded_layers(growth, request.network)
    strips = [chosen_growth(growth, request.network, text) for text in asked]
    for number, grown in enumerate(strips):
        again = sum(earlier.layer == grown.layer for earlier in strips[:number])
        name = f"growth-{grown.layer}{f'-{again + 1}' if again else ''}.png"
        yield name, saved(growth_figure(grown, f"Filters of {grown.layer} over the epochs"))


def map_pictures(request: Request) -> Iterator[Picture]:
    """Draw what every layer makes of the image."""
    from tatami.inspect.figures import maps_figure

    network, model = request.network, request.model
    values = feature_maps(network, model.parameters, request.x, model.state)
    for name in request.chosen(layer_names(network)):
        if not request.layers and isinstance(network[name], Flatten | Dropout):
            continue  # the same numbers again
        yield f"maps-{name}.png", saved(maps_figure(values[name][0], f"Outputs of {name}"))


def attribution_pictures(request: Request, methods: list[str]) -> Iterator[Picture]:
    """Draw which pixels speak for a class: each method by itself, and all of them on one sheet."""
    from tatami.inspect.figures import attribution_figure

    model = request.model
    maps = {
        name: attribution_map(
            name, request.network, model.parameters, request.x, request.target, model.state
        )[0]
        for name in methods
    }
    for name, values in maps.items():
        title = f"{METHODS[name].title.en} for {request.asked}"
        figure = attribution_figure(request.pixels[0], {name: values}, title, as_ink=request.as_ink)
        yield f"{name}.png", saved(figure)
    if len(maps) > 1:
        title = f"What speaks for {request.asked}"
        figure = attribution_figure(request.pixels[0], maps, title, as_ink=request.as_ink)
        yield "attributions.png", saved(figure)


def ideal_pictures(request: Request) -> Iterator[Picture]:
    """Draw images made for each class, or for the unit that was named."""
    from tatami.inspect.figures import examples_figure

    model = request.model
    limits = np.array([0.0, model.preprocessing.format.maximum]).reshape(
        2, *(1,) * len(request.network.input_shape)
    )
    ends = model.preprocessing.apply(np.broadcast_to(limits, (2, *request.network.input_shape)), "float32")
    ascent = Ascent(low=float(ends.min()), high=float(ends.max()))
    classes = list(range(len(model.class_names)))
    target = classes if request.unit is None else request.unit
    names = list(model.class_names) if request.unit is None else [str(request.unit)]
    maximum = maximise_activation(request.network, model.parameters, target, ascent=ascent, state=model.state)
    captions = [f"{name}: {score:.1f}" for name, score in zip(names, maximum.scores, strict=True)]
    figure = examples_figure(
        list(maximum.images), captions, "Ideal images, with their scores", as_ink=request.as_ink
    )
    yield "ideal.png", saved(figure)


def diagram_pictures(request: Request) -> Iterator[Picture]:
    """Draw the network."""
    yield "network.svg", lambda path: write_diagram(request.network, path)


PICTURES: dict[str, Callable[[Request], Iterator[Picture]]] = {
    "filters": filter_pictures,
    "growth": growth_pictures,
    "maps": map_pictures,
    "ideal": ideal_pictures,
    "network": diagram_pictures,
}
KNOWN = (*PICTURES, *METHODS)
WITHOUT_IMAGE = ("network", "filters", "growth", "ideal")


@click.command(epilog="Example: tatami inspect runs/digits-small_convnet-001 seven.png --what maps,grad-cam")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("image", required=False, type=click.Path(path_type=Path))
@click.option(
    "--what", metavar="LIST",
    help=f"Pictures to draw, with commas between them, or all (default): {', '.join(KNOWN)}.",
)  # fmt: skip
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default="inspected", show_default=True,
    metavar="DIR", help="Folder for the pictures.",
)  # fmt: skip
@click.option(
    "--class", "class_name", metavar="NAME", help="Class to ask about; by default the one the model sees."
)
@click.option(
    "--unit", metavar="UNIT", help="Unit to ask about instead of a class, such as conv1[3] or conv1[3,2,2]."
)
@click.option(
    "--layer", "layers", multiple=True, metavar="NAME", help="Draw filters and maps of this layer only."
)
@click.option(
    "--invert", type=click.Choice(list(INVERT)), default="auto", show_default=True,
    help="Turn dark on light into light on dark; auto looks at the image's border.",
)  # fmt: skip
@filters_option
@json_option
def command(model: Path, image: Path | None, what: str | None, out: Path, **options: Any) -> None:
    """Draw what MODEL has learned, and what it sees in IMAGE (PNG, JPEG …).

    MODEL is a run folder or a checkpoint. Without IMAGE only the pictures that need none are drawn.
    """
    console = Console(machine=options["as_json"])
    trained = load_model(model)
    unit = None if options["unit"] is None else Unit.parse(options["unit"])
    if unit is not None:
        unit.check(trained.network)
    for layer in options["layers"]:
        _ = trained.network[layer]  # raises, with the nearest name
    request = Request(
        model,
        trained,
        image,
        options["invert"],
        options["class_name"],
        unit,
        options["layers"],
        options["filters"],
    )
    wanted = chosen_pictures(what, with_image=image is not None, request=request)
    pictures = [picture for name in wanted if name in PICTURES for picture in PICTURES[name](request)]
    methods = [name for name in wanted if name in METHODS]
    if methods:
        pictures += attribution_pictures(request, methods)
    out.mkdir(parents=True, exist_ok=True)
    for name, write in pictures:
        write(out / name)
    console.heading(f"Drawn in {out}")
    for name, _ in pictures:
        console.line(f"  {name}")
    console.json(
        {
            "model": str(model),
            "weights_sha256": trained.weights_sha256,
            "image": None if image is None else str(image),
            "asked": request.asked if methods else None,
            "pictures": [str(out / name) for name, _ in pictures],
        }
    )


def chosen_pictures(what: str | None, *, with_image: bool, request: Request) -> list[str]:
    """Return the names of the pictures to draw.

    Raises:
        UnknownNameError: a name that is none.
    """
    names = ["all"] if what is None else [name.strip() for name in what.split(",") if name.strip()]
    for name in names:
        if name != "all" and name not in KNOWN:
            raise unknown_name("picture", name, ("all", *KNOWN))
    if "all" not in names:
        return list(dict.fromkeys(names))
    possible = [name for name in KNOWN if with_image or name in WITHOUT_IMAGE]
    absent = set() if has_maps(request.network) else {"grad-cam"}
    if not request.filters and not has_grown(request):
        absent.add("growth")
    return [name for name in possible if name not in absent]


def has_grown(request: Request) -> bool:
    """Say whether the run recorded how its filters grew."""
    try:
        growth = Growth.load(RunFolder.open(request.run).growth_file)
    except CheckpointError:
        return False
    return bool(recorded_layers(growth, request.network))


def has_maps(network: Network) -> bool:
    """Say whether Grad-CAM has maps to look at."""
    try:
        last_maps(network)
    except SettingError:
        return False
    return True
