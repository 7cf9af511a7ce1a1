#!/usr/bin/env python
"""Score the stages of scripts/train_demo.py on the embedded test clips, and write results/demo/training.csv.

Answers two questions: by how much does each shipped network beat bicubic interpolation, and does each beat the one-frame
network it began as? The one-frame networks are read from --work; without them only the first is answered.
"""
import argparse, json, sys
from pathlib import Path
import numpy as np, pandas as pd
from seem_nbdev.checkpoints import CHECKPOINTS, load, load_state, read_state
from seem_nbdev.compare import VARIANTS
from seem_nbdev.core import SeemError, atomic_path, get_profile, results_dir
from seem_nbdev.data import Clip, get_clips
from seem_nbdev.evaluate import build_model, clip_masks, evaluate, restore


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--work', type=Path, default=Path('runs/demo'), help="folder of the weights in between")
    args = parser.parse_args()
    run = get_profile('demo')
    clips = get_clips(run.dataset, num_frames=run.frames)
    masks = clip_masks(clips, run.prior)
    methods = {'bicubic': Clip.bicubic}
    for arch in ('edvr', 'basicvsr'):
        if (start := args.work/f'{arch}_frame.safetensors').is_file():
            size = {**getattr(run, arch), **({'num_frames': 1} if arch == 'edvr' else {})}
            methods[start.stem] = one_by_one(load_state(read_state(start), build_model(arch, **size)).eval())
        for variant in (v for v in VARIANTS if v.arch == arch):
            name = variant.checkpoint(run)
            model = load(name, variant.build(run)).eval()
            methods[name.removeprefix('demo_')] = whole(model, masks if variant.has_seem else None)
    context = dict(profile=run.name, dataset=run.dataset, degradation='BI')
    rows = pd.concat([evaluate(method, clips, desc=name, model=name, **context)[0] for name, method in methods.items()])
    scores = rows[rows.metric == 'psnr'].pivot_table(index='model', columns='clip', values='value', sort=False)
    scores['Average'] = scores.mean(axis=1)
    scores['over bicubic, least'] = (scores - scores.loc['bicubic']).min(axis=1)
    scores = scores.join(pd.DataFrame({name: training_log(name, args.work) for name in scores.index}).T)
    with atomic_path(results_dir(run.name)/'training.csv') as part: scores.round(4).to_csv(part, lineterminator='\n')
    print(scores.round(3).to_string())


def one_by_one(model): return lambda clip: np.concatenate([restore(model, clip.lq[i:i+1]) for i in range(len(clip))])
def whole(model, masks): return lambda clip: restore(model, clip.lq, None if masks is None else masks[clip.name])


def training_log(name, work):
    "Steps, seconds and machine of one stage, as its log says."
    shipped = CHECKPOINTS[f'demo_{name}'].path() if f'demo_{name}' in CHECKPOINTS else None
    path = (shipped or work/name).with_suffix('.json')
    if not path.is_file(): return {}
    log = json.loads(path.read_text())
    return dict(steps=log['config']['train']['steps'], seconds=log['seconds'], threads=log['threads'], machine=log['machine'])


if __name__ == '__main__':
    try: main()
    except SeemError as e: sys.exit(f"{Path(__file__).name}: {e}")
