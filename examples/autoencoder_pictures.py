"""Train a denoising and a variational autoencoder and draw what they do: before and after, samples, the latent plane.

    python examples/autoencoder_pictures.py                        # the digits of the package, some seconds
    python examples/autoencoder_pictures.py --data FOLDER          # MNIST from its files

Writes denoising.png (clean, noisy, denoised), samples.png (drawn from the prior) and plane.png (the latent plane).
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tatami import Adam, BinaryCrossEntropy, Loss, Network, Program, RandomKey
from tatami.data.sources import load
from tatami.models import denoising_autoencoder, variational_autoencoder, variational_decoder
from tatami.network import Parameters

Images = NDArray[Any]


def main() -> None:
    """Train both networks and draw the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", help="folder with the MNIST files; without it the digits of the package")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path())
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    splits = load("mnist", options.data) if options.data else load("digits")
    maximum = np.float32(splits.train.format.maximum)
    train, test = (part.images.astype(np.float32) / maximum for part in (splits.train, splits.test))
    draw_denoising(train, test, options.epochs, options.out / "denoising.png")
    draw_latent_space(train, options.epochs, options.out)


def draw_denoising(train: Images, test: Images, epochs: int, path: Path) -> None:
    """Draw ten test images, with noise, and as the network cleans them."""
    network = denoising_autoencoder(train.shape[1:], hidden=(128,), code=64, noise=0.4)
    parameters = trained(network, BinaryCrossEntropy(), train, epochs)
    clean = test[:10]
    noisy = (clean + 0.4 * RandomKey(1).normal("noise", clean.shape)).astype(np.float32)
    denoised = Program(network, BinaryCrossEntropy()).predict(parameters, noisy)
    before, after = (float(((images - clean) ** 2).mean()) for images in (noisy, denoised))
    print(f"mean squared error: {before:.4f} with noise, {after:.4f} denoised -> {path}")
    save(np.concatenate([clean, noisy, denoised]), 10, path)


def draw_latent_space(train: Images, epochs: int, folder: Path) -> None:
    """Draw images from codes: random ones, and a grid over the plane of two latent numbers."""
    network, loss = variational_autoencoder(train.shape[1:], hidden=128, latent=2)
    parameters = trained(network, loss, train, epochs)
    decoder = variational_decoder(train.shape[1:], hidden=128, latent=2)
    mine = {layer: parameters[layer] for layer in decoder.parameter_specs}
    program = Program(decoder, BinaryCrossEntropy())  # its predictions are the sigmoid of the logits
    save(program.predict(mine, RandomKey(1).normal("codes", (60, 2))), 10, folder / "samples.png")
    steps = np.linspace(-2, 2, 12)
    plane = np.stack(np.meshgrid(steps, -steps), axis=-1).reshape(-1, 2)
    save(program.predict(mine, plane), 12, folder / "plane.png")
    print(f"samples and the latent plane -> {folder / 'samples.png'}, {folder / 'plane.png'}")


def trained(network: Network, loss: Loss, images: Images, epochs: int, batch: int = 50) -> Parameters:
    """Train a network to reconstruct images."""
    session = Program(network, loss).session(network.initialize(1), Adam(0.003))
    for epoch in range(epochs):
        order = RandomKey(0, epoch=epoch).permutation("order", len(images))
        for step in range(len(images) // batch):
            chosen = images[order[step * batch : (step + 1) * batch]]
            session.step(chosen, chosen, RandomKey(0, epoch, step), 0.003)
    return session.parameters


def save(images: NDArray[Any], columns: int, path: Path) -> None:
    """Write images (N, 1, H, W) with values from 0 to 1 as one picture, row by row, enlarged to be seen."""
    images = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=0.35)  # a grey line around each
    count, _, height, width = images.shape
    rows = count // columns
    grid = images[:, 0].reshape(rows, columns, height, width).transpose(0, 2, 1, 3)
    pixels = (np.clip(grid.reshape(rows * height, columns * width), 0, 1) * 255).astype(np.uint8)
    scale = max(1, 56 // height)
    Image.fromarray(pixels).resize((pixels.shape[1] * scale, pixels.shape[0] * scale), 0).save(path)


if __name__ == "__main__":
    main()
