"What a network promises to the rest of the library: checks at the door only, and one line for a new backbone."
import numpy as np, pytest, torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn
from seem_nbdev import cli, models
from seem_nbdev.core import SeemError
from seem_nbdev.evaluation.rows import load_rows, pivot, with_average
from seem_nbdev.models.layers import Network
from seem_nbdev.models.seem import SEEM, SAMRepresentation, SEEMConfig

TINY = dict(
    basicvsr=dict(mid_channels=8, num_blocks=1, hr_channels=8),
    basicvsrpp=dict(mid_channels=8, num_blocks=1, hr_channels=8, num_extract_blocks=1, num_reconstruct_blocks=1),
    edvr=dict(mid_channels=8, num_frames=3, num_extract_blocks=1, num_reconstruct_blocks=1, hr_channels=8))
hosts = pytest.mark.parametrize('arch', TINY)


def frames_and_masks(net, t, channels=64, size=(12, 10)):
    torch.manual_seed(0)
    lqs, masks = torch.rand(1, t, 3, *size), (torch.rand(1, t, channels, *size) > .5).float()
    return lqs, masks if net.kind == 'clip' else masks[:, t//2]


# The door

@hosts
def test_values_are_read_once_whatever_the_length(arch, monkeypatch):
    "Reading a value waits for the GPU: once for the frames, once for the masks, and never in a recurrence."
    waits = []
    for name in ('item', 'tolist', '__bool__', '__float__', '__int__'):
        own = getattr(torch.Tensor, name)
        monkeypatch.setattr(torch.Tensor, name, lambda self, own=own, name=name: waits.append(name) or own(self))
    net = models.make_network(arch, True, **TINY[arch]).eval()
    for t in (1, 2, 5) if net.kind == 'clip' else (3,):
        waits.clear()
        with torch.no_grad(): net(*frames_and_masks(net, t))
        assert waits == ['tolist', 'tolist']


@hosts
@pytest.mark.parametrize('channels', [1, 5, 64])
def test_any_number_of_mask_channels(arch, channels):
    net = models.make_network(arch, SEEMConfig(mask_channels=channels), **TINY[arch]).eval()
    assert net.mask_channels == channels and net.has_seem
    with torch.no_grad(): sr = net(*frames_and_masks(net, 3, channels))
    assert sr.shape[-2:] == (48, 40)
    with pytest.raises(SeemError, match=rf'{channels} a frame'), torch.no_grad(): net(*frames_and_masks(net, 3, channels + 1))


@hosts
@pytest.mark.parametrize('spoil, why', [
    (lambda lqs, masks: (255*lqs, masks), r'expected \[0,1\]; divide by 255'), (lambda lqs, masks: (lqs, 255*masks), r'masks are in \[0, 255\]'),
    (lambda lqs, masks: (lqs, None), 'no prior means zeros'), (lambda lqs, masks: (lqs, masks.numpy()), 'masks are ndarray'),
    (lambda lqs, masks: (lqs[0], masks), r'expected a tensor \(n,t,3,h,w\)'), (lambda lqs, masks: (lqs, masks.long()), 'masks are torch.int64'),
    (lambda lqs, masks: (lqs, masks*float('nan')), 'nan'), (lambda lqs, masks: (lqs, masks[..., 1:]), 'masks are')],
    ids='255 masks255 none numpy axes int64 nan size'.split())
def test_what_does_not_fit_is_refused(arch, spoil, why):
    net = models.make_network(arch, True, **TINY[arch])
    with pytest.raises(SeemError, match=why): net(*spoil(*frames_and_masks(net, 3)))


@pytest.mark.parametrize('options, why', [
    (dict(mask_channels=0), 'mask_channels is 0; valid: 1, 2, 3'), (dict(mask_channels=True), 'mask_channels is True'),
    (dict(reduction=.5), 'reduction is 0.5'), (dict(zero_init='no'), "unknown zero_init 'no'"), (dict(branches='left'), "unknown branches 'left'"),
    (dict(depth=3), "unknown option of SEEM 'depth'")], ids=str)
def test_options_of_seem(options, why):
    with pytest.raises(SeemError, match=why): models.make_network('basicvsr', options, **TINY['basicvsr'])
    with pytest.raises(SeemError, match="seem is 'full', expected None, True or a SEEMConfig"): models.make_network('edvr', 'full', **TINY['edvr'])


@hosts
@pytest.mark.parametrize('value', [0, -1, 8., '8', True, None], ids=repr)
def test_sizes_are_whole_and_positive(arch, value):
    for name in TINY[arch]:
        with pytest.raises(SeemError, match=f'{name} is {value!r}, expected an int, 1 or more'):
            models.make_network(arch, **TINY[arch] | {name: value})


# SEEM and its representation

@pytest.fixture
def parts():
    "f_r and a SEEM that is not zero, a frame of 13 x 11 and its masks."
    torch.manual_seed(0)
    f_r, seem = SAMRepresentation(12).eval(), SEEM(12, zero_init=False).eval()
    return f_r, seem, torch.rand(2, 3, 11, 13), torch.rand(2, 64, 11, 13) > .5


def test_features_that_do_not_fit_are_refused(parts):
    f_r, seem, lq, masks = parts
    feat, rep = torch.rand(2, 2, 12, 11, 13)
    for args, why in [((feat[:, :6], rep), r'feat is \(2, 6, 11, 13\) torch.float32, expected a tensor \(n,12,h,w\)'),
                      ((feat[0], rep[0]), r'feat is \(12, 11, 13\)'), ((feat, rep[:1]), r'rep is \(1, 12, 11, 13\)'),
                      ((feat, rep[..., 1:]), r'rep is \(2, 12, 11, 12\) torch.float32, expected \(2, 12, 11, 13\) like feat'),
                      ((feat, None), 'rep is NoneType')]:
        with pytest.raises(SeemError, match=why): seem(*args)
    with pytest.raises(SeemError, match=r'masks are \(2, 63, 11, 13\)'): f_r(lq, masks[:, 1:])


@torch.no_grad()
def test_mixed_precision(parts):
    "Bfloat16 carries 8 bits; a feature in float32 beside a representation in bfloat16, as a warp makes one, is joined."
    f_r, seem, lq, masks = parts
    feat = torch.rand(2, 12, 11, 13)
    exact = seem(feat, f_r(lq, masks))
    with torch.autocast('cpu', dtype=torch.bfloat16):
        rep = f_r(lq, masks)
        mixed = seem(feat, rep)
    assert rep.dtype == mixed.dtype == torch.bfloat16
    assert (mixed - exact).abs().max() < .1*exact.std()
    half = seem.bfloat16()(feat.bfloat16(), f_r.bfloat16()(lq.bfloat16(), masks))
    assert half.dtype == torch.bfloat16 and half.isfinite().all()


# What a network is, from its weights alone

@hosts
@pytest.mark.parametrize('seem', [None, True, SEEMConfig(mask_channels=7, reduction=4), SEEMConfig(branches='backward')], ids=str)
def test_weights_say_what_they_are(arch, seem):
    if arch == 'edvr' and getattr(seem, 'branches', 'both') != 'both': pytest.skip('EDVR has no branches')
    state = models.make_network(arch, seem, **TINY[arch]).state_dict()
    assert models.arch_of(state) == arch
    again = models.make_network(arch, **models.network_class(arch).sizes_of(state)).state_dict()
    assert {k: v.shape for k, v in again.items()} == {k: v.shape for k, v in state.items()}


@hosts
def test_groups_cover_every_parameter(arch):
    net = models.make_network(arch, True, **TINY[arch])
    groups = {name: models.group_of(net, name) for name, _ in net.named_parameters()}
    assert {k for k, g in groups.items() if g == 'seem'} == {k for k in groups if k.startswith('seem.')}
    assert ('flow' in groups.values()) == hasattr(net, 'spynet')
    assert 'backbone' in groups.values() and ('fusion' in groups.values()) == (arch == 'edvr')


# A new backbone is one notebook and one line

class Ten(Network):
    "Bilinear enlargement, and what one convolution adds."
    arch, label, kind = 'ten', 'Ten lines', 'frame'
    def __init__(self, mid_channels=4):
        super().__init__()
        self.convs = nn.Sequential(nn.Conv2d(3, mid_channels, 3, padding=1), nn.ReLU(), nn.Conv2d(mid_channels, 48, 3, padding=1))

    def forward(self, lq, masks=None):
        return nn.functional.interpolate(lq, scale_factor=4, mode='bilinear') + nn.functional.pixel_shuffle(self.convs(lq), 4)

    @classmethod
    def _sizes(cls, state): return dict(mid_channels=state['convs.0.weight'].shape[0])


@pytest.fixture
def clips(tmp_path):
    "Two clips of three small frames."
    rng = np.random.default_rng(0)
    for clip in 'ab':
        (tmp_path/'clips'/clip).mkdir(parents=True)
        for i in range(3):
            small = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
            small.resize((128, 96)).save(tmp_path/'clips'/clip/f'{i}.png')
    return tmp_path/'clips'


def seem(*args): assert cli.main([*map(str, args)]) == 0


def trained(out, *args):
    "The weights of a run of `seem train`."
    seem('train', '--device', 'cpu', '--out', out, *args)
    return out/'last.safetensors'


def rows_of(clips, *names):
    "PSNR of each model on `clips`, as `seem evaluate` writes it, and the text of a table."
    models_ = [x for name in names for x in ('--model', name)]
    seem('evaluate', clips, *models_, '--device', 'cpu', '--out', clips.parent/'rows.csv')
    rows = load_rows(clips.parent/'rows.csv')
    return rows[rows.metric == 'psnr'], pivot(with_average(rows), ['model', 'seem'], ['clip', 'metric'])


def test_a_new_backbone_is_one_line(clips, monkeypatch, capsys):
    "Ten lines of network, one of registry: trained, evaluated and in a table, by the commands."
    monkeypatch.setitem(models.NETWORKS, 'ten', f'{__name__}:Ten')
    (clips.parent/'ten.toml').write_text(f"""arch = "ten"\nmode = "backbone"\ndata = ["{clips}"]\nnum_frames = 1
        patch_size = 16\nbatch_size = 2\nsteps = 8\nlr = 1e-3\n[size]\nmid_channels = 6""")
    weights = trained(clips.parent/'run', '--config', clips.parent/'ten.toml')
    rows, table = rows_of(clips, 'bicubic', f'mine={weights}')
    assert {*rows.model} == {'Bicubic', 'mine'} and {*rows['clip']} == {'a', 'b'} and len(rows) == 12
    assert len(table) == 2 and table.notna().all(axis=None)


def test_basicvsrpp_from_configuration_to_row(clips, capsys):
    "Its backbone, then SEEM on it, then both and bicubic interpolation in one file of rows."
    small = [x for name, value in (('data', [str(clips)]), ('steps', 3), ('validate', '')) for x in ('--set', f'{name}={value}')]
    backbone = trained(clips.parent/'backbone', '--config', 'smoke_basicvsrpp', *small)
    guided = trained(clips.parent/'seem', '--config', 'smoke_basicvsrpp', *small, '--set', 'mode=full',
                     '--set', f'init_from={[str(backbone)]}', '--set', 'prior=superpixel')
    assert models.arch_of(load_file(guided)) == 'basicvsrpp'
    rows, table = rows_of(clips, 'bicubic', f'backbone={backbone}', f'guided={guided}')
    assert dict(zip(rows.model, rows.seem)) == dict(Bicubic='none', backbone='none', guided='full')
    assert {*rows[rows.model == 'guided'].prior} == {'superpixel'} and len(rows) == 18
    assert len(table) == 3 and table.notna().all(axis=None)
