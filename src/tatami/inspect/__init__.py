"""Looking inside: what a network has learned, what it sees in an image, and how a run went.

Functions that return arrays; `tatami.inspect.figures` draws them, `tatami.inspect.diagram` draws the network itself,
and `tatami.inspect.report` writes everything about a run into one page.
"""

from tatami.inspect.activations import (
    Spread,
    UnitActivity,
    activation_histograms,
    dead_units,
    feature_maps,
)
from tatami.inspect.class_activation import grad_cam
from tatami.inspect.covering import occlusion
from tatami.inspect.diagram import network_diagram, write_diagram
from tatami.inspect.exciting import Excitement, most_exciting, seen_patch
from tatami.inspect.filter_banks import filters
from tatami.inspect.filter_growth import FilterGrowth, filter_growth
from tatami.inspect.gradients import (
    completeness_gap,
    gradient_times_input,
    input_gradient,
    integrated_gradients,
    saliency,
    smooth_gradient,
)
from tatami.inspect.maximisation import Ascent, Maximum, maximise_activation
from tatami.inspect.methods import METHODS, attribution_map
from tatami.inspect.rectified import deconvolution, guided_backpropagation
from tatami.inspect.reliability import Calibration, calibration
from tatami.inspect.units import Unit
from tatami.inspect.walk import Walk, walk_forward

__all__ = [
    "METHODS",
    "Ascent",
    "Calibration",
    "Excitement",
    "FilterGrowth",
    "Maximum",
    "Spread",
    "Unit",
    "UnitActivity",
    "Walk",
    "activation_histograms",
    "attribution_map",
    "calibration",
    "completeness_gap",
    "dead_units",
    "deconvolution",
    "feature_maps",
    "filter_growth",
    "filters",
    "grad_cam",
    "gradient_times_input",
    "guided_backpropagation",
    "input_gradient",
    "integrated_gradients",
    "maximise_activation",
    "most_exciting",
    "network_diagram",
    "occlusion",
    "saliency",
    "seen_patch",
    "smooth_gradient",
    "walk_forward",
    "write_diagram",
]
