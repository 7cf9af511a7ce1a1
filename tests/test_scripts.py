"The script that made the shipped weights still fits the library: every stage builds, starts, takes a step and is shipped."
import json, sys
from dataclasses import replace
from pathlib import Path
import numpy as np, pytest
from conftest import ROOT, run, script
from PIL import Image
from seem_nbdev.weights.checkpoints import CHECKPOINTS, read_state
from seem_nbdev.training.config import changed_keys
from seem_nbdev.core import SeemError
from seem_nbdev.data.datasets import DAVIS_SPLIT

train_shipped = script('train_shipped')


def test_every_stage_runs(tmp_path, monkeypatch):
    "The whole chain with one step and one small crop a stage, from fresh weights; nothing shipped is touched."
    for i in range(10):
        (tmp_path/'clips').mkdir(exist_ok=True)
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (288, 288, 3), dtype=np.uint8)).save(tmp_path/'clips'/f'{i}.png')
    real = train_shipped.configuration
    def small(name, work=train_shipped.WORK):
        c = real(name, work)
        prior = dict(prior='superpixel', prior_options={}) if c.prior == 'sam' else {}
        return replace(c, steps=1, batch_size=1, accumulate=1, patch_size=64 if c.mode == 'flow' else 16, precision='no', validate='',
                       data=(str(tmp_path/'clips'),), **prior)
    monkeypatch.setattr(train_shipped, 'configuration', small)
    before = {name: CHECKPOINTS[name].path().read_bytes() for name in train_shipped.SHIPPED}
    names = [n for n in train_shipped.ORDER if 'seed' not in n]
    with pytest.raises(SeemError, match='demo_basicvsr_frame/last.safetensors, .*train it first: .* --only demo_basicvsr_frame demo_flow'):
        train_shipped.train('demo_basicvsr', tmp_path/'runs')
    for name in names:
        train_shipped.train(name, tmp_path/'runs')
        if name not in train_shipped.SHIPPED + train_shipped.PUBLISHED: continue
        train_shipped.ship(name, tmp_path/'runs', tmp_path/'out')
        file, base = train_shipped.target(name)
        shipped = tmp_path/'out'/Path(file).relative_to('weights')
        about = json.loads(shipped.with_suffix('.json').read_text())
        assert about['base'] == base and str(tmp_path/'runs') not in str(about['config'])
        kept = {key.split('.')[0] for key in read_state(shipped)}
        if 'seem_only' in name: assert kept == {'seem'}
    assert before == {name: CHECKPOINTS[name].path().read_bytes() for name in train_shipped.SHIPPED}
    train_shipped.train(names[0], tmp_path/'runs') # done already


def test_arms_differ_in_their_prior_alone():
    "SEEM on the published network: with SAM's masks, with none, with the oracle's; a pair has a seed, and so its crops."
    arms = {name: train_shipped.configuration(name) for name in train_shipped.PUBLISHED}
    for name, config in arms.items():
        changes = {line.split(':')[0] for line in changed_keys(arms['published_seem_only'], config)}
        assert changes <= {'prior', 'prior_options', 'seed'} and ('seed' in changes) == ('seed' in name), name
    assert {(c.prior, c.seed) for c in arms.values()} == {('oracle', 0), *((p, s) for p in ('sam', 'none') for s in range(3))}
    held_out = {*DAVIS_SPLIT['test'], *DAVIS_SPLIT['val']}
    assert {c.data for c in arms.values()} == {('DAVIS train',)} and len(held_out) == 9


def test_the_files_go_to_the_checkout(): assert train_shipped.OUT == ROOT/'assets'/'weights'


def test_help(): assert 'usage:' in run(sys.executable, ROOT/'scripts'/'train_shipped.py', '--help').stdout


def test_a_wrong_name_is_one_line():
    done = run(sys.executable, ROOT/'scripts'/'train_shipped.py', '--only', 'nothing', check=False)
    assert done.returncode == 1 and len(done.stdout.splitlines()) == 1
    assert "unknown network 'nothing'; valid: 'demo_flow'" in done.stdout


def test_model_cards_are_up_to_date():
    "The card says what the files and the committed rows say, and every network has its scores."
    text = script('model_cards').text()
    assert text == (ROOT/'assets'/'weights'/'demo'/'README.md').read_text()
    assert '–' not in text
