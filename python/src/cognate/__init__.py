"""Which SAE latents of different language models correspond: start runs, read their tables, draw them.

    import cognate

    run = cognate.run("first.toml")                 # or the same as a dict; an interrupted call resumes
    matches = run.matches(kept_only=True, mutual_only=True)   # a pyarrow.Table
    print(run.show("a/resid_post.2/129"))

Everything is computed by the program ``cognate``, which the wheel brings along. This package starts it, shows its progress, and reads the
Parquet tables that it writes. Figures (``cognate.figures``) need matplotlib: ``pip install 'cognate-sae[figures]'``.
"""

from ._errors import (
    CheckFailed,
    CognateError,
    CognateWarning,
    DataError,
    Interrupted,
    MachineError,
    ProgramNotFound,
    RequestError,
    StateError,
    TableNotFound,
)
from ._feed import Batch, Feed
from ._program import program
from ._run import LatentCard, Run
from ._start import plan, run
from ._tables import Tables
from ._toml import to_toml

__all__ = [
    "Batch",
    "CheckFailed",
    "CognateError",
    "CognateWarning",
    "DataError",
    "Feed",
    "Interrupted",
    "LatentCard",
    "MachineError",
    "ProgramNotFound",
    "RequestError",
    "Run",
    "StateError",
    "TableNotFound",
    "Tables",
    "plan",
    "program",
    "run",
    "to_toml",
]
