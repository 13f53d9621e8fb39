"""Shared fixtures: the real mirror where it is at hand, a clean environment everywhere."""

import os
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent


SLOWEST = ("test_chain", "test_operations", "test_secrets", "test_embedded", "test_retriever_step", "test_distributed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest first, so that no process is left with one of them when the others are done."""
    items.sort(key=lambda item: item.path.stem not in SLOWEST)


@pytest.fixture(scope="session")
def mirror() -> Path:
    """Folder of real data in the publishers' layout: RAR_TEST_MIRROR, or ../shared/data/mirror beside the project."""
    folder = Path(os.environ.get("RAR_TEST_MIRROR", PROJECT.parent / "shared" / "data" / "mirror"))
    if not folder.is_dir():
        pytest.skip(f"no mirror of real data at {folder}; name one with RAR_TEST_MIRROR")
    return folder


@pytest.fixture(scope="session")
def models(pytestconfig: pytest.Config) -> Path:
    """Store of the embedded LLM's unpacked weights: unpacking takes longer than most tests, so once a checkout is enough."""
    return pytestconfig.cache.mkdir("models")


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests see default settings, whatever the shell or the CI sets."""
    for name in list(os.environ):
        if name.startswith("RAR_") and name != "RAR_TEST_MIRROR":
            monkeypatch.delenv(name)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
