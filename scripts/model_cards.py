#!/usr/bin/env python
"""Write assets/weights/demo/README.md, the card of every shipped network: what it is, its training, and its scores on the real Vid4.

The scores are those of results/small/, found by the checksum of the weights; a network that was not measured there has none.
"""
import argparse, json
from pathlib import Path
import pandas as pd
from seem_nbdev.weights import CHECKPOINTS, find
from seem_nbdev.core import asset, atomic_path, root
from seem_nbdev.evaluation.rows import clip_means, load_rows

HEAD = """# The networks of the profiles `demo` and `small`

- **Data**: 20 DAVIS clips of 24 frames (BSD), shrunk by 2/3, and frames 0 to 91 of Big Buck Bunny (CC-BY 3.0, Blender Foundation), halved.
  No Vid4, no Vimeo-90K, no REDS; no weights of anybody else. **Masks**: superpixels, which are not SAM's.
- **Chain**: BasicVSR from single frames and a flow network that learnt from synthetic motion ([04_flow](../../../nbs/6_training/04_flow.ipynb)), EDVR from single frames; the control and all kinds of SEEM begin with the shipped, half-precision backbone.
  `basicvsr_long` is that backbone trained on, on longer clips, with averaged weights; nothing is fine-tuned from it.
  BasicVSR's flow does not move after its own training, so the files of fine-tuned networks leave it out: they lie over their backbone's file.
- **Training**: `python scripts/train_shipped.py`; every key is in the `.json` beside a file. Of the chain, not shipped: 1500 steps for the flow (it was interrupted at step 1200, where its optimiser began afresh, and drew the same kind of
  motion from an earlier revision of the generator), 1200 for BasicVSR and 1000 for EDVR on single frames.
- **Earlier loop**: {noted} were trained by the loop of an earlier revision with the values in their `.json`, which says so under `note`; there `loss_first` and `loss_last` are means over 50 steps.
- **Device**: one CPU core with bfloat16 units, shared with other work, so seconds are upper bounds.
- **Stored** in half precision; every number of this project is measured with these files. **Licence**: Apache-2.0, as the project.

"""
FOOT = """
Scores: the real Vid4, luma, all frames, mean over the four clips; bicubic interpolation has {bicubic} dB. Made by `scripts/model_cards.py` from `results/small/`.
"""


def vid4_scores():
    "Checksum of weights -> mean PSNR and SSIM over the clips of Vid4, masks as trained."
    small = root()/'results'/'small'
    files = sorted([*small.glob('table[1256]_rows.csv'), *small.glob('basicvsr_long_rows.csv')])
    if not files: return {}, '–'
    rows = clip_means(pd.concat(map(load_rows, files)))
    rows = rows[rows.metric.isin(['psnr', 'ssim']) & ~rows.seem.str.contains('masks')]
    means = rows.groupby(['model', 'checkpoint', 'metric']).value.mean().unstack()
    found = {checkpoint: tuple(scores) for (_, checkpoint), scores in means.iterrows() if checkpoint}
    return found, f"{means.loc['Bicubic'].psnr.iloc[0]:.3f}"


def about(name):
    "What the training wrote beside the weights."
    return json.loads(CHECKPOINTS[name].path().with_suffix('.json').read_text())


def card(name, scores):
    "A line of the table."
    c = CHECKPOINTS[name]
    log, path = about(name), c.path()
    config = log['config']
    psnr, ssim = (f'{v:.{d}f}' for v, d in zip(scores[find(name).checksum], (3, 4))) if find(name).checksum in scores else ('–', '–')
    crops = f"{config['batch_size']} x {config['num_frames']} x {config['patch_size']}²"
    return dict(file=f'`{path.name}`', what=c.title, over=f"`{CHECKPOINTS[c.base].path().name}`" if c.base else '', MB=f'{path.stat().st_size/1e6:.2f}',
                steps=config['steps'], crops=crops, seed=config['seed'], seconds=log['seconds'], PSNR=psnr, SSIM=ssim)


def text():
    scores, bicubic = vid4_scores()
    shipped = [name for name, c in CHECKPOINTS.items() if c.shipped and name.startswith('demo_')]
    noted = ', '.join(f'`{CHECKPOINTS[name].path().name}`' for name in shipped if 'note' in about(name))
    table = pd.DataFrame([card(name, scores) for name in shipped])
    return HEAD.format(noted=noted) + table.to_markdown(index=False, disable_numparse=True) + '\n' + FOOT.format(bicubic=bicubic)


if __name__ == '__main__':
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    path = asset('weights')/'demo'/'README.md'
    with atomic_path(path) as part: part.write_text(text())
    print(path)
