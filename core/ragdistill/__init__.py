"""Distil the components of a RAG pipeline into small students, and prove what is left.

What a plugin needs is here; everything heavy is imported only when it is used.
"""

from ragdistill.config import RunConfig, option
from ragdistill.data.entries import DatasetEntry
from ragdistill.distiller import STAGES, Distiller, Method, Plan, Section, Stage
from ragdistill.errors import UserError
from ragdistill.hookspecs import hookimpl
from ragdistill.rag.serving import Position, Serving

__all__ = [
    "STAGES",
    "DatasetEntry",
    "Distiller",
    "Method",
    "Plan",
    "Position",
    "RunConfig",
    "Section",
    "Serving",
    "Stage",
    "UserError",
    "hookimpl",
    "option",
]
