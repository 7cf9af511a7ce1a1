#!/usr/bin/env python
"""Train the small networks that ship with the package, stage by stage, as assets/configs/demo.toml says.

Data: DAVIS under $SEEM_DATA and the training segment of the embedded Big Buck Bunny. A stage whose file is already
there is skipped, so an interrupted run goes on with the next stage. Price: on one CPU core with bfloat16
units about 100 minutes for BasicVSR's stages and 55 for EDVR's.
"""
import argparse, json, platform, sys, time, tomllib
from pathlib import Path
import torch
from seem_nbdev import __version__
from seem_nbdev.checkpoints import CHECKPOINTS, load_state, read_state, save
from seem_nbdev.core import PROFILES, SeemError, asset, atomic_path, check, one_of, seed_everything
from seem_nbdev.data import CropDataset, davis, embedded_clips
from seem_nbdev.edvr import inflate_frames
from seem_nbdev.evaluate import build_model, clip_masks
from seem_nbdev.layers import SPyNet
from seem_nbdev.train import make_config, train, train_flow


def build(stage):
    "The network of a stage, with fresh weights."
    if stage['arch'] == 'spynet': return SPyNet()
    size = dict(getattr(PROFILES['demo'], stage['arch']))
    if 'frames' in stage: size['num_frames'] = stage['frames']
    return build_model(stage['arch'], stage.get('seem', False), **size)


def start(model, stage, files):
    "Fill `model` from the stages it starts with."
    if stage.get('zero_last'):
        for p in model.conv_last.parameters(): torch.nn.init.zeros_(p)
    for name in stage.get('start', []):
        check(files[name].is_file(), f"stage {name} has not run: {files[name]} is missing; leave --only away or add {name} to it")
        state = read_state(files[name])
        if name == 'flow': model.spynet.load_state_dict(state)
        else: load_state(inflate_frames(state, model.num_frames) if name == 'edvr_frame' else state, model, str(files[name]))


def run_stage(name, stage, files, clips, masks):
    "Train one stage and write its weights and its log."
    config, began = make_config(stage['train']), time.time()
    seed_everything(config.seed)
    model = build(stage)
    start(model, stage, files)
    dataset = CropDataset(clips, masks if stage.get('seem') else None, num_frames=config.num_frames,
                          patch_size=config.patch_size, seed=config.seed, length=config.steps*config.batch_size)
    losses = (train_flow if stage['arch'] == 'spynet' else train)(model, dataset, config)
    log = dict(stage=name, config=stage, seconds=round(time.time() - began), torch=torch.__version__, version=__version__,
               machine=platform.processor() or platform.machine(), threads=torch.get_num_threads(), seed=config.seed,
               loss_first=sum(losses[:50])/len(losses[:50]), loss_last=sum(losses[-50:])/len(losses[-50:]))
    half = f'demo_{name}' in CHECKPOINTS
    save(model, files[name], torch.float16 if half else torch.float32, **log)
    with atomic_path(files[name].with_suffix('.json')) as part: part.write_text(json.dumps(log, indent=1) + '\n')
    print(f"{name}: loss {log['loss_first']:.4f} -> {log['loss_last']:.4f} in {log['seconds']} s -> {files[name]}", flush=True)


def main():
    stages = tomllib.loads(asset('configs', 'demo.toml').read_text())
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--only', nargs='+', metavar='STAGE', help=f"only these stages; of {', '.join(stages)}")
    parser.add_argument('--out', type=Path, default=asset('configs').parent/'weights'/'demo', help="folder of the final weights")
    parser.add_argument('--work', type=Path, default=Path('runs/demo'), help="folder of the weights in between")
    parser.add_argument('--threads', type=int, help="CPU threads (default: PyTorch's)")
    args = parser.parse_args()
    only = [one_of(name, stages, 'stage') for name in args.only or stages]
    if args.threads: torch.set_num_threads(args.threads)
    files = {name: (args.out if f'demo_{name}' in CHECKPOINTS else args.work)/f'{name}.safetensors' for name in stages}
    todo = [name for name in stages if name in only and not files[name].is_file()]
    if not todo: return print("every stage has its file; nothing to do")
    clips = davis() + embedded_clips('train')
    masks = clip_masks(clips, PROFILES['demo'].prior) if any(stages[name].get('seem') for name in todo) else None
    for name in todo:
        run_stage(name, stages[name], files, clips, masks)


if __name__ == '__main__':
    try: main()
    except SeemError as e: sys.exit(f"{Path(__file__).name}: {e}")
