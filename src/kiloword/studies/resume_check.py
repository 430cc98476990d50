"""Resume check: a study resumes only with the settings that it was begun with.

Source: the run records of Sacred (Greff et al. 2017), which keep a run's settings beside its results.
"""

import json
from pathlib import Path
from typing import Any

from kiloword import aliases
from kiloword.data.shards import replace_file


def check_resumed(path: Path, settings: dict[str, Any]) -> None:
    """Write settings to a file, or raise ValueError if it has other ones."""
    wanted = json.loads(json.dumps(settings))
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, json.dumps(wanted, indent=1).encode())
        return
    held = aliases.renamed(json.loads(path.read_text()))
    other = [name for name, value in aliases.renamed(wanted).items() if held.get(name) != value]
    if other:
        raise ValueError(f"{path.parent} was begun with another {', '.join(other)}: remove it, or choose another --out")
