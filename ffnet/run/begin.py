"""Begins a new run in a folder, or continues the run that the folder holds."""

from datetime import datetime

from ffnet.data.dataset import DataSet
from ffnet.errors import InputError
from ffnet.run import learnt, past, provenance, recorded, rescue, storage
from ffnet.run.folder import RunFolder
from ffnet.run.listing import HERE
from ffnet.run.past import Past
from ffnet.spec.base import Values
from ffnet.spec.earlier import EARLIER, as_meant, of_run
from ffnet.spec.net import NetSpec
from ffnet.spec.study import Study


def new_place(name: str) -> str:
    """The folder for a run without `--out`: runs/NAME-TIME."""
    return f"{HERE}/{name}-{datetime.now():%Y%m%d-%H%M%S-%f}"[:-3]


def holds_a_study(place: str) -> bool:
    """Whether a place holds the study.json of a run.

    Raises:
        InputError: the place cannot be a run's folder, or its storage does not answer.
    """
    folder = RunFolder.at(place)
    storage.knock(folder.place)
    return folder.has_study()


def as_begun(values: Values, place: str) -> tuple[Values, list[str]]:
    """A study's values for a resume: (values, lines that tell the user what was added).

    If a field is left out and its default has changed since the run began, it gets the run's value.
    """
    run = recorded.read_study_json(RunFolder.at(place))["study"]
    meant = as_meant(values, of_run(run))
    said = []
    for name in EARLIER if meant is not values else ():
        value = meant["net"][name]
        if value != NetSpec.model_fields[name].default:
            said.append(f"{name} is {str(value).lower()}, as in the run; the file leaves it out")
    return meant, said


def begin(
    folder: RunFolder, study: Study, data: DataSet, resume: bool = False, retry: bool = False
) -> Past:
    """Begin a run and write its study.json, or read the past of the run in the folder.

    Args:
        folder: the run's folder, held by this process.
        study: the study.
        data: its data set.
        resume: whether to continue the run if the folder holds one.
        retry: whether the run's failed trials are trained again.

    Returns:
        What an earlier process of the study did; for a new run only what `learn_from` gave.

    Raises:
        InputError: the folder holds something else, the folder cannot be written, or the run cannot
            continue with this study or these data, or nothing can be learnt from `learn_from`.
    """
    saved = rescue.found(folder)
    if resume and (saved or folder.has_study()):
        return past.read(folder, study, data, retry)
    if saved:
        raise InputError(
            f"{folder}: tables of its run are saved in {saved}: bring them back with --resume, "
            f"move them away, or name a new folder with --out"
        )
    if folder.has_study() and folder.begun() and past.is_same(folder, study):
        raise InputError(
            f"{folder} holds this study already: add --resume to continue it, or name a new folder"
        )
    rows, lines = learnt.gather(study, data) if study.tuning.learn_from else ([], [])
    folder.begin()
    document = provenance.new_study_json(study.resolved(), data, study.resources.threads)
    if rows:
        document["learnt"] = lines
    storage.write_json(folder.study, document)
    if rows:
        learnt.write(folder, rows)
    return Past(learnt=rows, notes=lines)
