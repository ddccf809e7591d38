"""Looks at the best net of a run for the page. Imports TensorFlow when it is called."""

import numpy as np

from ffnet.errors import InputError
from ffnet.export.card import choose
from ffnet.export.measured import AT_ONCE, validation_part
from ffnet.report.page.net import Answers, part_of, part_without
from ffnet.report.page.parts import Part
from ffnet.run.folder import RunFolder
from ffnet.system import environment


def net_part(folder: RunFolder) -> Part:
    """The page's section about the best net.

    If its weights or the data of the run are not on this machine, the section says so.
    """
    try:
        return part_of(answers(folder))
    except InputError as error:
        # The page may be sent to others, so it does not name the user's folders.
        return part_without(str(error).replace(f"{folder.place}/", ""))


def answers(folder: RunFolder) -> Answers:
    """What the best net of a run says about the validation part. The test part is not used.

    Raises:
        InputError: the weights or the data are not there.
    """
    choice = choose(folder, None)
    part = validation_part(choice)
    with environment.restored():  # only now, because TensorFlow takes seconds
        from ffnet.export.export import ServedNet

    net = ServedNet(choice)
    starts = range(0, len(part), AT_ONCE)
    each = [net.answer(part.x[start : start + AT_ONCE])["probabilities"] for start in starts]
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
