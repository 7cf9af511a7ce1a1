"The shipped networks: there, intact, trained as their configuration says, and better than bicubic interpolation."
import json
from dataclasses import asdict
import numpy as np, pandas as pd, pytest, torch
from conftest import script
from seem_nbdev.weights.checkpoints import CHECKPOINTS, read_state
from seem_nbdev.tables.experiments import PROFILES, Variant, load_variants, variants as variants_of
from seem_nbdev.training.config import changed_keys
from seem_nbdev.data import dataset
from seem_nbdev.evaluation.restore import restore
from seem_nbdev.evaluation.score import frame_scores
from seem_nbdev.masks import make_prior, masks_for

configuration = script('train_shipped').configuration
RUN = PROFILES['demo']
VARIANTS = variants_of('1', RUN)
SHIPPED = [name for name, c in CHECKPOINTS.items() if c.shipped and name.startswith('demo_')]
variants = pytest.mark.parametrize('variant', VARIANTS, ids=lambda v: f'{v.arch}-{v.seem}')


@pytest.fixture(scope='module')
def networks(): return load_variants(RUN, VARIANTS, 'cpu')


@pytest.fixture(scope='module')
def clips(): return [c.load() for c in dataset(RUN.dataset).clips(num_frames=5)]


def psnr(method, clips):
    return pd.Series({c.name: frame_scores(method(c), c.gt, ('psnr',)).psnr.mean() for c in clips})


@pytest.mark.parametrize('name', SHIPPED)
def test_weights_and_their_log(name):
    "Half precision, finite, and trained as the configuration of their name says."
    path = CHECKPOINTS[name].path()
    state, log = read_state(path), json.loads(path.with_suffix('.json').read_text())
    assert all(v.dtype == torch.float16 and v.isfinite().all() for v in state.values() if v.is_floating_point())
    assert log['config'] == json.loads(json.dumps(asdict(configuration(name))))
    assert log['base'] == CHECKPOINTS[name].base and log['seconds'] > 0


def test_all_fit_into_25_MB(): assert sum(CHECKPOINTS[name].path().stat().st_size for name in SHIPPED) <= 25e6


def test_control_and_seem_had_the_same_training():
    "Same crops, steps and rates; only SEEM is different."
    for name in SHIPPED:
        if '_seem' not in name: continue
        arch, _, seed = name.removeprefix('demo_').partition('_seem')
        control = configuration(f'demo_{arch}_control' + (f'_seed{seed[-1]}' if 'seed' in seed else ''))
        changes = {key.split(':')[0] for key in changed_keys(control, configuration(name))}
        assert changes <= {'mode', 'prior', 'seem'}, (name, changes)


@pytest.mark.parametrize('name', [n for n in SHIPPED if CHECKPOINTS[n].base])
def test_what_is_left_out_did_not_move(name):
    "A file over a base holds what its training moved: not the frozen flow; of SEEM-only training nothing but SEEM."
    groups = {key.split('.')[0] for key in read_state(CHECKPOINTS[name].path())}
    assert 'spynet' not in groups
    assert ('seem' in groups) == ('_seem' in name)
    assert (groups == {'seem'}) == name.endswith('_seem_only')


@variants
def test_margin_over_bicubic(variant, networks, clips):
    "At least 0.5 dB on every clip and 1 dB on average, on the first 5 frames."
    masks = {c.name: masks_for(c, make_prior(RUN.prior)) for c in clips} if variant.has_seem else {}
    model = networks[variant][0]
    gain = psnr(lambda c: restore(model, c.lq, masks.get(c.name)), clips) - psnr(lambda c: c.bicubic(), clips)
    assert gain.min() >= 0.5 and gain.mean() >= 1., gain.round(3).to_dict()


def test_basicvsr_reads_its_neighbours(networks, clips):
    "On the clip that moves most, a frame with four neighbours comes out better than the frame alone."
    model, clip = networks[Variant('basicvsr', 'none')][0], next(c for c in clips if c.name == 'carphone')
    alone = lambda c: np.concatenate([restore(model, c.lq[i:i + 1]) for i in range(len(c.lq))])
    assert psnr(lambda c: restore(model, c.lq), [clip]).item() > psnr(alone, [clip]).item() + 0.02
