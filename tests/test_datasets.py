"`seem data check` and `seem data prepare` where it hurts: half a data set, the wrong frames, kills, full disks. And items from disk."
import errno, os, shutil, signal, subprocess, sys, time
from dataclasses import replace
from pathlib import Path
import numpy as np, pytest
from PIL import Image
from skimage import data as images
from torch.utils.data import DataLoader
from seem_nbdev import cli
from seem_nbdev.core import SeemError, data_dir
from seem_nbdev.data import DATASETS, dataset
from seem_nbdev.data.clips import CropDataset, degraded, read_image
from seem_nbdev.data.datasets import REDS4_CLIPS, VIMEO_EXTRA
from seem_nbdev.data.images import bicubic_downsample
from seem_nbdev.data.inspect import blur_and_subsample, check_dataset, prepare

PHOTOS = [images.astronaut(), images.chelsea(), images.coffee(), images.immunohistochemistry()]


def frames(i, count, size=(64, 48)):
    "A clip of photo `i`, which moves."
    w, h = size
    return [np.ascontiguousarray(np.roll(PHOTOS[i % 4], (-7*j, -11*j), (0, 1))[60:60 + h, 90:90 + w]) for j in range(count)]


def write(folder, clip, names):
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, frame in zip(names, clip): Image.fromarray(frame).save(Path(folder)/name)


def tree(path): return {str(p.relative_to(path)): p.read_bytes() for p in Path(path).rglob('*') if p.is_file()}


@pytest.fixture
def vid4(tmp_path):
    "Vid4 in small."
    for i, (name, count) in enumerate(dataset('Vid4').frames.items()):
        write(tmp_path/'Vid4/GT'/name, frames(i, count), [f'{j:08d}.png' for j in range(count)])
    return tmp_path/'Vid4'


@pytest.fixture
def small(monkeypatch):
    "The data sets with smaller frames, fewer clips of REDS and short lists."
    def parts(data): return tuple(replace(p, count=2) if p.count else replace(p, clips=dict([*p.clips.items()][:4]))
                                  for p in data.parts)
    tiny = {name: dataset(name) for name in ('REDS', 'REDS4', 'Vimeo-90K', 'Vid4')}
    tiny = {name: replace(data, size=data.size and (64, 48), parts=parts(data)) for name, data in tiny.items()}
    for name, data in tiny.items(): monkeypatch.setitem(DATASETS, name, data)
    return tiny


@pytest.fixture
def reds4(tmp_path, small):
    for i, key in enumerate(REDS4_CLIPS):
        clip, names = frames(i, 100), small['REDS4'].frame_names(key)
        write(tmp_path/'REDS/train/train_sharp'/key, clip, names)
        write(tmp_path/'REDS/train/train_sharp_bicubic/X4'/key, map(bicubic_downsample, clip), names)
    return tmp_path/'REDS'


@pytest.fixture
def vimeo(tmp_path, small):
    root = tmp_path/'vimeo_septuplet'
    for i, split in enumerate(('train', 'test')):
        keys = [f'0000{i + 1}/000{j}' for j in (1, 2)]
        for j, k in enumerate(keys): write(root/'sequences'/k, frames(2*i + j, 7), small['Vimeo-90K'].frame_names(k))
        (root/f'sep_{split}list.txt').write_text('\n'.join(keys) + '\n')
    return root


def seem(capsys, *args):
    "Run `seem data` in this process: status, what it said, without the progress bars."
    status = cli.main(['data', *map(str, args)])
    out, err = capsys.readouterr()
    return status, out, [o for o in err.replace('\r', '\n').splitlines() if o.startswith('seem:')]


def problems(capsys, *args):
    status, out, err = seem(capsys, 'check', *args)
    lines = [o[2:] for o in out.splitlines() if o.startswith('- ')]
    assert (status, err) == (int(bool(lines)), [])
    return lines


# What is complete

def test_complete(capsys, reds4, vimeo, vid4):
    for name, root in (('REDS4', reds4), ('Vimeo-90K', vimeo), ('Vid4', vid4)): assert problems(capsys, name, root, '--decode') == []
    assert seem(capsys, 'check', 'REDS4', reds4)[1] == (
        f'REDS4 in {reds4}: 4 clips, 400 frames\nground truth: 64x48 (4 clips)\n'
        'low resolution: 16x12 (4 clips); 4 compared, PSNR to BI at least inf dB\nno problems\n')


# Folders

@pytest.mark.parametrize('wrong', ['.', 'vimeo_septuplet/sequences', 'vimeo_septuplet/sequences/00001', 'up'])
@pytest.mark.parametrize('command', ['check', 'prepare'])
def test_wrong_root(capsys, vimeo, wrong, command):
    home, where = vimeo.parent, vimeo.parent/wrong
    if wrong == 'up': (home/'up/a').mkdir(parents=True); vimeo = vimeo.rename(home/'up/a/vimeo_septuplet')
    status, out, (line,) = seem(capsys, command, 'Vimeo-90K', where)
    assert (status, out) == (1, '') and f'{vimeo} looks right: give that' in line


def test_no_data_set(capsys, tmp_path):
    for args, message in (((tmp_path/'none',), 'no folder'), ((tmp_path,), 'get train_sharp.zip from https://')):
        status, out, (line,) = seem(capsys, 'check', 'REDS', *args)
        assert (status, out) == (1, '') and message in line
    (tmp_path/'train_sharp.zip').write_bytes(b'')
    assert 'unpack train_sharp.zip there' in seem(capsys, 'check', 'REDS', tmp_path)[2][0]


def test_mistyped(capsys, tmp_path):
    for args in (['check', 'REDS'], ['chek', 'REDS', tmp_path], ['check', 'REDS', tmp_path, '--sample', 3]):
        assert cli.main(['data', *map(str, args)]) == 2
        out, err = capsys.readouterr()
        assert (out, err.count('\n')) == ('', 1)
    status, out, (line,) = seem(capsys, 'check', 'REDS5', tmp_path)
    assert (status, out) == (1, '') and "did you mean 'REDS'" in line
    for args in (['--workers', 0], ['--samples', -1], ['--lq', tmp_path/'no']):
        (tmp_path/'GT/city').mkdir(parents=True, exist_ok=True)
        status, out, lines = seem(capsys, 'check', 'Vid4', tmp_path, *args)
        assert (status, out, len(lines)) == (1, '', 1)


# Clips

def test_99_of_100(capsys, reds4):
    (reds4/'train/train_sharp/011/00000042.png').unlink()
    (reds4/'train/train_sharp_bicubic/X4/020/00000099.png').unlink()
    sharp, x4 = reds4/'train/train_sharp/011', reds4/'train/train_sharp_bicubic/X4/020'
    assert problems(capsys, 'REDS4', reds4) == [f'{sharp} has 99 of 100 frames, lacks 00000042.png',
                                                f'{x4} has 99 of 100 frames, lacks 00000099.png']


def test_hole_in_free_names(capsys, vid4):
    (vid4/'GT/city/00000007.png').unlink()
    lines = problems(capsys, 'Vid4', vid4)
    assert lines == [f'folder {vid4}/GT/city lacks 1 frames: number 7', f'{vid4}/GT/city has 33 of 34 frames']


def test_half_extracted(capsys, vimeo, reds4):
    shutil.rmtree(reds4/'train/train_sharp/020')
    for p in sorted((reds4/'train/train_sharp/015').iterdir())[60:]: p.unlink()
    lines = problems(capsys, 'REDS4', reds4)
    assert lines[0] == (f'{reds4}/train/train_sharp lacks 1 of 4 clips: 020; they are in train_sharp.zip, from '
                        'https://seungjunnah.github.io/Datasets/reds')
    assert '015 has 60 of 100 frames, lacks 00000060.png' in lines[1] and '... (40)' in lines[1]
    shutil.rmtree(vimeo/'sequences/00001')
    assert problems(capsys, 'Vimeo-90K', vimeo) == [
        f'{vimeo}/sequences lacks 2 of 2 clips: 00001/0001, 00001/0002; they are in vimeo_septuplet.zip, from http://toflow.csail.mit.edu']


@pytest.mark.parametrize('spoil, message', [
    (lambda p: p.write_bytes(p.read_bytes()[:-9]), 'is cut off'), (lambda p: p.write_bytes(b''), 'is empty'),
    (lambda p: p.write_text('<html>' + ' '*200), 'is no image'), (lambda p: p.write_bytes(p.read_bytes()[:20]), 'cannot be read'),
    (lambda p: Image.open(p).convert('L').save(p), 'of mode L, expected RGB'),
    (lambda p: Image.open(p).resize((32, 48)).save(p), 'are 64x48, but not 00000003.png: 32x48')])
def test_damaged_image(capsys, vid4, spoil, message):
    spoil(path := vid4/'GT/walk/00000003.png')
    line, = problems(capsys, 'Vid4', vid4)
    assert message in line and path.name in line
    if 'are 64x48' in message: return
    status, out, lines = seem(capsys, 'prepare', 'Vid4', vid4, '--workers', 2)
    assert (status, out, len(lines)) == (1, '', 1) and str(path) in lines[0]


def test_damage_inside_needs_decode(capsys, vid4):
    path = vid4/'GT/walk/00000003.png'
    content = bytearray(path.read_bytes())
    content[len(content)//2:len(content)//2 + 50] = bytes(50)
    path.write_bytes(content)
    assert problems(capsys, 'Vid4', vid4) == []
    line, = problems(capsys, 'Vid4', vid4, '--decode')
    assert str(path) in line and 'cannot be read' in line


def test_wrong_size(capsys, vimeo):
    write(vimeo/'sequences/00001/0001', frames(0, 7, (128, 48)), [f'im{i}.png' for i in range(1, 8)])
    assert problems(capsys, 'Vimeo-90K', vimeo) == ['clip 00001/0001: ground truth is 128x48, expected 64x48']


# Low resolution that is not what it seems

def degrade(root, how):
    "Write BIx4 of Vid4 by `how`."
    for clip in sorted((root/'GT').iterdir()):
        write(root/'BIx4'/clip.name, [how(read_image(p)) for p in sorted(clip.iterdir())], sorted(p.name for p in clip.iterdir()))


def test_x2_as_x4(capsys, vid4):
    degrade(vid4, lambda f: bicubic_downsample(f, 2))
    assert problems(capsys, 'Vid4', vid4) == ['clips calendar, city, foliage, walk: low resolution is 32x24 for ground truth of '
                                              '64x48, that is x2 data; expected 16x12 (x4)']


@pytest.mark.parametrize('start', [0, 1, 2])
def test_bd_as_bi(capsys, vid4, start):
    degrade(vid4, lambda f: blur_and_subsample(f, start))
    line, = problems(capsys, 'Vid4', vid4)
    assert 'calendar, city, foliage, walk is BD (Gaussian blur of sigma 1.6, every 4th pixel), not BI' in line
    near = float(line.partition('not BI: ')[2].split()[0])
    assert 15 < near < 40 and 'inf dB from BD' in line


def test_bd_of_smooth_frames(capsys, vid4, monkeypatch):
    "A sky is nearly the same either way, but nearer to what it is."
    for p in (vid4/'GT/walk').iterdir(): Image.fromarray(images.rocket()[60:108, 90:154]).save(p)
    degrade(vid4, blur_and_subsample)
    assert 'calendar, city, foliage, walk is BD' in problems(capsys, 'Vid4', vid4)[0]
    degrade(vid4, bicubic_downsample)
    assert problems(capsys, 'Vid4', vid4) == []


def test_lq_folder_is_checked_instead(capsys, vid4, monkeypatch):
    degrade(vid4, blur_and_subsample)
    (vid4/'BIx4').rename(vid4/'BDx4')
    assert problems(capsys, 'Vid4', vid4) == []
    assert 'is BD' in problems(capsys, 'Vid4', vid4, '--lq', vid4/'BDx4')[0]
    monkeypatch.chdir(vid4.parent)
    assert 'is BD' in problems(capsys, 'Vid4', 'Vid4', '--lq', 'Vid4/BDx4')[0]


@pytest.mark.parametrize('how', [lambda f: f[::4, ::4], lambda f: 255 - bicubic_downsample(f)])
def test_neither(capsys, vid4, how):
    degrade(vid4, how)
    line, = problems(capsys, 'Vid4', vid4)
    assert 'is neither BI nor BD' in line


def test_clips_swapped(capsys, reds4):
    x4 = reds4/'train/train_sharp_bicubic/X4'
    (x4/'011').rename(x4/'x'), (x4/'015').rename(x4/'011'), (x4/'x').rename(x4/'015')
    line, = problems(capsys, 'REDS4', reds4)
    assert 'low resolution of 011, 015 is neither BI nor BD of the ground truth: another resizer, or another clip' in line


def test_low_resolution_of_some_clips(capsys, vid4):
    degrade(vid4, bicubic_downsample)
    shutil.rmtree(vid4/'BIx4/city')
    assert problems(capsys, 'Vid4', vid4) == ['no low-resolution frames of 1 clips: city; `seem data prepare` makes them']
    with pytest.raises(SeemError, match='lacks 1 of 8 folders of Vid4.*see `seem data check`'): dataset('Vid4').clips(None, vid4)


# Lists

def test_lists(capsys, vimeo, small, monkeypatch):
    (vimeo/'sep_trainlist.txt').unlink()
    (vimeo/'sep_testlist.txt').write_text('00002/0001\n')
    one, two = problems(capsys, 'Vimeo-90K', vimeo)
    assert 'sep_trainlist.txt cannot be read (No such file or directory)' in one
    assert 'sep_testlist.txt names 1 clips, expected 2; take the list of vimeo_septuplet.zip' in two
    for text in ('../../../etc/passwd', '/etc/passwd', '00001/0001\n00001/0001'):
        (vimeo/'sep_testlist.txt').write_text(text)
        assert 'sep_testlist.txt names' in problems(capsys, 'Vimeo-90K', vimeo)[1]


def test_the_nine(capsys, vimeo, small):
    "A test list made from the split by motion lacks nine sequences, which the paper's averages include."
    layout, keys = small['Vimeo-90K'], ['00002/0001', '00002/0002']
    layout = replace(layout, parts=(replace(layout.parts[1], count=11),))
    report = check_dataset(layout, vimeo, progress=False)
    assert len(report.problems) == 1 and 'expected 11: without the 9 that the split by motion leaves out' in report.problems[0]
    for k in VIMEO_EXTRA: write(vimeo/'sequences'/k, frames(0, 7), layout.frame_names(k))
    (vimeo/'sep_testlist.txt').write_text('\n'.join([*keys, *VIMEO_EXTRA]))
    assert check_dataset(layout, vimeo, progress=False).ok


# Preparing

def test_prepared(capsys, vimeo, reds4):
    "Beside the ground truth, found there, and BI; the data set's own low resolution goes first."
    before = tree(vimeo)
    status, out, err = seem(capsys, 'prepare', 'Vimeo-90K', vimeo, '--workers', 2)
    assert (status, err) == (0, []) and out.startswith('28 low-resolution frames are there; 28 were made now')
    after = tree(vimeo)
    assert {k: v for k, v in after.items() if 'BIx4' not in k} == before
    assert {k.replace('_BIx4', '') for k in after if 'BIx4' in k} == {k for k in before if k.endswith('.png')}
    assert all(c.lq.folder == vimeo/'sequences_BIx4'/c.name for c in dataset('Vimeo-90K').clips(None, vimeo))
    assert problems(capsys, 'Vimeo-90K', vimeo) == []
    assert '; 0 were made now' in seem(capsys, 'prepare', 'Vimeo-90K', vimeo, '--workers', 2)[1]
    assert seem(capsys, 'prepare', 'REDS4', reds4, '--workers', 1)[0] == 0
    ours, theirs = reds4/'train/train_sharp_BIx4', reds4/'train/train_sharp_bicubic/X4'
    assert tree(ours) == tree(theirs) and dataset('REDS4').clips(None, reds4)[0].lq.folder == theirs/'000'


def test_out(capsys, vimeo, tmp_path):
    assert seem(capsys, 'prepare', 'Vimeo-90K', vimeo, '--workers', 1, '--out', tmp_path/'lr')[0] == 0
    assert problems(capsys, 'Vimeo-90K', vimeo, '--lq', tmp_path/'lr') == []
    assert not (vimeo/'sequences_BIx4').exists()


def test_part_of_the_data_is_prepared(capsys, vimeo):
    shutil.rmtree(vimeo/'sequences/00001/0002')
    status, out, _ = seem(capsys, 'prepare', 'Vimeo-90K', vimeo, '--workers', 1)
    assert status == 0 and '21 were made' in out and '1 clips are not there' in out


def whole(target): return sorted(target.rglob('[!.]*.png'))


def test_killed(vid4, tmp_path):
    "kill -9 at random moments: the frames are those of an undisturbed run."
    calm = tmp_path/'calm'
    prepare('Vid4', vid4, calm, workers=1, progress=False)
    command = [sys.executable, '-m', 'seem_nbdev.cli', 'data', 'prepare', 'Vid4', str(vid4), '--workers', '2']
    target, rng, kills = vid4/'BIx4', np.random.default_rng(0), 0
    while kills < 3:
        had = len(whole(target))
        run = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        while run.poll() is None and len(whole(target)) <= had: time.sleep(.01)
        time.sleep(rng.uniform(0, .1))
        kills += run.poll() is None
        run.kill(); run.wait()
        for p in whole(target)[-60:]: p.unlink() # so that there is work left
    subprocess.run(command, stderr=subprocess.DEVNULL, check=True, stdout=subprocess.DEVNULL)
    assert tree(target) == tree(calm)


def started(vid4, **kw):
    "The command in another process, at work."
    args = [sys.executable, '-m', 'seem_nbdev.cli', 'data', 'prepare', 'Vid4', str(vid4), '--workers', '2']
    heard = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) # a job in the background has it ignored
    run = subprocess.Popen(args, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=heard)
    while run.poll() is None and not (vid4/'BIx4').is_dir(): time.sleep(.01)
    return run


def grow(vid4): # frames large enough to take some seconds
    for p in (vid4/'GT').rglob('*.png'): Image.fromarray(np.tile(read_image(p), (8, 8, 1))).save(p, compress_level=0)


def test_ctrl_c(vid4):
    grow(vid4)
    for _ in range(20):
        run = started(vid4)
        while run.poll() is None and not whole(vid4/'BIx4'): time.sleep(.001)
        if run.poll() is None: os.killpg(run.pid, signal.SIGINT) # as a terminal does: to all processes
        out, err = run.communicate(timeout=60)
        if not out: break # else it was done before the signal came
        shutil.rmtree(vid4/'BIx4')
    assert (run.returncode, out) == (130, '') and 'Traceback' not in err
    assert err.splitlines()[-1] == 'seem: stopped; the same command goes on from here'


def test_disk_full(capsys, vid4, monkeypatch):
    synced, real = [], os.fsync
    def fsync(fd):
        synced.append(fd)
        if len(synced) > 20: raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(fd)
    monkeypatch.setattr(os, 'fsync', fsync)
    status, out, (line,) = seem(capsys, 'prepare', 'Vid4', vid4, '--workers', 1)
    assert (status, out) == (1, '') and 'No space left on device; the frames that are there are whole' in line
    assert len(tree(vid4/'BIx4')) == 20
    monkeypatch.setattr(os, 'fsync', real)
    assert '151 were made now' in seem(capsys, 'prepare', 'Vid4', vid4, '--workers', 1)[1]


def test_not_writable(capsys, vid4, monkeypatch):
    (vid4/'file').write_text('')
    status, out, (line,) = seem(capsys, 'prepare', 'Vid4', vid4, '--workers', 1, '--out', vid4/'file')
    assert (status, out) == (1, '') and str(vid4/'file') in line
    def refuse(path, *a, **k): raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    monkeypatch.setattr(Path, 'mkdir', refuse) # the tests may run as root, who may write everywhere
    status, out, (line,) = seem(capsys, 'prepare', 'Vid4', vid4, '--workers', 1)
    assert (status, out) == (1, '') and f'{vid4}/BIx4: Permission denied' in line


@pytest.mark.parametrize('out', ['GT', '.', 'GT/lr', 'link', '..'])
def test_ground_truth_is_never_written_over(capsys, vid4, out):
    os.symlink(vid4/'GT', vid4/'link')
    before = tree(vid4)
    status, printed, (line,) = seem(capsys, 'prepare', 'Vid4', vid4, '--workers', 1, '--out', vid4/out)
    assert (status, printed) == (1, '') and 'are not apart; name another folder' in line and tree(vid4) == before


def test_others_images_are_not_written_over(capsys, vid4, tmp_path):
    write(tmp_path/'lr/city', frames(0, 1, (40, 40)), ['00000000.png'])
    before = tree(tmp_path/'lr/city')
    status, out, (line,) = seem(capsys, 'prepare', 'Vid4', vid4, '--workers', 1, '--out', tmp_path/'lr')
    assert status == 1 and '00000000.png is 40x40, a low-resolution frame would be 16x12; name another folder' in line
    assert tree(tmp_path/'lr/city')['00000000.png'] == before['00000000.png']


# Items

@pytest.mark.parametrize('workers', [0, 2])
def test_frame_gone_while_training(vimeo, workers):
    data = CropDataset(dataset('Vimeo-90K').clips(None, vimeo), num_frames=7, patch_size=8, length=20)
    (vimeo/'sequences/00001/0002/im3.png').unlink()
    with pytest.raises(SeemError, match='00001/0002/im3.png cannot be read'): [*DataLoader(data, 2, num_workers=workers)]


def test_low_resolution_of_another_size(vid4):
    degrade(vid4, lambda f: bicubic_downsample(f, 2))
    data = CropDataset(dataset('Vid4').clips(None, vid4), num_frames=3, patch_size=8)
    with pytest.raises(SeemError, match='is 32x24, expected 16x12; see `seem data check`'): data[0]


# Real septuplets

@pytest.mark.skipif(not data_dir() or not (data_dir()/'vimeo_sample').is_dir(), reason="needs SEEM_DATA")
def test_real_septuplets(capsys, tmp_path):
    real, keys = data_dir()/'vimeo_sample/sequences', []
    os.symlink(real, tmp_path/'sequences')
    keys = sorted(p.relative_to(real).as_posix() for p in real.glob('*/*'))
    (tmp_path/'sep_trainlist.txt').write_text('\n'.join(keys))
    layout = dataset('Vimeo-90K')
    layout = replace(layout, parts=(replace(layout.parts[0], count=len(keys)),))
    done = prepare(layout, tmp_path, workers=2, progress=False)
    assert (done.frames, done.made) == (91, 91) and not (real/'..'/'sequences_BIx4').resolve().exists()
    report = check_dataset(layout, tmp_path, decode=True, progress=False)
    assert report.ok and len(report.compared) == 13 and min(report.compared) == np.inf
    clips = layout.clips(None, tmp_path)
    stored = CropDataset(clips, num_frames=7, length=3)
    made = CropDataset([degraded(c.name, c.gt) for c in clips], num_frames=7, length=3)
    for a, b in zip(stored, made): assert a['key'] == b['key'] and (a['lqs'] == b['lqs']).all() and a['gt'].shape == (7, 3, 256, 256)
    with capsys.disabled(): print(f'\n{done}')
