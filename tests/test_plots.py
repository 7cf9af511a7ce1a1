"Pictures that cannot be drawn say why, and leave nothing half-drawn."
import matplotlib.pyplot as plt, numpy as np, pandas as pd, pytest
from seem_nbdev.core import SeemError
from seem_nbdev.evaluation.rows import AVERAGE
from seem_nbdev.tables.plots import (
    best_box, check_image, comparison_figure, crop, difference_plot, iou_plot, mask_colors, mask_overlay, picture_rows,
    save_figure)

GT, LQ = np.zeros((40, 60, 3), np.uint8), np.zeros((10, 15, 3), np.uint8)
MASKS = np.zeros((64, 10, 15), bool)
SIZE = r'is \(10, 15, 3\), expected \(40, 60, 3\)'


def refused(why): return pytest.raises(SeemError, match=why)


@pytest.mark.parametrize('img,kind', [(GT/255, "'float64', 40, 60, 3"), (GT[..., 0], "'uint8', 40, 60"), ([1], "'list'"),
                                      (GT[:0], "'uint8', 0, 60, 3"), (GT[..., 1:], "'uint8', 40, 60, 2")])
def test_what_is_no_image(img, kind):
    with refused(rf'sr is \({kind}'): check_image(img, 'sr')


def test_an_image_of_another_size():
    with refused('sr ' + SIZE): check_image(LQ, 'sr', GT.shape)


@pytest.mark.parametrize('args,why', [
    ((LQ, MASKS, .5, mask_colors(2)), '2 colors for 64 masks'), ((LQ, MASKS*1.), r'expected a bool array \(c,10,15\) for'),
    ((LQ, MASKS[:, :5]), r"masks are \('bool', 64, 5, 15\)"), ((LQ, None), r"masks are \('NoneType',\), expected"),
    ((LQ/255, MASKS), r"frame is \('float64', 10, 15, 3\)"), ((LQ, MASKS, 2), 'alpha is 2')])
def test_masks_that_cannot_be_painted(args, why):
    with refused(why): mask_overlay(*args)


@pytest.mark.parametrize('box', [(31, 0, 10, 40), (0, 51, 30, 10), (-1, 0, 30, 40), (0, 0, 0, 40)])
def test_a_box_that_sticks_out(box):
    with refused('does not lie inside the image of 40x60'): crop(GT, box)


def test_boxes():
    with refused(r'expected \(top, left, height, width\)'): crop(GT, (0, 0, 30))
    with refused('images is empty'): best_box({}, GT, 8)
    with refused("image 'a' " + SIZE): best_box({'a': LQ}, GT, 8)
    with refused('does not lie inside'): best_box({'a': GT}, GT, 500)


@pytest.mark.parametrize('bad,why', [
    (dict(images={}), 'images is empty'), (dict(images={'a': LQ}), "image 'a' " + SIZE),
    (dict(box=(39, 0, 20, 20)), 'does not lie inside'), (dict(gt=GT/255), r"gt is \('float64',"),
    (dict(frame=LQ[:9]), 'gt of 40x60 is no whole multiple of the frame of 9x15'),
    (dict(masks=MASKS[:, :9]), r"masks are \('bool', 64, 9, 15\)"),
    (dict(scores={'EDVR': 27.}), "unknown method in scores 'EDVR'; valid: 'Bicubic'")])
def test_comparisons(bad, why):
    opened = plt.get_fignums()
    good = dict(frame=LQ, masks=MASKS, images={'Bicubic': GT}, gt=GT, box=(0, 0, 20, 20))
    with refused(why): comparison_figure(**{**good, **bad})
    assert plt.get_fignums() == opened


def test_rows_of_pictures(tmp_path):
    with refused('images is empty'): picture_rows({})
    with refused("image 'b' " + SIZE): picture_rows({'a': GT, 'b': LQ})
    with refused('0 columns of 2.5 inches'): picture_rows({'a': GT}, 0)
    with refused("unknown kind of figure '.jpg'; valid: '.png', '.svg', '.pdf'"):
        save_figure(picture_rows({'a': GT}), tmp_path/'a.jpg')


def test_plots_of_rows():
    diffs = pd.DataFrame([dict(a='x', b='y', clip=c, metric='psnr', value=1., low=0., high=2., profile='demo')
                          for c in ('city', AVERAGE)])
    with refused("differences 'ssim'; valid: 'psnr'"): difference_plot(diffs, 'ssim')
    with refused('cannot stand in one table'): difference_plot(pd.concat([diffs, diffs.assign(profile='paper')]))
    with refused('no rows of `difference_rows`'): difference_plot(diffs.drop(columns='low'))
    with refused('a clip is there twice'): difference_plot(pd.concat([diffs, diffs]))
    means = diffs.drop(columns=['a', 'b']).assign(model='masks', degradation='BIx4', metric='mask_iou')
    with refused('no rows of `interval_rows`'): iou_plot(means.drop(columns='low'))
    with refused("'psnr'; valid: 'mask_iou'"): iou_plot(means.assign(metric='psnr'))
    with refused('a clip is there twice'): iou_plot(pd.concat([means, means]))
    with refused('cannot stand in one table'): iou_plot(pd.concat([means, means.assign(profile='paper')]))
