"Which module may import which, and which may import something heavy."
import ast, re, sys
import pytest
from conftest import ROOT, run

# A <- B: B imports A. Nothing else is allowed.
ARROWS = """
core <- all
layers <- seem edvr basicvsr temporal evaluate flow training mask_scores
seem <- edvr basicvsr compare config evaluate_tools training
degradation <- metrics torch_metrics temporal data datasets data_tools evaluate flow mask_scores
masks <- sam data store datasets evaluate evaluate_tools compare motion training
store <- datasets evaluate evaluate_tools compare motion training
checkpoints <- sam minisam evaluate evaluate_tools compare fetch runs training
metrics <- data_tools evaluate evaluate_tools mask_scores
torch_metrics <- evaluate
temporal <- evaluate motion mask_scores
data <- datasets data_tools evaluate evaluate_tools compare flow motion training
datasets <- data_tools evaluate evaluate_tools compare motion training
edvr <- evaluate training
basicvsr <- evaluate
results <- evaluate evaluate_tools compare plots motion training
plots <- mask_scores
evaluate <- evaluate_tools compare motion training
compare <- evaluate_tools motion training
motion <- evaluate_tools
config <- train runs training
flow <- train training
train <- runs training
runs <- training
"""
TOP = {'upscale', 'cli'}   # these may import everything
LAZY = {('masks', 'sam'), ('masks', 'store')}  # found by name, when they are asked for
# package: the modules that own it
HEAVY = {'segment_anything': 'sam', 'timm': 'sam', 'av': 'data', 'zarr': 'store', 'numcodecs': 'store',
         'accelerate': 'core train runs', 'tensorboard': 'runs', 'lpips': 'torch_metrics', 'onnx': 'minisam'}

DYNAMIC = r'(^|\.)(import_module|__import__)$'
MODULES = sorted(p for p in (ROOT/'seem_nbdev').glob('*.py') if not p.stem.startswith('_'))
allowed = {tuple(reversed([a, b])) for line in ARROWS.strip().splitlines()
           for a, _, bs in [line.partition(' <- ')] for b in bs.split()}


def local(node):
    "The modules of this package that an import statement or an `import_module` call names."
    if isinstance(node, ast.Import): names = [a.name for a in node.names]
    elif isinstance(node, ast.ImportFrom):
        base = '.'.join(filter(None, ['seem_nbdev' if node.level else '', node.module]))
        names = [f'{base}.{a.name}' for a in node.names] if base == 'seem_nbdev' else [base]
    elif isinstance(node, ast.Call) and re.search(DYNAMIC, ast.unparse(node.func)):
        names = [str(getattr(node.args[0], 'value', ''))]
    else: names = []
    return [n.split('.')[1] for n in names if n.startswith('seem_nbdev.')]


def wrong_arrows(module, source):
    "The modules that `module` imports and may not."
    if module in TOP: return []
    nodes = [(node, b) for node in ast.walk(ast.parse(source)) for b in local(node) if b != 'core']
    return [b for node, b in nodes if (module, b) not in allowed
            and not (isinstance(node, ast.Call) and (module, b) in LAZY)]


def wrong_heavy(module, source):
    "The heavy packages that `module` imports at its top level, or does not own."
    tree, found = ast.parse(source), []
    inside = {id(n) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) for n in ast.walk(f)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import): names = [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level: names = [node.module]
        else: continue
        for name in {n.split('.')[0] for n in names} & set(HEAVY):
            if module not in HEAVY[name].split() or id(node) not in inside: found.append(name)
    return found


@pytest.mark.parametrize('path', MODULES, ids=lambda p: p.stem)
def test_arrows(path): assert wrong_arrows(path.stem, path.read_text()) == []


@pytest.mark.parametrize('path', MODULES, ids=lambda p: p.stem)
def test_heavy(path): assert wrong_heavy(path.stem, path.read_text()) == []


@pytest.mark.parametrize('module,source,expected', [
    ('seem', 'from .layers import ResidualBlock\nfrom .core import check', []),
    ('seem', 'from .masks import MaskStore', ['masks']),
    ('basicvsr', 'def f():\n    from seem_nbdev.sam import SAMPrior', ['sam']),
    ('edvr', 'import seem_nbdev.data as d', ['data']),
    ('plots', 'from . import results, evaluate', ['evaluate']),
    ('layers', 'from seem_nbdev import seem', ['seem']),
    ('masks', "def f(): return importlib.import_module('seem_nbdev.sam')", []),
    ('masks', 'def f(): from .sam import SAMPrior', ['sam']),
    ('data', "import_module('seem_nbdev.train')", ['train']),
    ('cli', 'from .upscale import upscale', []),
])
def test_arrows_are_seen(module, source, expected): assert wrong_arrows(module, source) == expected


@pytest.mark.parametrize('module,source,expected', [
    ('data', 'def f():\n    import av', []),
    ('data', 'import av', ['av']),
    ('upscale', 'def f():\n    import av.container', ['av']),
    ('sam', 'class A:\n    def f(self):\n        from segment_anything.utils import amg', []),
    ('sam', 'try: from segment_anything import x\nexcept ImportError: pass', ['segment_anything']),
])
def test_heavy_is_seen(module, source, expected): assert wrong_heavy(module, source) == expected


def loaded(code, names):
    "Which packages of `names` a fresh Python has loaded after `code`."
    code += f"\nimport sys\nprint('loaded:', *[m for m in {sorted(names)} if m in sys.modules])"
    printed = run(sys.executable, '-c', code, OMP_NUM_THREADS=1).stdout
    return printed.rpartition('loaded:')[2].split()


def test_package_import_is_light():
    heavy = {*HEAVY, 'torch', 'torchvision', 'skimage', 'scipy', 'matplotlib', 'pandas', 'IPython'}
    assert loaded('import seem_nbdev', heavy) == []
    assert loaded('import seem_nbdev, pandas', heavy) == ['pandas']  # it would be seen


def test_module_imports_are_light():
    "All modules at once: what none of them loads, each of them does not load."
    code = '\n'.join(f'import seem_nbdev.{p.stem}' for p in MODULES)
    assert loaded(code, {*HEAVY, 'skvideo', 'papermill', 'nbdev', 'fastcore'}) == []


def test_backbones_do_not_load_masks():
    "SEEM and the backbones take masks as a plain tensor."
    if not (ROOT/'seem_nbdev'/'basicvsr.py').exists(): pytest.skip("not written yet")
    heavy = {'seem_nbdev.masks', 'seem_nbdev.sam', 'skimage', 'matplotlib', 'pandas'}
    assert loaded('import seem_nbdev.basicvsr, seem_nbdev.edvr', heavy) == []
