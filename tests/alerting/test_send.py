"""Messages through Apprise to receivers on this machine, and where they must not go."""

from __future__ import annotations

import socket
import urllib.request
from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from tests.alerting.receivers import smtp, web
from trueup.alerting import send as sending
from trueup.alerting.deliver import deliver, masked
from trueup.alerting.egress import NotAllowed, guarded, not_public
from trueup.alerting.send import destinations, send
from trueup.core.alerts import Message

MESSAGE = Message(id="a-1", subject="p", title="Trueup: p: drift firing", body="7 rows\nmessage a-1")


def sent(url: str, *, allow_private: bool = True) -> str:
    (to,) = destinations([SecretStr(url)]).values()
    return send(MESSAGE, to, allow_private=allow_private)


def test_by_http_and_by_mail() -> None:
    with web() as got, smtp() as (port, mails):
        assert sent(f"json://127.0.0.1:{got.port}/hook") == ""
        assert sent(f"mailto://127.0.0.1:{port}?from=trueup@example.org&to=ann@example.org&mode=insecure") == ""
    (posted,) = got.got
    assert (posted["title"], posted["message"]) == (MESSAGE.title, MESSAGE.body)
    (mail,) = mails
    assert "To: ann@example.org" in mail
    assert "drift firing" in mail


def test_nothing_is_sent_to_this_machine_unless_that_is_permitted() -> None:
    with web() as got:
        why = sent(f"json://127.0.0.1:{got.port}/hook", allow_private=False)
        assert "127.0.0.1, which is not a public address; alerts.allow_private = true permits it" in why
        why = sent(f"json://localhost:{got.port}/hook", allow_private=False)
        assert "not a public address" in why
    assert got.got == []


def test_what_failed_is_said_without_a_part_of_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    with web() as got:
        got.answer = lambda _path: (500, "")
        why = sent(f"json://bob:hunter22@127.0.0.1:{got.port}/T0KEN?:secret-header=abcdef")
    assert why
    assert not any(part in why for part in ("hunter22", "T0KEN", "abcdef"))
    assert sent("nonsense://T0KEN") == "it is no URL that Apprise knows"
    assert masked("no route to https://x/T0KEN/ab", "https://x/T0KEN/ab") == "no route to https://x/***/ab"
    (to,) = destinations([SecretStr("slack://T0KEN/a/b")]).values()
    assert "T0KEN" not in repr(to)
    monkeypatch.setattr(sending, "SEND_S", 0.01)
    assert sent("json://127.0.0.1:9/x") == "no answer within 0 s"


def test_a_library_that_is_not_there_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "apprise", None)
    assert "install the extra `alerts`" in deliver("json://x", "", "", allow_private=False)


# --- where it may go -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        *(
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
        ),
        *(
            "::1",
            "::",
            "fe80::1%eth0",
            "fd00:ec2::254",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "2002:0a00:0001::1",
            "ff02::1",
        ),
    ],
)
def test_not_public(address: str) -> None:
    assert not_public(address)


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "93.184.215.14", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]
)
def test_public(address: str) -> None:
    assert not not_public(address)


@pytest.fixture
def only_first() -> Iterator[list[str]]:
    """127.0.0.1 stands for the internet, and 127.0.0.2 for a private network."""
    told: list[str] = []
    with guarded(lambda address: address != "127.0.0.1", told.append):
        yield told


def test_a_redirect_is_checked_too(only_first: list[str]) -> None:
    with web() as outside, web("127.0.0.2") as inside:
        outside.answer = lambda path: (302, f"http://127.0.0.2:{inside.port}/inside") if path == "/away" else (200, "")
        with urllib.request.urlopen(f"http://127.0.0.1:{outside.port}/") as answer:
            assert answer.status == 200
        with pytest.raises(OSError, match="not a public address"):
            urllib.request.urlopen(f"http://127.0.0.1:{outside.port}/away")
    assert inside.got == []
    assert only_first == ["it would go to 127.0.0.2, which is not a public address"]


def test_a_name_that_resolves_to_another_address_the_second_time(
    only_first: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A check of the name beforehand would have been passed; what is connected to is what counts."""
    answers = iter(["127.0.0.1", "127.0.0.2"])
    real = socket.getaddrinfo
    with web() as outside, web("127.0.0.2") as inside:

        def rebinding(host: str, *rest: object, **more: object) -> object:
            return real(next(answers) if host == "rebound.example" else host, *rest, **more)  # type: ignore[call-overload]

        monkeypatch.setattr(socket, "getaddrinfo", rebinding)
        with urllib.request.urlopen(f"http://rebound.example:{outside.port}/"):
            pass
        with pytest.raises(OSError, match="not a public address"):
            urllib.request.urlopen(f"http://rebound.example:{inside.port}/")
    assert inside.got == []
    assert only_first


def test_other_kinds_of_sockets(only_first: list[str]) -> None:
    with socket.socket(socket.AF_UNIX) as local, pytest.raises(NotAllowed):
        local.connect("/dev/log")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as packets, pytest.raises(NotAllowed):
        packets.sendto(b"x", ("127.0.0.2", 9))
    with socket.socket() as plain, pytest.raises(NotAllowed):
        plain.connect_ex(("127.0.0.2", 9))
    assert len(only_first) == 3
