"""The Haltman API against its own OpenAPI document: whatever is asked, it breaks down never and says what it declares.

Requests come from schemathesis, right and wrong ones. Most of what it invents is no address, code or name, so many get
members of a request that would succeed.
`tools/test fuzz -- --api-calls 10000 -k haltman` asks more than every run of the tests, and each time otherwise.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import CheckFunction, not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.api.haltman.table import ROWS, Row
from tests.fuzz.haltman_site import Site, running
from tests.store.postgres import Cluster

CHECKS: list[CheckFunction] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
FEW = 6  # calls of each endpoint
RENEWED_AFTER = 20  # calls, as some of them leave little to ask for
# What ends the session, or the administrator, that the next call needs.
ENDING = ("/api/auth/re", "/api/auth/sign-out", "/api/admin/users")
DESCRIBED = [row for row in ROWS if row.path != "/api/openapi.json"]


@pytest.fixture(scope="module")
def site(cluster: Cluster, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    dsn = cluster.create(template)
    with running(dsn, Path(tmp_path_factory.mktemp("site"))) as found:
        yield found
    cluster.drop(dsn)
    counts = Counter(status for (_, status), number in found.answers.items() for _ in range(number))
    print(f"\n{sum(counts.values())} answers:", *(f"{status}: {counts[status]}" for status in sorted(counts)))


@pytest.fixture(scope="module")
def document(site: Site) -> Any:
    """The description, as schemathesis reads it."""
    config = schemathesis.Config.from_dict({"generation": {"with-security-parameters": False}})
    return schemathesis.openapi.from_url(f"{site.url}/api/openapi.json", config=config)


def path_of(row: Row) -> str:
    return row.path.replace("{target}", "{id}")


@st.composite
def cases(draw: st.DrawFn, operation: Any, row: Row) -> "Case[Any]":
    """A request, mostly about something that exists."""
    mode = draw(st.sampled_from(GenerationMode))
    case: Case[Any] = draw(operation.as_strategy(generation_mode=mode))
    if "id" in case.path_parameters and draw(st.integers(0, 3)):
        case.path_parameters["id"] = draw(st.just(_thing(row)) | st.integers(1, 3).map(str))
    for place in (case.query, case.body):
        if isinstance(place, dict) and draw(st.booleans()):
            right = {name: st.just(value) for name, value in row.asks.items()}
            place.update(draw(st.fixed_dictionaries({}, optional=right)))
    return case


def _thing(row: Row) -> str:
    return "new.example" if "{target}" in row.path else "1"


def right_case(operation: Any, row: Row) -> "Case[Any]":
    """A request that can succeed."""
    given = {"query" if row.method == "GET" else "body": dict(row.asks)} if row.asks else {}
    path = {"path_parameters": {"id": _thing(row)}} if "{" in row.path else {}
    case: Case[Any] = operation.Case(**path, **given, media_type="application/json")
    return case


@pytest.mark.parametrize("row", DESCRIBED, ids=str)
def test_every_answer_is_one_that_was_declared(
    site: Site, document: Any, row: Row, request: pytest.FixtureRequest
) -> None:
    wanted = request.config.getoption("--api-calls", None)
    calls = FEW if wanted is None else -(-wanted // len(DESCRIBED))
    operation = document[path_of(row)][row.method]

    def check(case: "Case[Any]") -> None:
        if site.calls % RENEWED_AFTER == 0 or row.path.startswith(ENDING):
            site.renew()
        response = case.call_and_validate(site.url, site.session, site.headers, checks=CHECKS)
        site.note(str(row), response.status_code)
        assert response.status_code != 401 or row.access == "open" or row.path.endswith("/password")

    @settings(
        max_examples=calls,
        deadline=None,
        derandomize=wanted is None,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(cases(operation, row))
    def ask(case: "Case[Any]") -> None:
        check(case)

    site.calls = 0
    check(right_case(operation, row))
    ask()
