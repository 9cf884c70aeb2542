"""The digits that travel in the package: 1,797 images of 8×8 pixels with values from 0 to 16.

Credit: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository,
1998, https://doi.org/10.24432/C50P49, licensed under CC BY 4.0. These are the images of its test set, written by
13 people; see LICENSE.txt beside this file.
"""

from pathlib import Path

from tatami.data.dataset import Dataset, DatasetSplits, ImageFormat
from tatami.data.idx import read_idx
from tatami.data.splits import split_off_test

FOLDER = Path(__file__).parent
# Each pixel counts the ink in a block of 4×4 points; the digit fills the whole image.
FORMAT = ImageFormat(maximum=16, background="dark", fill=1.0)


def load_digits() -> DatasetSplits:
    """Load the digits: 1,438 to train on and 359 to test on, always the same ones.

    >>> digits = load_digits()
    >>> print(digits.train)
    digits: 1438 images of shape (1, 8, 8), 10 classes
    """
    images = read_idx(FOLDER / "images-idx3-ubyte.gz")[:, None]
    labels = read_idx(FOLDER / "labels-idx1-ubyte.gz")
    return split_off_test(Dataset("digits", images, labels, format=FORMAT))
