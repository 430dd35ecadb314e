"""The commands and their options; what they do stands in the file of their name."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

app = typer.Typer(
    name="weitiao",
    help="Fine-tune language models: any task, any tuning method, on the machine at hand, with proof that the result is better.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout; everything else goes to stderr.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")]
Entities = Annotated[
    Optional[Path],
    typer.Option("--entities", metavar="ARTIFACT", help="An artifact that finds entities; the first one says how they are related: triples come out."),
]
ArtifactFolder = Annotated[Path, typer.Argument(metavar="ARTIFACT", help="A sealed folder, or the run folder that holds it.")]


@app.command()
def init(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="A data file (CSV, JSON, Parquet, CoNLL ...), or a folder of texts per label."),
    ],
    out: Annotated[Optional[Path], typer.Option("--out", "-o", help="Where to write the recipe. Default: NAME.yaml in this folder.")] = None,
    model: Annotated[Optional[str], typer.Option(help="Model to put into the recipe.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the recipe if it exists.")] = False,
    as_json: Json = False,
) -> None:
    """Look at a data file, guess task and columns, and write a commented recipe."""
    from weitiao.cli.init import init as command

    raise typer.Exit(command(file, out, model, force, as_json))


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A YAML recipe.")],
    overrides: Annotated[Optional[list[str]], typer.Argument(metavar="[KEY=VALUE]...", help="Settings laid over the recipe, such as train.epochs=1.")] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Print what would be done, and stop.")] = False,
    probe: Annotated[bool, typer.Option("--probe", help="With --plan: load the model and measure time and memory on a few of the longest batches.")] = False,
    out: Annotated[Optional[Path], typer.Option("--out", "-o", help="Folder of the run. Default: runs/NAME.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Start a new run beside a finished or unfinished one.")] = False,
    as_json: Json = False,
) -> None:
    """Train a recipe; go on with it if it was interrupted; measure before and after on the same rows."""
    from weitiao.cli.train import train as command

    raise typer.Exit(command(recipe, overrides or [], plan, probe, out, again, as_json))


comparing = typer.Typer(help="Try several ways on the same rows, and see which to take.", no_args_is_help=True)
app.add_typer(comparing, name="compare")


@comparing.command("methods")
def compare_methods(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A YAML recipe; its method is one of those compared.")],
    overrides: Annotated[Optional[list[str]], typer.Argument(metavar="[KEY=VALUE]...", help="Settings laid over the recipe of every run.")] = None,
    methods: Annotated[str, typer.Option(help="all, or names with commas between them, such as full,lora,bitfit+norm: a + trains with both.")] = "all",
    budget: Annotated[str, typer.Option(help="Time for all runs together, about, such as 90s, 30m or 2h.")] = "30m",
    seeds: Annotated[int, typer.Option(min=1, help="Seeds of each of the best three, as far as there is time.")] = 3,
    out: Annotated[Optional[Path], typer.Option("--out", "-o", help="Folder of the comparison. Default: comparisons/NAME.")] = None,
    as_json: Json = False,
) -> None:
    """Train a recipe with several methods under one budget, and show what each is worth: score, size, memory, time."""
    from weitiao.cli.compare import methods as command

    raise typer.Exit(command(recipe, overrides or [], methods, budget, seeds, out, as_json))


@app.command()
def evaluate(
    artifact: Annotated[
        Path,
        typer.Argument(metavar="ARTIFACT", help="A sealed folder, or the run folder that holds it; or a recipe (.yaml), whose model is measured as it is."),
    ],
    rest: Annotated[
        Optional[list[str]],
        typer.Argument(metavar="[FILE]", help="Labelled rows. Default: the proof rows of the recipe. Behind a recipe: settings laid over it, KEY=VALUE."),
    ] = None,
    entities: Entities = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Score an artifact, or the untuned model of a recipe, with intervals."""
    from weitiao.cli.evaluate import evaluate as command

    raise typer.Exit(command(artifact, rest or [], device, as_json, entities))


@app.command()
def predict(
    artifact: ArtifactFolder,
    file: Annotated[
        Optional[str],
        typer.Argument(metavar="[FILE]", help="CSV, TSV, JSON or JSON lines; - or nothing reads texts or JSON objects, one per line, from stdin."),
    ] = None,
    out: Annotated[Optional[Path], typer.Option("--out", "-o", help="Write here instead of stdout.")] = None,
    entities: Entities = None,
    chat: Annotated[bool, typer.Option("--chat", help="Talk with the model, in the terminal or with one message per line of stdin.")] = False,
    system: Annotated[Optional[str], typer.Option(metavar="TEXT", help="System prompt of the conversation (--chat).")] = None,
    temperature: Annotated[Optional[float], typer.Option(min=0, max=5, help="0: the most probable token each time; above: drawn (--chat).")] = None,
    max_new_tokens: Annotated[Optional[int], typer.Option(min=1, help="Longest answer in tokens (--chat).")] = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Predict rows of a file or of stdin, one JSON object per line; or talk with a tuned chat model."""
    from weitiao.errors import Conflict

    given = {"FILE": file, "--out": out, "--json": as_json or None, "--entities": entities}
    talk = {"--system": system, "--temperature": temperature, "--max-new-tokens": max_new_tokens}
    if wrong := [name for name, value in (given if chat else talk).items() if value is not None]:
        raise Conflict(
            f"predict: {wrong[0]} has no meaning {'with' if chat else 'without'} --chat.",
            hint="--chat takes --system, --temperature, --max-new-tokens and --device."
            if chat
            else "For a file, the recipe's task section says how answers are made.",
        )
    if chat:
        from weitiao.cli.chat import chat as conversation

        raise typer.Exit(conversation(artifact, device, system, temperature, max_new_tokens))
    from weitiao.cli.predict import predict as command

    raise typer.Exit(command(artifact, file or "-", out, device, as_json, entities))


@app.command()
def show(
    what: Annotated[
        str,
        typer.Argument(
            metavar="WHAT", help="tasks, methods, sources, regularizers; one of task, method, source, regularizer with a NAME; or rows with a RECIPE."
        ),
    ],
    name: Annotated[Optional[str], typer.Argument(metavar="[NAME]")] = None,
    limit: Annotated[Optional[int], typer.Option(min=1, help="Rows to show (rows). Default: 5.")] = None,
    as_json: Json = False,
) -> None:
    """Show what there is, and the fields, defaults, meaning and paper of one of them; or your rows as the model sees them."""
    from weitiao.cli.show import show as command

    raise typer.Exit(command(what, name, limit, as_json))


doctors = typer.Typer(help="Look at this machine: versions, processor, memory, disk, GPU and driver; or at the data of a recipe.")
app.add_typer(doctors, name="doctor")


@doctors.callback(invoke_without_command=True)
def doctor(context: typer.Context, as_json: Json = False) -> None:
    """Look at this machine: versions, processor, memory, disk, GPU and driver; or at the data of a recipe (doctor data)."""
    if context.invoked_subcommand is not None:
        return
    from weitiao.cli.doctor import doctor as command

    raise typer.Exit(command(as_json))


@doctors.command("data")
def doctor_data(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A YAML recipe.")],
    overrides: Annotated[Optional[list[str]], typer.Argument(metavar="[KEY=VALUE]...", help="Settings laid over the recipe.")] = None,
    fix: Annotated[Optional[Path], typer.Option("--fix", metavar="FOLDER", help="Write a cleaned copy into a new folder, with a ledger of every row.")] = None,
    suspects: Annotated[bool, typer.Option("--suspects", help="Look for labels that are probably wrong, too; takes the model.")] = False,
    page: Annotated[Optional[Path], typer.Option("--page", metavar="FILE", help="Write the findings as an HTML page.")] = None,
    as_json: Json = False,
) -> None:
    """Look for what is wrong with the rows of a recipe: repeats, leaks, lengths, labels, characters, personal data."""
    from weitiao.cli.doctor_data import data as command

    raise typer.Exit(command(recipe, overrides or [], fix, suspects, page, as_json))


def _version(asked: bool) -> None:
    if asked:
        from weitiao.core.version import __version__

        print(__version__)
        raise typer.Exit


@app.callback()
def _root(version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False) -> None:
    pass


def main() -> None:
    """Run the command line; errors become one sentence and a hint on stderr, and the exit code of their branch."""
    from weitiao.errors import WeitiaoError

    _tolerant_streams()
    try:
        app()
    except WeitiaoError as error:
        _say(f"error: {error.message}\nhint: {error.hint}")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _say("error: stopped.\nhint: The same command begins again.")
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
    except Exception as error:
        path = _keep_traceback(error)
        _say(f"error: unexpected {type(error).__name__}: {str(error).partition(chr(10))[0]}\nhint: This is a fault of weitiao; the details are in {path}.")
        sys.exit(1)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _tolerant_streams() -> None:
    """Keep a terminal that cannot show a character from ending the program."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _keep_traceback(error: BaseException) -> str:
    import tempfile
    import traceback

    with tempfile.NamedTemporaryFile("w", prefix="weitiao-error-", suffix=".txt", delete=False, encoding="utf-8") as file:
        traceback.print_exception(error, file=file)
    return file.name
