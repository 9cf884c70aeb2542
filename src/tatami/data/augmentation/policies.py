"""Named pipelines, to begin with. A JSON file of your own can say anything else."""

from pathlib import Path

from tatami.data.augmentation.filters import Blur, Elastic
from tatami.data.augmentation.geometric import Crop, Flip, Perspective, Rotate, Shear, Shift, Zoom
from tatami.data.augmentation.light import Brightness, Contrast, Gamma
from tatami.data.augmentation.mixing import CutMix, Mixup
from tatami.data.augmentation.noise import Erase, PixelNoise, SaltAndPepper, Speckle
from tatami.data.augmentation.pipeline import Pipeline
from tatami.data.augmentation.signals import MaskFrequency, MaskTime, Stretch, TimeShift
from tatami.errors import unknown_name

GEOMETRIC = (Rotate(degrees=12), Shear(horizontal=0.15), Zoom(factors=(0.9, 1.1)), Shift())

POLICIES: dict[str, Pipeline] = {
    "shift": Pipeline((Shift(),)),
    "rotate": Pipeline((Rotate(degrees=15),)),
    "geometric": Pipeline(GEOMETRIC),
    "perspective": Pipeline((Perspective(strength=0.3), Shift(vertical=0.05, horizontal=0.05))),
    "elastic": Pipeline((Elastic(),)),
    "noise": Pipeline((PixelNoise(deviation=0.15), SaltAndPepper(share=0.04), Speckle(deviation=0.2))),
    "light": Pipeline((Brightness(amount=0.15), Contrast(), Gamma())),
    "blur": Pipeline((Blur(deviations=(0.2, 1.0)),)),
    "erase": Pipeline((Erase(),)),
    "mixup": Pipeline((Mixup(),)),
    "cutmix": Pipeline((CutMix(),)),
    "handwriting": Pipeline((*GEOMETRIC, Elastic(amount=0.025), PixelNoise(deviation=0.08))),
    "photo": Pipeline(
        (
            Flip(border="reflect"), Crop(border="reflect"), Rotate(degrees=8, border="reflect"),
            Brightness(amount=0.15), Contrast(), Erase(probability=0.5, content="noise"),
        )
    ),
    "signal": Pipeline((TimeShift(), Stretch(), PixelNoise(deviation=0.05), MaskTime()), clip=False),
    "spectrogram": Pipeline((TimeShift(share=0.05), MaskTime(), MaskFrequency()), clip=False),
}  # fmt: skip


def choose_policy(text: str) -> Pipeline:
    """Return the pipeline of a name, or of a JSON file.

    >>> choose_policy("shift").steps[0].horizontal
    0.1

    Raises:
        UnknownNameError: neither.
        DataError, SettingError: a file that cannot be used.
    """
    if text in POLICIES:
        return POLICIES[text]
    path = Path(text).expanduser()
    if path.suffix == ".json" or path.is_file():
        return Pipeline.read(path)
    raise unknown_name("augmentation", text, POLICIES)
