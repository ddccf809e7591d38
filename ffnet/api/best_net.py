"""Looks at the best net of a run for the page. Imports TensorFlow when it is called."""

import numpy as np
from matplotlib.figure import Figure

from ffnet.data.rows import by_name
from ffnet.errors import InputError
from ffnet.export.card import choose
from ffnet.export.measured import AT_ONCE, validation_part
from ffnet.report.page.net import Answers, figures_of, part_of, part_without
from ffnet.report.page.parts import Part
from ffnet.run.folder import RunFolder
from ffnet.system import environment


def looked_at(folder: RunFolder) -> tuple[Part, dict[str, Figure]]:
    """(the page's section about the best net, the net's figures by name).

    If its weights or the data of the run are not on this machine, the section says so, and there
    are no figures.
    """
    try:
        found = answers(folder)
    except InputError as error:
        # The page may be sent to others: it names no folders of the user, and gives no advice.
        what = str(error).replace(f"{folder.place}/", "").partition("; ")[0]
        return part_without(what), {}
    figures = figures_of(found)
    return part_of(found, figures), figures


def answers(folder: RunFolder) -> Answers:
    """What the best net of a run says about the validation part. The test part is not used.

    Raises:
        InputError: the weights or the data are not there.
    """
    choice = choose(folder, None)
    try:
        part = validation_part(choice)
    except InputError as error:
        raise InputError(f"the data of the run are not on this machine; {error}") from None
    with environment.restored():  # only now, because TensorFlow takes seconds
        from ffnet.export.export import ServedNet

    net = ServedNet(choice)
    starts = range(0, len(part), AT_ONCE)
    each = [
        net.answer(by_name(part.x[start : start + AT_ONCE]))["probabilities"] for start in starts
    ]
    return Answers(
        trial=int(choice.row["trial"]),
        epoch=float(choice.report["epoch"]),
        note=choice.note,
        classes=choice.document["data"]["classes"],
        x=part.x,
        y=part.y,
        probabilities=np.concatenate([np.asarray(probabilities) for probabilities in each]),
        kernel=choice.weights.saved.arrays[0],
    )
