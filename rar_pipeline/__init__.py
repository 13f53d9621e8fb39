"""RAR: retrieval-augmented conversational recommendation. As a library: `load_retriever`, `versions`, `compare` (see library.py)."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rar_pipeline.library import compare, load_retriever, versions

__all__ = ["compare", "load_retriever", "versions"]


def __getattr__(name: str) -> object:
    """The library's functions, imported when they are first asked for: importing the package alone stays free."""
    if name in __all__:
        from rar_pipeline import library

        return getattr(library, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
