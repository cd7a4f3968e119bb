"""Who somebody is, and what he may do: the policy by itself."""

from __future__ import annotations

import pytest
from keyed_peers import ANYBODY, SECRET, USER, key_of, keyed, policy

from maitred.broker.core.effects import Side
from maitred.broker.core.policy import INSECURE, LOCAL, OPEN, TRUSTED, Policy, Principal, in_short
from maitred.broker.core.rights import MAX_DECISIONS, MAX_NAMED, Calls, denied, denied_call

ALICE = keyed("alice", call=(("general", "*"), ("neural", "infer_*")))
FILE = policy(ALICE, keyed("work", serve=("g*",)), keyed("root", operate=True), keyed("eye", read=True), keyed("none"))


@pytest.mark.parametrize(
    ("user", "secret", "found"),
    [
        (f"key:{key_of('alice')}", "", ALICE),
        (f"key:{key_of('alice')}", SECRET, ALICE),
        (f"key:{key_of('mallory')}", SECRET, None),
        ("key:", "", None),
        (USER, "", LOCAL),
        (USER, "wrong", LOCAL),
        (USER, SECRET, TRUSTED),
        (ANYBODY, "", OPEN),
        (ANYBODY, SECRET[:-1], OPEN),
        (ANYBODY, SECRET, TRUSTED),
        ("", "", None),
        ("", SECRET, None),
        ("root", SECRET, None),
        ("nonsense:x", SECRET, None),
    ],
)
def test_who_it_is(user: str, secret: str, found: Principal | None) -> None:
    assert FILE.find(user, secret) == found


def test_without_a_secret_who_has_no_key_is_trusted_and_a_closed_way_in_stays_closed() -> None:
    assert Policy().find(USER) == TRUSTED
    assert Policy(open=None).find(ANYBODY) is None
    assert Policy(secret=SECRET, open=INSECURE).find(ANYBODY) == INSECURE
    assert policy(open=None).find(ANYBODY, SECRET) is None, "the secret opens no way in that there is not"


@pytest.mark.parametrize(
    ("user", "sides"),
    [
        ("alice", [Side.CLIENTS, Side.MAJORDOMO]),
        ("work", [Side.WORKERS, Side.MAJORDOMO]),
        ("root", [Side.CLIENTS]),
        ("eye", [Side.CLIENTS]),
        ("none", []),
        ("mallory", []),
        (USER, list(Side)),
        (ANYBODY, list(Side)),
        ("", []),
    ],
)
def test_where_a_handshake_makes_sense(user: str, sides: list[Side]) -> None:
    who = user if ":" in user or not user else f"key:{key_of(user)}"
    assert [side for side in Side if FILE.may_enter(who, side)] == sides


def test_patterns() -> None:
    assert ALICE.may_call("general", "anything")
    assert ALICE.may_call("neural", "infer_x")
    assert not ALICE.may_call("neural", "train_x")
    assert not ALICE.may_call("General", "x"), "names are compared as they are"
    assert not ALICE.may_call("generally", "x")
    assert ALICE.may_call_pool("neural")
    assert not ALICE.may_call_pool("other")
    assert keyed("w", serve=("n?ural",)).may_serve("neural")


def test_a_key_is_nobody_without_one_whatever_its_name() -> None:
    assert not keyed("owner").is_same(TRUSTED)
    assert LOCAL.is_same(TRUSTED)
    assert keyed("owner").account == "owner"
    assert not TRUSTED.account


def test_what_was_decided_is_remembered_within_a_bound() -> None:
    calls = Calls(ALICE)
    for number in range(2 * MAX_DECISIONS):
        assert not calls.allow("neural", f"train_{number}")
        assert calls.allow("neural", "infer_x")
    assert len(calls._known) <= MAX_DECISIONS


def test_a_refusal_says_what_may_be_called_instead() -> None:
    text, details = denied_call(ALICE, "neural", "train_x")
    assert text == "key 'alice' may not call 'neural:train_x'; it may call: general, neural:infer_*"
    assert details == {
        "missing": "call", "principal": "alice", "pool": "neural", "command": "train_x",
        "allowed": ["general", "neural:infer_*"],
    }  # fmt: skip
    many = keyed("m", call=tuple((f"pool{n}", "*") for n in range(100)))
    text, details = denied_call(many, "x", None)
    assert len(details["allowed"]) == MAX_NAMED
    assert text.endswith("…")
    assert denied_call(TRUSTED, "x", None)[0].startswith("'owner' may not")


def test_who_has_no_key_is_told_what_would_let_him() -> None:
    assert denied(TRUSTED, "serve", "serve pool 'x'")[0].endswith("takes the secret of the broker's connection file")
    assert denied(ALICE, "serve", "serve pool 'x'")[0].endswith("may not serve pool 'x'")
    assert denied_call(keyed("n"), "x", None)[0].endswith("it may call: nothing")


def test_logs_have_the_beginning_of_a_key() -> None:
    assert in_short(f"key:{key_of('mallory')}") == "key:mallory.…"
    assert in_short(USER) == USER
