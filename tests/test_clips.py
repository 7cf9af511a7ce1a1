"Frames that are not what they should be: each wrong file is named, in one line."
import numpy as np, pickle, pytest
from PIL import Image
from seem_nbdev.core import SeemError
from seem_nbdev.data.clips import Clip, CropDataset, ImageFrames, VideoFrames, augment, degraded, embedded_clips, find_clips
from seem_nbdev.data.inspect import image_size
from seem_nbdev.metrics import METRICS
from seem_nbdev.metrics.quality import psnr


@pytest.fixture
def clip(tmp_path):
    "A folder of twelve frames, im1.png to im12.png."
    frames = np.random.default_rng(0).integers(0, 256, (12, 12, 16, 3), dtype=np.uint8)
    (tmp_path/'clip').mkdir()
    for i, f in enumerate(frames, 1): Image.fromarray(f).save(tmp_path/f'clip/im{i}.png')
    return tmp_path/'clip'


def video(path, frames):
    import av
    with av.open(str(path), 'w') as out:
        stream = out.add_stream('ffv1', rate=25, width=frames.shape[2], height=frames.shape[1], pix_fmt='bgr0')
        for f in frames: out.mux(stream.encode(av.VideoFrame.from_ndarray(f, format='rgb24')))
        out.mux(stream.encode())
    return path


@pytest.mark.parametrize('says,spoil', [
    ('im4.png is grey', lambda p: Image.open(p).convert('L').save(p)),
    ('im4.png is RGB with alpha', lambda p: Image.open(p).convert('RGBA').save(p)),
    ('im4.png is a palette image', lambda p: Image.open(p).convert('P').save(p)),
    ('im4.png is 16x9, expected 16x12', lambda p: Image.open(p).crop((0, 0, 16, 9)).save(p)),
    ('im4.png cannot be read', lambda p: p.write_bytes(p.read_bytes()[:90])),
    ('im4.png cannot be read', lambda p: p.write_bytes(b'not an image')),
    ('lacks 1 frames: number 4', lambda p: p.unlink()),
    ('share a number', lambda p: Image.open(p).save(p.with_suffix('.jpg')))])
def test_one_wrong_image(clip, says, spoil):
    spoil(clip/'im4.png')
    with pytest.raises(SeemError, match=says): ImageFrames(clip)[:]
    with pytest.raises(SeemError, match=says): find_clips(clip)[0].load()
    with pytest.raises(SeemError, match=says): degraded('x', ImageFrames(clip)).load()


def test_no_frames(clip, tmp_path):
    for frames, says in ((ImageFrames(tmp_path), 'holds no .png or .jpg'), (ImageFrames('/no/such'), 'no folder /no/such'),
                         (VideoFrames(tmp_path/'no.mp4'), 'no video')):
        with pytest.raises(SeemError, match=says): frames[:]
    with pytest.raises(IndexError): ImageFrames(clip)[12]


def test_no_clips(clip, tmp_path):
    (tmp_path/'empty').mkdir(), (tmp_path/'empty/back').symlink_to(tmp_path/'empty')
    for path, says in ((tmp_path/'nothing', 'no folder or video'), (clip/'im1.png', r'im1.png is no video \(.mp4'),
                       (tmp_path/'empty', 'holds no videos')):
        with pytest.raises(SeemError, match=says): find_clips(path)
    (clip/'im4.png').unlink()
    with pytest.raises(SeemError, match='lacks 1 frames: number 4'): find_clips(tmp_path) # before anything is read


@pytest.mark.filterwarnings('ignore:video')
def test_video_without_frames(tmp_path):
    "Its header alone: once NumPy's traceback."
    path = video(tmp_path/'cut.mkv', np.zeros((9, 16, 24, 3), np.uint8))
    path.write_bytes(path.read_bytes()[:600])
    for found in (find_clips(path)[0], find_clips(path, degrade=True)[0]):
        with pytest.raises(SeemError, match='cut.mkv holds no frames'): found.load()
        with pytest.raises(SeemError, match='cut.mkv holds no frames'): found.bicubic()
    (tmp_path/'text.mp4').write_text('no video at all')
    with pytest.raises(SeemError, match='cannot be decoded'): find_clips(tmp_path/'text.mp4')[0].load()


def test_frames_travel_to_other_processes(clip, tmp_path):
    path = video(tmp_path/'clip.mkv', ImageFrames(clip)[:])
    for frames in (ImageFrames(clip), VideoFrames(path), degraded('x', ImageFrames(clip)).lq):
        frames[1]                                     # a video has a decoder by then
        assert (pickle.loads(pickle.dumps(frames))[2] == frames[2]).all()


def test_wrong_arrays():
    lq, gt = np.zeros((2, 3, 5, 3), np.uint8), np.zeros((2, 12, 20, 3), np.uint8)
    for make, says in ((lambda: Clip('a', lq, gt[:, :-1]), r'expected gt \(2, 12, 20, 3\)'), (lambda: Clip('a', lq[..., :1]), "clip 'a'"),
                       (lambda: Clip('a', lq/255), 'float64'), (lambda: degraded('tiny', gt[:, :3]), "clip 'tiny' are 20x3"),
                       (lambda: augment([lq], 8), 'expected 0 to 7'), (lambda: embedded_clips('test', 0), 'expected 1 to 20')):
        with pytest.raises(SeemError, match=says): make()


def test_embedded_clips_are_kept(tmp_path, monkeypatch):
    "The second time nothing is decoded; a file that is only half there is never taken."
    monkeypatch.setenv('SEEM_CACHE', str(tmp_path))
    first = embedded_clips('test', 1)
    assert len([*(tmp_path/'clips').glob('*.npz')]) == 4
    monkeypatch.setattr(VideoFrames, 'read', lambda self, i: 1/0)
    for a, b in zip(first, embedded_clips('test', 1)): assert (a.gt == b.gt).all() and (a.lq == b.lq).all() and a.source == b.source


def test_masks_of_other_frames_on_disk(clip, tmp_path):
    "Refused when a worker first needs the clip, by the frames of its crop."
    from seem_nbdev.masks import MaskStore, make_prior
    right = degraded('clip', ImageFrames(clip))
    store = MaskStore(tmp_path/'masks.zarr')
    store.fill([Clip('clip', 255 - right.lq[:])], make_prior('superpixel'), progress=False)
    crops = CropDataset([right], store, num_frames=3, patch_size=2)
    with pytest.raises(SeemError, match='is not the one its masks'): crops[0]


@pytest.mark.parametrize('content,says', [(b'', 'is empty'), (b'<html>'*20, 'is no image')])
def test_no_image(tmp_path, content, says):
    (tmp_path/'b.png').write_bytes(content)
    with pytest.raises(SeemError, match=says): image_size(tmp_path/'b.png')
    with pytest.raises(SeemError, match='cannot be read'): image_size(tmp_path/'b.png', decode=True)


def test_wrong_frames_of_metrics():
    frame = np.zeros((12, 12, 3), np.uint8)
    for bad, says in ((frame[..., 0], 'repeat a grey channel'), (frame[..., [0, 1, 2, 0]], 'drop an alpha channel'), (frame[:0], 'no pixel')):
        with pytest.raises(SeemError, match=says): psnr(bad, frame)
    for k in (-1, 6, 1.5, True):
        with pytest.raises(SeemError, match='crop_border is'): psnr(frame, frame, crop_border=k)
    for device, says in (('mps', 'no float64'), ('gpu', "unknown device 'gpu'")):
        with pytest.raises(SeemError, match=says): psnr(frame, frame, device=device)
    for name in ('tof', 'lpips'):
        with pytest.raises(SeemError, match='needs a network'): METRICS[name](frame[None], frame[None])
