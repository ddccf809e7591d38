"""The message that a study sends to a chat when it has ended."""

from ffnet.run.folder import RunFolder


def study_ended(folder: RunFolder) -> str:
    """The headline of a run as Markdown: what was searched, what won, how sure, what it cost.

    Args:
        folder: the run, which has ended.

    Raises:
        InputError: the run cannot be read.
    """
    # Imported here, because few studies send a message and the imports take a second.
    from ffnet.report.page.facts import Facts
    from ffnet.report.page.headline import headline

    name = folder.name.replace("`", "'")
    answers = [f"- **{answer.question}**: {answer.text}" for answer in headline(Facts.read(folder))]
    return "\n".join([f"The study `{name}` has ended.", "", *answers])
