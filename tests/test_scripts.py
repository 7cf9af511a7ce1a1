"The scripts that made the shipped weights still fit the library: every stage builds, starts and takes a step."
import importlib.util, sys, tomllib
import numpy as np, pytest
from conftest import ROOT, run
from seem_nbdev.core import asset
from seem_nbdev.data import degraded

STAGES = tomllib.loads(asset('configs', 'demo.toml').read_text())


def script(name):
    spec = importlib.util.spec_from_file_location(name, ROOT/'scripts'/f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_stage_runs(tmp_path):
    "The whole chain with one step and one small crop a stage."
    train_demo = script('train_demo')
    frames = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)
    clips = [degraded('noise', frames)]
    masks = {'noise': np.ones((5, 64, 16, 16), bool)}
    files = {name: tmp_path/f'{name}.safetensors' for name in STAGES}
    for name, stage in STAGES.items():
        small = stage | dict(train=stage['train'] | dict(steps=1, batch_size=1, patch_size=16, bf16=False))
        train_demo.run_stage(name, small, files, clips, masks)
        assert files[name].is_file() and files[name].with_suffix('.json').is_file()


def test_a_stage_whose_start_is_missing(tmp_path):
    train_demo = script('train_demo')
    files = {name: tmp_path/f'{name}.safetensors' for name in STAGES}
    with pytest.raises(ValueError, match='stage edvr_frame has not run'):
        train_demo.start(train_demo.build(STAGES['edvr']), STAGES['edvr'], files)


@pytest.mark.parametrize('name', ['train_demo', 'score_demo'])
def test_help(name):
    assert 'usage:' in run(sys.executable, ROOT/'scripts'/f'{name}.py', '--help').stdout


def test_a_wrong_stage_is_one_line():
    done = run(sys.executable, ROOT/'scripts'/'train_demo.py', '--only', 'nothing', check=False)
    assert done.returncode == 1 and len(done.stdout.splitlines()) == 1
    assert "unknown stage 'nothing'; valid: 'basicvsr_frame'" in done.stdout
