"""Who imports whom, read in the code, as a picture: figures/imports.svg.

    python scripts/draw_imports.py

Each may use what stands below it. The tests take `graph` from here.
"""
import argparse, ast, re
from functools import cache
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT/'seem_nbdev'
# from the lowest to the highest; the modules of a chapter may use each other, but in no circle
ORDER = 'core data.images models metrics weights data masks evaluation training tables cli'.split()


def dotted(path): return '.'.join(path.relative_to(PACKAGE).with_suffix('').parts).removesuffix('.__init__')
PATHS = {dotted(p): p for p in sorted(PACKAGE.rglob('*.py')) if p.stem != '_modidx'}
MODULES = [m for m in PATHS if m != '__init__']


def level(module): # its place in `ORDER`
    return next(i for i, o in enumerate(ORDER) if module == o) if module in ORDER else ORDER.index(module.split('.')[0])


def imported(module, source):
    "The modules of this package that a source imports, anywhere in it."
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [a.name.removeprefix('seem_nbdev.') for a in node.names if a.name.startswith('seem_nbdev.')]
        elif isinstance(node, ast.ImportFrom):
            if not node.level:
                if (node.module or '').split('.')[0] != 'seem_nbdev': continue
                base = node.module.split('.')[1:]
            else:
                package = module.split('.') if PATHS.get(module, PACKAGE).name == '__init__.py' else module.split('.')[:-1]
                base = package[:len(package) - node.level + 1] + (node.module or '').split('.')*bool(node.module)
            names = ['.'.join(base)]
            for a in node.names:
                if '.'.join([*base, a.name]) in PATHS: names.append('.'.join([*base, a.name]))
        else: continue
        found |= {n for n in names if n in PATHS and n != module}
    packages = {n for n in found if any(o.startswith(f'{n}.') for o in found)} # of `from .data import images`
    return {n for n in found if n not in packages or PATHS[n].name != '__init__.py'}


@cache
def graph(): return {m: imported(m, PATHS[m].read_text()) for m in MODULES}


COLOURS = dict(down='#5b7c99', up='#cc3333')

def svg():
    "A row for each level, the highest at the top; arrows down on the right, as thick as they are many; up, in red, on the left."
    rows, step, left, width = {}, 56, 90, 560
    for m in MODULES: rows.setdefault(level(m), []).append(m)
    y = lambda i: 30 + step*(len(ORDER) - 1 - i)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + width + 330} {step*len(ORDER) + 20}" '
           'font-family="sans-serif" font-size="13">', '<rect width="100%" height="100%" fill="white"/>',
           *(f'<marker id="{name}" viewBox="0 0 6 6" refX="6" refY="3" markerWidth="7" markerHeight="7" '
             f'markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0L6 3L0 6z" fill="{colour}"/></marker>'
             for name, colour in COLOURS.items())]
    between = {}
    for a, bs in graph().items():
        for b in bs: between.setdefault((level(a), level(b)), set()).add((a, b))
    for (a, b), arrows in sorted(between.items()):
        if a == b: continue
        side, x = (1, left + width) if a > b else (-1, left)
        far = x + side*(24 + 26*abs(a - b))
        kind, title = 'down' if a > b else 'up', '\n'.join(f'{p} -> {q}' for p, q in sorted(arrows))
        out.append(f'<path d="M{x} {y(a) + 6*side}C{far} {y(a) + 6} {far} {y(b) - 6} {x} {y(b) - 6*side}" fill="none" '
                   f'stroke="{COLOURS[kind]}" stroke-opacity=".6" stroke-width="{1 + .5*len(arrows)**.5:.2f}" '
                   f'marker-end="url(#{kind})"><title>{escape(title)}</title></path>')
    for i, modules in rows.items():
        names = [m.partition('.')[2] or m for m in modules if m not in ORDER or m in ('core', 'cli', 'data.images')]
        out.append(f'<rect x="{left}" y="{y(i) - 19}" width="{width}" height="38" rx="6" fill="#f2f5f8" stroke="#5b7c99"/>'
                   f'<text x="{left + 12}" y="{y(i) + 5}" font-weight="bold">{ORDER[i]}</text>'
                   f'<text x="{left + 110}" y="{y(i) + 5}">{", ".join(n for n in names if n != ORDER[i] and ORDER[i] != "data.images")}</text>')
    return '\n'.join(out) + '\n</svg>\n'


if __name__ == '__main__':
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    (ROOT/'figures'/'imports.svg').write_text(svg())
    print(ROOT/'figures'/'imports.svg')
