"""The addy.io API against its own OpenAPI document: whatever is asked, it breaks down never and says what it declares.

Requests come from schemathesis, right and wrong ones. Nothing that it invents exists here, so most of them get the id
of what their endpoint is for, and members of a request that would succeed.
`tools/test fuzz -- --api-calls 10000 -k addy` asks more than every run of the tests, and each time otherwise.
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

from tests.api.addy.household import IDS, filled
from tests.api.addy.table import ROWS, Row
from tests.fuzz.addy_site import Site, running
from tests.store.postgres import Cluster

CHECKS: list[CheckFunction] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
FEW = 6  # calls of each endpoint
SIGN_IN = "/api/auth/"  # it makes tokens and ends them
RENEWED_AFTER = 20  # calls, as some of them leave little to ask for
_ids = st.sampled_from(sorted(IDS.values()))
_lists = st.lists(_ids, max_size=12)
KNOWN: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(("id", "alias_id", "recipient_id", "default_recipient"), _ids),
    **dict.fromkeys(("ids", "recipient_ids"), _lists),
}


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
    return schemathesis.openapi.from_url(f"{site.url}/api/v1/openapi.json", config=config)


@st.composite
def cases(draw: st.DrawFn, operation: Any, row: Row) -> "Case[Any]":
    """A request, mostly about something that exists."""
    mode = draw(st.sampled_from(GenerationMode))
    case: Case[Any] = draw(operation.as_strategy(generation_mode=mode))
    if "id" in case.path_parameters and draw(st.integers(0, 3)):
        case.path_parameters["id"] = draw(st.just(IDS[row.thing]) | _ids)
    for place in (case.query, case.body):
        if isinstance(place, dict):
            about = {key: KNOWN[key] for key in place if key in KNOWN}
            right = {key: st.just(value) for key, value in (filled(row.given) or {}).items()}
            for optional in (about, right):
                if draw(st.booleans()):
                    place.update(draw(st.fixed_dictionaries({}, optional=optional)))
    return case


def right_case(operation: Any, row: Row) -> "Case[Any]":
    """A request that can succeed."""
    given = {"query" if row.method == "GET" else "body": filled(row.given)} if row.given else {}
    path = {"path_parameters": {"id": IDS[row.thing]}} if row.thing in IDS else {}
    case: Case[Any] = operation.Case(**path, **given, media_type="application/json")
    return case


DESCRIBED = [one for one in ROWS if one.is_described]


@pytest.mark.parametrize("row", DESCRIBED, ids=str)
def test_every_answer_is_one_that_was_declared(
    site: Site, document: Any, row: Row, request: pytest.FixtureRequest
) -> None:
    wanted = request.config.getoption("--api-calls", None)
    calls = FEW if wanted is None else -(-wanted // len(DESCRIBED))
    operation = document[row.path][row.method]

    def check(case: "Case[Any]") -> None:
        if site.calls % RENEWED_AFTER == 0 or row.path.startswith(SIGN_IN):
            site.renew()
        response = case.call_and_validate(site.url, site.session, site.headers, checks=CHECKS)
        site.note(str(row), response.status_code)
        assert response.status_code != 401 or row.path.startswith(SIGN_IN)

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
