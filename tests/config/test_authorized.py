"""The authorisation file: what is added and taken out leaves the rest as it was, whatever a person wrote there."""

from __future__ import annotations

from pathlib import Path

import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st

from maitred.config.authorized import (
    Authorized,
    AuthorizedError,
    add_authorized,
    read_authorized,
    remove_authorized,
)

PUBLIC = [zmq.curve_keypair()[0].decode() for _ in range(6)]

BY_HAND = f"""# who may come
# [keys.nobody] is no table

[keys.alice]   # of the third floor
public = "{PUBLIC[0]}"
role = "client"
call = [
  "general",   # all of it
  # and training
  "neural:train_*",
]
# bob serves from the cluster

[keys."b.o [b]"]
public = '{PUBLIC[1]}'
role = "worker"
serve = ["general"]


# the end
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    it = tmp_path / "authorized.toml"
    it.write_text(BY_HAND)
    it.chmod(0o600)
    return it


def test_what_a_person_wrote_is_read(path: Path) -> None:
    alice, bob = read_authorized(path)
    assert alice == Authorized("alice", PUBLIC[0], "client", ("general", "neural:train_*"))
    assert bob == Authorized("b.o [b]", PUBLIC[1], "worker", (), ("general",))


def test_one_is_taken_out_and_the_rest_stays_byte_for_byte(path: Path) -> None:
    remove_authorized(path, "alice")
    before, after = BY_HAND.split("\n[keys.alice]")[0], BY_HAND[BY_HAND.index("# bob serves") :]
    assert path.read_text() == before + after
    remove_authorized(path, "b.o [b]")
    assert path.read_text() == before + "# bob serves from the cluster\n\n\n# the end\n"
    assert read_authorized(path) == []


def test_who_is_not_there_is_named_and_the_likeliest_too(path: Path) -> None:
    with pytest.raises(AuthorizedError, match=r"keys\.alise: there is no such key.*alice") as caught:
        remove_authorized(path, "alise")
    assert path.read_text() == BY_HAND
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize(
    "text",
    [
        f'keys = {{ alice = {{ public = "{PUBLIC[0]}", role = "client" }} }}\n',
        f'[keys]\nalice.public = "{PUBLIC[0]}"\nalice.role = "client"\n',
        f'keys.alice.public = "{PUBLIC[0]}"\nkeys.alice.role = "client"\n',
    ],
    ids=["inline", "dotted-in-a-table", "dotted"],
)
def test_what_cannot_be_taken_out_safely_is_left_alone(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(AuthorizedError, match="by hand"):
        remove_authorized(path, "alice")
    assert path.read_text() == text


def test_a_table_may_be_written_with_blanks_and_quotes(path: Path) -> None:
    other = f'[keys.b]\npublic = "{PUBLIC[1]}"\nrole = """client"""\n'
    path.write_text(f'{other}[ keys . "alice" ]\npublic = "{PUBLIC[0]}"\nrole="client"\n')
    remove_authorized(path, "alice")
    assert path.read_text() == other


@pytest.mark.parametrize("key", ["x" * 39, "x" * 39 + "é", "~" * 40, "#" * 40, ""])
def test_what_is_no_key_is_refused(path: Path, key: str) -> None:
    path.write_text(f'[keys.a]\npublic = "{key}"\nrole = "client"\n')
    with pytest.raises(AuthorizedError, match="a public key: 40 characters of Z85"):
        read_authorized(path)


names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@given(st.lists(names, min_size=1, max_size=6, unique=True))
def test_whatever_they_are_called_added_and_taken_out_in_any_order_nothing_is_left(
    tmp_path_factory: pytest.TempPathFactory, called: list[str]
) -> None:
    path = tmp_path_factory.mktemp("keys") / "authorized.toml"
    states: list[str] = []
    for name, public in zip(called, PUBLIC, strict=False):
        states.append(path.read_text() if path.exists() else "")
        add_authorized(path, Authorized(name, public, "client", ("*",)))
    assert [entry.name for entry in read_authorized(path)] == called
    for name, state in zip(reversed(called), reversed(states[1:]), strict=False):
        remove_authorized(path, name)
        assert path.read_text() == state
    remove_authorized(path, called[0])
    assert read_authorized(path) == []
