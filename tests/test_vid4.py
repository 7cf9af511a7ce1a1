"The real benchmark, where the user has it: bicubic interpolation on Vid4 gives the number everybody else gets."
import numpy as np, pytest
from seem_nbdev.core import data_dir
from seem_nbdev.data import missing_data, vid4
from seem_nbdev.metrics import psnr


@pytest.mark.skipif(data_dir() is None or bool(missing_data('Vid4')), reason="needs Vid4 under $SEEM_DATA")
def test_bicubic_on_vid4():
    "Y-PSNR of every frame, clip means: calendar 20.394, city 25.165, foliage 23.471, walk 26.104."
    means = {c.name: np.mean([psnr(a, b, 'y') for a, b in zip(c.bicubic(), c.gt)]) for c in vid4()}
    assert means == pytest.approx(dict(calendar=20.394, city=25.165, foliage=23.471, walk=26.104), abs=2e-3)
    assert np.mean(list(means.values())) == pytest.approx(23.784, abs=2e-3)
