"""Transfer: a trained network's lower layers in a new network, for a task with few data of its own.

Cut the head off, put another one on, take over what was learned, freeze it or let it move slowly:

>>> import tatami
>>> trained = tatami.build("small_convnet")
>>> parameters = trained.initialize(seed=1)               # in earnest: from a training run
>>> network = with_head(trained, tatami.Dense(3, name="new"), after="flatten1")
>>> start = adopted(network, parameters, seed=2)
>>> optimizer = tatami.SGD(0.1, rates=frozen(network, except_for=["new"]))

Source: Yosinski, Clune, Bengio, Lipson (2014), 'How transferable are features in deep neural networks?'
"""

from collections.abc import Iterable

from tatami.errors import unknown_name
from tatami.layers import Layer
from tatami.network import LayerEntry, Network, Parameters


def cut(network: Network, last: str, name: str | None = None) -> Network:
    """Return the part of a network that leads to the output of one of its layers.

    Args:
        network: the whole.
        last: the layer whose output becomes the network's.
        name: of the part; by default that of the whole.

    >>> from tatami.models import lenet5
    >>> cut(lenet5(), "pool2").output_shape
    (16, 5, 5)
    """
    if last not in {node.name for node in network.nodes}:
        raise unknown_name(f"layer of {network.name}", last, [node.name for node in network.nodes])
    needed = {last}
    for node in reversed(network.nodes):
        if node.name in needed:
            needed.update(node.inputs)
    layers: dict[str, LayerEntry] = {
        node.name: (node.layer, node.inputs) for node in network.nodes if node.name in needed
    }
    return Network(layers, network.input_shape, name or network.name)


def with_head(network: Network, *head: Layer, after: str, name: str | None = None) -> Network:
    """Return a network cut behind one layer, with other layers following.

    Args:
        network: the trained one.
        head: what follows. Unnamed layers are numbered by kind with names that are still free, so that none is taken
            for a layer of the old network.
        after: the last layer to keep.
        name: of the new network; by default that of the old one.
    """
    body = cut(network, after, name)
    layers: dict[str, LayerEntry] = {node.name: (node.layer, node.inputs) for node in body.nodes}
    taken = {node.name for node in network.nodes}
    before = after
    for layer in head:
        label = layer.name or free_name(layer.kind, taken)
        taken.add(label)
        layers[label] = (layer, before)
        before = label
    return Network(layers, network.input_shape, body.name)


def free_name(kind: str, taken: Iterable[str]) -> str:
    """Return the first of kind1, kind2, … that is not taken."""
    number = 1
    while f"{kind}{number}" in taken:
        number += 1
    return f"{kind}{number}"


def adopted(network: Network, parameters: Parameters, seed: int = 0, dtype: str = "float32") -> Parameters:
    """Return parameters to start from: the given ones where layer, name and shape agree, else initial values.

    Args:
        network: the new one.
        parameters: of the trained one.
        seed: of the initial values.
        dtype: 'float32' or 'float64'.
    """
    start = network.initialize(seed, dtype)
    for layer, named in start.items():
        for name, values in named.items():
            known = parameters.get(layer, {}).get(name)
            if known is not None and known.shape == values.shape:
                named[name] = known.astype(dtype)
    return start


def frozen(network: Network, except_for: Iterable[str]) -> tuple[tuple[str, float], ...]:
    """Return the ``rates`` of an optimiser that moves only some layers.

    Running statistics of batch normalisation still follow the data; give its momentum 0 to hold them too.

    >>> from tatami.models import mlp
    >>> frozen(mlp(), except_for=["dense3"])
    (('dense1', 0.0), ('dense2', 0.0))
    """
    free = {layer for layer, _ in network.freeze(*except_for)}
    return network.freeze(*(layer for layer in network.parameter_specs if layer not in free))
