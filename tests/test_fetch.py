"Downloads that go wrong in every way, the command `seem fetch`, weights that do not fit, and the Hugging Face Hub without a network."
import errno, hashlib, json, os, pty, signal, socket, subprocess, sys, termios, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
import numpy as np, pytest, torch
from conftest import ROOT, run
from skimage import io
from seem_nbdev import cli, core, weights
from seem_nbdev.weights import checkpoints, command, fetch
from seem_nbdev.models.basicvsr import BasicVSR
from seem_nbdev.weights import Checkpoint
from seem_nbdev.weights.checkpoints import MisfitError, load, load_state, read_state
from seem_nbdev.core import SeemError
from seem_nbdev.models.edvr import EDVR
from seem_nbdev.weights.fetch import download
from seem_nbdev.models.layers import flow_warp
from seem_nbdev.models.seem import SEEMConfig

BODY = np.random.RandomState(0).bytes(500_000)
DIGEST = hashlib.sha256(BODY).hexdigest()


class Server:
    """Serves BODY on this machine. Each answer takes its kind from `plan`, the last one for all that follow:
    'ok', a status, bytes (sent as a page), 'cut' (closed half way), 'whole' (no ranges), 'other' (another part), 'slow', 'chunked'."""
    def __init__(self, *plan):
        self.plan, self.asked = list(plan) or ['ok'], []
        outer = self
        class Handler(BaseHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'
            def do_GET(self): outer.answer(self)
            def log_message(self, *args): pass
        self.http = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        self.http.handle_error = lambda *args: None   # of clients that were killed
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        self.url = f'http://127.0.0.1:{self.http.server_port}/w.pth'

    def answer(self, h):
        kind = self.plan.pop(0) if len(self.plan) > 1 else self.plan[0]
        asked = h.headers.get('Range')
        self.asked.append(asked)
        h.close_connection = True
        if isinstance(kind, int): return self.send(h, kind, b'', {})
        if isinstance(kind, bytes): return self.send(h, 200, kind, {'Content-Type': 'text/html; charset=utf-8'})
        if kind == 'chunked':
            h.send_response(200)
            h.send_header('Transfer-Encoding', 'chunked')
            h.end_headers()
            return h.wfile.write(b'%x\r\n' % len(BODY) + BODY[:200_000])   # and no end
        start = int(asked[6:-1]) if asked and kind != 'whole' else 0
        if start >= len(BODY): return self.send(h, 416, b'', {'Content-Range': f'bytes */{len(BODY)}'})
        if kind == 'other': start = 7
        spans = {'Content-Range': f'bytes {start}-{len(BODY)-1}/{len(BODY)}'} if asked and kind != 'whole' else {}
        end = start + (len(BODY) - start)//2 if kind == 'cut' else len(BODY)
        self.send(h, 206 if spans else 200, BODY[start:end], spans, len(BODY) - start, kind == 'slow')

    def send(self, h, status, body, headers, length=None, slow=False):
        h.send_response(status)
        for name, value in {'Content-Type': 'application/octet-stream', **headers}.items(): h.send_header(name, value)
        h.send_header('Content-Length', len(body) if length is None else length)
        h.end_headers()
        for i in range(0, len(body), 50_000 if slow else len(body)):
            h.wfile.write(body[i:i + 50_000] if slow else body)
            if slow: time.sleep(.2)


@pytest.fixture(autouse=True)
def patient(monkeypatch, tmp_path):
    "Waiting between attempts takes no time; nothing outside the test's folder is found or written."
    monkeypatch.setattr(fetch, 'time', SimpleNamespace(sleep=lambda s: None))
    monkeypatch.setenv('SEEM_WEIGHTS', str(tmp_path))
    monkeypatch.setenv('SEEM_CACHE', str(tmp_path/'cache'))


@pytest.fixture
def target(tmp_path): return tmp_path/'w.pth'


def failure(server, target, **expected):
    with pytest.raises(SeemError) as e: download(server.url, target, **{'digest': DIGEST, **expected})
    message = str(e.value)
    assert '\n' not in message and message.startswith(f'w.pth was not fetched from {server.url}: ')
    assert not target.exists()
    return message


def names(folder): return sorted(p.name for p in folder.iterdir() if p.is_file())


def test_whole(target, tmp_path):
    server = Server()
    assert download(server.url, target, DIGEST) == target
    assert target.read_bytes() == BODY and names(tmp_path) == ['w.pth'] and server.asked == [None]


@pytest.mark.parametrize('plan,attempts', [
    (('cut', 'ok'), 2), (('cut', 'cut', 'cut', 'ok'), 4), ((503, 'ok'), 2), (('cut', 500, 429, 'ok'), 4),
    (('cut', 'other', 'ok'), 3), (('cut', 'whole'), 2), (('chunked', 'ok'), 2)])
def test_goes_on(target, tmp_path, plan, attempts):
    "After a closed connection, a busy server, another part than the one asked for, a server without ranges."
    server = Server(*plan)
    assert download(server.url, target, DIGEST[:8]).read_bytes() == BODY
    assert len(server.asked) == attempts and names(tmp_path) == ['w.pth']
    if plan == ('cut', 'ok'): assert int(server.asked[1][6:-1]) >= 130_000   # of 250,000 sent


def test_gives_up_and_keeps_what_came(target, tmp_path):
    server = Server('cut', 500)
    message = failure(server, target)
    assert 'the server answers 500' in message and 'what has come is kept' in message
    assert len(server.asked) == 1 + fetch.RETRIES and names(tmp_path) == ['w.pth.part']
    server.plan = ['ok']
    assert download(server.url, target, DIGEST).read_bytes() == BODY
    assert server.asked[-1].startswith('bytes=1') and names(tmp_path) == ['w.pth']


def test_part_is_whole_already(target):
    "Stopped between the last byte and the renaming."
    target.with_name('w.pth.part').write_bytes(BODY)
    assert download(Server().url, target, DIGEST).read_bytes() == BODY


@pytest.mark.parametrize('kind,said', [
    (404, 'answers 404 Not Found'), (403, 'answers 403 Forbidden'), (204, 'answers 204'),
    (b'<!DOCTYPE html><html><title>Google Drive - Virus scan warning</title>', 'a web page, not with weights')])
def test_final_answers(target, tmp_path, kind, said):
    server = Server(kind)
    assert said in failure(server, target) and len(server.asked) == 1 and names(tmp_path) == []


def test_page_says_where_to_save_by_hand(target):
    server = Server(b'<html>')
    assert f'open the address in a browser and save the file as {target}' in failure(server, target)


def test_page_after_a_part(target, tmp_path):
    "The quota may end between two attempts; what came is not lost."
    assert 'web page' in failure(Server('cut', b'<html>'), target)
    assert names(tmp_path) == ['w.pth.part']


def test_mismatch(target, tmp_path):
    server = Server()
    message = failure(server, target, digest='0'*8)
    assert f'has sha256 {DIGEST[:16]}..., expected 00000000...' in message
    assert names(tmp_path) == [] and len(server.asked) == 1


def test_part_of_another_file(target, tmp_path):
    target.with_name('w.pth.part').write_bytes(b'x'*1000)
    server = Server()
    assert 'another file' in failure(server, target)
    assert download(server.url, target, DIGEST).read_bytes() == BODY   # the next one begins again


def test_nobody_listens(target):
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        url = f'http://127.0.0.1:{s.getsockname()[1]}/w.pth'
    with pytest.raises(SeemError, match=r'Connection refused.*; try again, or open the address'): download(url, target)


class FullDisk:
    "A file on a disk that is full after 150,000 bytes."
    def __init__(self, *args): self.file, self.left = open(*args), 150_000
    def __enter__(self): return self
    def __exit__(self, *args): self.file.close()
    def __getattr__(self, name): return getattr(self.file, name)
    def write(self, data):
        self.left -= len(data)
        if self.left < 0: raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self.file.write(data)


def test_no_space_found_on_the_way(target, monkeypatch, tmp_path):
    monkeypatch.setattr(fetch, 'open', FullDisk, raising=False)
    server = Server()
    message = failure(server, target)
    assert f'{tmp_path}: No space left on device; what has come is kept' in message
    assert len(server.asked) == 1 and names(tmp_path) == ['w.pth.part']
    monkeypatch.undo()
    assert download(server.url, target, DIGEST).read_bytes() == BODY and server.asked[1]


def test_no_permission(target, monkeypatch):
    def refuse(path, *args): raise PermissionError(errno.EACCES, 'Permission denied', str(path))
    monkeypatch.setattr(fetch, 'open', refuse, raising=False)
    assert 'Permission denied' in failure(Server(), target)


def test_empty_answer(target, tmp_path):
    server = Server()
    server.answer = lambda h: server.send(h, 200, b'', {})
    assert 'another file' in failure(server, target) and names(tmp_path) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_folder(target, tmp_path):
    tmp_path.chmod(0o500)
    try: assert 'ermission' in failure(Server(), target)
    finally: tmp_path.chmod(0o700)


FETCH = """import sys
from seem_nbdev.weights.fetch import download
download(sys.argv[1], sys.argv[2], sys.argv[3])"""


def start(server, target, **options):
    return subprocess.Popen([sys.executable, '-c', FETCH, server.url, str(target), DIGEST], cwd=ROOT, **options)


def test_killed(target, tmp_path):
    "Killed at any moment there is no file under the final name; the next command asks for the rest only."
    server, part = Server('slow', 'ok'), target.with_name('w.pth.part')
    process = start(server, target)
    try:
        deadline = time.monotonic() + 60
        while not (part.exists() and part.stat().st_size > 100_000) and time.monotonic() < deadline: time.sleep(.02)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    here = part.stat().st_size
    assert not target.exists() and 100_000 < here < len(BODY)
    assert download(server.url, target, DIGEST).read_bytes() == BODY
    assert server.asked == [None, f'bytes={here}-']


def read_all(terminal):
    shown = b''
    try:
        while data := os.read(terminal, 1000): shown += data
    except OSError: pass   # so Linux says that the other side is closed
    finally: os.close(terminal)
    return shown.decode()


def test_progress_bar(target):
    "On a terminal there is a bar, elsewhere nothing is printed."
    outer, inner = pty.openpty()
    termios.tcsetwinsize(inner, (24, 100))
    assert start(Server('slow'), target, stderr=inner).wait(60) == 0
    os.close(inner)
    shown = read_all(outer)
    assert 'w.pth' in shown and '100%' in shown and '500k/500k' in shown
    target.unlink()
    silent = start(Server(), target, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert silent.communicate(timeout=60)[0] == b''


# The command

@pytest.fixture
def registry(monkeypatch):
    "Four checkpoints of our own, and the server that has them."
    server = Server()
    entry = lambda name, digest, source=server.url, licence='CC0': Checkpoint(
        f'{name}.pth', digest, 'spynet', (source,), licence, 'noise', title=name)
    found = {'good': entry('good', DIGEST[:8]), 'limited': entry('limited', DIGEST, licence='non-commercial'),
             'changed': entry('changed', '0'*8), 'yours': entry('yours', '', 'weights you trained yourself')}
    for module in (weights, checkpoints, fetch, command): monkeypatch.setattr(module, 'CHECKPOINTS', found)
    return server


def seem(capsys, *args):
    "Status, standard output, standard error."
    try: status = cli.main(list(args))
    except SystemExit as e: status = e.code
    return (status, *capsys.readouterr())


def test_command(capsys, registry, tmp_path):
    status, out, err = seem(capsys, 'fetch', 'good', 'limited')
    assert status == 0 and [line.split(':')[0] for line in out.splitlines()] == ['good', 'limited']
    assert err == 'seem: limited: licence non-commercial\n' and out.endswith('licence non-commercial)\n')
    assert (tmp_path/'good.pth').read_bytes() == BODY and len(registry.asked) == 2
    assert seem(capsys, 'fetch', 'good')[0] == 0 and len(registry.asked) == 2
    rows = [line.split() for line in seem(capsys, 'fetch', '--list')[1].splitlines()[1:]]
    assert {row[0]: row[-1] for row in rows} == dict(good='yes', limited='yes', changed='no', yours='no')


@pytest.mark.parametrize('args,said', [
    (['nobody'], "unknown checkpoint 'nobody'; valid: 'good', 'limited', 'changed', 'yours'"),
    (['good', 'nobody'], "unknown checkpoint 'nobody'"), (['yours'], 'weights you trained yourself; put yours.pth into'),
    (['changed'], 'expected 00000000...: another file'), ([], 'seem fetch --list')])
def test_command_fails_in_one_line(capsys, registry, tmp_path, args, said):
    status, out, err = seem(capsys, 'fetch', *args)
    assert (status, out, err.count('\n')) == (1, '', 1) and said in err and err.startswith('seem: ')
    assert not list(tmp_path.glob('*.pth'))


def test_command_without_a_place(capsys, registry, tmp_path, monkeypatch):
    (tmp_path/'file').touch()
    monkeypatch.setenv('SEEM_WEIGHTS', '')
    monkeypatch.setenv('SEEM_CACHE', str(tmp_path/'file'/'cache'))
    status, out, err = seem(capsys, 'fetch', 'good')
    assert (status, out) == (1, '') and 'set SEEM_WEIGHTS or SEEM_CACHE to a folder in which you may write' in err
    monkeypatch.setenv('SEEM_WEIGHTS', str(tmp_path/'none'))
    assert 'not a folder' in seem(capsys, 'fetch', 'good')[2]


def test_offline(capsys, registry, tmp_path, monkeypatch):
    "A file that the user has is used, and no connection is opened."
    (tmp_path/'good.pth').write_bytes(BODY)
    monkeypatch.setattr(socket, 'socket', None)
    assert seem(capsys, 'fetch', 'good')[0] == 0


def test_stopped_by_the_keyboard(capsys, registry, tmp_path, monkeypatch):
    def stop(*args): raise KeyboardInterrupt
    monkeypatch.setattr(fetch, '_receive', stop)
    assert seem(capsys, 'fetch', 'good') == (130, '', 'seem: stopped; the same command goes on from here\n')
    assert not (tmp_path/'good.pth').exists()


def test_damaged_file_is_yours(capsys, registry, tmp_path):
    "It is not used, not moved and not written over; the message says what to do."
    (tmp_path/'good.pth').write_bytes(BODY[:-1])
    with pytest.raises(SeemError, match='run seem fetch good'): checkpoints.verified('good')
    status, _, err = seem(capsys, 'fetch', 'good')
    assert status == 1 and 'good.pth is damaged, or another file' in err and 'remove it, then run seem fetch good' in err
    assert (tmp_path/'good.pth').read_bytes() == BODY[:-1] and registry.asked == []
    (tmp_path/'good.pth').unlink()
    assert seem(capsys, 'fetch', 'good')[0] == 0 and checkpoints.verified('good').read_bytes() == BODY


def test_real_list(capsys):
    "Every checkpoint of the registry, as a fresh process prints it."
    out = run(sys.executable, '-m', 'seem_nbdev.cli', 'fetch', '--list').stdout
    assert [line.split()[0] for line in out.splitlines()[1:]] == list(checkpoints.CHECKPOINTS)
    line, = [line for line in out.splitlines() if line.startswith('spynet ')]
    assert 'non-commercial' in line and 'c6c1bd09' in line


# Weights that do not fit, or do

def test_every_misfit_is_named(tmp_path):
    small = dict(mid_channels=8, num_blocks=1, hr_channels=8)
    state = BasicVSR(**small).state_dict()
    gone = sorted(k for k in state if k.startswith('forward_trunk.'))
    torch.save({k: torch.zeros(1) if k.startswith('spynet.') and k.endswith('bias') else v for k, v in state.items()
                if k not in gone} | {f'extra{i}': torch.zeros(1) for i in range(9)}, tmp_path/'w.pth')
    model = BasicVSR(**small)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(MisfitError) as e: load_state(read_state(tmp_path/'w.pth'), model)
    assert e.value.missing == gone and e.value.unexpected == [f'extra{i}' for i in range(9)]
    assert len(e.value.reshaped) == 30 and all('is (1,), expected (' in o for o in e.value.reshaped)
    assert '\n' not in str(e.value) and f'{len(gone)} missing: {gone[0]}' in str(e.value)
    noted = '\n'.join(e.value.__notes__)
    assert all(o in noted for o in (*gone, *e.value.unexpected, *e.value.reshaped))
    assert all(v.equal(before[k]) for k, v in model.state_dict().items())   # nothing was filled


def test_real_flow(monkeypatch):
    "SPyNet's weights warp the 11th frame of foliage onto the 10th: 27.6 dB, 23.5 dB as it is (8 pixels off each side)."
    monkeypatch.undo()
    file = core.weights_dir() and core.weights_dir()/'spynet_sintel_final.pth'
    folder = core.data_dir() and core.data_dir()/'Vid4'/'GT'/'foliage'
    if not (file and file.is_file() and folder and folder.is_dir()): pytest.skip("needs Vid4 and SPyNet's weights")
    spynet = load(file, 'cpu')
    ref, supp = (torch.from_numpy(io.imread(folder/f'{i:08d}.png')/255).float().permute(2, 0, 1)[None] for i in (9, 10))
    with torch.no_grad(): warped = flow_warp(supp, spynet(ref, supp).permute(0, 2, 3, 1))
    psnr = lambda a: -10*np.log10(((a - ref)[..., 8:-8, 8:-8]**2).mean().item())
    assert psnr(warped) == pytest.approx(27.6, abs=.3) and psnr(supp) == pytest.approx(23.5, abs=.3)


# The Hugging Face Hub

SIZES = [(BasicVSR, dict(mid_channels=8, num_blocks=1, hr_channels=8)),
         (EDVR, dict(mid_channels=8, num_frames=3, num_extract_blocks=1, num_reconstruct_blocks=1, hr_channels=8))]


@pytest.mark.parametrize('seem', [None, True, SEEMConfig(mask_channels=4, reduction=2, zero_init=False)], ids=['none', 'true', 'config'])
@pytest.mark.parametrize('cls,size', SIZES, ids=['basicvsr', 'edvr'])
def test_saved_and_loaded_without_a_network(cls, size, seem, tmp_path, monkeypatch, capsys):
    model = cls(**size, seem=seem)
    model.save_pretrained(tmp_path/'model')
    monkeypatch.setattr(socket, 'socket', None)
    again = cls.from_pretrained(tmp_path/'model')
    assert [(k, v.shape) for k, v in again.state_dict().items()] == [(k, v.shape) for k, v in model.state_dict().items()]
    assert all(v.equal(model.state_dict()[k]) for k, v in again.state_dict().items())
    assert not again.training and capsys.readouterr().out == ''
    again.save_pretrained(tmp_path/'again')
    configs = [json.loads((tmp_path/name/'config.json').read_text()) for name in ('model', 'again')]
    assert configs[0].items() >= size.items() and cls(**configs[0]).state_dict().keys() == model.state_dict().keys()
    assert type(load(tmp_path/'model', 'cpu')) is cls   # our own loader reads it


def test_another_network_is_refused(tmp_path):
    (basicvsr, size), (edvr, _) = SIZES
    basicvsr(**size).save_pretrained(tmp_path)
    with pytest.raises(SeemError, match='gives no EDVR.*Missing key.*conv_first.weight'): edvr.from_pretrained(tmp_path)
    with pytest.raises(SeemError, match='gives no BasicVSR.*seem.rep.conv1.weight'): basicvsr.from_pretrained(tmp_path, seem=True)


def test_push_to_hub(monkeypatch):
    "What would be uploaded; the hub's own client is not tested here."
    cls, size = SIZES[0]
    uploaded = {}
    def upload(self, *, folder_path, repo_id, **kwargs): uploaded[repo_id] = names(folder_path)
    monkeypatch.setattr('huggingface_hub.HfApi.create_repo', lambda self, repo_id, **kw: type('repo', (), dict(repo_id=repo_id)))
    monkeypatch.setattr('huggingface_hub.HfApi.upload_folder', upload)
    cls(**size).push_to_hub('user/basicvsr-seem')
    assert uploaded == {'user/basicvsr-seem': ['README.md', 'config.json', 'model.safetensors']}


def test_two_downloads_of_one_file(tmp_path):
    "The second one keeps its hands off the first one's part."
    fcntl = pytest.importorskip('fcntl')
    target = tmp_path/'w.pth'
    with open(tmp_path/'w.pth.part', 'ab') as f:
        f.write(b'half')
        fcntl.flock(f, fcntl.LOCK_EX)
        with pytest.raises(SeemError, match='another process is fetching it'):
            download('http://127.0.0.1:9/w.pth', target, bar=False)
    assert (tmp_path/'w.pth.part').read_bytes() == b'half' and not target.exists()
