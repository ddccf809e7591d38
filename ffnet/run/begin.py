"""How a study takes its folder: a new run begins there, or a run that is there goes on."""

from datetime import datetime

from ffnet.data.dataset import DataSet
from ffnet.errors import InputError
from ffnet.run import past, provenance, recorded, rescue, storage
from ffnet.run.folder import RunFolder
from ffnet.run.listing import HERE
from ffnet.run.past import Past
from ffnet.spec.base import Values
from ffnet.spec.earlier import EARLIER, as_meant, of_run
from ffnet.spec.net import NetSpec
from ffnet.spec.study import Study


def new_place(name: str) -> str:
    """The folder of a run that was given no place: runs/NAME-TIME."""
    return f"{HERE}/{name}-{datetime.now():%Y%m%d-%H%M%S-%f}"[:-3]


def holds_a_study(place: str) -> bool:
    """Whether a study was begun there."""
    folder = RunFolder.at(place)
    storage.knock(folder.place)
    return folder.has_study()


def as_begun(values: Values, place: str) -> tuple[Values, list[str]]:
    """A study's values as the run in a place means them, and lines that say what that changes.

    Fields that the values leave out, and whose default is another one since the run was begun, get
    the run's value.
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
    """Begin a run, or take up the one that is there.

    Args:
        folder: the run's, held by this process.
        study: what runs.
        data: its data set.
        resume: whether to go on with the run, if there is one.
        retry: whether its failed trials are trained again.

    Returns:
        What the study did there before; empty for a new run, which has its study.json then.

    Raises:
        InputError: the folder holds something else, cannot be written, or the run cannot go on so.
    """
    saved = rescue.found(folder)
    if resume and (saved or folder.has_study()):
        return past.read(folder, study, data, retry)
    if saved:
        raise InputError(
            f"{folder}: tables of a run there are saved in {saved}: take them back with --resume, "
            f"move them away, or name a new folder with --out"
        )
    if folder.has_study() and folder.begun() and past.is_same(folder, study):
        raise InputError(
            f"{folder} holds this same study: add --resume to go on with it, or name a new folder"
        )
    folder.begin()
    document = provenance.new_study_json(study.resolved(), data, study.resources.threads)
    storage.write_json(folder.study, document)
    return Past()
