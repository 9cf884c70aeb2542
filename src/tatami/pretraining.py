"""Greedy layer-wise pre-training: each hidden layer first learns, without labels, to keep what its input says.

From the bottom up, each layer becomes the encoder of a small autoencoder whose input is what the layers below make of
the data. Its weights are then where the whole network starts.
"""

import numpy as np
from numpy.typing import NDArray

from tatami.errors import DataError, SettingError
from tatami.layers import Dense, Identity, Layer
from tatami.layers.activations import Activation
from tatami.losses import SquaredError
from tatami.network import INPUT, Network, Node, Parameters, Sequential
from tatami.optimizers import Adam, Optimizer
from tatami.program import Program
from tatami.random import RandomKey
from tatami.transfer import cut

ENCODER, DECODER = "encoder", "decoder"


def pretrained(
    network: Network,
    x: NDArray[np.floating],
    *,
    epochs: int = 10,
    batch_size: int = 50,
    optimizer: Optimizer | None = None,
    seed: int = 0,
) -> Parameters:
    """Return parameters whose hidden dense layers have each been trained as an autoencoder.

    Args:
        network: its dense layers but the last are pre-trained; other layers keep their initial values.
        x: data without labels, (N, *input_shape).
        epochs: passes over the data for each layer.
        batch_size: examples in a mini-batch.
        optimizer: how each autoencoder is trained; Adam(0.003) by default.
        seed: of initial values and order.

    >>> import tatami
    >>> network = tatami.build("mlp", (1, 4, 4), 3)
    >>> images = RandomKey(1).uniform("images", (60, 1, 4, 4))
    >>> start = pretrained(network, images, epochs=1)
    >>> network.check_parameters(start)

    Source: History, 'layer-wise pre-training'; Bengio, Lamblin, Popovici, Larochelle (2007).
    """
    if not 1 <= batch_size <= len(x):
        raise DataError(f"pre-training: {len(x)} examples do not make a mini-batch of {batch_size}")
    if epochs < 1:
        raise SettingError(f"pre-training: epochs must be at least 1, got {epochs}")
    parameters = network.initialize(seed)
    for node in network.nodes:
        if isinstance(node.layer, Dense) and node.name != network.output:
            features = values_below(network, parameters, node, x)
            settings = (epochs, batch_size, Adam(0.003) if optimizer is None else optimizer, seed)
            parameters[node.name] = trained_encoder(node.layer, reader(network, node), features, *settings)
    return parameters


def values_below(
    network: Network, parameters: Parameters, node: Node, x: NDArray[np.floating]
) -> NDArray[np.floating]:
    """Return what a layer sees when the data go through the layers below it."""
    source = node.inputs[0]
    if source == INPUT:
        return x
    below = cut(network, source)
    mine = {layer: parameters[layer] for layer in below.parameter_specs}
    values: NDArray[np.floating] = Program(below, SquaredError()).predict(mine, x)
    return values


def reader(network: Network, node: Node) -> Layer:
    """Return the activation that follows a layer, or the identity if none does."""
    for other in network.nodes:
        if node.name in other.inputs and isinstance(other.layer, Activation):
            return other.layer
    return Identity()


def trained_encoder(
    layer: Dense,
    activation: Layer,
    features: NDArray[np.floating],
    epochs: int,
    batch_size: int,
    optimizer: Optimizer,
    seed: int,
) -> dict[str, NDArray[np.floating]]:
    """Train x → layer → activation → x̂ on ½|x̂ - x|² and return the parameters of the layer."""
    autoencoder = autoencoder_of(layer, activation, features.shape[1])
    session = Program(autoencoder, SquaredError()).session(autoencoder.initialize(seed), optimizer)
    steps = len(features) // batch_size
    for epoch in range(epochs):
        order = RandomKey(seed, epoch=epoch).permutation("pre-training", len(features))
        for step in range(steps):
            batch = features[order[step * batch_size : (step + 1) * batch_size]]
            session.step(batch, batch, RandomKey(seed, epoch, step), optimizer.learning_rate)
    return session.parameters[ENCODER]


def autoencoder_of(layer: Dense, activation: Layer, features: int) -> Network:
    """Return the autoencoder with a given layer as its encoder.

    >>> autoencoder_of(Dense(8), Identity(), 64).output_shape
    (64,)
    """
    encoder = Dense(layer.units, layer.bias, layer.weight_initializer, layer.bias_initializer, name=ENCODER)
    return Sequential(
        encoder,
        type(activation).from_json({**activation.to_json(), "name": ""}),
        Dense(features, name=DECODER),
        input_shape=(features,),
    )
