from dataclasses import replace
from pathlib import Path

import pytest

from k3s import certs, certtable, join
from k3s.errors import Fatal
from k3s.settings import Paths


@pytest.fixture
def leaf(tmp_path: Path) -> certs.Leaf:
    """A CA and a leaf of it."""
    ca, key = str(tmp_path / "ca.crt"), str(tmp_path / "ca.key")
    certs.ensure_ca(ca, key, "k3s-server-ca")
    return certs.Leaf(
        str(tmp_path / "x.crt"),
        str(tmp_path / "x.key"),
        ca,
        key,
        "system:node:n1",
        ("system:nodes",),
        "serverAuth",
        ("DNS:n1", "IP:10.0.0.5", "IP:::1"),
    )


def test_a_good_pair_stays(leaf: certs.Leaf) -> None:
    assert certs.ensure_leaf(leaf)
    before = Path(leaf.crt).read_bytes()
    assert certs.why_issue(leaf) == ""
    assert not certs.ensure_leaf(leaf)
    assert Path(leaf.crt).read_bytes() == before
    assert Path(leaf.key).stat().st_mode & 0o777 == 0o600
    text = certs.openssl("x509", "-in", leaf.crt, "-noout", "-text").stdout.decode()
    assert "TLS Web Server Authentication" in text
    assert "O = system:nodes, CN = system:node:n1" in text
    assert "CA:FALSE" in text


def test_mismatched_key(leaf: certs.Leaf) -> None:
    certs.ensure_leaf(leaf)
    Path(leaf.key).write_bytes(certs.new_key())
    assert certs.why_issue(leaf) == "it does not match its key"
    assert certs.ensure_leaf(leaf)
    assert certs.why_issue(leaf) == ""


def test_missing_or_empty_files(leaf: certs.Leaf) -> None:
    certs.ensure_leaf(leaf)
    Path(leaf.crt).unlink()
    assert certs.why_issue(leaf) == "it is missing"
    key = Path(leaf.key).read_bytes()
    assert certs.ensure_leaf(leaf)
    assert Path(leaf.key).read_bytes() == key  # the key stays, as in K3s
    Path(leaf.crt).write_text("")
    assert certs.ensure_leaf(leaf)
    Path(leaf.key).write_text("")
    assert certs.ensure_leaf(leaf)
    assert certs.why_issue(leaf) == ""


def test_missing_name(leaf: certs.Leaf) -> None:
    certs.ensure_leaf(leaf)
    more = replace(leaf, sans=(*leaf.sans, "DNS:node.example", "IP:2001:db8::1"))
    assert certs.why_issue(more) == "it lacks DNS:node.example, IP:2001:db8::1"
    certs.ensure_leaf(more)
    assert certs.why_issue(more) == ""
    assert certs.why_issue(leaf) == ""


def test_other_name_and_other_ca(leaf: certs.Leaf, tmp_path: Path) -> None:
    certs.ensure_leaf(leaf)
    assert certs.why_issue(replace(leaf, common_name="system:node:n2")) == "it is for another name"
    # A name that begins with the other is another name all the same.
    assert certs.why_issue(replace(leaf, common_name="system:node:n")) == "it is for another name"
    assert certs.why_issue(replace(leaf, common_name="system:node:n11")) == "it is for another name"
    other, key = str(tmp_path / "o.crt"), str(tmp_path / "o.key")
    certs.ensure_ca(other, key, "k3s-server-ca")
    assert certs.why_issue(replace(leaf, ca_crt=other, ca_key=key)) == "it is not from this CA"


@pytest.mark.parametrize(("days", "reason"), [(119, "it has less than 120 days left"), (121, "")])
def test_near_its_end(leaf: certs.Leaf, monkeypatch: pytest.MonkeyPatch, days: int, reason: str) -> None:
    monkeypatch.setattr(certs, "LEAF_DAYS", days)
    certs.ensure_leaf(leaf)
    assert certs.why_issue(leaf) == reason


def test_a_ca_is_never_touched(leaf: certs.Leaf) -> None:
    crt, key = Path(leaf.ca_crt).read_bytes(), Path(leaf.ca_key).read_bytes()
    certs.ensure_ca(leaf.ca_crt, leaf.ca_key, "other")
    assert (Path(leaf.ca_crt).read_bytes(), Path(leaf.ca_key).read_bytes()) == (crt, key)
    Path(leaf.ca_key).unlink()
    with pytest.raises(Fatal, match="must both exist or both be missing"):
        certs.ensure_ca(leaf.ca_crt, leaf.ca_key, "other")
    Path(leaf.ca_key).write_bytes(certs.new_key())
    with pytest.raises(Fatal, match="does not match"):
        certs.ensure_ca(leaf.ca_crt, leaf.ca_key, "other")


def test_failure_leaves_the_old_pair(leaf: certs.Leaf, monkeypatch: pytest.MonkeyPatch) -> None:
    certs.ensure_leaf(leaf)
    before = (Path(leaf.crt).read_bytes(), Path(leaf.key).read_bytes())

    def fail(*args: object) -> bytes:
        raise Fatal("no")

    monkeypatch.setattr(certs, "sign", fail)
    with pytest.raises(Fatal):
        certs.ensure_leaf(replace(leaf, sans=("DNS:new",)))
    assert (Path(leaf.crt).read_bytes(), Path(leaf.key).read_bytes()) == before
    assert not list(Path(leaf.crt).parent.glob("*.new"))


def test_request_subject(leaf: certs.Leaf, tmp_path: Path) -> None:
    key = tmp_path / "k"
    key.write_bytes(certs.new_key())
    pem = certs.request(str(key), "system:node:n2", ("system:nodes",), ("DNS:n2",))
    assert join.request_subject(pem) == ("system:node:n2", ("system:nodes",))
    assert join.request_subject(b"garbage") == ("", ())


def test_table(tmp_path: Path, leaf: certs.Leaf) -> None:
    paths = Paths(str(tmp_path / "data"))
    moved = replace(leaf, crt=paths.tls("client-admin.crt"), key=paths.tls("client-admin.key"))
    certs.ensure_leaf(moved)
    (row,) = certtable.rows(paths)
    assert row.status == "OK"
    assert "CN=system:node:n1" in row.subject
    assert "FILENAME" in certtable.render([row], "table")
    assert '"status": "OK"' in certtable.render([row], "json")
    _, end = certs.expiry(moved.crt)
    assert certtable.rows(paths, end + 1)[0].status == "EXPIRED"
    assert certtable.rows(paths, end - 10 * 86400)[0].status == "WARNING"
