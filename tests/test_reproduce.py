"What the reproduce notebooks say in words: no score is typed, and each claim about the paper's numbers follows from them."
import re
import nbformat, pytest
from conftest import notebooks
from seem_nbdev.evaluation.rows import AVERAGE
from seem_nbdev.tables.differences import published_gains, published_table
from seem_nbdev.tables.experiments import committed_gains, committed_rows, findings, table_gains

reproduce = pytest.mark.parametrize('path', notebooks('reproduce_*.ipynb'), ids=lambda p: p.stem)


@reproduce
def test_no_score_is_typed(path):
    "A number with two decimals or more is computed from rows, in a code cell."
    nb = nbformat.read(path, as_version=4)
    assert [m for c in nb.cells if c.cell_type == 'markdown' for m in re.findall(r'\d\.\d\d+', c.source)] == []


def gain(table, name, metric='ΔPSNR', clip=AVERAGE):
    return published_gains(table, (clip,)).loc[name, (clip, metric)]


def test_table_2_in_words():
    "Both rise on average, PSNR by a small part of Table 1's gain; 015 falls, by more than any other clip gains."
    name = 'EDVR + SEEM (backbone frozen) minus EDVR'
    assert 0 < gain(2, name) < .25*gain(1, 'EDVR + SEEM minus EDVR') and gain(2, name, 'ΔSSIM') > 0
    clips = {c: gain(2, name, clip=c) for c in ('000', '011', '015', '020')}
    assert clips.pop('015') < -max(clips.values()) and gain(2, name, 'ΔSSIM', '015') < 0


def test_table_3_in_words():
    "Fast motion gains too, least of the three; EDVR's PSNR gains most on medium motion, the others rise from fast to slow."
    motions = 'fast', 'medium', 'slow'
    of = lambda model, metric: [gain(3, f'{model} + SEEM minus {model}', metric, m) for m in motions]
    for model in ('EDVR', 'BasicVSR'):
        for metric in ('ΔPSNR', 'ΔSSIM'): assert 0 < of(model, metric)[0] == min(of(model, metric))
    assert of('EDVR', 'ΔPSNR').index(max(of('EDVR', 'ΔPSNR'))) == 1
    for rising in (of('BasicVSR', 'ΔPSNR'), of('EDVR', 'ΔSSIM'), of('BasicVSR', 'ΔSSIM')): assert rising == sorted(rising)


def test_table_5_in_words():
    "Fine-tuning alone lost, so that the gain over it is larger than over the published backbone."
    for m in ('EDVR', 'BasicVSR'):
        tuned, start = published_table(5)[AVERAGE].loc[f'{m} (fine-tuned)'], published_table(4)[AVERAGE].loc[m]
        assert tuned.PSNR < start.PSNR
        assert gain(5, f'{m} + SEEM minus {m} (fine-tuned)') > gain(4, f'{m} + SEEM minus {m}')


def test_table_6_in_words():
    "One branch alone lowers SSIM; both together gain more than twice the sum of the two; the control is below every row."
    of = lambda form, metric='ΔPSNR': gain(6, f'BasicVSR + SEEM{form} minus BasicVSR', metric)
    for form in (' (forward)', ' (backward)'): assert of(form) > 0 > of(form, 'ΔSSIM')
    assert of('') > 2*(of(' (forward)') + of(' (backward)')) and of('', 'ΔSSIM') > 0
    assert published_table(5)[AVERAGE].PSNR['BasicVSR (fine-tuned)'] < published_table(6)[AVERAGE].PSNR.min()


@pytest.mark.parametrize('table', [*'123456'])
def test_findings_are_of_the_rows(table):
    "Every number of the words is one of the gains; the committed rows have the same gains as their table."
    rows = committed_rows(table, 'demo')
    if rows is None: pytest.skip("the results are not here")
    gains = table_gains(rows[rows.metric == 'psnr'], table)
    said = set(re.findall(r'[+-]\d+\.\d{4}', findings(gains)))
    average = gains[gains['clip'] == AVERAGE]
    assert said and {f'{v:+.4f}' for v in average.value} <= said
    committed = committed_gains(table)
    assert committed.index.tolist() == [f'{r.a} minus {r.b}' for r in average.itertuples()]
