"""Augmentation: training images varied at random, anew in each epoch, and yet always the same for the same seed.

A `Pipeline` is data: frozen transforms with their settings, written as JSON with the run that used it.

>>> Pipeline((Rotate(degrees=5),)).to_json()["steps"][0]["type"]
'Rotate'
"""

from tatami.data.augmentation.base import Samples, Transform
from tatami.data.augmentation.draws import Draws
from tatami.data.augmentation.engines import ENGINE_NAMES, Engine, NumPy, OpenCV
from tatami.data.augmentation.filters import Blur, Elastic, Sharpen
from tatami.data.augmentation.geometric import Crop, Flip, Perspective, Rotate, Shear, Shift, Zoom
from tatami.data.augmentation.light import Brightness, Contrast, Gamma, Saturation
from tatami.data.augmentation.mixing import CutMix, Mixup, SamplePairing
from tatami.data.augmentation.noise import Erase, PixelNoise, SaltAndPepper, Speckle
from tatami.data.augmentation.pipeline import Augmented, Pipeline
from tatami.data.augmentation.policies import POLICIES, choose_policy
from tatami.data.augmentation.signals import MaskFrequency, MaskTime, Stretch, TimeShift

__all__ = [
    "ENGINE_NAMES",
    "POLICIES",
    "Augmented",
    "Blur",
    "Brightness",
    "Contrast",
    "Crop",
    "CutMix",
    "Draws",
    "Elastic",
    "Engine",
    "Erase",
    "Flip",
    "Gamma",
    "MaskFrequency",
    "MaskTime",
    "Mixup",
    "NumPy",
    "OpenCV",
    "Perspective",
    "Pipeline",
    "PixelNoise",
    "Rotate",
    "SaltAndPepper",
    "SamplePairing",
    "Samples",
    "Saturation",
    "Sharpen",
    "Shear",
    "Shift",
    "Speckle",
    "Stretch",
    "TimeShift",
    "Transform",
    "Zoom",
    "choose_policy",
]
