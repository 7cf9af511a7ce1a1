"Training runs that are killed, interrupted, shared out, and that find the disk full."
import csv, itertools, json, multiprocessing, os, random, re, shutil, signal, subprocess, sys, time
from dataclasses import replace
from types import SimpleNamespace
import numpy as np, pandas as pd, pytest, torch
from conftest import BIN, ROOT, run, small_disk
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from seem_nbdev.core import SeemError

SEEM = [sys.executable, '-m', 'seem_nbdev.cli', 'train']
CONFIG = """mode = "full"
init_from = ["{backbone}"]
data = ["{clips}"]
prior = "superpixel"
steps = 6
batch_size = 4
num_frames = 3
patch_size = 16
lr = 1e-3
lr_seem = 1e-3
fix_flow_iter = 3
ema = 0.9
save_every = 2
log_every = 1

[size]
mid_channels = 8
num_blocks = 1
hr_channels = 8
"""


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    "A configuration file beside its backbone."
    from seem_nbdev.models.basicvsr import BasicVSR
    from seem_nbdev.weights.checkpoints import save
    folder, rng = tmp_path_factory.mktemp('config'), np.random.default_rng(0)
    for clip, i in itertools.product('ab', range(4)):
        (folder/'clips'/clip).mkdir(parents=True, exist_ok=True)
        small = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        small.resize((128, 96)).save(folder/'clips'/clip/f'{i}.png')
    torch.manual_seed(0)
    save(BasicVSR(mid_channels=8, num_blocks=1, hr_channels=8), folder/'backbone.safetensors')
    (folder/'a.toml').write_text(CONFIG.format(backbone=folder/'backbone.safetensors', clips=folder/'clips'))
    return folder/'a.toml'


def train(*args, **options): return run(*SEEM, *args, '--device', 'cpu', **dict(OMP_NUM_THREADS=1) | options)
def weights(out): return load_file(out/'last.safetensors')
def last_checkpoint(out): return torch.load(out/'checkpoints'/'step_0000006.pt', weights_only=True)
def same(a, b): return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.fixture(scope='module')
def whole(config, tmp_path_factory):
    "The run that nothing disturbed."
    out = tmp_path_factory.mktemp('whole')/'run'
    done = train('--config', config, '--out', out)
    assert '6 steps done' in done.stdout
    return out


# The child dies in the middle of what the name says, at the second checkpoint, of step 4.
KILLERS = dict(
    between_steps="""
import seem_nbdev.training.loop as t
step = t.train_step
def train_step(run, batch):
    if run.step == 5: die()
    return step(run, batch)
t.train_step = train_step""",
    in_the_file="""
import torch
save, calls = torch.save, []
def half(kept, path):
    calls.append(path)
    if len(calls) == 2:
        open(path, 'wb').write(b'half of it')
        die()
    save(kept, path)
torch.save = half""",
    before_it_has_its_name="""
import torch
save, calls = torch.save, []
def unnamed(kept, path):
    calls.append(path)
    save(kept, path)
    if len(calls) == 2: die()
torch.save = unnamed""",
    after_the_checkpoint="""
import seem_nbdev.training.run as r
remove, calls = r._remove_old, []
def remove_old(path):
    calls.append(1)
    if len(calls) == 2: die()
    remove(path)
r._remove_old = remove_old""")


@pytest.mark.parametrize('killer', KILLERS)
def test_killed_and_resumed(killer, config, whole, tmp_path):
    "Weights, average and log as if nothing had happened; a line of the log is the mean of three steps of the other run."
    out = tmp_path/'run'
    code = f"import os, signal, sys\ndef die(): os.kill(os.getpid(), signal.SIGKILL)\n{KILLERS[killer]}\n" \
           "from seem_nbdev.cli import main\nsys.exit(main(sys.argv[1:]))"
    killed = run(sys.executable, '-c', code, 'train', '--config', config, '--out', out, '--device', 'cpu',
                 '--set', 'log_every=3', OMP_NUM_THREADS=1, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stdout
    train('--out', out, '--resume')
    assert same(weights(out), weights(whole))
    a, b = (last_checkpoint(p) for p in (out, whole))
    assert same(a['net'], b['net']) and same(a['ema'], b['ema'])
    for key, moments in b['optimiser']['state'].items(): assert same(a['optimiser']['state'][key], moments)
    losses, every_step = ([float(row['loss']) for row in csv.DictReader((p/'log.csv').open())] for p in (out, whole))
    assert losses == [sum(every_step[i:i + 3])/3 for i in (0, 3)]
    assert not [p for p in out.rglob('*') if '.tmp' in p.name]


def test_resumed_without_its_start_files(config, whole, tmp_path):
    "From the checkpoint before a damaged one, with other files for `init_from`, clips and masks that were moved; the title stays."
    out = tmp_path/'run'
    shutil.copytree(whole, out)
    newest, clips = out/'checkpoints'/'step_0000006.pt', tmp_path/'moved'/'clips'
    newest.write_bytes(newest.read_bytes()[:1000])
    shutil.copytree(config.parent/'clips', clips)
    text = config.read_text().replace(str(config.parent/'clips'), str(clips)).replace(str(config.parent/'backbone'), '/gone/backbone')
    (tmp_path/'b.toml').write_text(f'num_workers = 1\n{text}')
    done = train('--config', tmp_path/'b.toml', '--out', out, '--resume')
    assert 'taking the one before' in done.stdout
    assert same(weights(out), weights(whole))
    with safe_open(out/'last.safetensors', 'pt') as f: header = {k: json.loads(v) for k, v in f.metadata().items()}
    assert (header['step'], header['config']['data']) == (6, [str(clips)])
    assert 'num_workers = 1' in (out/'config.toml').read_text()


def test_nothing_to_resume(whole, tmp_path, capsys):
    "No checkpoint can be read: one line, and the folder stays as it was."
    from seem_nbdev.cli import main
    out = tmp_path/'run'
    shutil.copytree(whole, out)
    for path in (out/'checkpoints').glob('*.pt'): path.write_bytes(b'')
    before = {p: p.read_bytes() for p in out.rglob('*') if p.is_file()}
    assert main(['train', '--out', str(out), '--resume', '--device', 'cpu']) == 1
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert 'holds no checkpoint that can be read, so there is nothing to resume' in last
    assert before == {p: p.read_bytes() for p in out.rglob('*') if p.is_file()}


def test_every_process_takes_the_first_ones_checkpoint(tmp_path, monkeypatch):
    "Also one that could read a newer checkpoint."
    import accelerate.utils
    from seem_nbdev.models.basicvsr import BasicVSR
    from seem_nbdev.training import run as r
    from seem_nbdev.training.config import TrainConfig
    from seem_nbdev.training.loop import make_state
    new = lambda: make_state(BasicVSR(mid_channels=8, num_blocks=1, hr_channels=8), TrainConfig(mode='backbone', num_frames=2), 'cpu')
    first = new()
    for first.step in (1, 2): r.save_checkpoint(first, tmp_path)
    second = new()
    second.accelerator = SimpleNamespace(num_processes=2, process_index=1, is_main_process=False, scaler=None)
    def broadcast(objects): objects[0] = tmp_path/'step_0000001.pt'
    monkeypatch.setattr(accelerate.utils, 'broadcast_object_list', broadcast)
    r.go_on(second, tmp_path)
    assert second.step == 1 and len(r.saved_checkpoints(tmp_path)) == 2 # only the first process removes files


def test_ctrl_c(config, whole, tmp_path):
    "Saves, says how to go on, ends with 130; and goes on."
    out = tmp_path/'run'
    slow = "import seem_nbdev.training.loop as t, time\nstep = t.train_step\n" \
           "def train_step(*a): time.sleep(.5); return step(*a)\nt.train_step = train_step\n" \
           "import sys\nfrom seem_nbdev.cli import main\nsys.exit(main(sys.argv[1:]))"
    child = subprocess.Popen([sys.executable, '-c', slow, 'train', '--config', config, '--out', out, '--device', 'cpu'],
                             env={**os.environ, 'OMP_NUM_THREADS': '1'}, cwd=ROOT, text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    end = time.time() + 120
    while time.time() < end and not ((out/'log.csv').is_file() and len((out/'log.csv').read_text().splitlines()) > 1): time.sleep(.05)
    child.send_signal(signal.SIGINT)
    said = child.communicate(timeout=120)[0]
    assert child.returncode == 130, said
    assert f'all is saved; go on with: seem train --out {out} --resume' in said
    train('--out', out, '--resume')
    assert same(weights(out), weights(whole))


@pytest.mark.parametrize('launcher', [['torchrun', '--nproc_per_node', '2'],
                                      ['accelerate', 'launch', '--multi_gpu', '--num_processes', '2']], ids=lambda l: l[0])
def test_two_processes_follow_one(config, whole, tmp_path, launcher):
    """Half the batch each, the same losses, also after the step at which the flow begins to move.

    Float32 gradients are added in another order. A relative 1e-4 leaves room for what six steps of Adam make of that.
    """
    out = tmp_path/'run'
    done = run(BIN/launcher[0], *launcher[1:], *SEEM[1:], '--config', config, '--out', out, '--device', 'cpu',
               '--set', 'validate=embedded', '--set', 'validate_frames=1', OMP_NUM_THREADS=1,
               MASTER_PORT=random.randint(20000, 40000))
    assert done.stdout.count('6 steps done') == 1
    one, two = (pd.read_csv(p/'log.csv') for p in (whole, out))
    assert two.loss.tolist() == pytest.approx(one.loss.tolist(), rel=1e-4)
    assert two.lr.tolist() == one.lr.tolist()
    moved = [last_checkpoint(p)['net']['spynet.basic_module.5.basic_module.8.bias'] for p in (whole, out)]
    assert torch.allclose(*moved, atol=1e-4) and moved[0].abs().max() > 0


def test_validation_with_fewer_clips_than_processes(tmp_path):
    "Three processes, two clips: the score of one process."
    code = """import sys, seem_nbdev.training.run as t
real = t.dataset
class Two:
    def __init__(self, name): self.all = real(name)
    def __getattr__(self, name): return getattr(self.all, name)
    def clips(self, *args, **options): return self.all.clips(*args, **options)[:2]
t.dataset = Two
from seem_nbdev.cli import main
sys.exit(main(sys.argv[1:]))"""
    (tmp_path/'main.py').write_text(code)
    options = ['train', '--config', 'smoke', '--set', 'steps=2', '--set', 'batch_size=3', '--device', 'cpu']
    run(sys.executable, tmp_path/'main.py', *options, '--out', tmp_path/'one', OMP_NUM_THREADS=1)
    run(BIN/'torchrun', '--nproc_per_node', '3', tmp_path/'main.py', *options, '--out', tmp_path/'three',
        OMP_NUM_THREADS=1, MASTER_PORT=random.randint(20000, 40000))
    one, three = (pd.read_csv(tmp_path/p/'log.csv').psnr.dropna().tolist() for p in ('one', 'three'))
    assert len(one) == 1 and three == pytest.approx(one, abs=1e-3)


def test_a_full_disk(config, tmp_path):
    "The checkpoint before stays valid, and the message says so."
    with small_disk(tmp_path/'disk', '40m') as disk: # a checkpoint is about 24 MB with the average, and a second one does not fit
        done = train('--config', config, '--out', disk/'run', check=False)
        assert done.returncode == 1
        line = done.stdout.strip().splitlines()[-1]
        assert line.startswith('seem: checkpoint') and 'those before it stay valid' in line, done.stdout
        kept = sorted(p.name for p in (disk/'run'/'checkpoints').iterdir())
        assert kept == ['step_0000002.pt']
        assert torch.load(disk/'run'/'checkpoints'/kept[0], weights_only=True)['step'] == 2


@pytest.mark.parametrize('args, message', [
    (['--config', 'basicvsr_sem_reds', '--out', 'x'], "unknown configuration 'basicvsr_sem_reds'; did you mean 'basicvsr_seem_reds'"),
    (['--config', 'smoke', '--set', 'stpes=3', '--out', 'x'], "unknown key in smoke.toml: 'stpes'; did you mean 'steps'"),
    (['--config', 'smoke', '--set', 'steps=few', '--out', 'x'], "steps is 'few' in smoke.toml, expected int"),
    (['--config', 'smoke', '--set', 'mode=seem-only', '--set', 'prior=none', '--out', 'x'], "begins with a trained backbone"),
    (['--config', 'smoke', '--set', 'arch=edvr', '--set', 'num_frames=4', '--out', 'x'], "num_frames is 4, but the window of EDVR has 5"),
    (['--config', 'demo_basicvsr_seem', '--set', 'init_from=["demo_edvr"]', '--out', 'x'], "does not fit BasicVSR"),
    (['--config', 'smoke', '--set', 'data=["nowhere"]', '--out', 'x'], "unknown data 'nowhere'"),
    (['--config', 'smoke', '--set', 'precision=fp16', '--out', 'x'], "precision 'fp16' needs a GPU"),
    (['--config', 'smoke'], "give --out DIR"),
    (['--out', 'x', '--resume'], "x holds no run to go on with"),
])
def test_bad_input_is_one_line(args, message, tmp_path, capsys, monkeypatch):
    from seem_nbdev.cli import main
    monkeypatch.chdir(tmp_path)
    assert main(['train', *args, '--device', 'cpu']) == 1
    err = [line for line in capsys.readouterr().err.splitlines() if line.startswith('seem:')]
    assert len(err) == 1 and message in err[0], err


@pytest.mark.parametrize('args, message', [
    ([], "8 processes cannot share 6 crops (batch_size 6, accumulate 1) equally; valid numbers of processes: 1, 2, 3, 6; or set batch_size"),
    (['--set', 'batch_size=8', '--device', 'cuda:x'], "unknown device 'cuda:x'"),
    (['--set', 'batch_size=8', '--set', 'precision=fp16'], "precision 'fp16' needs a GPU"),
    (['--set', 'batch_size=8', '--set', 'prior=sma'], "unknown prior 'sma'; "),
    (['--set', 'batch_size=8', '--set', 'validate=Vid5'], "unknown data set 'Vid5'"),
    (['--set', 'batch_size=8', '--set', 'validate=REDS4'], "validate is 'REDS4', which lacks 4 folders:"),
], ids=lambda v: v[-1] if isinstance(v, list) and v else '')
def test_found_before_anything_is_loaded(args, message, tmp_path, capsys, monkeypatch):
    "As one of eight processes."
    from seem_nbdev.cli import main
    from seem_nbdev.training import loop, run
    def load(*_, **__): raise AssertionError('loaded')
    for name in ('make_net', 'training_data', 'make_validate'): monkeypatch.setattr(run, name, load)
    for module in (loop, run): monkeypatch.setattr(module, 'this_process', lambda: (0, 8))
    monkeypatch.setenv('SEEM_DATA', str(tmp_path))
    device = [] if '--device' in args else ['--device', 'cpu']
    assert main(['train', '--config', 'basicvsr_seem_reds', '--out', str(tmp_path/'x'), *args, *device]) == 1
    err = [line for line in capsys.readouterr().err.splitlines() if line.startswith('seem:')]
    assert len(err) == 1 and message in err[0], err


def test_no_loss_that_is_finite(config, tmp_path):
    "The run stops and names the clips."
    done = train('--config', config, '--out', tmp_path/'run', '--set', 'lr=1e30', '--set', 'lr_seem=1e30',
                 '--set', 'steps=40', '--set', 'max_skipped=3', check=False)
    assert done.returncode == 1
    assert re.search(r'3 steps in a row without a finite gradient.* on crops [ab]/', done.stdout), done.stdout


@pytest.mark.parametrize('field, value, message', [
    ('steps', 0, 'steps is 0, expected 1 or more'), ('lr', -1., 'lr is -1.0, expected 0 or more'), ('ema', 1., 'ema is 1.0'),
    ('accumulate', 4, 'batch_size 6 is no multiple of accumulate 4'), ('periods', (5, 6), 'add up to 11, expected 100000'),
    ('seem', dict(branches='left'), "unknown branches 'left'"), ('seem', dict(branch='both'), "unknown key of seem: 'branch'"),
    ('mode', 'flow', "arch of mode 'flow': 'basicvsr'; valid: 'spynet'"), ('mode', 'half', "unknown mode 'half'"),
    ('fusion_first', 3, 'fusion_first is 3, but BasicVSR has no fusion of its own'), ('arch', 'vrt', "unknown arch 'vrt'"),
    ('loss', 'l3', "unknown loss 'l3'"), ('optimiser', 'adem', "unknown optimiser 'adem'"),
    ('betas', (.9,), 'betas is [0.9], expected a list of two numbers in [0,1)'), ('betas', (.9, 1.), 'two numbers in [0,1)'),
    ('betas', (.9, True), 'two numbers in [0,1)'), ('data', ('REDS', ''), "data is ['REDS', ''], expected a list of names or folders"),
    ('data', (), 'data is empty'), ('init_from', (3,), 'init_from is [3], expected a list of names or files'),
    ('periods', (100_000, 0), 'expected a list of steps, 1 or more'), ('restart_weights', ('1',), 'expected a list of numbers, 0 or more'),
    ('restart_weights', (1.,), '1 restart_weights for 0 periods'), ('size', dict(num_blocks='3'), "size.num_blocks is '3', expected a whole number"),
])
def test_a_configuration_that_cannot_be(field, value, message):
    from seem_nbdev.training.config import TrainConfig
    with pytest.raises(SeemError, match=re.escape(message)): TrainConfig(**dict(mode='backbone') | {field: value})


@pytest.mark.parametrize('changes, message', [
    (dict(num_frames=4, size=dict(num_frames=4)), 'EDVR takes an odd number'), (dict(num_frames=7), 'the window of EDVR has 5 frames'),
    (dict(num_frames=5, mirror=True), 'mirror is not for EDVR')])
def test_a_window_that_cannot_be(changes, message):
    from seem_nbdev.training.config import TrainConfig
    with pytest.raises(SeemError, match=message): TrainConfig(mode='backbone', arch='edvr', **changes)


def test_extends(tmp_path):
    "A file does not mean itself; paths are relative to the file; what cannot be is named."
    from seem_nbdev.training.config import read_config
    base, mine = tmp_path/'smoke.toml', tmp_path/'sub'/'mine.toml'
    base.write_text('extends = "smoke"\nsteps = 7\n')
    assert read_config(str(base)) == replace(read_config('smoke'), steps=7)
    mine.parent.mkdir()
    for name in ('../smoke.toml', str(base)):
        mine.write_text(f'extends = "{name}"\nlr = 1e-3\n')
        assert read_config(str(mine)) == replace(read_config(str(base)), lr=1e-3)
    for text, message in {'extends = "../smoke"': "extends is '../smoke'", 'extends = 3': 'extends is 3', 'extends = ""': "extends is ''",
                          'extends = "gone.toml"': 'gone.toml, which', 'extends = "gone"': "unknown configuration 'gone'",
                          'extends = "mine.toml"': 'mine.toml extends itself', 'steps = = 3': 'is no TOML'}.items():
        mine.write_text(text)
        with pytest.raises(SeemError, match=re.escape(message)): read_config(str(mine))
    with pytest.raises(SeemError, match='no configuration nowhere.toml'): read_config('nowhere.toml')


# Steps

TINY = dict(mid_channels=8, num_blocks=1, hr_channels=8)


def new_state(**options):
    from seem_nbdev.models.basicvsr import BasicVSR
    from seem_nbdev.training.config import TrainConfig
    from seem_nbdev.training.loop import make_state
    torch.manual_seed(0)
    config = TrainConfig(**dict(mode='backbone', steps=12, num_frames=3, batch_size=2, lr=1e-3) | options)
    return make_state(BasicVSR(**TINY), config, 'cpu')


@pytest.fixture
def batch():
    torch.manual_seed(1)
    return dict(lqs=torch.rand(2, 3, 3, 8, 8), gt=torch.rand(2, 3, 3, 32, 32), key=['a', 'b'])


def test_a_scaler_skips(batch):
    "As with float16, here on the CPU: a step that is not finite leaves weights, average and moments alone and lowers the scale; the next one works."
    from accelerate.optimizer import AcceleratedOptimizer
    from seem_nbdev.training.loop import train_step
    state = new_state(ema=.5)
    acc, scaler = state.accelerator, torch.amp.GradScaler('cpu', init_scale=1024.)
    state.optimiser = AcceleratedOptimizer(state.optimiser.optimizer, scaler=scaler)
    acc.scaler, acc._optimizers = scaler, [state.optimiser] # as with precision 'fp16'
    train_step(state, batch)
    def everything():
        adam = state.optimiser.optimizer.state_dict()['state']
        return [v.clone() for v in [*state.net.state_dict().values(), *state.ema.state_dict().values(),
                                    *(m for moments in adam.values() for m in moments.values())]]
    before, bad = everything(), batch | dict(gt=torch.full_like(batch['gt'], torch.nan))
    for _ in range(2): train_step(state, bad)
    assert all(map(torch.equal, everything(), before))
    assert (state.step, state.skipped, state.skipped_in_row, scaler.get_scale()) == (3, 2, 2, 256.)
    train_step(state, batch)
    assert (state.skipped, state.skipped_in_row) == (2, 0) and not torch.equal(everything()[0], before[0])


def test_the_gradient_is_clipped(batch):
    from seem_nbdev.training.loop import train_step
    norms = []
    for most in (0., 1e-3):
        state = new_state(clip_grad_norm=most)
        train_step(state, batch)
        norms.append(torch.nn.utils.get_total_norm([p.grad for p in state.net.parameters() if p.grad is not None]).item())
    assert norms[0] > 1e-3 and norms[1] == pytest.approx(1e-3, abs=1e-6)


def test_the_average(batch):
    "Its first value is taken whole, then it lags behind."
    from seem_nbdev.training.loop import train_step
    state = new_state(ema=.9)
    for same_bias in (True, False):
        train_step(state, batch)
        assert torch.equal(state.averaged.conv_last.bias, state.net.conv_last.bias) == same_bias


def test_workers_end_with_the_loop():
    "Also after an error."
    from seem_nbdev.data.clips import CropDataset, embedded_clips
    from seem_nbdev.training.loop import train_loop
    crops = CropDataset(embedded_clips('train', num_frames=3), num_frames=2, patch_size=16, length=12)
    def fail(state): raise SeemError('enough')
    state = new_state(steps=3, batch_size=1, num_frames=2, patch_size=16, num_workers=1)
    with pytest.raises(SeemError, match='enough'): train_loop(state, crops, [fail], bar=False)
    assert multiprocessing.active_children() == []


def test_a_loss_by_name(batch):
    "The mean of absolute differences in place of Charbonnier's."
    from seem_nbdev.training.loop import batch_loss, predict
    state = new_state(loss='l1')
    sr, gt = predict(state.net, batch)
    assert batch_loss(state.net, batch, state.config).item() == pytest.approx((sr - gt).abs().mean().item())


def test_masks_of_any_number():
    "The planes of the configuration's prior are those that the network takes, from crop to loss."
    from seem_nbdev.training import run as r
    from seem_nbdev.training.config import TrainConfig
    from seem_nbdev.training.run import make_net
    seem = dict(mode='full', size=TINY, prior='superpixel', init_from=())
    prior = SimpleNamespace(channels=7, name='superpixel', options={})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(r, 'make_prior', lambda *_, **__: prior)
        assert make_net(TrainConfig(**seem), fill=False).mask_channels == 7
    assert make_net(TrainConfig(**seem, seem=dict(mask_channels=5, branches='forward')), fill=False).mask_channels == 5


def test_weights_say_which_masks(tmp_path):
    "Not only whose: every option that decided them, in the header of the weights and in what a name means."
    from seem_nbdev.masks import make_prior
    from seem_nbdev.models.basicvsr import BasicVSR
    from seem_nbdev.training import Run, read_config
    from seem_nbdev.weights import find, save
    torch.manual_seed(0)
    save(BasicVSR(**TINY), tmp_path/'b.safetensors')
    config = read_config('smoke', mode='full', prior='superpixel', prior_options=dict(num_segments=9), init_from=[str(tmp_path/'b.safetensors')],
                         steps=1, validate='')
    Run(config, tmp_path/'run', 'cpu').fit(bar=False)
    prior = make_prior('superpixel', num_segments=9)
    assert find(tmp_path/'run').masks == json.loads(json.dumps(dict(prior='superpixel', channels=prior.channels, options=prior.options)))


@pytest.mark.parametrize('size, message', [(48, 'expected a multiple of 32'), (128, 'are smaller than 512 pixels')])
def test_pairs_of_a_size_that_cannot_be(size, message):
    from seem_nbdev.data.clips import embedded_clips
    from seem_nbdev.training.flow import SyntheticMotion
    with pytest.raises(SeemError, match=message): SyntheticMotion(embedded_clips('train', num_frames=2), patch_size=size)
