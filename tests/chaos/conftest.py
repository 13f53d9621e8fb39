"""One lake that is whole, made once and copied for every fault; every test here is slow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rar_pipeline.definitions import build_defs
from rar_pipeline.settings import Settings

from ..small_world import materialise, small_encoder, small_settings, small_world
from .scratch import LlmServer, copy_of


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever lies here runs by `make chaos` and `make test-all` alone."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlmServer]:
    """A server that answers at once, for all that is not about the LLM."""
    found = LlmServer(tmp_path_factory.mktemp("server") / "log")
    found.start()
    yield found
    found.kill()


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory, server: LlmServer) -> Settings:
    """Settings of a lake in which every asset of a data set is made; not to be changed."""
    folder = tmp_path_factory.mktemp("whole")
    settings = small_settings(
        small_world(folder / "world"),
        folder / "lake",
        encoder=str(small_encoder(folder / "encoder")),
        pretraining_epochs=2,
        epochs=2,
        llm_base_url=server.address,
        llm_model="reverser",
        llm_mode="generate",
        llm_retries=0,
    )
    keys = [
        spec.key.to_user_string()
        for spec in build_defs(settings=settings).resolve_all_asset_specs()
        if spec.group_name != "experiments"
    ]
    assert materialise(settings, *keys).success
    return settings


@pytest.fixture
def settings(whole: Settings, tmp_path: Path) -> Settings:
    """Settings of a copy of that lake."""
    return copy_of(whole, tmp_path / "lake")
