"""What the OpenAPI document says is what the API does, for requests that a fuzzer invents."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn
from hypothesis import HealthCheck, given, settings
from serving import application_of, settings_in

from serve.api.app import create_app

schemathesis = pytest.importorskip(
    "schemathesis", reason="schemathesis is not installed; it is in the `dev` extra"
)
CHECKS = schemathesis.checks
DESCRIBED = [
    CHECKS.not_a_server_error,
    CHECKS.status_code_conformance,
    CHECKS.content_type_conformance,
    CHECKS.response_schema_conformance,
    CHECKS.response_headers_conformance,
]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The API behind a real web server, in a thread."""
    folder = tmp_path_factory.mktemp("serve")
    app = create_app(application_of(settings_in(folder), folder / "spool"))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(10)


@pytest.fixture(scope="module")
def document(address: str) -> Any:
    return schemathesis.openapi.from_url(f"{address}/openapi.json")


def test_every_answer_is_one_that_the_document_describes(document: Any) -> None:
    asked = []
    for found in document.get_all_operations():
        operation = found.ok()
        asked.append(operation.label)

        @settings(max_examples=20, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy())
        def invented(case: Any) -> None:
            case.call_and_validate(checks=DESCRIBED)

        invented()
    assert len(asked) >= 15, asked
