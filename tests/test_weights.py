"Weights that are read strictly, and without running anybody's code."
import re
from pathlib import Path
import pytest, torch
from safetensors.torch import load_file
from torch import nn
from conftest import ROOT
from seem_nbdev.core import SeemError
from seem_nbdev.models import NETWORKS, make_network
from seem_nbdev.weights import CHECKPOINTS
from seem_nbdev.weights.checkpoints import KEY_MAPS, load_state, read_metadata, read_state, reference_names, save


def golden(file):
    "Names and shapes of a reference network."
    words = (ROOT/'tests'/'golden'/f'{file}.keys.txt').read_text().split()
    return {k: tuple(map(int, s.split('x'))) for k, s in zip(words[::2], words[1::2])}


def shapes(state): return {k: tuple(v.shape) for k, v in state.items()}


# Files

WEIGHTS = nn.Linear(2, 3).state_dict()


@pytest.mark.parametrize('nested', [WEIGHTS, {'params': WEIGHTS}, {'params': {}, 'params_ema': WEIGHTS},
                                    {'meta': {'epoch': 3}, 'state_dict': WEIGHTS}], ids=['flat', 'params', 'ema', 'state_dict'])
def test_layouts(nested, tmp_path):
    torch.save(nested, tmp_path/'weights.pth')
    state = read_state(tmp_path/'weights.pth')
    assert list(state) == list(WEIGHTS) and all(v.equal(WEIGHTS[k]) for k, v in state.items())


def refused(path, message):
    with pytest.raises(SeemError, match=re.escape(f'{path} {message}')) as e: read_state(path)
    return str(e.value)


# each makes the reader stumble in its own way: index, key, struct, text, nothing at all, ...
@pytest.mark.parametrize('junk', [b'\x80', b'h\x19', b'G', b'UG\xf3', b'', b'\xc5', b'\x89PN', b'abc', b'PK\x03\x04', b'<html>'])
@pytest.mark.parametrize('name', ['junk.pth', 'junk.png', 'junk.safetensors'])
def test_junk(junk, name, tmp_path):
    (tmp_path/name).write_bytes(junk)
    refused(tmp_path/name, 'cannot be read as weights: ')


def test_half_a_file(tmp_path):
    torch.save(WEIGHTS, tmp_path/'whole.pth')
    (tmp_path/'half.pth').write_bytes((tmp_path/'whole.pth').read_bytes()[:100])
    refused(tmp_path/'half.pth', 'cannot be read as weights: ')
    refused(tmp_path/'none.pth', 'is not a file')


@pytest.mark.parametrize('content', [{'params': [1, 2]}, {0: torch.zeros(1)}, [torch.zeros(1)], {}], ids=['list', 'number', 'no names', 'empty'])
def test_no_weights(content, tmp_path):
    torch.save(content, tmp_path/'other.pth')
    refused(tmp_path/'other.pth', 'holds no weights')


class Evil:
    "A pickle can hold any call; this one creates a file."
    def __init__(self, file): self.file = file
    def __reduce__(self): return (Path.touch, (self.file,))


def test_no_code_is_run(tmp_path):
    torch.save({'params': Evil(tmp_path/'was here')}, tmp_path/'evil.pth')
    refused(tmp_path/'evil.pth', 'cannot be read as weights: it holds code or objects')
    assert not (tmp_path/'was here').exists()
    torch.load(tmp_path/'evil.pth', weights_only=False)
    assert (tmp_path/'was here').exists() # so it was no empty threat


def test_a_whole_module_is_code(tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path/'module.pth')
    text = refused(tmp_path/'module.pth', 'cannot be read as weights: ')
    assert 'objects (torch.nn.modules.linear.Linear) rather than tensors, and is refused; save the model\'s state_dict()' in text


def test_saved_and_read(tmp_path):
    net = nn.Linear(2, 3)
    path = save(net, tmp_path/'net.safetensors', steps=3)
    assert all(v.equal(net.state_dict()[k]) for k, v in read_state(path).items()) and read_metadata(path) == {'steps': 3}
    half = read_state(save(net, tmp_path/'half.safetensors', torch.float16))
    assert all(v.equal(net.state_dict()[k].half()) for k, v in half.items())
    (tmp_path/'plain').touch() # others may read the file as they may any new one
    assert path.stat().st_mode == (tmp_path/'plain').stat().st_mode
    with pytest.raises(SeemError, match='w are too large for torch.float16'):
        save({'w': torch.tensor([7e4])}, tmp_path/'large.safetensors', torch.float16)
    assert not (tmp_path/'large.safetensors').exists()
    with pytest.raises(SeemError, match='should end in .safetensors'): save(net, tmp_path/'net.pth')


# Names

def openmmlab_name(key):
    "The way back, for the test only: mmagic wraps these convolutions into a `ConvModule`."
    key = re.sub(r'^(backward|forward)_trunk\.', r'\1_resblocks.', key)
    key = re.sub(r'^upconv(\d)\.', r'upsample\1.upsample_conv.', key)
    key = re.sub(r'basic_module\.(\d)\.basic_module\.(\d)\.', lambda m: f'basic_module.{m[1]}.basic_module.{int(m[2])//2}.conv.', key)
    key = re.sub(r'^conv_l(\d)_(\d)\.', r'feat_l\1_conv\2.conv.', key)
    key = re.sub(r'^pcd_align\.', 'pcd_alignment.', key)
    plain = r'dcn|temporal|attn5|add2|^fusion\.(weight|bias)$' # these are bare convolutions
    if re.match(r'(pcd_alignment|fusion)\.', key) and not re.search(plain, key): key = re.sub(r'\.(weight|bias)$', r'.conv.\1', key)
    return f'generator.{key}'


@pytest.mark.parametrize('file', ['basicvsr_c64b30', 'basicvsrpp_c64n7', 'edvr_m_t5', 'edvr_l_t7', 'spynet'])
def test_openmmlabs_names_come_back(file):
    "Every name of a network, said as OpenMMLab says it; the reference's stay what they are."
    ours = list(golden(file if file != 'spynet' else 'basicvsr_c64b30'))
    if file == 'spynet': ours = [k.removeprefix('spynet.') for k in ours if k.startswith('spynet.')]
    theirs = [openmmlab_name(k) for k in ours]
    assert len({*theirs} - {*ours}) == len(ours) # all differ, no two fall together
    bare = [k.removeprefix('generator.') for k in theirs] # a network saved on its own
    parallel = [f'module.{k}' for k in ours]
    for names in (theirs, bare, ours, parallel): assert list(reference_names(dict.fromkeys(names))) == ours
    assert list(reference_names({**dict.fromkeys(theirs), 'step_counter': 0})) == ours


def test_unknown_key_map():
    with pytest.raises(SeemError, match="unknown key map 'theirs'; valid: "): reference_names({}, 'theirs')
    assert {c.key_map for c in CHECKPOINTS.values()} == {*KEY_MAPS}


# The registry

REFERENCE = dict(basicvsr_reds4_official='basicvsr_c64b30', basicvsr_vimeo90k_bi_official='basicvsr_c64b30', basicvsr_vimeo90k_bd_official='basicvsr_c64b30',
                 basicvsr_reds4='basicvsr_c64b30', basicvsr_vimeo90k_bi='basicvsr_c64b30', basicvsrpp_reds4='basicvsrpp_c64n7',
                 basicvsrpp_vimeo90k_bi='basicvsrpp_c64n7', edvr_m_reds='edvr_m_t5', edvr_l_vimeo90k='edvr_l_t7')
OF_NETWORKS = [name for name, c in CHECKPOINTS.items() if c.arch in NETWORKS]


def sizes(name):
    "Names and shapes of the network of an entry; nothing is computed."
    with torch.device('meta'): return shapes(make_network(CHECKPOINTS[name].arch, **CHECKPOINTS[name].args).state_dict())


@pytest.mark.parametrize('name,file', REFERENCE.items())
def test_published_networks_have_the_references_names(name, file): assert sizes(name) == golden(file)


@pytest.mark.parametrize('name', OF_NETWORKS)
def test_every_entry_builds_and_loads_strictly(name):
    "What the shipped ones hold, what a file of the others must hold; one tensor less, or of another shape, is refused."
    c, own = CHECKPOINTS[name], sizes(name)
    if c.shipped:
        below = shapes(load_file(CHECKPOINTS[c.base].path())) if c.base else {}
        assert below | shapes(load_file(c.path())) == own
    with torch.device('meta'): net = make_network(c.arch, **c.args)
    state = {k: v for k, v in net.state_dict().items()}
    net.load_state_dict = lambda s: None # on no device there is nothing to copy
    load_state(state, net, name, whole=True)
    first = next(k for k in state if k.split('.')[-1] not in ('mean', 'std'))
    with pytest.raises(SeemError, match='1 missing'): load_state({k: v for k, v in state.items() if k != first}, net, name, whole=True)
    with pytest.raises(SeemError, match='1 of wrong shape'): load_state(state | {first: torch.zeros(1, 2, 3)}, net, name, whole=True)
    with pytest.raises(SeemError, match='1 unexpected'): load_state(state | {'more': torch.zeros(1)}, net, name, whole=True)


def test_entries_are_told_apart():
    assert len({c.file for c in CHECKPOINTS.values()}) == len(CHECKPOINTS)
    assert len({(c.title, c.trained_on, c.file) for c in CHECKPOINTS.values()}) == len(CHECKPOINTS)
    assert all(c.title and c.licence and c.sources for c in CHECKPOINTS.values())
