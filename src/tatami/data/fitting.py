"""The preprocessings by name, fitted to the images to train on."""

from tatami.data.dataset import Dataset
from tatami.data.preprocessing import MinMax, Preprocessing, Scale, Standardise, Unchanged
from tatami.data.whitening import PCAWhitening, ZCAWhitening
from tatami.errors import unknown_name

PREPROCESSINGS: dict[str, type[Unchanged | Scale | MinMax | Standardise | ZCAWhitening | PCAWhitening]] = {
    "none": Unchanged,
    "scale": Scale,
    "min-max": MinMax,
    "standardise": Standardise,
    "zca": ZCAWhitening,
    "pca": PCAWhitening,
}


def fit_preprocessing(name: str, dataset: Dataset, extent: str = "channel") -> Preprocessing:
    """Return the preprocessing of a name, fitted to the images to train on.

    Args:
        name: 'none', 'scale', 'min-max', 'standardise', 'zca' or 'pca'.
        dataset: the images to train on, without those to validate and to test on.
        extent: for 'min-max' and 'standardise': 'all', 'channel' or 'feature'.

    Raises:
        UnknownNameError: another name.
        SettingError: another extent, or images too large to whiten.
    """
    if name not in PREPROCESSINGS:
        raise unknown_name("preprocessing", name, PREPROCESSINGS)
    cls = PREPROCESSINGS[name]
    if issubclass(cls, MinMax | Standardise):
        return cls.fit(dataset, extent)
    return cls.fit(dataset)
