"""Inference speed against PyTorch, ONNX Runtime and OpenVINO: the same network and weights in one run.

    python -m benchmarks.infer [--networks arai …] [--precision f32 bf16] [--batch-size 100 1] [--json FILE]

The ratio is against the best rival. Every row says how far its logits are from float64 on the reference backend.
With batch size 1 the table shows microseconds for one image instead of images per second.
"""

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import openvino
import torch
from numpy.typing import NDArray

from benchmarks.measure import interleaved, print_table, processor_name
from benchmarks.networks import SUITE, torch_module
from benchmarks.onnx_model import onnx_model
from tatami.network import Network, Parameters
from tatami.program import Program
from tatami.random import RandomKey

Predictor = Callable[[], NDArray[Any]]


def torch_predictor(
    network: Network, parameters: Parameters, x: NDArray[Any], variant: str, precision: str
) -> Predictor:
    """PyTorch in one of its configurations."""
    module = torch_module(network, parameters).eval()
    batch = torch.from_numpy(x)
    if precision == "bf16":
        module, batch = module.to(torch.bfloat16), batch.to(torch.bfloat16)
    if variant == "channels_last" and x.ndim == 4:
        module, batch = (
            module.to(memory_format=torch.channels_last),
            batch.to(memory_format=torch.channels_last),
        )
    run = torch.compile(module) if variant == "compile" else module

    def predict() -> NDArray[Any]:
        with torch.inference_mode():
            return run(batch).float().numpy()

    return predict


def onnxruntime_predictor(model: bytes, x: NDArray[Any], threads: int) -> Predictor:
    """ONNX Runtime on the CPU, all graph optimisations."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"input": x})[0]


def openvino_predictor(model: bytes, x: NDArray[Any], threads: int, precision: str) -> Predictor:
    """OpenVINO on the CPU, one stream."""
    core = openvino.Core()
    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": precision,
        "PERFORMANCE_HINT": "LATENCY",
    }
    request = core.compile_model(core.read_model(model), "CPU", settings).create_infer_request()
    tensor = openvino.Tensor(x)
    return lambda: request.infer([tensor], share_outputs=True)[0]


def tatami_predictor(
    network: Network, parameters: Parameters, x: NDArray[Any], options: argparse.Namespace, precision: str
) -> Predictor:
    """Tatami on the chosen backend."""
    program = Program(network, backend=options.backend, precision=precision, threads=options.threads)
    predict = program.predictor(parameters)
    return lambda: predict(x)


def compare(name: str, precision: str, batch_size: int, options: argparse.Namespace) -> dict[str, Any]:
    """Measure one network in one precision at one batch size."""
    network = SUITE[name]()
    parameters = network.initialize(seed=1)
    x = RandomKey(3).uniform("images", (batch_size, *network.input_shape)).astype(np.float32)
    exact = Program(network, precision="f64", backend="reference").forward(parameters, x).output
    model = onnx_model(network, parameters, batch_size)
    predictors = {"tatami": tatami_predictor(network, parameters, x, options, precision)}
    for variant in options.torch:
        predictors[f"torch {variant}"] = torch_predictor(network, parameters, x, variant, precision)
    if precision == "f32":
        predictors["onnxruntime"] = onnxruntime_predictor(model, x, options.threads)
    predictors["openvino"] = openvino_predictor(model, x, options.threads, precision)
    errors = {
        label: float(np.abs(predict() - exact).max() / np.abs(exact).max())
        for label, predict in predictors.items()
    }
    units = {label: lambda predict=predict: len(predict()) for label, predict in predictors.items()}
    timings = interleaved(units, options.repetitions)
    best_rival = max((label for label in timings if label != "tatami"), key=lambda label: timings[label].best)
    return {
        "network": name,
        "precision": precision,
        "batch_size": batch_size,
        "threads": options.threads,
        "timings": {
            label: {"best": timing.best, "median": timing.median} for label, timing in timings.items()
        },
        "errors": errors,
        "best_rival": best_rival,
        "ratio_best": timings["tatami"].best / timings[best_rival].best,
        "ratio_median": timings["tatami"].median / timings[best_rival].median,
    }


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", choices=SUITE, default=["arai"])
    parser.add_argument("--precision", nargs="+", choices=("f32", "bf16"), default=["f32"])
    parser.add_argument("--batch-size", nargs="+", type=int, default=[100, 1])
    parser.add_argument("--backend", default="native")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--repetitions", type=int, default=7)
    variants = ("eager", "channels_last", "compile")
    parser.add_argument("--torch", nargs="+", choices=variants, default=list(variants))
    parser.add_argument("--json", type=Path, help="write all measurements to this file")
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    options = parse()
    torch.set_num_threads(options.threads)
    results = [
        compare(name, precision, batch_size, options)
        for name in options.networks
        for precision in options.precision
        for batch_size in options.batch_size
    ]
    rows = []
    for result in results:
        for label, timing in result["timings"].items():
            rates = [timing["best"], timing["median"]]
            cells = [
                f"{1e6 / rate:.1f} µs" if result["batch_size"] == 1 else f"{rate:,.0f} /s" for rate in rates
            ]
            ratio = "" if label == "tatami" else f"{result['timings']['tatami']['best'] / timing['best']:.2f}"
            title = f"{result['network']} {result['precision']} batch {result['batch_size']} {label}"
            rows.append((title, *cells, ratio, f"{result['errors'][label]:.1e}"))
    print(f"inference, {options.threads} threads, {processor_name()}")
    print_table(("network", "best", "median", "tatami is × faster", "error of the logits"), rows)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
