"The script that made the shipped weights still fits the library: every stage builds, starts, takes a step and is shipped."
import json, sys
from dataclasses import replace
from pathlib import Path
import numpy as np, pytest
from conftest import ROOT, run, script
from PIL import Image
from seem_nbdev.checkpoints import CHECKPOINTS, read_state
from seem_nbdev.core import SeemError

train_shipped = script('train_shipped')


def test_every_stage_runs(tmp_path, monkeypatch):
    "The whole chain with one step and one small crop a stage, from fresh weights; nothing shipped is touched."
    for i in range(10):
        (tmp_path/'clips').mkdir(exist_ok=True)
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (288, 288, 3), dtype=np.uint8)).save(tmp_path/'clips'/f'{i}.png')
    real = train_shipped.configuration
    def small(name, work=train_shipped.WORK):
        c = real(name, work)
        return replace(c, steps=1, batch_size=1, patch_size=64 if c.mode == 'flow' else 16, precision='no', data=(str(tmp_path/'clips'),))
    monkeypatch.setattr(train_shipped, 'configuration', small)
    before = {name: CHECKPOINTS[name].path().read_bytes() for name in train_shipped.SHIPPED}
    names = [n for n in train_shipped.ORDER if 'seed2' not in n]
    with pytest.raises(SeemError, match='demo_basicvsr_frame/last.safetensors, .*train it first: .* --only demo_basicvsr_frame demo_flow'):
        train_shipped.train('demo_basicvsr', tmp_path/'runs')
    for name in names:
        train_shipped.train(name, tmp_path/'runs')
        if name not in train_shipped.SHIPPED: continue
        train_shipped.ship(name, tmp_path/'runs', tmp_path/'out')
        shipped = tmp_path/'out'/'demo'/Path(CHECKPOINTS[name].file).name
        about = json.loads(shipped.with_suffix('.json').read_text())
        assert about['base'] == CHECKPOINTS[name].base and str(tmp_path/'runs') not in str(about['config'])
        kept = {key.split('.')[0] for key in read_state(shipped)}
        if name.endswith('seem_only'): assert kept == {'seem'}
    assert before == {name: CHECKPOINTS[name].path().read_bytes() for name in train_shipped.SHIPPED}
    train_shipped.train(names[0], tmp_path/'runs') # done already


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
