"`seem evaluate` where it hurts: several processes, bad input, broken networks, rows that cannot be written; and real septuplets."
import os, random, sys
from pathlib import Path
import numpy as np, pandas as pd, pytest, torch
from PIL import Image
from conftest import BIN, run
from seem_nbdev import cli
from seem_nbdev.evaluation import restore as evaluate
from seem_nbdev.evaluation import command as evaluate_tools
from seem_nbdev.weights.checkpoints import save
from seem_nbdev.core import SeemError
from seem_nbdev.data.clips import Clip, degraded, find_clips
from seem_nbdev.data.images import to_float, to_uint8
from seem_nbdev.metrics.quality import psnr
from seem_nbdev.evaluation.rows import load_rows, with_average

SEEM = [sys.executable, '-m', 'seem_nbdev.cli', 'evaluate']
CONTEXT = dict(model='test', profile='user', dataset='made', degradation='BI')


def frames(count, seed, size=(48, 64)):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, size[0]//8, size[1]//8, 3), np.uint8).repeat(8, 1).repeat(8, 2)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch): monkeypatch.setenv('SEEM_CACHE', str(tmp_path/'cache'))


@pytest.fixture
def clips(tmp_path):
    "Three clips of 9 frames in all."
    for i, (name, count) in enumerate({'a': 4, 'b/c': 3, 'b/d': 2}.items()):
        (folder := tmp_path/'made'/name).mkdir(parents=True)
        for j, frame in enumerate(frames(count, i)): Image.fromarray(frame).save(folder/f'{j:03d}.png')
    return tmp_path/'made'


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    net = evaluate.build_model('basicvsr', True, mid_channels=4, hr_channels=4, num_blocks=1)
    return save(net, tmp_path/'net.safetensors', torch.float32)


def seem(capsys, *args):
    "Run `seem evaluate` in this process: status, what it said on standard error beside bars, and on standard output."
    status, said = cli.main(['evaluate', *map(str, args)]), capsys.readouterr()
    return status, [o for o in said.err.splitlines() if o.startswith('seem')], said.out


def same(path, other):
    a, b = (load_rows(p).drop(columns=['seconds', 'device']) for p in (path, other))
    pd.testing.assert_frame_equal(a, b, check_exact=True)


# Several processes

@pytest.mark.parametrize('count', [2, 4])
def test_several_processes_give_the_rows_of_one(clips, weights, tmp_path, count):
    "Also with fewer clips than processes; one process writes, once."
    args = [clips, '--model', 'bicubic', '--model', weights, '--prior', 'superpixel', '--out']
    env = dict(OMP_NUM_THREADS=1, SEEM_CACHE=tmp_path/'cache')
    one = run(*SEEM, *args, tmp_path/'one.csv', **env)
    several = run(BIN/'torchrun', '--nproc_per_node', count, *SEEM[1:], *args, tmp_path/'several.csv',
                  MASTER_PORT=random.randint(20000, 40000), **env)
    same(tmp_path/'one.csv', tmp_path/'several.csv')
    for said in (one, several): assert said.stdout.count('36 rows') == 1 and said.stdout.count('Average (frames)') == 1
    table = one.stdout[one.stdout.index('made, channel'):]
    assert table in several.stdout


# Rows

def test_rows_and_averages(clips, tmp_path, capsys):
    status, _, out = seem(capsys, clips, '--model', 'bicubic', '--channel', 'y', '--out', tmp_path/'rows.csv')
    rows = load_rows(tmp_path/'rows.csv')
    assert status == 0 and '18 rows' in out
    assert rows[rows.metric == 'psnr'].groupby('clip').size().to_dict() == {'a': 4, 'b/c': 3, 'b/d': 2}
    psnr = rows[rows.metric == 'psnr']
    means = with_average(rows).query("metric == 'psnr'").set_index('clip').value
    assert means['Average'] == pytest.approx(psnr.groupby('clip').value.mean().mean())
    assert means['Average (frames)'] == pytest.approx(psnr.value.mean())
    assert means['Average'] != pytest.approx(means['Average (frames)'], abs=1e-6)
    for average in ('Average', 'Average (frames)'): assert f'{means[average]:.4f}' in out


def test_clips_are_read_one_at_a_time(clips):
    "No clip is read before the one before it is scored."
    log = []
    class Noted:
        def __init__(self, source): self.source = source
        def __len__(self): return len(self.source)
        def __getitem__(self, i): log.append(f'read {i}'); return self.source[i]
    def method(clip): log.append('restore'); return clip.bicubic()
    evaluate.evaluate(method, Noted(find_clips(clips, degrade=True)), keep=False, **CONTEXT)
    assert log == ['read 0', 'restore', 'read 1', 'restore', 'read 2', 'restore']


def test_the_same_for_parquet(clips, tmp_path, capsys):
    for name in ('rows.csv', 'rows.parquet'):
        assert seem(capsys, clips, '--model', 'bicubic', '--out', tmp_path/name)[0] == 0
    same(tmp_path/'rows.csv', tmp_path/'rows.parquet')


# Bad input: one clear line, and nothing written

@pytest.mark.parametrize('args,why', [
    (['--model', 'nothing'], "no checkpoint, file or folder 'nothing'"),
    (['--model', 'sam_vit_b'], 'which restores no video'),
    (['--model', 'bicubic', '--frames', '0'], '--frames is 0'),
    (['--model', 'bicubic', '--metrics', 'psnr,nice'], "unknown metric 'nice'"),
    (['--model', 'bicubic', '--metrics', 'tof', '--flow', 'demo_edvr'], 'which has no optical flow'),
    (['--model', 'bicubic', '--prior', 'superpixel'], 'none is given'),
    (['--model', 'demo_basicvsr_seem', '--prior', 'files'], '--labels FOLDER'),
    (['--model', 'bicubic', '--device', 'gpu'], "unknown device 'gpu'"),
    (['--model', 'bicubic', '--dataset', 'vid4'], 'is not the folder of Vid4'),
    (['--model', 'bicubic', '--model', 'bicubic'], 'call one of them otherwise: --model NAME=FILE'),
    (['--model', 'bicubic', '--metrics', 'psnr, tof', '--frames', '1', '--flow', 'demo_basicvsr'], 'leave out warping_error and tof'),
])
def test_one_line(clips, tmp_path, capsys, args, why):
    status, said, out = seem(capsys, clips, *args, '--out', tmp_path/'rows.csv')
    assert (status, len(said), out) == (1, 1, '') and why in said[0]
    assert not (tmp_path/'rows.csv').exists()


def test_masks_of_an_unknown_kind(clips, weights, capsys):
    "A file that does not say whose masks it was trained with; a shipped one does."
    status, said, _ = seem(capsys, clips, '--model', weights)
    assert (status, len(said)) == (1, 1) and 'net takes masks, and of which kind is not known' in said[0]
    assert seem(capsys, clips, '--model', 'demo_basicvsr_seem', '--frames', 1)[0] == 0


def test_what_is_done_is_not_lost(clips, weights, tmp_path, capsys, monkeypatch):
    "An image in the second clip is cut off; mended, the second run computes only what the first did not."
    broken, whole = clips/'b'/'c'/'001.png', (clips/'b'/'c'/'001.png').read_bytes()
    broken.write_bytes(whole[:len(whole)//2])
    restored, real = [], evaluate_tools.restore
    monkeypatch.setattr(evaluate_tools, 'restore', lambda model, lq, *rest: restored.append(len(lq)) or real(model, lq, *rest))
    args = [clips, '--model', f'own={weights}', '--prior', 'superpixel', '--out', tmp_path/'rows.csv']
    status, said, _ = seem(capsys, *args)
    assert (status, len(said), restored) == (1, 1, [4]) and '001.png' in said[0] and not (tmp_path/'rows.csv').exists()
    broken.write_bytes(whole)
    assert seem(capsys, *args)[0] == 0 and restored == [4, 3, 2]
    first = load_rows(tmp_path/'rows.csv')
    assert set(first.model) == {'own'} and len(first) == 18
    assert seem(capsys, *args)[0] == 0 and restored == [4, 3, 2]
    pd.testing.assert_frame_equal(load_rows(tmp_path/'rows.csv'), first)


def test_a_folder_is_no_file_of_rows(clips, tmp_path, capsys):
    (tmp_path/'rows.csv').mkdir()
    status, said, _ = seem(capsys, clips, '--model', 'bicubic', '--out', tmp_path/'rows.csv')
    assert (status, len(said)) == (1, 1) and 'is a folder; name a file in it' in said[0]


@pytest.mark.parametrize('name', ['rows.txt', 'rows'])
def test_a_wrong_suffix_is_found_before_the_work(clips, tmp_path, capsys, name):
    status, said, _ = seem(capsys, clips, '--model', 'bicubic', '--out', tmp_path/name)
    assert status == 1 and "valid: '.csv', '.parquet'" in said[0]


def test_no_place_for_the_rows(clips, tmp_path, capsys):
    (tmp_path/'file').write_text('')
    status, said, _ = seem(capsys, clips, '--model', 'bicubic', '--out', tmp_path/'file'/'rows.csv')
    assert status == 1 and len(said) == 1 and 'file' in said[0]


def test_a_damaged_frame(clips, tmp_path, capsys):
    damaged = clips/'b'/'d'/'001.png'
    damaged.write_bytes(damaged.read_bytes()[:60])
    status, said, _ = seem(capsys, clips, '--model', 'bicubic', '--out', tmp_path/'rows.csv')
    assert status == 1 and 'cannot be read' in said[0] and '001.png' in said[0]
    assert not (tmp_path/'rows.csv').exists()


def test_old_rows_survive_a_failed_run(clips, tmp_path, capsys):
    assert seem(capsys, clips, '--model', 'bicubic', '--out', tmp_path/'rows.csv')[0] == 0
    before = (tmp_path/'rows.csv').read_bytes()
    assert seem(capsys, clips, '--model', 'bicubic', '--frames', '-1', '--out', tmp_path/'rows.csv')[0] == 1
    assert (tmp_path/'rows.csv').read_bytes() == before


# A network that goes wrong

class Broken(torch.nn.Module):
    "Gives something that is no frame of a clip."
    kind, num_frames = 'window', 1
    def __init__(self, value, size=4): super().__init__(); self.p, self.size = torch.nn.Parameter(torch.tensor(value)), size
    def forward(self, lqs, masks): return self.p.expand(1, 3, self.size*lqs.shape[3], self.size*lqs.shape[4])


@pytest.mark.parametrize('net,why', [(Broken(float('nan')), 'NaN'), (Broken(.5, 2), 'expected one size')])
def test_results_that_are_none(net, why):
    clip = degraded('x', frames(2, 0))
    with pytest.raises(SeemError, match=why): evaluate.evaluate(lambda c: evaluate.restore(net, c.lq), [clip], **CONTEXT)


def test_a_clip_without_ground_truth():
    with pytest.raises(SeemError, match='has no ground truth'):
        evaluate.evaluate(Clip.bicubic, [Clip('x', frames(2, 0))], **CONTEXT)


# Real septuplets

@pytest.mark.skipif(not (Path(os.environ.get('SEEM_DATA', 'none'))/'vimeo_sample'/'sequences').is_dir(), reason="needs $SEEM_DATA/vimeo_sample")
def test_real_septuplets(tmp_path, capsys):
    "im4 alone is scored; a recurrent network has seen the septuplet and its mirror image."
    home = Path(os.environ['SEEM_DATA'])/'vimeo_sample'/'sequences'
    keys = sorted(p.relative_to(home).as_posix() for p in home.glob('*/*'))[:2]
    (tmp_path/'vimeo').mkdir()
    (tmp_path/'vimeo'/'sequences').symlink_to(home)
    (tmp_path/'vimeo'/'sep_testlist.txt').write_text('\n'.join(keys))
    status, said, out = seem(capsys, '--model', 'bicubic', '--model', 'demo_basicvsr', '--dataset', 'Vimeo-90K', tmp_path/'vimeo',
                             '--out', tmp_path/'rows.csv')
    assert status == 0, said
    rows = load_rows(tmp_path/'rows.csv')
    assert len(rows) == 8 and set(rows.frame) == {3} and set(rows.channel) == {'rgb'}
    clip = evaluate.load_clip(evaluate_tools.find_clips('Vimeo-90K', tmp_path/'vimeo')[0][0])
    assert clip.gt.shape == (7, 256, 448, 3)
    net = evaluate_tools.load_network('demo_basicvsr', 'cpu').model
    lqs = to_float(clip.lq)[None]
    with torch.no_grad(): srs = net(torch.cat((lqs, lqs.flip(1)), 1))[0]
    expected = {'Bicubic': clip.bicubic()[3], 'demo_basicvsr': to_uint8((srs[3] + srs[10])/2)}
    for model, sr in expected.items():
        found = rows[(rows.model == model) & (rows['clip'] == keys[0]) & (rows.metric == 'psnr')].value.item()
        assert found == pytest.approx(psnr(sr, clip.gt[3]), abs=1e-6)
