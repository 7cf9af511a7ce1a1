"What happens to input that is wrong, or only unusual: one clear line, or the right answer. And nothing is lost."
import os, pty, signal, subprocess, sys, time
import numpy as np, pytest, torch
from PIL import Image
from seem_nbdev.core import SeemError, atomic_path
from seem_nbdev.data.clips import Clip, CropDataset, ImageFrames, degraded
from seem_nbdev.evaluation.restore import restore
from seem_nbdev.models import make_network
from seem_nbdev.training.config import TrainConfig
from seem_nbdev.training.loop import train

SMALL = dict(edvr=dict(mid_channels=8, num_frames=3, num_extract_blocks=1, num_reconstruct_blocks=1, hr_channels=8),
             basicvsr=dict(mid_channels=8, num_blocks=1, hr_channels=8))
networks = pytest.mark.parametrize('arch', SMALL)


def network(arch, seem=True): return make_network(arch, seem=seem, **SMALL[arch]).eval()
def clip(t, h, w, seed=0): return np.random.default_rng(seed).integers(0, 256, (t, h, w, 3), dtype=np.uint8)
def full(t, h, w, num=64): return np.ones((t, num, h, w), bool)


@networks
@pytest.mark.parametrize('size', [(1, 1, 1), (1, 7, 5), (2, 1, 9), (4, 13, 22)], ids=str)
def test_every_size_works(arch, size):
    t, h, w = size
    sr = restore(network(arch), clip(*size), full(*size))
    assert (sr.shape, sr.dtype) == ((t, 4*h, 4*w, 3), np.uint8)


@networks
@pytest.mark.parametrize('frames, found', [
    (clip(2, 6, 6)[..., :1], '(2, 6, 6, 1)'), (clip(2, 6, 6)[..., 0], '(2, 6, 6)'),
    (np.concatenate([clip(2, 6, 6)]*2, -1)[..., :4], '(2, 6, 6, 4)'), (clip(2, 6, 6)/255, 'float64'),
    (clip(2, 6, 6)[:0], '(0, 6, 6, 3)'), (clip(2, 6, 6)[0], '(6, 6, 3)')], ids=lambda v: v if isinstance(v, str) else '')
def test_frames_of_a_wrong_kind(arch, frames, found):
    with pytest.raises(SeemError) as e: restore(network(arch, seem=False), frames)
    assert found in str(e.value) and 'expected' in str(e.value)


@networks
@pytest.mark.parametrize('low, high', [(0, 255), (-1, 1), (0, 1.5), (float('nan'), 1)], ids=str)
def test_float_frames_outside_their_range(arch, low, high):
    lqs = torch.linspace(low, high, 3*3*8*8).view(1, 3, 3, 8, 8)
    with pytest.raises(SeemError, match=r'expected \[0,1\]'): network(arch, seem=False)(lqs)


@networks
@pytest.mark.parametrize('masks, found', [
    (full(2, 6, 7), '(2, 64, 6, 7)'), (full(2, 6, 6, num=63), '(2, 63, 6, 6)'), (full(1, 6, 6), '(1, 64, 6, 6)'),
    (full(2, 6, 6).astype(float), 'float64')], ids=lambda v: v if isinstance(v, str) else '')
def test_masks_that_do_not_fit(arch, masks, found):
    with pytest.raises(SeemError) as e: restore(network(arch), clip(2, 6, 6), masks)
    assert found in str(e.value)


@networks
def test_masks_missing_or_uncalled_for(arch):
    with pytest.raises(SeemError, match='no prior means zeros|masks are None'): restore(network(arch), clip(2, 6, 6))
    with pytest.raises(SeemError, match='without SEEM'): restore(network(arch, seem=False), clip(2, 6, 6), full(2, 6, 6))


@pytest.mark.parametrize('mode, kind', [('L', 'grey'), ('RGBA', 'alpha'), ('P', 'palette')])
def test_images_that_are_not_rgb(tmp_path, mode, kind):
    Image.fromarray(clip(1, 8, 8)[0]).convert(mode).save(tmp_path/'0.png')
    with pytest.raises(SeemError, match=kind) as e: ImageFrames(tmp_path)[:]
    assert '0.png' in str(e.value)


@pytest.mark.parametrize('keep', [0, 20, 200])
def test_an_image_cut_off(tmp_path, keep):
    for i in range(2): Image.fromarray(clip(1, 32, 32)[0]).save(tmp_path/f'{i}.png')
    (tmp_path/'1.png').write_bytes((tmp_path/'1.png').read_bytes()[:keep])
    with pytest.raises(SeemError, match='1.png'): ImageFrames(tmp_path)[:]


def test_a_clip_too_short_or_too_small_for_a_crop():
    short = degraded('short', clip(2, 64, 64))
    with pytest.raises(SeemError, match="'short' has 2 frames"): CropDataset([short], num_frames=3, patch_size=8)
    with pytest.raises(SeemError, match="'short' is 16x16"): CropDataset([short], num_frames=1, patch_size=17)
    with pytest.raises(SeemError, match='no ground truth'): CropDataset([Clip('x', clip(2, 9, 9))], num_frames=1, patch_size=8)


@networks
def test_nan_in_the_loss_stops_training_and_names_the_crop(arch):
    model = network(arch, seem=False)
    with torch.no_grad(): model.conv_last.bias.fill_(float('nan'))
    crops = CropDataset([degraded('noise', clip(3, 64, 64))], num_frames=3, patch_size=16, length=1)
    with pytest.raises(SeemError, match='loss is nan on crops noise/'):
        train(model, crops, TrainConfig(mode='backbone', arch=arch, steps=1, batch_size=1, num_frames=3, size=SMALL[arch], max_skipped=1), 'cpu', bar=False)


WRITER = """
import sys, time
from seem_nbdev.core import atomic_path
with atomic_path(sys.argv[1]) as part:
    with open(part, 'w') as f:
        for i in range(100000):
            f.write('new,'*1000)
            f.flush()
            if i == 0: print('writing', flush=True)
"""


@pytest.mark.parametrize('wait', [0, 0.02, 0.1])
def test_a_process_killed_while_it_writes(tmp_path, wait):
    path = tmp_path/'rows.csv'
    path.write_text('old')
    writer = subprocess.Popen([sys.executable, '-c', WRITER, path], stdout=subprocess.PIPE)
    assert writer.stdout.readline() == b'writing\n'
    time.sleep(wait)
    writer.send_signal(signal.SIGKILL)
    assert writer.wait() == -signal.SIGKILL
    assert path.read_text() == 'old'


def test_a_full_disk_or_an_error_leaves_the_old_file(tmp_path):
    path = tmp_path/'rows.csv'
    path.write_text('old')
    with pytest.raises(OSError), atomic_path(path) as part:
        part.write_text('half')
        raise OSError(28, 'No space left on device')
    assert path.read_text() == 'old' and [p.name for p in tmp_path.iterdir()] == ['rows.csv']


def test_a_bar_on_a_terminal_of_unknown_size():
    "It shows, and prints no empty lines."
    code = "import time\nfrom seem_nbdev.core import progress\nfor i in progress(range(3), 'clips'): time.sleep(.2)"
    mine, theirs = pty.openpty() # its size is 0 x 0
    env = {k: v for k, v in os.environ.items() if k not in ('COLUMNS', 'LINES')}
    child = subprocess.Popen([sys.executable, '-c', code], stdin=theirs, stdout=theirs, stderr=theirs, env=env)
    os.close(theirs)
    said = b''
    while True:
        try: part = os.read(mine, 4096)
        except OSError: break # the child is gone
        if not part: break
        said += part
    assert child.wait() == 0
    lines = said.decode().replace('\r\n', '\n').strip('\n').split('\n')
    assert len(lines) == 1 and 'clips: 100%' in lines[0]
