#!/usr/bin/env python
"""Train what ships with the package, one configuration after the other, and put it into assets/weights.

demo_...: the small networks of the profiles demo and small. Data: DAVIS under $SEEM_DATA and the training segment of the embedded Big Buck Bunny. Every run is a folder of --work, as `seem train`
makes it; a run that is complete is left alone, one that was interrupted goes on. Price: on one CPU core with bfloat16 units
about 20 minutes for the flow, 15 and 30 for BasicVSR's backbone, 8 for each network fine-tuned from it, and an hour for EDVR's.
published_...: SEEM alone on the published BasicVSR (pip install 'seem_nbdev[published]'), with Segment Anything's masks, with none, and with the oracle's;
runs of one seed see the same crops in the same order. Data: the training clips of DAVIS. An hour or two each on a core; an interrupted queue goes on with the same command.
The files go to --out. Fine-tuned networks begin with the backbones of the package, in assets/weights, wherever --out is.
"""
import argparse, json, platform, sys
from dataclasses import asdict, replace
from pathlib import Path
import pandas as pd, torch
from seem_nbdev import __version__
from seem_nbdev.core import SeemError, atomic_path, check, one_of
from seem_nbdev.training import Run, read_config
from seem_nbdev.weights import CHECKPOINTS, find, save
from seem_nbdev.weights.checkpoints import read_state

STAGES = ('flow', 'basicvsr_frame', 'edvr_frame') # not shipped; then what is, backbones first
SHIPPED = sorted((name for name, c in CHECKPOINTS.items() if c.shipped and name.startswith('demo_')), key=lambda name: CHECKPOINTS[name].base)
PUBLISHED = ['published_seem_only_oracle', 'published_seem_only_none', 'published_seem_only'] + [
    f'published_seem_only{arm}_seed{seed}' for seed in (1, 2) for arm in ('_none', '')]
ORDER = [f'demo_{stage}' for stage in STAGES] + SHIPPED + PUBLISHED


WORK, OUT = Path('runs/demo'), Path(__file__).resolve().parents[1]/'assets'/'weights'


def configuration(name, work=WORK):
    "The configuration of a run: a seed is in the name, and earlier stages are looked for in `work`."
    stem, _, seed = name.partition('_seed')
    config = read_config(stem)
    files = tuple(str(work/Path(s).relative_to(WORK)) if Path(s).is_relative_to(WORK) else s for s in config.init_from)
    return replace(config, init_from=files, seed=int(seed) if seed else config.seed)


def train(name, work):
    "Run, or go on, or find it done."
    config = configuration(name, work)
    missing = [s for s in config.init_from if Path(s).is_relative_to(work) and not Path(s).is_file()]
    names = [Path(s).relative_to(work).parts[0] for s in missing]
    check(not missing or (work/name/'config.toml').is_file(),
          f"{', '.join(missing)} is not there; train it first: python scripts/train_shipped.py --work {work} --only {' '.join(names)}")
    if not Run(config, work/name, 'cpu').fit(): sys.exit(f"stopped; the same command goes on with {name}")


def target(name):
    "The file of a network below assets/, and the checkpoint that it lies over."
    if name in CHECKPOINTS: return CHECKPOINTS[name].file, CHECKPOINTS[name].base
    return f"weights/published/{name.removeprefix('published_')}.safetensors", configuration(name).init_from[0]


def ship(name, work, out=OUT):
    "The half-precision file of a run, without what its backbone's file has; its log, and its configuration whatever `work` is."
    (file, base), config, log = target(name), configuration(name), pd.read_csv(work/name/'log.csv')
    below = find(base).state() if base else {}
    state = read_state(work/name/'last.safetensors')
    state = {k: v for k, v in state.items() if k not in below or not torch.equal(v.to(below[k].dtype), below[k])}
    about = dict(config=asdict(config), base=base, seconds=round(log.seconds.iloc[-1]), device='cpu',
                 threads=torch.get_num_threads(), machine=platform.processor() or platform.machine(), torch=torch.__version__, version=__version__,
                 loss_first=round(log.loss.iloc[0], 6), loss_last=round(log.loss.iloc[-1], 6))
    path = out/Path(file).relative_to('weights')
    save(state, path, torch.float16, **about)
    with atomic_path(path.with_suffix('.json')) as part: part.write_text(json.dumps(about, indent=1) + '\n')
    print(f"{name}: {len(state)} of {len(below | state)} tensors, {path.stat().st_size/1e6:.2f} MB, {about['seconds']} s -> {path}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--only', nargs='+', metavar='NAME', help=f"only these, of {', '.join(ORDER)}")
    parser.add_argument('--work', type=Path, default=WORK, help="folder of the runs, default runs/demo")
    parser.add_argument('--out', type=Path, default=OUT, help="folder of the files, default assets/weights of this checkout; they lie in demo/ below it")
    parser.add_argument('--threads', type=int, default=1, help="CPU threads, default 1")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    wanted = [one_of(name, ORDER, 'network') for name in args.only or ORDER]
    for name in (name for name in ORDER if name in wanted):
        train(name, args.work)
        if name in SHIPPED + PUBLISHED: ship(name, args.work, args.out)


if __name__ == '__main__':
    try: main()
    except SeemError as e: sys.exit(f"{Path(__file__).name}: {e}")
