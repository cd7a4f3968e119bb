"""The verdicts about handshakes, and what the files of keys become."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some
from zmq.utils import z85

from maitred.broker.core.effects import Note, Side
from maitred.broker.core.policy import INSECURE, LOCAL, OPEN, TRUSTED, Policy, Principal
from maitred.broker.doors import DOMAINS, DoorError, Doors, refuse_unguarded
from maitred.broker.keyring import compared, read_keyring, read_token
from maitred.broker.settings import BrokerSettings
from maitred.config.authorized import Authorized, AuthorizedError, add_authorized
from maitred.config.key_file import KeyFile, KeyFileError, write_key

ALICE, BOB = "a" * 40, "b" * 40
OWN = 1000


class House:
    """Doors whose policy is a table, and what they noted."""

    def __init__(self, *users: tuple[str, Side], **options: Any) -> None:
        self.notes: list[Note] = []
        self.asked: list[tuple[str, Side]] = []
        self.users = users
        self.doors = Doors(self.may_enter, self.notes.append, own_uid=OWN, **{"keyed": False, **options})

    def may_enter(self, user: str, side: Side) -> bool:
        self.asked.append((user, side))
        return (user, side) in self.users if self.users else True

    def decide(
        self, address: str, mechanism: str = "NULL", credentials: Sequence[bytes] = (), domain: str = "clients"
    ) -> tuple[int, str]:
        verdict = self.doors.decide(domain, address, mechanism, credentials)
        return verdict.code, verdict.user

    @property
    def reasons(self) -> list[Any]:
        return [note.fields["reason"] for note in self.notes]


def key_bytes(public: str) -> list[bytes]:
    return [z85.decode(public)]


def test_a_key_comes_to_the_sides_that_it_may_come_to() -> None:
    house = House((f"key:{ALICE}", Side.CLIENTS), (f"key:{BOB}", Side.WORKERS), keyed=True)
    assert house.decide("10.0.0.1", "CURVE", key_bytes(ALICE)) == (200, f"key:{ALICE}")
    assert house.decide("10.0.0.1", "CURVE", key_bytes(ALICE), "workers") == (400, "")
    assert house.decide("10.0.0.1", "CURVE", key_bytes(BOB), "workers") == (200, f"key:{BOB}")
    assert house.decide("10.0.0.1", "CURVE", key_bytes(BOB), "majordomo") == (400, "")


def test_a_refusal_says_all_that_helps_and_not_the_whole_key() -> None:
    house = House(("key:" + ALICE, Side.CLIENTS), keyed=True)
    house.decide("10.0.0.1", "CURVE", key_bytes(BOB))
    (note,) = house.notes
    assert note == Note("auth.refused", {
        "side": "clients", "address": "10.0.0.1", "mechanism": "CURVE", "key": "bbbbbbbb",
        "reason": "the key is not authorised for this side",
    })  # fmt: skip


def test_who_comes_over_ipc_is_known_to_the_kernel() -> None:
    for keyed in (False, True):
        house = House(keyed=keyed)
        assert house.decide(f"localhost:{OWN}:1:77") == (200, f"user:{OWN}:77")
        assert house.decide("localhost:0:0:1", domain="workers") == (200, "user:0:1")
        assert house.decide("localhost:1001:1:77") == (400, "")
        assert house.reasons == ["it belongs to another user"]


def test_without_keys_this_host_may_come_and_others_where_it_is_insecure() -> None:
    house = House()
    for address in ("127.0.0.1", "127.8.0.1", "::1", "::ffff:127.0.0.1"):
        assert house.decide(address) == (200, f"open:{address}")
    assert house.decide("10.0.0.1") == (400, "")
    assert house.decide("::ffff:10.0.0.1") == (400, "")
    assert House(insecure=True).decide("10.0.0.1") == (200, "open:10.0.0.1")


def test_with_keys_nobody_comes_over_tcp_without_one() -> None:
    for insecure in (False, True):
        assert House(keyed=True, insecure=insecure).decide("127.0.0.1") == (400, "")


@pytest.mark.parametrize("mechanism", ["PLAIN", "GSSAPI", "", "curve"])
def test_other_mechanisms_are_refused(mechanism: str) -> None:
    assert House(insecure=True).decide("127.0.0.1", mechanism, [b"me", b"word"]) == (400, "")


@pytest.mark.parametrize("shown", [(), (b"",), (b"x" * 31,), (b"x" * 33,), (b"x" * 32, b"x" * 32)])
def test_what_is_no_key_is_refused(shown: tuple[bytes, ...]) -> None:
    house = House()
    assert house.decide("10.0.0.1", "CURVE", shown) == (400, "")
    assert house.asked == []


def test_the_policy_has_the_last_word() -> None:
    house = House(("nobody", Side.CLIENTS), insecure=True)
    for address in (f"localhost:{OWN}:1:77", "127.0.0.1"):
        assert house.decide(address) == (400, "")


def test_where_there_is_no_room_nobody_is_looked_at() -> None:
    house = House(keyed=True, room=lambda address: address != "10.0.0.1")
    assert house.decide("10.0.0.1", "CURVE", key_bytes(ALICE)) == (300, "")
    assert house.asked == []
    assert house.decide("10.0.0.2", "CURVE", key_bytes(ALICE)) == (200, f"key:{ALICE}")


def test_the_brokers_own_trial_needs_no_room_and_is_no_news() -> None:
    house = House(("nobody", Side.CLIENTS), keyed=True, room=lambda _: False)
    (house.doors.probe,) = key_bytes(BOB)
    assert house.decide("127.0.0.1", "CURVE", key_bytes(BOB), "workers") == (400, "")
    assert (house.notes, house.doors.tried) == ([], {Side.WORKERS})
    assert house.decide(f"localhost:{OWN}:1:{os.getpid()}")[0] == 400
    assert house.doors.tried == {Side.WORKERS, Side.CLIENTS}


@given(
    domain=some.one_of(some.sampled_from(sorted(DOMAINS)), some.text(max_size=20)),
    address=some.one_of(
        some.from_regex(r"localhost:[0-9]*:[0-9]*:[0-9]*"), some.text(max_size=60), some.ip_addresses().map(str)
    ),
    mechanism=some.one_of(some.sampled_from(["NULL", "CURVE", "PLAIN"]), some.text(max_size=10)),
    credentials=some.lists(some.binary(max_size=40), max_size=3),
    keyed=some.booleans(),
)  # fmt: skip
def test_nothing_comes_in_but_by_the_three_ways(
    domain: str, address: str, mechanism: str, credentials: list[bytes], keyed: bool
) -> None:
    house = House(keyed=keyed)
    code, user = house.decide(address, mechanism, credentials, domain)
    if code == 200:
        assert domain in DOMAINS
        kind, _, who = user.partition(":")
        match kind:
            case "key":
                assert mechanism == "CURVE"
                assert [z85.decode(who)] == credentials
            case "user":
                assert mechanism == "NULL"
                assert int(address.split(":")[1]) in (OWN, 0)
            case _:
                assert (kind, mechanism, keyed) == ("open", "NULL", False)
                assert who == address
    else:
        assert (code, user) == (400, "")
        assert len(house.notes) == 1


def test_addresses_that_others_reach_need_a_guard() -> None:
    inside = {"clients": "tcp://127.0.0.1:1", "workers": "ipc:///x/y", "majordomo": ""}
    refuse_unguarded(inside, "127.0.0.1:2", keyed=False, token=False)
    refuse_unguarded({"clients": "tcp://0.0.0.0:1"}, "0.0.0.0:2", keyed=True, token=True)
    with pytest.raises(
        DoorError, match=r"broker\.workers = tcp://\*:1: other hosts .*maitred keys new broker.*--insecure"
    ):
        refuse_unguarded({**inside, "workers": "tcp://*:1"}, "", keyed=False, token=True)
    with pytest.raises(DoorError, match=r"broker\.http = \[::\]:2: other hosts .*http_token"):
        refuse_unguarded(inside, "[::]:2", keyed=True, token=False)
    with pytest.raises(DoorError, match="udp://x"):
        refuse_unguarded({"clients": "udp://x"}, "", keyed=False, token=False)


# --- what the files become ---


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    write_key(tmp_path / "broker.key", KeyFile("p" * 40, "s" * 40), "the broker's")
    return tmp_path


def told(keys: Path, **changes: Any) -> BrokerSettings:
    return BrokerSettings(
        "tcp://127.0.0.1:0", "tcp://127.0.0.1:0", [], [], key_file=str(keys / "broker.key"), **changes
    )


def test_roles_become_what_one_may_do(keys: Path) -> None:
    for place, role in enumerate(("client", "worker", "agent", "operator")):
        entry = Authorized(role, "abcd"[place] * 40, role, ("general", "neural:train_*"), ("g*",), 5, 2.5, 1000)
        add_authorized(keys / "authorized.toml", entry)
    found = {each.name: each for each in read_keyring(told(keys)).authorized.values()}
    limits = {"max_in_flight": 5, "rate_per_s": 2.5, "max_queued_bytes": 1000}
    call = (("general", "*"), ("neural", "train_*"))
    assert found == {
        "client": Principal("client", call, keyed=True, **limits),
        "worker": Principal("worker", call, ("g*",), keyed=True, **limits),
        "agent": Principal("agent", call, ("g*",), supervise=True, keyed=True, **limits),
        "operator": Principal("operator", call, operate=True, read=True, keyed=True, **limits),
    }


def test_nobody_is_authorised_where_there_is_no_file_and_a_named_one_has_to_be_there(keys: Path) -> None:
    keyring = read_keyring(told(keys))
    assert (keyring.authorized, keyring.authorized_file) == ({}, keys / "authorized.toml")
    with pytest.raises(AuthorizedError, match=r"other\.toml: cannot be read"):
        read_keyring(told(keys, authorized_file=str(keys / "other.toml")))
    with pytest.raises(AuthorizedError, match=r"authorized\.toml: cannot be read"):
        keyring.read_again()


def test_the_policy_is_by_what_there_is(keys: Path) -> None:
    plain = BrokerSettings("tcp://127.0.0.1:0", "tcp://127.0.0.1:0", [], [])
    policy = read_keyring(plain).policy(plain, "f" * 64)
    assert policy == Policy({}, "f" * 64, OPEN, None, majordomo=False)
    assert policy.find("user:0:1") == LOCAL
    assert policy.find("user:0:1", "f" * 64) == TRUSTED
    assert policy.find("") is None
    insecure = BrokerSettings("tcp://*:0", "tcp://*:0", [], [], insecure=True, majordomo="ipc:///x")
    assert read_keyring(insecure).policy(insecure, "").open == INSECURE
    assert read_keyring(insecure).policy(insecure, "").majordomo
    keyed = told(keys, insecure=True)
    assert read_keyring(keyed).policy(keyed, "").open is None
    with pytest.raises(KeyFileError, match="asks for no keys"):
        read_keyring(plain).read_again()


def test_what_a_reading_changed_is_told_by_name() -> None:
    before = {"1": Principal("a"), "2": Principal("b"), "3": Principal("c"), "4": Principal("d")}
    after = {"1": Principal("a"), "5": Principal("b"), "3": Principal("c", operate=True), "6": Principal("e")}
    assert compared(before, after) == {"keys": 4, "added": ["e"], "removed": ["d"], "changed": ["b", "c"]}
    assert compared(before, before) == {"keys": 4, "added": [], "removed": [], "changed": []}


@pytest.mark.parametrize(
    "text", ["", "short", "with a space in the middle", "ünprintable in a header", "a" * 16 + "\nb"]
)
def test_what_is_no_token_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "token"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match="holds no token"):
        read_token(str(path))
    path.write_text("0123456789abcdef\n")
    assert read_token(str(path)) == "0123456789abcdef"
    path.chmod(0o640)
    with pytest.raises(KeyFileError, match="others may read"):
        read_token(str(path))
