"""Databases for tests, as fixtures: one private cluster per session, a fresh migrated database per test."""

import asyncio
from collections.abc import Iterator

import pytest

from mailrelay.store.migrate import folder, migrate
from tests.store.postgres import Cluster, database_of, private_cluster


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The session's PostgreSQL."""
    with private_cluster() as running:
        yield running


@pytest.fixture(scope="session")
def template(cluster: Cluster) -> str:
    """Name of a database with all migrations applied, to be copied."""
    dsn = cluster.create()
    with asyncio.Runner() as runner:
        runner.run(migrate(dsn, folder(), lambda line: None))
    return database_of(dsn)


@pytest.fixture
def dsn(cluster: Cluster, template: str) -> Iterator[str]:
    """Connection string of a fresh database with the current schema."""
    fresh = cluster.create(template)
    yield fresh
    cluster.drop(fresh)
