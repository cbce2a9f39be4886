"""Clients and strategies in Python, and runs from Python. `crates/python/README.md` has examples."""

from .client import serve
from .data import Batch, Examples, Partition, safetensors
from .dataset import write_dataset
from .errors import DataError, Failure, ModelError
from .init import dense_layers, he_normal
from .model import TERMS, Arrays, Epoch, Model, Option, Options, RegressionSums, Report, Sums, Task, Tensor
from .requirements import requirements
from .runs import Rounds, Run, RunError, RunWarning, read, read_sweep, run
from .strategy import Phase, Prepared, Strategy, Update, serve_strategy, weighted_mean

__version__ = "0.1.0"

__all__ = [
    "Arrays",
    "Batch",
    "DataError",
    "Epoch",
    "Examples",
    "Failure",
    "Model",
    "ModelError",
    "Option",
    "Options",
    "Partition",
    "Phase",
    "Prepared",
    "RegressionSums",
    "Report",
    "Rounds",
    "Run",
    "RunError",
    "RunWarning",
    "Strategy",
    "Sums",
    "TERMS",
    "Task",
    "Tensor",
    "Update",
    "dense_layers",
    "he_normal",
    "read",
    "read_sweep",
    "requirements",
    "run",
    "safetensors",
    "serve",
    "serve_strategy",
    "weighted_mean",
    "write_dataset",
]
