"The real benchmark, where the user has it: bicubic interpolation, and the row of the paper that its own baseline gives."
import numpy as np, pytest
from seem_nbdev.core import data_dir
from seem_nbdev.data import dataset
from seem_nbdev.evaluation.compare import load_candidate
from seem_nbdev.evaluation.restore import protocol_of
from seem_nbdev.evaluation.rows import with_average
from seem_nbdev.evaluation.score import score
from seem_nbdev.metrics.quality import psnr
from seem_nbdev.tables.differences import difference_to_paper
from seem_nbdev.weights import CHECKPOINTS

BACKBONE = 'basicvsr_vimeo90k_bi_official'
LACKING = data_dir() is None or bool(dataset('Vid4').missing())


@pytest.mark.skipif(LACKING, reason="needs Vid4 under $SEEM_DATA")
def test_bicubic_on_vid4():
    "Y-PSNR of every frame, clip means: calendar 20.394, city 25.165, foliage 23.471, walk 26.104."
    means = {c.name: np.mean([psnr(a, b, 'y') for a, b in zip(c.bicubic(), c.gt)]) for c in dataset('Vid4').clips()}
    assert means == pytest.approx(dict(calendar=20.394, city=25.165, foliage=23.471, walk=26.104), abs=2e-3)
    assert np.mean(list(means.values())) == pytest.approx(23.784, abs=2e-3)


there = pytest.mark.skipif(LACKING or CHECKPOINTS[BACKBONE].path() is None,
                           reason="needs Vid4 under $SEEM_DATA and pip install 'seem_nbdev[published]'")


def reproduced(names):
    "Score the published BasicVSR in float32 on clips of Vid4, and compare with what the paper prints of them."
    clips = [c for c in dataset('Vid4').clips() if c.name in names]
    rows = score([load_candidate(BACKBONE, 'cpu')], clips, protocol_of('Vid4'), profile='paper', table='4')
    return difference_to_paper(with_average(rows.assign(model='BasicVSR')))


@there
def test_a_clip_of_the_paper_is_reproduced(tmp_path, monkeypatch):
    "Table 4, BasicVSR, city (the shortest): both printed numbers, to the last digit."
    monkeypatch.setenv('SEEM_CACHE', str(tmp_path))
    found = reproduced(['city']).query("clip == 'city'")
    assert found.reproduced.tolist() == [True, True], found
    assert sorted(found.metric) == ['psnr', 'ssim'] and found.published.tolist() == [27.6571, 0.80501]


@pytest.mark.slow
@there
def test_the_row_of_the_paper_is_reproduced(tmp_path, monkeypatch):
    "Table 4, BasicVSR: all clips and the average."
    monkeypatch.setenv('SEEM_CACHE', str(tmp_path))
    found = reproduced(['calendar', 'city', 'foliage', 'walk'])
    assert found.reproduced.all() and len(found) == 10, found
