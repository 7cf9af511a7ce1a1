"The shipped networks: there, intact, trained as their configuration says, and better than bicubic interpolation."
import json, tomllib
import pandas as pd, pytest, torch
from conftest import ROOT
from seem_nbdev.checkpoints import CHECKPOINTS, read_state
from seem_nbdev.compare import VARIANTS, Variant, load_variants
from seem_nbdev.core import asset, get_profile
from seem_nbdev.data import get_clips
from seem_nbdev.evaluate import clip_masks, evaluate, restore

RUN = get_profile('demo')
SHIPPED = [name for name, c in CHECKPOINTS.items() if c.source == 'shipped']
variants = pytest.mark.parametrize('variant', VARIANTS, ids=lambda v: f'{v.arch}-{v.seem}')


@pytest.fixture(scope='module')
def networks(): return load_variants(RUN, 'cpu')


@pytest.fixture(scope='module')
def clips(): return get_clips(RUN.dataset, num_frames=5)


def psnr(method, clips):
    rows, _ = evaluate(method, clips, model='test', profile='demo', dataset=RUN.dataset, degradation='BI')
    return rows[rows.metric == 'psnr'].groupby('clip').value.mean()


@pytest.mark.parametrize('name', SHIPPED)
def test_weights_and_their_log(name):
    path = CHECKPOINTS[name].path()
    state, log = read_state(path), json.loads(path.with_suffix('.json').read_text())
    assert all(v.dtype == torch.float16 and v.isfinite().all() for v in state.values() if v.is_floating_point())
    assert log['config'] == tomllib.loads(asset('configs', 'demo.toml').read_text())[log['stage']]


def test_control_and_seem_had_the_same_training():
    stages = tomllib.loads(asset('configs', 'demo.toml').read_text())
    for arch in ('edvr', 'basicvsr'):
        control, seem = stages[f'{arch}_control'], dict(stages[f'{arch}_seem'])
        assert seem.pop('seem') is True and control == seem


@variants
def test_margin_over_bicubic(variant, networks, clips):
    "At least 0.5 dB on every clip and 1 dB on average, on the first 5 frames."
    masks = clip_masks(clips, RUN.prior) if variant.has_seem else {}
    model = networks[variant][0]
    gain = psnr(lambda c: restore(model, c.lq, masks.get(c.name)), clips) - psnr(lambda c: c.bicubic(), clips)
    assert gain.min() >= 0.5 and gain.mean() >= 1., gain.round(3).to_dict()


def test_basicvsr_against_its_one_frame_start(networks):
    """Never more than 0.05 dB below the one-frame network it began as, and above it on average.

    The one-frame network is not shipped; its scores are in results/demo/training.csv, which `scripts/score_demo.py` wrote.
    That the file speaks of the shipped network is checked on one clip.
    """
    scores = pd.read_csv(ROOT/'results'/'demo'/'training.csv', index_col='model')
    clips = get_clips(RUN.dataset, num_frames=RUN.frames)
    scores = scores[[c.name for c in clips]]
    gain = scores.loc['basicvsr'] - scores.loc['basicvsr_frame']
    assert gain.min() > -0.05 and gain.mean() > 0, gain.to_dict()
    smallest = min(clips, key=lambda c: c.lq.size)
    model = networks[Variant('basicvsr', 'none')][0]
    assert psnr(lambda c: restore(model, c.lq), [smallest]).item() == pytest.approx(scores.loc['basicvsr', smallest.name], abs=2e-3)
