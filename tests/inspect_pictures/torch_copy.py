"""The same network in PyTorch, for comparisons with captum and with hooks."""

import torch

from tatami.layers import Convolution, Dense, Flatten, MaxPool, ReLU, Tanh


def torch_copy(network, parameters):
    """Return a torch.nn.Sequential with the network's layers, by name, and its parameters in float64."""
    model = torch.nn.Sequential()
    for node in network.nodes:
        layer, shape = node.layer, network.shapes[node.inputs[0]]
        match layer:
            case Convolution():
                module = torch.nn.Conv2d(shape[0], layer.filters, layer.kernel, layer.stride, layer.padding)
            case Dense():
                module = torch.nn.Linear(shape[0], layer.units)
            case MaxPool():
                module = torch.nn.MaxPool2d(layer.size, layer.stride)
            case ReLU():
                module = torch.nn.ReLU()
            case Tanh():
                module = torch.nn.Tanh()
            case Flatten():
                module = torch.nn.Flatten()
        model.add_module(node.name, module)
    model = model.double()
    with torch.no_grad():
        for layer, named in parameters.items():
            for name, values in named.items():
                getattr(getattr(model, layer), name).copy_(torch.from_numpy(values))
    return model
