"Rows that must be refused, each with the reason."
import numpy as np, pandas as pd, pytest, sys
from seem_nbdev.core import SeemError
from seem_nbdev.evaluation.rows import (
    ROW_COLUMNS, check_rows, clip_means, difference_rows, load_rows, make_rows, pivot, save_rows, with_average)

RUN = dict(profile='demo', dataset='made up', degradation='BI', channel='rgb', model='EDVR')
ONE = pd.DataFrame({'frame': [0], 'psnr': [30.], 'ssim': [.9]})
GOOD = make_rows(ONE[['frame', 'psnr']], **RUN, clip='city')


def refused(why): return pytest.raises(SeemError, match=why)


@pytest.mark.parametrize('fault,why', [
    (dict(value=np.nan), 'a value is empty or NaN'), (dict(value='high'), 'has no number'),
    (dict(unit='1'), 'a unit does not belong'), (dict(metric='vmaf'), "valid: 'psnr', 'ssim'"),
    (dict(dataset=''), 'not say its dataset'), (dict(profile='big'), "valid: 'smoke', 'demo'"),
    (dict(clip=''), 'a score needs its clip'), (dict(n_frames=0), 'a score needs its clip'),
    (dict(crop_border=None), 'a crop_border is empty'), (dict(clip=15), r'clip is \[15\]'),
    (dict(checkpoint='x.pth'), 'the sha256 of its'), (dict(note=''), r'unknown column\(s\) note'),
])
def test_a_fault_is_named(fault, why):
    with refused(why): check_rows(GOOD.assign(**fault))


@pytest.mark.parametrize('rows,why', [
    (GOOD.drop(columns=['clip', 'seem']), r'column\(s\) seem, clip;'), (GOOD.iloc[:0], 'there are no rows'),
    ([1], 'rows are a list'), (pd.concat([GOOD, GOOD.assign(value=31.)]), 'there twice'),
])
def test_what_are_no_rows(rows, why):
    with refused(why): check_rows(rows)


@pytest.mark.parametrize('scores,context,why', [
    (ONE, {}, 'a score needs its clip and n_frames'), ({'psnr': 30.}, {}, 'a score needs its clip and n_frames'),
    (ONE, dict(data=1), "unknown column 'data'"),
    (ONE.assign(mse=.1), dict(clip='0'), "unknown metric 'mse'"),
    (ONE[['psnr']], dict(clip='0'), 'scores have no frames'),
])
def test_scores_without_their_context(scores, context, why):
    with refused(why): make_rows(scores, **RUN, **context)


def test_averages_of_averages():
    averaged = with_average(GOOD)
    with refused('averages already'): with_average(averaged)
    with refused('no scores of clips'): with_average(make_rows({'parameters': 3}, **RUN))


@pytest.mark.parametrize('was,now,why', [
    ('demo', 'dmeo', "rows.csv does not hold tidy rows: unknown profile 'dmeo'"),
    (',value,', ',values,', r'column\(s\) value, values'), (None, '', 'not hold tidy rows')])
def test_files_that_hold_no_rows(tmp_path, was, now, why):
    path = save_rows(GOOD, tmp_path/'rows.csv')
    path.write_text(path.read_text().replace(was, now) if was else now)
    with refused(why): load_rows(path)


def test_other_files(tmp_path, monkeypatch):
    with refused('there are no rows at'): load_rows(tmp_path/'none.csv')
    (broken := tmp_path/'broken.parquet').write_text('PAR1')
    with refused('broken.parquet does not hold tidy rows'): load_rows(broken)
    with refused("'.xlsx'; valid: '.csv', '.parquet'"): save_rows(GOOD, 'rows.xlsx')
    monkeypatch.setitem(sys.modules, 'pyarrow', None)
    with refused(r"pip install 'seem_nbdev\[parquet\]'"): save_rows(GOOD, broken)


def test_differences_of_what_does_not_fit():
    full, none = dict(model='EDVR', seem='full'), dict(model='EDVR', seem='none')
    rows = check_rows(pd.concat([GOOD, GOOD.assign(seem='full', value=31.)]))
    for where, why in ((dict(model='EDVR'), 'fits 2 runs'), (dict(seems='x'), "column 'seems'"),
                       (dict(seem='late'), "no row has seem 'late'")):
        with refused(why): difference_rows(rows, where, none)
    with refused('has no frame rows'): difference_rows(clip_means(rows), full, none)
    with refused('has an infinite score'): difference_rows(rows.assign(value=np.inf), full, none)
    late = pd.concat([rows, rows[rows.seem == 'none'].assign(seem='late', channel='y')])
    with refused('differ in what was'): difference_rows(late, full, dict(seem='late'))


def test_a_column_that_is_none():
    with refused("unknown column 'clips'"): pivot(GOOD, columns=('clips',))
    assert list(GOOD.columns) == list(ROW_COLUMNS)
