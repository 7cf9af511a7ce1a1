"The six recipes of CONTRIBUTING.md, run as they stand there: a block with a file's name becomes that file."
import re, sys
import numpy as np, pytest
from conftest import ROOT
from PIL import Image
from seem_nbdev import data, masks, metrics, models, training

REGISTRIES = models.NETWORKS, masks.PRIORS, data.DATASETS, metrics.METRICS, training.LOSSES, training.OPTIMISERS
RECIPES = (ROOT/'CONTRIBUTING.md').read_text().partition('## How one is added')[2].partition('\n## ')[0]
BLOCKS = re.findall(r'(?ms)^```python ?(\S*)\n(.*?)^```', RECIPES)


@pytest.fixture
def added(tmp_path, monkeypatch):
    "What the blocks leave behind, run in a folder with two clips below $SEEM_DATA."
    rng = np.random.default_rng(0)
    for clip in 'ab':
        (folder := tmp_path/'data'/'my_clips'/'gt'/clip).mkdir(parents=True)
        for i in range(3):
            frame = rng.integers(0, 256, (16, 20, 3), np.uint8).repeat(8, 0).repeat(8, 1)
            Image.fromarray(frame).save(folder/f'{i:03d}.png')
    (tmp_path/'work').mkdir()
    monkeypatch.chdir(tmp_path/'work')
    monkeypatch.syspath_prepend(tmp_path/'work')
    monkeypatch.setenv('SEEM_DATA', str(tmp_path/'data'))
    monkeypatch.setenv('SEEM_CACHE', str(tmp_path/'cache'))
    before, scope = [dict(r) for r in REGISTRIES], {}
    try:
        for name, code in BLOCKS:
            if name: (tmp_path/'work'/name).write_text(code)
            else: exec(code, scope)
        yield scope
    finally:
        for registry, entries in zip(REGISTRIES, before):
            registry.clear()
            registry.update(entries)
        for name, _ in BLOCKS: sys.modules.pop(name.removesuffix('.py'), None)


def test_recipes(added):
    "Each of the six kinds is added by its line, and all of them meet in a training and its rows."
    rows = added['rows']
    assert [len(r) for r in REGISTRIES] and 'mine' in models.NETWORKS and 'sgd' in training.OPTIMISERS
    assert {*rows.metric} == {'psnr', 'mae'} and {*rows['clip']} == {'a', 'b'} and len(rows) == 8
    assert set(rows.model) == {'Mine'} and np.isfinite(rows.value).all()
    assert added['masks'].shape == (2, 4, 32, 40) and (np.asarray(added['masks']).sum(1) == 1).all()


def test_blocks_are_found(): assert sum(bool(name) for name, _ in BLOCKS) == 4 and len(BLOCKS) == 10
