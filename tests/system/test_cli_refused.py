"""A key that is refused, and a right that is missing: exit code 1, what was missing, what to do, in words of a shell."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from broker_alone import BrokerAlone, Keys
from handshakes import new_key
from user_shell import Shell

from maitred.config.key_file import KeyFile, write_key

pytestmark = pytest.mark.slow


class Site:
    """A broker with keys, and a shell with files of some."""

    def __init__(self, directory: Path) -> None:
        self.shell = Shell(directory)
        self.alone = BrokerAlone(directory)
        self._broker = new_key()
        keys = Keys(directory, self._broker)
        self._directory = directory
        for name, role in (("alice", "client"), ("boss", "operator"), ("worker", "worker")):
            keys.authorise(name, self._key(name, self._broker.public), role)
        self._key("unknown", self._broker.public)
        self._key("elsewhere", new_key().public)
        bound = self.alone.start(key_file=str(keys.file), authorized_file=str(keys.authorized))
        self.endpoint = bound.clients[-1]

    def _key(self, name: str, server: str) -> KeyFile:
        key = new_key(server)
        write_key(self._directory / f"{name}.key", key, name)
        return key

    def said(self, key: str | None, *words: str, endpoint: str | None = None) -> str:
        """What a command says that must fail with 1."""
        shown = ["--key", f"{key}.key"] if key else []
        done = self.shell.maitred("--endpoint", endpoint or self.endpoint, *shown, "--connect-timeout", "3s", *words)
        assert (done.returncode, done.stdout) == (1, ""), done.stderr
        assert "Traceback" not in done.stderr
        assert "key=…" not in done.stderr, "words for programmers"
        return done.stderr


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("site"))
    yield site
    site.alone.end()
    site.shell.end()


VERBS = [
    ["status"],
    ["call", "general", "echo"],
    ["map", "general", "echo"],
    ["top"],
    ["workers"],
    ["pause", "general"],
]


@pytest.mark.parametrize("words", VERBS, ids=" ".join)
def test_who_shows_no_key_is_told_how(site: Site, words: list[str]) -> None:
    text = site.said(None, *words)
    assert text.startswith(f"maitred: Unauthenticated: the broker at {site.endpoint} asks for a key\n")
    assert "maitred --key FILE" in text
    assert "keys new" in text


@pytest.mark.parametrize("words", VERBS, ids=" ".join)
def test_an_unknown_key(site: Site, words: list[str]) -> None:
    text = site.said("unknown", *words)
    assert "refused this key (" in text
    assert "maitred reload" in text


def test_a_key_for_another_broker_and_one_for_a_broker_without(site: Site, tmp_path: Path) -> None:
    assert "hangs up amid the handshake" in site.said("elsewhere", "status")
    plain = BrokerAlone(tmp_path)
    try:
        text = site.said("alice", "status", endpoint=plain.start().clients[-1])
        assert "has no keys" in text
        assert "leave --key out" in text
    finally:
        plain.end()


@pytest.mark.parametrize("words", [["scale", "general", "2"], ["drain"], ["pause", "general"], ["resume"], ["reload"]])
def test_an_operators_verb_names_the_right_that_is_missing(site: Site, words: list[str]) -> None:
    text = site.said("alice", *words)
    assert "PermissionDenied" in text
    assert "missing: operate" in text
    assert "a key of role operator may" in text


def test_tables_of_what_others_did_need_a_right_too(site: Site) -> None:
    for words in (["workers", "--dead"], ["quarantine"]):
        text = site.said("alice", *words)
        assert "missing: read" in text


def test_a_key_that_cannot_be_read_is_wrong_usage(site: Site) -> None:
    done = site.shell.maitred("--endpoint", site.endpoint, "--key", "absent.key", "status")
    assert done.returncode == 2
    assert "absent.key" in done.stderr
    assert len(done.stderr.splitlines()) == 1
