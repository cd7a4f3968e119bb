"""Hooks of sessions: what is registered, what is refused, and what a hook may do while nothing can be waited for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from maitred.worker import Context, Service, Session
from maitred.worker.loading import AdapterError, load_service
from maitred.worker.session_hooks import DEFAULT_MAX_BYTES, SnapshotOptions


@pytest.fixture
def service() -> Service:
    return Service()


def test_what_is_registered(service: Service) -> None:
    @service.session_opened
    def opened(session: Session) -> None: ...

    @service.session_closed
    def closed(session: Session, reason: str) -> None: ...

    @service.snapshot
    def save(session: Session) -> Any: ...

    @service.restore
    def load(session: Session, value: Any) -> None: ...

    hooks = service.hooks
    found = [hook.function for hook in (hooks.opened, hooks.closed, hooks.snapshot, hooks.restore) if hook]
    assert found == [opened, closed, save, load]
    assert hooks.options == SnapshotOptions(0.0, DEFAULT_MAX_BYTES)
    assert not service.needs_trio
    assert hooks.missing() is None


def test_the_first_may_ask_for_a_context(service: Service) -> None:
    @service.session_opened
    def opened(session: Session, context: Context) -> None: ...

    assert service.hooks.opened is not None
    assert service.hooks.opened.takes_context


def test_one_with_a_default_is_not_given_a_context(service: Service) -> None:
    @service.session_opened
    def opened(session: Session, verbose: bool = False) -> None: ...

    assert service.hooks.opened is not None
    assert not service.hooks.opened.takes_context


@pytest.mark.parametrize("kind", ["session_opened", "session_closed", "snapshot", "restore"])
class TestRefusals:
    def test_a_wrong_signature(self, service: Service, kind: str) -> None:
        for wrong in (lambda: None, lambda a, b, c: None, lambda a, *, b: None, lambda *, session: None):
            with pytest.raises(TypeError, match=rf"@service\.{kind}: .*<lambda> must take .*`session`"):
                getattr(service, kind)(wrong)

    def test_no_function(self, service: Service, kind: str) -> None:
        with pytest.raises(TypeError, match=rf"@service\.{kind} must stand above a function, not 3"):
            getattr(service, kind)(3)

    def test_one_that_yields(self, service: Service, kind: str) -> None:
        def one(session: Any) -> Any:
            yield 1

        def two(session: Any, more: Any) -> Any:
            yield 1

        with pytest.raises(TypeError, match="must not yield"):
            getattr(service, kind)(two if kind in ("session_closed", "restore") else one)

    def test_a_second_one_names_both(self, service: Service, kind: str) -> None:
        def first(*args: Any) -> None: ...
        def second(*args: Any) -> None: ...

        getattr(service, kind)(first)
        with pytest.raises(TypeError, match=r"registered twice: .*first, .*second"):
            getattr(service, kind)(second)

    def test_an_async_one_needs_trio(self, service: Service, kind: str) -> None:
        async def waits(*args: Any) -> None: ...

        getattr(service, kind)(waits)
        assert service.needs_trio


def test_options(service: Service) -> None:
    @service.snapshot(interval="10s", max_bytes="1MiB")
    def save(session: Session) -> Any: ...

    assert service.hooks.options == SnapshotOptions(10.0, 1 << 20)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"intervall": 1}, TypeError, "no option 'intervall'; it has: interval, max_bytes"),
        ({"interval": "soon"}, TypeError, "@service.snapshot: .*soon"),
        ({"interval": "8d"}, ValueError, "interval must be at most 604800 seconds"),
        ({"max_bytes": 0}, ValueError, "max_bytes must be 1 to"),
        ({"max_bytes": "1TiB"}, ValueError, "max_bytes must be 1 to"),
        ({"max_bytes": 1.5}, TypeError, r"@service.snapshot: .*1\.5"),
    ],
    ids=str,
)
def test_wrong_options(service: Service, options: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        service.snapshot(**options)


def test_what_is_taken_must_be_given_back(tmp_path: Path) -> None:
    file = tmp_path / "halved.py"
    file.write_text(
        "from maitred.worker import Service\nservice = Service()\n@service.snapshot\ndef save(session): return 1\n"
    )
    with pytest.raises(AdapterError, match=r"@service.snapshot \(.*save\) needs a @service.restore"):
        load_service(f"{file}:service")
