"`seem evaluate` where it hurts: several processes, bad input, broken networks, rows that cannot be written; and real septuplets."
import os, random, sys
from pathlib import Path
import numpy as np, pandas as pd, pytest, torch
from PIL import Image
from conftest import BIN, run
from seem_nbdev import cli
from seem_nbdev.core import SeemError
from seem_nbdev.data.clips import Clip, find_clips
from seem_nbdev.data.images import to_float, to_uint8
from seem_nbdev.evaluation import score as scoring
from seem_nbdev.evaluation.compare import clips_to_score
from seem_nbdev.evaluation.restore import Protocol, restore
from seem_nbdev.evaluation.rows import load_rows, with_average
from seem_nbdev.evaluation.score import Candidate, score, score_clip
from seem_nbdev.metrics.quality import psnr
from seem_nbdev.models import make_network
from seem_nbdev.weights.checkpoints import load, save

SEEM = [sys.executable, '-m', 'seem_nbdev.cli', 'evaluate']
MADE, USER = Protocol('made'), dict(profile='user')
BICUBIC = Candidate('Bicubic', make_network('bicubic'))


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
    net = make_network('basicvsr', True, mid_channels=4, hr_channels=4, num_blocks=1)
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
    "Also with fewer clips than processes; one process writes, once; scores are kept by all."
    args = [clips, '--model', 'bicubic', '--model', weights, '--prior', 'superpixel', '--out']
    env = dict(OMP_NUM_THREADS=1, SEEM_CACHE=tmp_path/'cache')
    several = run(BIN/'torchrun', '--nproc_per_node', count, *SEEM[1:], *args, tmp_path/'several.csv',
                  MASTER_PORT=random.randint(20000, 40000), **env)
    assert len([*(tmp_path/'cache'/'scores').rglob('*.csv')]) == 2*3
    kept = run(*SEEM, *args, tmp_path/'kept.csv', **env)
    pd.testing.assert_frame_equal(*map(load_rows, (tmp_path/'several.csv', tmp_path/'kept.csv'))) # their seconds, too
    one = run(*SEEM, *args, tmp_path/'one.csv', **env | dict(SEEM_CACHE=tmp_path/'other'))
    same(tmp_path/'one.csv', tmp_path/'several.csv')
    for said in (one, several, kept):
        assert said.stdout.count('36 rows') == 1 and said.stdout.count('Average (frames)') == 1
    table = one.stdout[one.stdout.index('made, channel'):]
    assert table in several.stdout


def test_an_interrupted_run_of_several_processes_goes_on(clips, tmp_path):
    "The last clip cannot be read: what the others found is kept."
    broken, whole = clips/'b'/'d'/'001.png', (clips/'b'/'d'/'001.png').read_bytes()
    broken.write_bytes(whole[:60])
    args = [clips, '--model', 'bicubic', '--out', tmp_path/'rows.csv']
    env = dict(OMP_NUM_THREADS=1, SEEM_CACHE=tmp_path/'cache')
    done = run(BIN/'torchrun', '--nproc_per_node', 2, *SEEM[1:], *args, MASTER_PORT=random.randint(20000, 40000),
               check=False, **env)
    assert done.returncode and not (tmp_path/'rows.csv').exists()
    assert [*(tmp_path/'cache'/'scores').rglob('*.csv')]
    broken.write_bytes(whole)
    run(*SEEM, *args, **env)
    assert len(load_rows(tmp_path/'rows.csv')) == 18


# Rows

def test_rows_and_averages(clips, tmp_path, capsys):
    status, _, out = seem(capsys, clips, '--model', 'bicubic', '--channel', 'y', '--out', tmp_path/'rows.csv')
    rows = load_rows(tmp_path/'rows.csv')
    assert status == 0 and '18 rows' in out
    assert rows[rows.metric == 'psnr'].groupby('clip').size().to_dict() == {'a': 4, 'b/c': 3, 'b/d': 2}
    values = rows[rows.metric == 'psnr']
    means = with_average(rows).query("metric == 'psnr'").set_index('clip').value
    assert means['Average'] == pytest.approx(values.groupby('clip').value.mean().mean())
    assert means['Average (frames)'] == pytest.approx(values.value.mean())
    assert means['Average'] != pytest.approx(means['Average (frames)'], abs=1e-6)
    for average in ('Average', 'Average (frames)'): assert f'{means[average]:.4f}' in out


def test_clips_are_read_one_at_a_time(clips, monkeypatch):
    "No clip is read before the one before it is scored."
    log, found = [], find_clips(clips, degrade=True)
    class Noted:
        def __init__(self, clip): self.clip, self.name, self.gt = clip, clip.name, clip.gt
        def __len__(self): return len(self.clip)
        @property
        def lq(self): log.append(self.name); return self.clip.lq
    real = scoring.score_clip
    def noted(candidate, clip, *args, **how): log.append('scored'); return real(candidate, clip, *args, **how)
    monkeypatch.setattr(scoring, 'score_clip', noted)
    score([BICUBIC], [Noted(c) for c in found], MADE, **USER)
    order = [o for i, o in enumerate(log) if i == 0 or log[i - 1] != o]
    assert order == ['a', 'scored', 'a', 'b/c', 'scored', 'b/c', 'b/d', 'scored', 'b/d']


def test_the_same_for_parquet(clips, tmp_path, capsys):
    for name in ('rows.csv', 'rows.parquet'):
        assert seem(capsys, clips, '--model', 'bicubic', '--out', tmp_path/name)[0] == 0
    same(tmp_path/'rows.csv', tmp_path/'rows.parquet')


# Bad input: one clear line, and nothing written

@pytest.mark.parametrize('args,why', [
    (['--model', 'nothing'], "'nothing'"),
    (['--model', 'spynet'], ''),
    (['--model', 'bicubic', '--frames', '0'], '--frames is 0'),
    (['--model', 'bicubic', '--metrics', 'psnr,nice'], "unknown metric 'nice'"),
    (['--model', 'bicubic', '--metrics', 'tof', '--flow', 'demo_edvr'], 'which has no optical flow'),
    (['--model', 'bicubic', '--prior', 'superpixel'], 'none is given'),
    (['--model', 'demo_basicvsr_seem', '--prior', 'files'], '--labels FOLDER'),
    (['--model', 'bicubic', '--device', 'gpu'], "unknown device 'gpu'"),
    (['--model', 'bicubic', '--dtype', 'int8'], "unknown dtype 'int8'"),
    (['--model', 'bicubic', '--dataset', 'vid4'], 'Vid4'),
    (['--model', 'bicubic', '--dataset', 'vid5'], "unknown data set 'vid5'"),
    (['--model', 'bicubic', '--model', 'bicubic'], 'call one of them otherwise: --model NAME=FILE'),
    (['--model', 'bicubic', '--metrics', 'psnr, tof', '--frames', '1', '--flow', 'demo_basicvsr'], 'leave them out'),
])
def test_one_line(clips, tmp_path, capsys, args, why):
    status, said, out = seem(capsys, clips, *args, '--out', tmp_path/'rows.csv')
    assert (status, len(said), out) == (1, 1, '') and why in said[0]
    assert not (tmp_path/'rows.csv').exists()


@pytest.mark.parametrize('args,why', [((None,), 'give --dataset NAME, or a folder'), ((None, 'none'), 'no folder or video'),
                                      (('DAVIS', 'none'), "unknown data set 'DAVIS'"), (('Vid4',), 'where is Vid4? give its')])
def test_no_clips(args, why, monkeypatch):
    monkeypatch.setenv('SEEM_DATA', '')
    with pytest.raises(SeemError) as e: clips_to_score(*args)
    assert why in str(e.value)


def test_masks_of_an_unknown_kind(clips, weights, capsys):
    "A file that does not say whose masks it was trained with; a shipped one does."
    status, said, _ = seem(capsys, clips, '--model', weights)
    assert (status, len(said)) == (1, 1) and 'net takes masks, and of which kind is not known' in said[0]
    assert seem(capsys, clips, '--model', 'demo_basicvsr_seem', '--frames', 1)[0] == 0


def test_the_control_is_named(clips, capsys):
    "SEEM beside the backbone it began with: a line says what is missing."
    status, said, out = seem(capsys, clips, '--model', 'demo_basicvsr', '--model', 'demo_basicvsr_seem', '--frames', 1)
    assert status == 0 and 'its control, demo_basicvsr_control,' in said[0] and 'one training' in out


def test_what_is_done_is_not_lost(clips, weights, tmp_path, capsys, monkeypatch):
    "An image in the second clip is cut off; mended, the second run computes only what the first did not."
    broken, whole = clips/'b'/'c'/'001.png', (clips/'b'/'c'/'001.png').read_bytes()
    broken.write_bytes(whole[:len(whole)//2])
    restored, real = [], scoring.restore
    monkeypatch.setattr(scoring, 'restore', lambda net, lq, *rest: restored.append(len(lq)) or real(net, lq, *rest))
    args = [clips, '--model', f'own={weights}', '--prior', 'superpixel', '--out', tmp_path/'rows.csv']
    status, said, _ = seem(capsys, *args)
    assert (status, len(said), restored) == (1, 1, [4]) and '001.png' in said[0] and not (tmp_path/'rows.csv').exists()
    broken.write_bytes(whole)
    assert seem(capsys, *args)[0] == 0 and restored == [4, 3, 2]
    first = load_rows(tmp_path/'rows.csv')
    assert set(first.model) == {'own'} and len(first) == 18
    assert seem(capsys, *args)[0] == 0 and restored == [4, 3, 2]
    pd.testing.assert_frame_equal(load_rows(tmp_path/'rows.csv'), first)


@pytest.mark.parametrize('name,why', [('rows.txt', "valid: '.csv', '.parquet'"), ('rows', "valid: '.csv', '.parquet'"),
                                      ('made', ''), ('net.safetensors/rows.csv', 'net.safetensors')])
def test_no_place_for_the_rows(clips, weights, tmp_path, capsys, name, why):
    "Found before the work."
    status, said, out = seem(capsys, clips, '--model', 'bicubic', '--out', tmp_path/name)
    assert (status, len(said), out) == (1, 1, '') and why in said[0]


def test_a_folder_is_no_file_of_rows(clips, tmp_path, capsys):
    (tmp_path/'rows.csv').mkdir()
    status, said, _ = seem(capsys, clips, '--model', 'bicubic', '--out', tmp_path/'rows.csv')
    assert (status, len(said)) == (1, 1) and 'is a folder; name a file in it' in said[0]


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
    kind, mask_channels, has_seem, label = 'frame', None, False, 'Broken'
    def __init__(self, value, size=4): super().__init__(); self.p, self.size = torch.nn.Parameter(torch.tensor(value)), size
    def forward(self, lq, masks): return self.p.expand(1, 3, self.size*lq.shape[2], self.size*lq.shape[3])


@pytest.mark.parametrize('net,why', [(Broken(float('nan')), 'NaN'), (Broken(.5, 2), 'expected one size')])
def test_results_that_are_none(net, why):
    lq = frames(2, 0, (8, 16))
    with pytest.raises(SeemError, match=why): score_clip(Candidate('x', net), Clip('x', lq, frames(2, 0, (32, 64))), MADE, **USER)


def test_a_clip_without_ground_truth():
    with pytest.raises(SeemError, match='has no ground truth'): score([BICUBIC], [Clip('x', frames(2, 0))], MADE, **USER)


@pytest.mark.parametrize('lq,why', [(np.zeros((1, 8, 8, 3)), 'lq are float64, expected a uint8 array'),
                                    (np.zeros((1, 8, 8, 1), np.uint8), 'repeat a grey channel'),
                                    (np.zeros((1, 8, 8, 4), np.uint8), 'drop alpha'),
                                    (np.zeros((8, 8, 3), np.uint8), 'wrap one frame')])
def test_what_is_no_clip(lq, why):
    with pytest.raises(SeemError, match=why): restore(BICUBIC.net, lq)


@pytest.mark.parametrize('change,why', [(lambda m: m[:3], r'expected \(4, 64, 9, 10\)'), (lambda m: m[..., :9], 'expected'),
                                        (lambda m: m.astype(np.uint8), 'expected bool, float16 or float32')])
def test_masks_of_another_clip(change, why):
    net = make_network('basicvsr', True, mid_channels=4, hr_channels=4, num_blocks=1)
    with pytest.raises(SeemError, match=why): restore(net, np.zeros((4, 9, 10, 3), np.uint8), change(np.zeros((4, 64, 9, 10), bool)))


@pytest.mark.parametrize('options,why', [(dict(frames=(3, 1)), 'ascending numbers, none twice'), (dict(channel='luma'), "'luma'"),
                                         (dict(frames=(1, 1)), 'ascending numbers, none twice'), (dict(border='zero'), "'zero'")])
def test_protocols(options, why):
    with pytest.raises(SeemError, match=why): Protocol('', **options)


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
    clip = clips_to_score('Vimeo-90K', tmp_path/'vimeo')[0][0]
    gt = np.asarray(clip.gt[:])
    assert gt.shape == (7, 256, 448, 3)
    net, lqs = load('demo_basicvsr', 'cpu').eval(), to_float(np.asarray(clip.lq[:]))[None]
    with torch.no_grad(): srs = net(torch.cat((lqs, lqs.flip(1)), 1))[0]
    expected = {'Bicubic': clip.bicubic()[3], 'demo_basicvsr': to_uint8((srs[3] + srs[10])/2)}
    for model, sr in expected.items():
        found = rows[(rows.model == model) & (rows['clip'] == keys[0]) & (rows.metric == 'psnr')].value.item()
        assert found == pytest.approx(psnr(sr, gt[3]), abs=1e-6)
