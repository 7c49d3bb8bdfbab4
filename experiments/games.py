"""Play whole games for a table. Finished games are stored, so an interrupted measurement can continue."""

import json
import re
import shutil
from hashlib import sha256
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from midstream.command.game import GamePlan
from midstream.command.local import play_local
from midstream.protocol.specification import Specification
from midstream_proxy.surrogates.surrogate import SurrogateSettings


def played(
    specification: Specification,
    attacker: str,
    out: Path,
    data_root: Path | None,
    surrogate: SurrogateSettings | None = None,
) -> dict[str, Any]:
    """Return a game's result; play the game in this process, on one thread, if there is none yet."""
    kept = out / f"{specification.name}.json"
    if not kept.exists():
        plan = GamePlan(
            specification=specification,
            attacker=attacker,
            attack_budget=specification.budget,
            surrogate=surrogate or SurrogateSettings(),
            out=out / "runs",
            data_root=data_root,
            device="cpu",
            threads=1,
        )
        shutil.rmtree(plan.folder, ignore_errors=True)  # remains of an interrupted game
        result = play_local(plan, follow=lambda *_: None)
        kept.write_text(json.dumps(result) + "\n")
    found: dict[str, Any] = json.loads(kept.read_text())
    return found


def name_of(attacker: str, defender: str, seed: int) -> str:
    """Return the name under which a game is stored, a valid run name.

    A digest distinguishes players without short names, for example those in files.

    >>> name_of("level-2,steps=3", "level-1+cutmix", 0)
    'level-2-steps-3-vs-level-1-and-cutmix-seed0'
    >>> name_of("/home/me/My Attack.py:Mine", "none", 0)
    'home-me-my-attack.py-mine-vs-none-seed0-51defbda'
    """
    written = f"{attacker}-vs-{defender}".replace("+", "-and-")
    words = re.sub(r"[^a-z0-9.]+", "-", written.lower()).strip("-.")
    plain = re.fullmatch(r"[a-z0-9.,=_:+-]*", written, re.IGNORECASE) and "=-" not in written
    digest = "" if plain and len(words) <= 80 else f"-{sha256(written.encode()).hexdigest()[:8]}"
    return f"{words[:80]}-seed{seed}{digest}"


def spread(values: list[float]) -> str:
    """Return mean and standard deviation.

    >>> spread([1.0, 2.0, 3.0])
    '2.000 ± 1.000'
    """
    return f"{mean(values):.3f} ± {stdev(values) if len(values) > 1 else 0:.3f}"
