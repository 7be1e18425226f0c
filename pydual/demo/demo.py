"""What ``pydual demo`` shows: one network, a few images, and the three ways in which the game can end.

Nothing here knows an answer: the table is filled by ``pydual.solve``, and the examples are picked from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import pydual
from pydual.demo import pictures
from pydual.errors import InputError
from pydual.outcome import Attack, Certificate, Outcome, RelaxedAttack

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

RADII = (0.02, 0.05, 0.1, 0.15, 0.2)
REFEREE = "crown"  # cheap, so the adversary's win is sometimes a relaxed one
LEGEND = (
    "[green]safe[/green]: certified, with the proven margin   [red]reads as[/red]: attacked   "
    "[yellow]cheat[/yellow]: relaxed attack, its value"
)
TIMEOUT = 20.0  # seconds, for each call of solve


@dataclass(frozen=True, eq=False)
class Game:
    """One call of ``solve``: may the pixels of ``image`` (64,) move by ``radius`` without changing the class?"""

    image: np.ndarray
    label: int
    radius: float
    outcome: Outcome


def load_images() -> tuple[np.ndarray, np.ndarray]:
    """The images that ship, pixels in [0, 1], shape (images, 64), and their labels."""
    with np.load(Path(__file__).parent / "digits.npz") as data:
        return data["images"].reshape(-1, 64) / 16.0, data["labels"]


def load_network() -> pydual.Network:
    return pydual.load(Path(__file__).parent / "digits.onnx")


def show(folder: Path) -> None:
    """Play the games, print what happened, and save the pictures and the certificate in ``folder``."""
    from rich.console import Console

    pictures.require_matplotlib()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"The folder {folder} cannot be made: {error.strerror}; name another (--output).") from None
    console = Console(highlight=False, soft_wrap=True)
    network = load_network()
    console.print(
        f"[bold]A ReLU network of {network.neurons} neurons reads handwritten digits of 8x8 pixels.[/bold]\n"
        "The adversary may change every pixel (0 is white, 1 is black) by at most a radius;\n"
        "it wins if the class changes. The prover wins with a certificate that no such change exists.\n"
    )
    games = play(network, console)
    console.print(table(games))
    show_attack(network, games, folder, console)
    show_certificate(network, games, folder, console)
    show_relaxed_attack(network, games, folder, console)


def play(network: pydual.Network, console: Console, radii: Sequence[float] = RADII) -> list[Game]:
    """One game for every image and radius, refereed by ``REFEREE``."""
    images, labels = load_images()
    games = []
    with console.status("playing ..."):
        for image, label in zip(images, labels.tolist(), strict=True):
            for radius in radii:
                query = pydual.robustness(image, label, radius, clip=(0.0, 1.0))
                outcome = pydual.solve(network, query, REFEREE, timeout=TIMEOUT)
                games.append(Game(image, label, radius, outcome))
    return games


def table(games: list[Game]) -> Table:
    """Who wins: one row for each image, one column for each radius."""
    from rich.table import Table

    radii = sorted({game.radius for game in games})
    result = Table(
        title=f"Who wins, refereed by '{REFEREE}'", caption=LEGEND, title_justify="left", caption_justify="left"
    )
    result.add_column("digit", justify="right")
    for radius in radii:
        result.add_column(f"radius {radius:g}")
    for start in range(0, len(games), len(radii)):
        row = games[start : start + len(radii)]
        result.add_row(str(row[0].label), *(_cell(game.outcome) for game in row))
    return result


def _cell(outcome: Outcome) -> str:
    match outcome:
        case Attack(y=y):
            return f"[red]reads as {int(np.argmax(y))}[/red]"
        case Certificate(margin=margin):
            return f"[green]safe {margin:+.2f}[/green]"
        case RelaxedAttack(value=value):
            return f"[yellow]cheat {value:+.2f}[/yellow]"
    return "unknown"


def show_attack(network: pydual.Network, games: list[Game], folder: Path, console: Console) -> None:
    """The attack with the least radius, and pictures of the least attack on each digit."""
    _heading(console, "1. The adversary wins: an attack", "red")
    attacks: dict[int, tuple[Game, Attack]] = {}
    for game in sorted(games, key=lambda game: game.radius):
        if isinstance(game.outcome, Attack):
            attacks.setdefault(game.label, (game, game.outcome))
    if not attacks:
        console.print("No attack was found at these radii.")
        return
    game, attack = next(iter(attacks.values()))
    rivals = ", ".join(f"{k} scores {attack.y[k]:.3f}" for k in np.argsort(-attack.y)[:2])
    console.print(
        f"The digit {game.label}, every pixel moved by at most {game.radius:g}: {rivals}. The model reads "
        f"{int(np.argmax(attack.y))}.\nThis is the real model ({attack.replay} evaluated it), not an estimate."
    )
    pictures.draw(console, game.image, attack.x)
    for _, (game, attack) in sorted(attacks.items()):
        before = int(np.argmax(network.evaluate(game.image)))
        path = folder / f"attack-on-{game.label}.png"
        titles = (f"original: reads {before}", f"attacked: reads {int(np.argmax(attack.y))}")
        pictures.save_triple(game.image, attack.x, titles, f"moved by at most {game.radius:g}", path)
    console.print(f"Pictures of the least attack on each digit: {folder}/attack-on-*.png")


def show_certificate(network: pydual.Network, games: list[Game], folder: Path, console: Console) -> None:
    """The certificate with the greatest radius, saved, read again and audited in rational arithmetic."""
    _heading(console, "2. The prover wins: a certificate", "green")
    certified = [game for game in games if isinstance(game.outcome, Certificate)]
    if not certified:
        console.print("Nothing was certified at these radii.")
        return
    game = max(certified, key=lambda game: (game.radius, game.outcome.bracket.lower))
    path = folder / f"digit-{game.label}.certificate"
    assert isinstance(game.outcome, Certificate)
    game.outcome.save(path)
    query = pydual.robustness(game.image, game.label, game.radius, clip=(0.0, 1.0))
    report = pydual.audit(pydual.load_proof(path), network, query)
    console.print(
        f"The digit {game.label}: however its pixels move by at most {game.radius:g}, the model reads {game.label}, "
        f"ahead by at least {report.margin:.4f}.\n"
        f"The proof is a file of {path.stat().st_size:,} bytes: {path}\n"
        f"Audited again from the file, without the prover: accepted at level '{report.level}'."
    )


def show_relaxed_attack(network: pydual.Network, games: list[Game], folder: Path, console: Console) -> None:
    """A game that the adversary wins only because the referee lets it cheat, and what a tighter referee says."""
    _heading(console, "3. The adversary cheats: a relaxed attack", "yellow")
    relaxed = [(game, game.outcome) for game in games if isinstance(game.outcome, RelaxedAttack)]
    if not relaxed:
        console.print("The adversary never had to cheat at these radii.")
        return
    game, outcome = max(relaxed, key=lambda pair: pair[1].value)
    console.print(f"The digit {game.label} at radius {game.radius:g}. {outcome.explain()}")
    path = folder / f"relaxed-attack-on-{game.label}.png"
    real = int(np.argmax(network.evaluate(outcome.x)))
    titles = ("original", f"the cheat's play: still reads {real}")
    pictures.save_triple(game.image, outcome.x, titles, f"moved by at most {game.radius:g}", path)
    console.print(f"A picture of its play: {path}")
    query = pydual.robustness(game.image, game.label, game.radius, clip=(0.0, 1.0))
    with console.status("asking a tighter referee ..."):
        tighter = pydual.solve(network, query, "auto", timeout=TIMEOUT)
    console.print(f"The same question to tighter referees ('auto'): {_cell(tighter)}, by '{tighter.proof_system}'.")


def _heading(console: Console, text: str, color: str) -> None:
    console.print(f"\n[bold {color}]{text}[/bold {color}]")
