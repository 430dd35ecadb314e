"""What a source, task, method, objective, regularizer and strategy promise each other, one file a noun.

Torch appears in annotations only: these files, like all of `core`, import without it.
"""

from weitiao.core.contracts.batch import IGNORED, Batch, Features, Layout, Outputs, Prediction
from weitiao.core.contracts.loss import Coupled, Loss, Objective, Term, is_coupled
from weitiao.core.contracts.method import Capability, Method, ParameterGroup, Regularizer, Strategy
from weitiao.core.contracts.metric import Metric, TextMetric, references
from weitiao.core.contracts.source import Source, Split
from weitiao.core.contracts.task import Answer, Generation, Head, Task, TextReader, Traits
from weitiao.core.contracts.tokens import Frame, Tokens

__all__ = [
    "IGNORED",
    "Answer",
    "Batch",
    "Capability",
    "Coupled",
    "Features",
    "Frame",
    "Generation",
    "Head",
    "Layout",
    "Loss",
    "Method",
    "Metric",
    "Objective",
    "Outputs",
    "ParameterGroup",
    "Prediction",
    "Regularizer",
    "Source",
    "Split",
    "Strategy",
    "Task",
    "Term",
    "TextMetric",
    "TextReader",
    "Tokens",
    "Traits",
    "is_coupled",
    "references",
]
