"""Fixed filters, the short-time Fourier transform, and the sampling step of a variational autoencoder."""

import numpy as np
import pytest
import torch
from tests.layers.agreement import check, compare_with_torch, run

from tatami import Convolution, FilterBank, GaussianSample, ShortTimeFourier
from tatami.errors import SettingError, ShapeError
from tatami.layers.fixed_filters import SOBEL, gabor_filters


def test_a_filter_bank_is_a_convolution_with_these_filters():
    x = np.random.default_rng(0).standard_normal((2, 1, 5, 6))
    weight = np.array(SOBEL)[:, None]
    expected = run(Convolution(2, 3, padding="same", bias=False), [x], {"weight": weight}).output
    np.testing.assert_allclose(run(FilterBank(), [x], {}).output, expected)
    assert FilterBank().parameter_specs((1, 5, 6)) == {}


def test_gabor_filters_answer_to_their_orientation():
    filters = np.array(gabor_filters(4, 7))
    np.testing.assert_allclose(filters.sum(axis=(1, 2)), 0, atol=1e-7)
    np.testing.assert_allclose((filters**2).sum(axis=(1, 2)), 1, atol=1e-7)
    upright = np.zeros((1, 1, 15, 15))
    upright[..., 7] = 1  # a line along y answers to the wave along x, the first filter
    answers = run(FilterBank(gabor_filters(4, 7)), [upright], {}).output[0, :, 7, 7]
    assert answers.argmax() == 0


@pytest.mark.parametrize(("length", "hop"), [(16, 8), (9, 4)])
def test_short_time_fourier_agrees_with_torch(length, hop):
    layer = ShortTimeFourier(length, hop, gain=3.0)
    check(layer, (2, 40))
    n = np.arange(length)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * (n + 0.5) / length)
    window = torch.tensor(window / window.sum())

    def expected(x):
        spectra = torch.stft(
            x.reshape(-1, x.shape[2]), length, hop, window=window, center=False, return_complex=True
        )
        power = spectra.real**2 + spectra.imag**2
        return torch.log1p(3 * power).reshape(*x.shape[:2], *spectra.shape[1:])

    compare_with_torch(layer, [(2, 40)], expected)


def test_a_tone_lights_up_its_frequency():
    tone = np.cos(2 * np.pi * 8 / 64 * np.arange(256))[None, None]
    y = run(ShortTimeFourier(64, 32), [tone], {}).output
    assert (y[0, 0].argmax(axis=0) == 8).all()


def test_sampling_has_the_mean_and_deviation_that_it_is_told():
    mean, log_variance = np.full((1, 100_000), 2.0), np.full((1, 100_000), np.log(0.25))
    y = run(GaussianSample(), [mean, log_variance], {}).output
    assert abs(y.mean() - 2) < 0.01
    assert abs(y.std() - 0.5) < 0.01
    np.testing.assert_array_equal(
        run(GaussianSample(), [mean, log_variance], {}, training=False).output, mean
    )
    check(GaussianSample(), (2, 3), (2, 3))


def test_errors():
    with pytest.raises(SettingError, match="not a regular array"):
        FilterBank(((1.0, 2.0), (1.0,)))
    with pytest.raises(ShapeError, match="do not fit to an input of shape"):
        FilterBank().output_shape((3, 5))
    with pytest.raises(ShapeError, match="expected a signal"):
        ShortTimeFourier().output_shape((1, 28, 28))
    with pytest.raises(SettingError, match="length must be at least 2"):
        ShortTimeFourier(1)
    with pytest.raises(ShapeError, match="a mean and a log-variance of one shape"):
        GaussianSample().output_shape((2,), (3,))
