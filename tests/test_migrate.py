"What an earlier version wrote: runs go on to the bit under the new names, weights load, what is shipped keeps its checksum."
import json, os, shutil, signal
from dataclasses import asdict
import pytest, torch
from conftest import ROOT, script
from safetensors.torch import load_file, save_file
from seem_nbdev.core import asset, sha256
from seem_nbdev.training import Run, read_config
from seem_nbdev.training.config import _toml
from seem_nbdev.weights import find
from seem_nbdev.weights.checkpoints import read_metadata

migrate = script('migrate')
OLD = {new: old for old, new in migrate.RENAMED.items()}


def old_names(config):
    "A configuration as it was written before."
    old = {OLD.get(k, k): v for k, v in asdict(config).items() if k not in ('loss', 'optimiser')}
    return old | dict(branches=old.pop('seem').get('branches', 'both'), cache=4e9, keep=3)


def old_checkpoint(path):
    "A checkpoint as two files: tensors by name, and the rest as JSON."
    kept, run = torch.load(path, weights_only=True), Run(None, path.parents[1], 'cpu')
    names = {id(p): name for name, p in run.net.named_parameters()}
    names = [names[id(p)] for group in run.state.optimiser.param_groups for p in group['params']]
    tensors = {f'model.{k}': v for k, v in kept.pop('net').items()} | {f'ema.{k}': v for k, v in kept.pop('ema').items()}
    moments = kept.pop('optimiser')['state']
    tensors |= {f'adam.{names[i]}.{k}': v for i, state in moments.items() for k, v in state.items()}
    save_file({k: v.contiguous() for k, v in tensors.items()}, path.with_suffix('.safetensors'))
    text = lambda state: state.numpy().tobytes().hex()
    random = [s | dict(torch=text(s['torch']), cuda=[]) for s in kept['random']]
    path.with_suffix('.json').write_text(json.dumps(kept | dict(random=random)))
    path.unlink()


def test_a_run_goes_on(tmp_path):
    "Stopped, put back to the old form, brought to the new one, resumed: as the run that nobody touched."
    config = read_config('smoke', steps=4, batch_size=2, validate_every=2, save_every=4, log_every=1, ema=.9)
    whole, broken = Run(config, tmp_path/'whole', 'cpu'), Run(config, tmp_path/'broken', 'cpu')
    def stop(net): os.kill(os.getpid(), signal.SIGINT); return 0., {}
    assert whole.fit(lambda net: (0., {}), bar=False) and not broken.fit(stop, bar=False)
    folder = tmp_path/'broken'
    old_checkpoint(folder/'checkpoints'/'step_0000002.pt')
    (folder/'config.toml').write_text('\n'.join(f'{k} = {_toml(v)}' for k, v in old_names(config).items()))
    assert 'fix_flow_iter' not in (folder/'config.toml').read_text()
    assert migrate.migrate(folder) and not migrate.migrate(folder)
    assert [p.name for p in (folder/'checkpoints').iterdir()] == ['step_0000002.pt']
    again = Run(None, folder, 'cpu')
    assert again.config == config and again.step == 2 and again.fit(lambda net: (0., {}), bar=False)
    a, b = (load_file(p/'last.safetensors') for p in (tmp_path/'whole', folder))
    assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_weights_that_lie_over_others(tmp_path):
    "SEEM alone with an old header: its tensors stay, and it finds its backbone again."
    shipped = asset('weights', 'demo', 'basicvsr_seem_only.safetensors')
    path, config = tmp_path/'own.safetensors', read_config('demo_basicvsr_seem_only')
    save_file(load_file(shipped), path, dict(config=json.dumps(old_names(config)), step='500'))
    assert 'start' in read_metadata(path)['config']
    assert migrate.migrate(path) and not migrate.migrate(path)
    about, state = read_metadata(path), load_file(path)
    assert about['config'] == json.loads(json.dumps(asdict(config))) and about['step'] == 500
    assert all(torch.equal(v, state[k]) for k, v in load_file(shipped).items())
    found = find(path)
    assert (found.arch, found.prior, [w.name for w in found.base]) == ('basicvsr', 'superpixel', ['demo_basicvsr'])


def test_one_branch(tmp_path):
    config = read_config('demo_basicvsr_seem_forward')
    assert old_names(config)['branches'] == 'forward' and migrate.new_config(old_names(config)) == json.loads(json.dumps(asdict(config)))


def test_what_is_shipped_keeps_its_checksum(tmp_path, monkeypatch):
    "Rows name weights by their checksum, so only the .json beside a shipped file is renewed."
    home = tmp_path/'weights'
    shutil.copytree(ROOT/'assets'/'weights', home)
    monkeypatch.setattr(migrate, 'asset', lambda *_: home)
    about = home/'demo'/'basicvsr_seem.json'
    log = json.loads(about.read_text())
    about.write_text(json.dumps(log | dict(config=old_names(read_config('demo_basicvsr_seem')))))
    sums = {p: sha256(p) for p in home.rglob('*.safetensors')}
    assert migrate.migrate(home) and json.loads(about.read_text())['config'] == log['config']
    assert sums == {p: sha256(p) for p in home.rglob('*.safetensors')}


def test_nothing_there(tmp_path):
    with pytest.raises(ValueError, match='no file or folder'): migrate.migrate(tmp_path/'gone')
