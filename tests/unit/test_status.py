"""The status port of a role, asked over real connections."""

import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import pytest

from mailrelay import metrics
from mailrelay.core.errors import BadConfig
from mailrelay.endpoint import Endpoint
from mailrelay.servers.status import Status


@dataclass
class Page:
    """A started status port and what its health function will say."""

    status: Status = field(default_factory=Status)
    components: Mapping[str, str] = field(default_factory=lambda: {"database": "ok"})
    host: str = "127.0.0.1"

    def health(self) -> Mapping[str, str]:
        return self.components

    def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[http.client.HTTPResponse, bytes]:
        connection = http.client.HTTPConnection(self.host, self.status.port, timeout=10)
        try:
            connection.request(method, path, headers=headers)
            response = connection.getresponse()
            return response, response.read()
        finally:
            connection.close()


@pytest.fixture(params=["127.0.0.1", "::1"])
def page(request: pytest.FixtureRequest) -> Iterator[Page]:
    """Once per address family."""
    page = Page(host=request.param)
    page.status.start(Endpoint(host=page.host, port=0), page.health)
    yield page
    page.status.stop()


def test_healthz_is_200_when_all_is_well(page: Page) -> None:
    page.components = {"database": "ok", "postfix": "ok"}
    response, body = page.ask("/healthz")
    assert response.status == 200
    assert response.getheader("Content-Type") == "application/json"
    assert json.loads(body) == {"status": "ok", "components": {"database": "ok", "postfix": "ok"}}


def test_healthz_is_503_and_says_what_is_wrong(page: Page) -> None:
    page.components = {"database": "away since 12:00", "postfix": "ok"}
    response, body = page.ask("/healthz?verbose")
    assert response.status == 503
    assert json.loads(body) == {
        "status": "trouble",
        "components": {"database": "away since 12:00", "postfix": "ok"},
    }


def test_health_is_asked_each_time(page: Page) -> None:
    page.components = {"database": "away"}
    assert page.ask("/healthz")[0].status == 503
    page.components = {"database": "ok"}
    assert page.ask("/healthz")[0].status == 200


def test_metrics_come_in_the_format_that_was_asked_for(page: Page) -> None:
    metrics.SOCKETMAP_ANSWERS.labels("other", "perm").inc()
    response, body = page.ask("/metrics")
    assert response.status == 200
    assert (response.getheader("Content-Type") or "").startswith("text/plain")
    assert b'mailrelay_socketmap_answers_total{map="other",result="perm"} ' in body
    response, body = page.ask("/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert (response.getheader("Content-Type") or "").startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")


@pytest.mark.parametrize("path", ["/healthz", "/metrics", "/"])
def test_head_is_get_without_a_body(page: Page, path: str) -> None:
    with_body, content = page.ask(path)
    response, body = page.ask(path, "HEAD")
    assert response.status == with_body.status
    assert int(response.getheader("Content-Length") or 0) > 0
    assert content
    assert not body


def test_other_paths_are_404_and_other_methods_405(page: Page) -> None:
    assert page.ask("/")[0].status == 404
    assert page.ask("/metrics/")[0].status == 404
    response, _ = page.ask("/healthz", "POST")
    assert response.status == 405
    assert response.getheader("Allow") == "GET, HEAD"


def test_a_bug_in_health_is_500_without_insides(page: Page) -> None:
    page.components = 7  # type: ignore[assignment]
    response, body = page.ask("/healthz")
    assert response.status == 500
    assert body == b"internal error\n"
    page.components = {}
    assert page.ask("/healthz")[0].status == 200


def test_requests_leave_no_lines(page: Page, capfd: pytest.CaptureFixture[str]) -> None:
    page.ask("/healthz")
    page.ask("/nothing")
    page.ask("/metrics", "DELETE")
    with socket.create_connection((page.host, page.status.port)) as rude:
        rude.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")  # gone before the answer
    with socket.create_connection((page.host, page.status.port)) as rude:
        rude.sendall(b"\x16\x03\x01\r\n\r\n")
        rude.settimeout(10)
        while rude.recv(4096):
            pass
    assert capfd.readouterr() == ("", "")


def test_the_answer_does_not_tell_versions(page: Page) -> None:
    response, _ = page.ask("/healthz")
    assert (response.getheader("Server") or "").strip() == "mailrelay"


def test_a_taken_address_is_bad_configuration(page: Page) -> None:
    with pytest.raises(BadConfig, match=f"{page.status.port}: cannot listen there: Address already in use"):
        Status().start(Endpoint(host=page.host, port=page.status.port), page.health)


def test_an_address_of_another_host_is_bad_configuration() -> None:
    with pytest.raises(BadConfig, match=r"192\.0\.2\.1:9631: cannot listen there"):
        Status().start(Endpoint(host="192.0.2.1", port=9631), dict)


def test_unix_sockets_are_bad_configuration() -> None:
    with pytest.raises(BadConfig, match="needs an IP address"):
        Status().start(Endpoint(path="/run/mailrelay/status"), dict)


def test_stop_closes_the_port_and_may_be_repeated() -> None:
    page = Page()
    page.status.start(Endpoint(host="127.0.0.1", port=0), page.health)
    port = page.status.port
    page.status.stop()
    page.status.stop()
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
        pass
    page.status.start(Endpoint(host="127.0.0.1", port=port), page.health)
    assert page.ask("/healthz")[0].status == 200
    page.status.stop()
