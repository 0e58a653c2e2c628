"""The ``tlcore`` command: one thin function per subcommand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Build, check and grade the course's lessons.")
console = Console()
_LM = {"rich_help_panel": "Language models (lm)"}
_LM_OPTIONS = {
    "files", "held_out", "vocabulary", "embedding", "hidden", "layers", "bptt", "dropout", "backward", "minutes",
}  # fmt: skip
Lessons = Annotated[list[str] | None, typer.Argument(help="Lessons: 2, 02 or part of a name. Default: all.")]


@app.command()
def build(lessons: Lessons = None) -> None:
    """Make the notebooks students get from their sources in solutions/."""
    from tlcore.grading import build as building

    course, names = _course(lessons)
    with _sentences(), _bar() as bar:
        task = bar.add_task("building", total=len(names))
        made = building.build(course, names, done=lambda name: bar.advance(task))
    for path in made:
        console.print(path.relative_to(course.root))


@app.command()
def check(
    lesson: Annotated[str, typer.Argument(help="Lesson (2, 02, part of a name) or a notebook file.")],
) -> None:
    """Run the visible checks of your copy of a lesson. Exits 0 only if all of them pass."""
    from tlcore.grading.course import find_course
    from tlcore.grading.selfcheck import check_notebook

    with _sentences(), _bar() as bar:
        if lesson.endswith(".ipynb"):
            path, config = Path(lesson), None
        else:
            course = find_course()
            name = course.find(lesson)
            path, config = course.release / name / f"{name}.ipynb", course.config()
        task = bar.add_task("running your notebook", total=None)
        cells = check_notebook(path, config, lambda done, of: bar.update(task, completed=done, total=of))
    for cell in cells:
        console.print(f"[bold]{cell.exercise}[/]  {cell.score:g} of {cell.points:g}")
        for result in cell.results:
            mark = "[green]✓[/]" if result["passed"] else "[red]✗[/]"
            console.print(f"  {mark} {result['name']}", highlight=False)
            for text in (result["why"], result["hint"], result["trace"]) if not result["passed"] else ():
                if text:
                    console.print(f"      {text}", style="dim", markup=False, highlight=False)
        if cell.error:
            console.print(f"  {cell.error}", style="red", markup=False, highlight=False)
    score, most = sum(c.score for c in cells), sum(c.points for c in cells)
    console.print(f"[bold]{score:g} of {most:g}[/] points in the visible checks")
    raise typer.Exit(0 if score == most else 1)


@app.command()
def grade(
    lessons: Lessons = None,
    workers: Annotated[int | None, typer.Option(help="Processes that execute; default: one per core.")] = None,
    scheduler: Annotated[str | None, typer.Option(help="Dask scheduler whose workers execute instead.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a run was stopped.")] = False,
    no_sandbox: Annotated[
        bool, typer.Option("--no-sandbox", help="Run the students' code with your own rights.")
    ] = False,
) -> None:
    """Grade what lies in course/submitted/STUDENT/LESSON/. Exits 1 if any submission could not be graded."""
    from tlcore.grading import grader
    from tlcore.grading.report import write_report
    from tlcore.grading.sandbox import probe

    course, names = _course(lessons)
    if not no_sandbox and not scheduler and (obstacle := probe()):
        _fail(f"no sandbox: {obstacle}. Students' code would run with your rights; --no-sandbox allows it by name")
    with _sentences(), _bar() as bar:
        total = sum(len(grader.submissions(course, name)) for name in names)
        if not total:
            _fail(f"nothing to grade: no {course.submitted.relative_to(course.root)}/STUDENT/LESSON/ for {names}")
        task = bar.add_task("grading", total=total)
        graded = []
        handed_in = [n for n in names if grader.submissions(course, n)]
        for one in grader.grade(
            course, handed_in, sandboxed=not no_sandbox, workers=workers, scheduler=scheduler, resume=resume
        ):
            graded.append(one)
            bar.advance(task)
    _print_grades(graded)
    console.print(f"feedback: {course.feedback.relative_to(course.root)}/STUDENT/LESSON/", soft_wrap=True)
    for name in handed_in:
        page = write_report(course, name, graded)
        console.print(f"the class: {page.relative_to(course.root)}", soft_wrap=True)
    for one in graded:
        for flag in one.flags:
            console.print(f"for review: {one.student}, cell {flag.cell}, {flag.sign}: {flag.line}", markup=False)
    raise typer.Exit(1 if any(g.problem for g in graded) else 0)


@app.command()
def export(
    lessons: Lessons = None,
    kind: Annotated[str, typer.Option("--format", help="canvas, moodle, gradescope or nbgrader.")] = "canvas",
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write.")] = Path("grades.csv"),
) -> None:
    """Write the gradebook as a table for a learning management system."""
    from tlcore.grading import exports

    course, names = _course(lessons)
    with _sentences():
        count = exports.export(course, kind, out, names if lessons else None)
    console.print(f"{count} students: {out}", soft_wrap=True)


@app.command()
def demo(
    lesson: Annotated[str | None, typer.Option(help="Lesson to show; default: receptive fields.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="End with the gradebook as one line of JSON.")] = False,
) -> None:
    """Hand in a class of every kind, grade it, and show the gradebook. Exits 1 if a score is not the one deserved."""
    from tlcore.grading import demo as class_
    from tlcore.grading.course import find_course
    from tlcore.grading.sandbox import probe
    from tlcore.grading.scores import scores

    obstacle = probe()
    with _sentences(), _bar() as bar:
        course = find_course()
        name = course.find(lesson) if lesson else class_.LESSON
        desk = class_.demo_course(course)
        task = bar.add_task("building and grading the demo class", total=6)
        graded, wrong = [], []
        for student, one in class_.run_demo(desk, name, sandboxed=not obstacle):
            graded.append(one)
            if one.score is None or student.expected not in (None, one.score):
                wrong.append(f"{student.name} should have {student.expected}, got {one.score}")
            bar.advance(task)
    graded.sort(key=lambda one: -(one.score or 0))
    _print_grades(graded)
    how = f"in plain kernels, without a sandbox: {obstacle}" if obstacle else "in the sandbox"
    console.print(f"The code graded here is our own; it ran {how}.", soft_wrap=True)
    pages = desk.feedback.relative_to(course.root) / "STUDENT" / name / f"{name}.html"
    console.print(f"feedback pages: {pages}", soft_wrap=True)
    for line in wrong:
        console.print(line, style="red")
    if as_json:
        print(json.dumps(scores(desk)))
    raise typer.Exit(1 if wrong else 0)


@app.command()
def pretrain(
    ctx: typer.Context,
    data: Annotated[str, typer.Argument(help="cifar10, shapes, imagenet, another set of images; or lm.")],
    model: Annotated[str, typer.Option(help="A network of the zoo.")] = "resnet20",
    classes: Annotated[str, typer.Option(help="Train on these classes only, with commas between.")] = "",
    epochs: int = 40,
    batch_size: Annotated[int, typer.Option(help="Of each process.")] = 128,
    lr: Annotated[float | None, typer.Option(help="Largest rate; default 0.1 for a batch of 128.")] = None,
    weight_decay: float = 5e-4,
    schedule: str = "one_cycle",
    size: Annotated[int, typer.Option(help="Images drawn from the shapes world.")] = 40_000,
    seed: int = 0,
    arithmetic: Annotated[str, typer.Option(help="float32, bfloat16, or auto: whichever is faster.")] = "auto",
    name: Annotated[str | None, typer.Option(help="Of the weights; default MODEL-DATA.")] = None,
    root: Annotated[Path | None, typer.Option(help="Folder that holds the data; default $TLCORE_DATA.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for weights, card, log, checkpoint.")] = Path("runs"),
    device: Annotated[str | None, typer.Option(help="cpu, cuda, …; default the best there is.")] = None,
    files: Annotated[list[str] | None, typer.Option(help="File or pattern to train on.", **_LM)] = None,
    held_out: Annotated[list[str] | None, typer.Option(help="File or pattern to test on.", **_LM)] = None,
    vocabulary: Annotated[int, typer.Option(help="Pieces of words.", **_LM)] = 8000,
    embedding: Annotated[int, typer.Option(help="Width of the embedding.", **_LM)] = 200,
    hidden: Annotated[int, typer.Option(help="Width of the LSTM.", **_LM)] = 512,
    layers: Annotated[int, typer.Option(help="Of the LSTM.", **_LM)] = 2,
    bptt: Annotated[int, typer.Option(help="Steps that gradients go back.", **_LM)] = 70,
    dropout: Annotated[float, typer.Option(help="Factor on AWD-LSTM's five rates.", **_LM)] = 0.2,
    backward: Annotated[bool, typer.Option("--backward", help="Read from end to beginning.", **_LM)] = False,
    minutes: Annotated[float, typer.Option(help="Between two checkpoints.", **_LM)] = 3.0,
) -> None:
    """Train a network of the zoo from scratch; go on where a run was stopped. Under torchrun, in several processes.

    tlcore pretrain lm --root FOLDER trains a language model on a folder of text files; its defaults are 5 epochs,
    batches of 32 and a largest rate of 0.01, with the schedule stlr.
    """
    from tlcore.transfer.pretrain import Recipe, parse_classes
    from tlcore.transfer.pretrain import pretrain as train

    given = {
        key: value for key, value in ctx.params.items() if str(ctx.get_parameter_source(key)).endswith("COMMANDLINE")
    }
    if data == "lm":
        return _pretrain_lm(given, out)
    if wrong := [key for key in given if key in _LM_OPTIONS]:
        _fail(f"tlcore pretrain {data}: --{wrong[0].replace('_', '-')} is for lm only")
    recipe = Recipe(
        data, model, parse_classes(classes), epochs, batch_size, lr, weight_decay, schedule, size, seed, arithmetic
    )  # fmt: skip
    try:
        card = train(recipe, out, name=name, root=root, device=device, command=_typed())
    except ValueError as error:
        _fail(str(error))
    for test, accuracy in card["accuracy"].items():
        console.print(f"{card['name']}: {accuracy:.2%} on {test}", soft_wrap=True, highlight=False)
    console.print(f"weights and card: {out / card['name']}.safetensors, .json", soft_wrap=True)


def _pretrain_lm(given: dict[str, Any], out: Path) -> None:
    from dataclasses import fields, replace

    from tlcore.text.pretrain import Recipe, pretrain_folder

    named = {field.name for field in fields(Recipe)}
    fine = named | _LM_OPTIONS | {"data", "name", "root", "out", "device"}
    if wrong := [key for key in given if key not in fine]:
        _fail(f"tlcore pretrain lm: --{wrong[0].replace('_', '-')} is for images only")
    if "root" not in given:
        _fail("tlcore pretrain lm: give a folder of text files (.txt, .xz) by --root")
    more = {key: given[key] for key in ("name", "files", "held_out", "minutes", "device") if key in given}
    recipe = replace(Recipe(), **{key: value for key, value in given.items() if key in named})
    try:
        card = pretrain_folder(given["root"], out, recipe, **more, command=_typed())
    except ValueError as error:
        _fail(str(error))
    for test, found in card["perplexity"].items():
        line = f"{card['name']}: perplexity {found['token']:g} a token, {found['word']:g} a word on {test}"
        console.print(line, soft_wrap=True, highlight=False)
    console.print(f"weights, card, vocabulary: {out / card['name']}.safetensors, .json, .tokens.json", soft_wrap=True)


def _is_typed(ctx: typer.Context, option: str) -> bool:
    source = ctx.get_parameter_source(option)
    return source is not None and source.name == "COMMANDLINE"


def _typed() -> str:
    """The command as it was typed, without the folders of this machine, which are no part of the recipe."""
    import shlex
    import sys

    typed, given = ["tlcore"], iter(sys.argv[1:])
    for word in given:
        name = word.partition("=")[0]
        if name in ("--root", "--out") or word.startswith("-o"):
            if word in ("--root", "--out", "-o"):
                next(given, None)
            typed += ["--root", "FOLDER"] if name == "--root" else []
        else:
            typed.append(word)
    return shlex.join(typed)


@app.command()
def doctor() -> None:
    """Say what this machine has, and what to do about what is missing."""
    from tlcore.grading.doctor import examine

    table = Table(box=None, pad_edge=False)
    for column in ("", "what", "found", "what to do"):
        table.add_column(column, overflow="fold")
    found = examine()
    for item in found:
        mark = {"ok": "[green]✓[/]", "optional": "[yellow]–[/]", "missing": "[red]✗[/]"}[item.state]
        table.add_row(mark, item.what, item.found, item.advice)
    console.print(table)
    raise typer.Exit(1 if any(item.state == "missing" for item in found) else 0)


def _course(given: list[str] | None):  # type: ignore[no-untyped-def]
    from tlcore.grading.course import find_course

    with _sentences():
        course = find_course()
        return course, [course.find(g) for g in given] if given else course.lessons()


def _print_grades(graded) -> None:  # type: ignore[no-untyped-def]
    table = Table(box=None, pad_edge=False)
    for column, side in (
        ("student", "left"),
        ("lesson", "left"),
        ("score", "right"),
        ("%", "right"),
        ("", "left"),
    ):
        table.add_column(column, justify=side, overflow="fold")  # type: ignore[arg-type]
    for one in graded:
        score = "–" if one.score is None else f"{one.score:g} / {one.max_score:g}"
        share = "–" if one.score is None else f"{100 * one.score / one.max_score:.0f}%"
        table.add_row(one.student, one.lesson, score, share, one.problem or one.note)
    console.print(table)


def _bar() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, TimeRemainingColumn(), console=console, transient=True)


def _fail(sentence: str) -> None:
    Console(stderr=True).print(sentence, style="red", markup=False, highlight=False)
    raise typer.Exit(2)


class _sentences:
    """Turn a `CourseError` into its sentence and exit status 2."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        from tlcore.grading.course import CourseError

        if isinstance(error, CourseError):
            _fail(str(error))
