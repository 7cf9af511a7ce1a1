#!/usr/bin/env python
"""Bring what an earlier version wrote to the names of this one: headers of weights, their .json, folders of runs.

python scripts/migrate.py FILE.safetensors ... FOLDER ...

- A file of weights: its tensors stay, to the bit; in its header, and in the .json beside it, the configuration's keys get their new names. The sha256 of the file changes with its header, so
  rows that were measured with it name another file: what is in assets/weights keeps its headers, which are read as they are, and only the .json is renewed.
- The folder of a run: config.toml; last and best.safetensors; the newest checkpoint, from two files (.json, .safetensors) to one (.pt), after which `seem train --out FOLDER --resume` goes on to the bit.
What has the new names already is left alone.
"""
import argparse, json, sys, tomllib
from pathlib import Path
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from seem_nbdev.core import SeemError, asset, atomic_path, check
from seem_nbdev.training.config import make_config, write_config

RENAMED = dict(start='init_from', warmup='warmup_steps', flow_scale='flow_lr_mul', flow_fixed='fix_flow_iter', reduction='loss_reduction',
               max_norm='clip_grad_norm', max_bad='max_skipped')
GONE = ('cache', 'keep', 'branches')


def new_config(old):
    "A configuration's keys as they are called now, every field of it."
    if not RENAMED.keys() & old.keys() and not set(GONE) & old.keys(): return old
    new = {RENAMED.get(k, k): v for k, v in old.items() if k not in GONE}
    if old.get('branches', 'both') != 'both': new['seem'] = dict(branches=old['branches'])
    from dataclasses import asdict
    return json.loads(json.dumps(asdict(make_config(new, 'the old configuration'))))


def migrate_json(path):
    "The .json beside a file of weights."
    about = json.loads(path.read_text())
    new = about | dict(config=new_config(about['config']))
    if new == about: return False
    with atomic_path(path) as part: part.write_text(json.dumps(new, indent=1) + '\n')
    return True


def migrate_weights(path):
    "The header of a file of weights."
    done = migrate_json(path.with_suffix('.json')) if path.with_suffix('.json').is_file() else False
    if path.resolve().is_relative_to(asset('weights').resolve()): return done
    with safe_open(path, 'pt') as f: header = f.metadata() or {}
    if 'config' not in header: return done
    new = header | dict(config=json.dumps(new_config(json.loads(header['config']))))
    if new == header: return done
    with atomic_path(path) as part: save_file(load_file(path), part, new)
    return True


def new_checkpoint(path, config):
    "What the two files of a checkpoint say, as one dictionary."
    from seem_nbdev.training.loop import make_state
    from seem_nbdev.training.run import make_net
    old, tensors = json.loads(path.read_text()), load_file(path.with_suffix('.safetensors'))
    part = lambda head: {k.removeprefix(head): v for k, v in tensors.items() if k.startswith(head)}
    state = make_state(make_net(config, fill=False), config, 'cpu')
    adam, names = state.optimiser.optimizer, {id(p): name for name, p in state.net.named_parameters()}
    names = [names[id(p)] for group in adam.param_groups for p in group['params']]
    params, moments = dict(state.net.named_parameters()), {}
    for full, value in part('adam.').items():
        name, key = full.rsplit('.', 1)
        if key != 'step': value = torch.empty_like(params[name]).detach().copy_(value) # channels-last, as its parameter
        moments.setdefault(names.index(name), {})[key] = value
    bytes_ = lambda text: torch.frombuffer(bytearray.fromhex(text), dtype=torch.uint8)
    tuples = lambda version, keys, gauss: (version, tuple(keys), gauss)
    states = [dict(python=tuples(*s['python']), numpy=s['numpy'], torch=bytes_(s['torch']), cuda=[bytes_(c) for c in s['cuda']]) for s in old.pop('random')]
    return old | dict(net=part('model.'), ema=part('ema.') or None, random=states, optimiser=dict(state=moments, param_groups=adam.state_dict()['param_groups']))


def migrate_run(folder):
    "The folder of a run."
    own, done = folder/'config.toml', False
    old = tomllib.loads(own.read_text('utf-8'))
    config = make_config(new_config(old), own.name)
    saved = sorted(p for p in (folder/'checkpoints').glob('step_*.json') if p.with_suffix('.safetensors').is_file())
    if saved:
        with atomic_path(saved[-1].with_suffix('.pt')) as part: torch.save(new_checkpoint(saved[-1], config), part)
        for path in [*(folder/'checkpoints').glob('step_*.json'), *(folder/'checkpoints').glob('step_*.safetensors')]: path.unlink()
        done = True
    for name in ('last', 'best'):
        if (folder/f'{name}.safetensors').is_file(): done |= migrate_weights(folder/f'{name}.safetensors')
    if new_config(old) == old: return done
    with atomic_path(own) as part: write_config(config, part) # the last: before it, the same command goes on
    return True


def migrate(path):
    "A file or a folder; whether anything was changed."
    path = Path(path)
    check(path.exists(), f"no file or folder {path}")
    if (path/'config.toml').is_file(): return migrate_run(path)
    if path.is_dir(): return any([migrate(p) for p in sorted(path.rglob('*')) if p.name == 'config.toml' or p.suffix == '.safetensors'
                                  and not (p.parent/'config.toml').is_file() and p.parent.name != 'checkpoints'])
    if path.name == 'config.toml': return migrate_run(path.parent)
    check(path.suffix == '.safetensors', f"{path} is no .safetensors")
    return migrate_weights(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('paths', nargs='+', metavar='PATH', help='a file of weights, the folder of a run, or a folder of such')
    for path in parser.parse_args().paths: print(f"{path}: {'brought to the new names' if migrate(path) else 'nothing to do'}")


if __name__ == '__main__':
    try: main()
    except SeemError as e: sys.exit(f"{Path(__file__).name}: {e}")
