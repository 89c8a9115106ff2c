"""PostgreSQL's physical backup from amd64 to arm64: whether a node may be replaced by one of the other kind.

Both programs are those of the images that the nodes run. The one of the other architecture is run by an emulator of
single programs, which is faster than a whole machine.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bed import settings
from bed.cache import Cache
from bed.emulation import emulated
from bed.recipes import graph, host_architecture

AMD64, ARM64 = "amd64", "arm64"

# What an architecture could tell apart: signs of bytes, numbers of all widths, text in order, inverted indexes.
DATA = """
CREATE EXTENSION pg_trgm;
CREATE EXTENSION amcheck;
CREATE TABLE kinds (id bigint PRIMARY KEY, small smallint, wide numeric, exact double precision, one "char", word text,
                    at timestamptz, bytes bytea, document jsonb);
INSERT INTO kinds SELECT n, (n % 60000 - 30000), n::numeric / 7, sqrt(n), chr((n % 127 + 1)::int)::"char",
    md5(n::text) || ' ' || chr((n % 1000 + 44032)::int) || chr((n % 100 + 192)::int), to_timestamp(n * 1000),
    decode(md5(n::text), 'hex'), jsonb_build_object('n', n, 'word', chr((n % 1000 + 44032)::int))
    FROM generate_series(1, 20000) n;
CREATE INDEX ON kinds (word);
CREATE INDEX ON kinds (wide, exact, small);
CREATE INDEX ON kinds (one);
CREATE INDEX ON kinds USING hash (word);
CREATE INDEX ON kinds USING gin (document);
CREATE INDEX kinds_trigram ON kinds USING gin (word gin_trgm_ops);
"""
AFTER_THE_BASE = """
UPDATE kinds SET exact = exact * 2 WHERE id % 3 = 0;
DELETE FROM kinds WHERE id > 19000;
INSERT INTO kinds (id, word) SELECT n, md5(n::text) FROM generate_series(30001, 31000) n;
SELECT pg_switch_wal();
"""
QUESTIONS = """
SELECT count(*), sum(('x' || substr(md5(t::text), 1, 15))::bit(60)::bigint::numeric) FROM kinds t;
SELECT md5(string_agg(word, ',' ORDER BY word, id)) FROM kinds;
SELECT md5(string_agg(one::text, ',' ORDER BY one, id)) FROM kinds;
SELECT datcollversion, pg_database_collation_actual_version(oid) FROM pg_database WHERE datname = 'observer';
SET enable_seqscan = off;
SELECT count(*) FROM kinds WHERE word LIKE '%' || substr(md5('777'), 3, 25) || '%';
SELECT count(*) FROM kinds WHERE word = (SELECT word FROM kinds WHERE id = 4242);
SELECT count(*) FROM kinds WHERE document @> '{"word": "가"}';
"""
WHOLE = """
DO $$ DECLARE one record; BEGIN
    FOR one IN SELECT c.oid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam
        WHERE a.amname = 'btree' AND c.relpersistence <> 't' AND i.indisready AND i.indisvalid
    LOOP PERFORM bt_index_check(index => one.oid, heapallindexed => true); END LOOP;
END $$;
SELECT 'whole';
"""
SETTINGS = """
wal_level = replica
max_wal_senders = 4
unix_socket_directories = '/tmp'
listen_addresses = ''
"""
START = "pg_ctl -w -t 600 -D {data} -l /tmp/log start >/dev/null || {{ cat /tmp/log >&2; exit 1; }}"
ASK = "psql -h /tmp -U observer -d observer -XAtq -v ON_ERROR_STOP=1"

Run = Callable[[str, str], str]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A line of shell in the image of PostgreSQL of an architecture, as the database's user."""
    other = ARM64 if host_architecture() == AMD64 else AMD64
    cache = Cache(settings.folders().artifacts)
    roots: dict[str, Path] = {}
    for architecture in (AMD64, ARM64):
        roots[architecture] = tmp_path_factory.mktemp(architecture)
        rootfs = graph(architecture).make(["postgres"], cache, f"build {architecture}")["postgres"] / "rootfs.tar"
        subprocess.run(["tar", "-x", "-f", rootfs, "-C", roots[architecture]], check=True)
        # pytest's folders are for their owner alone.
        roots[architecture].chmod(0o755)
        (roots[architecture] / "tmp").chmod(0o1777)

    def in_root(architecture: str, line: str) -> str:
        done = subprocess.run(
            ["chroot", roots[architecture], "setpriv", "--reuid=999", "--regid=999", "--clear-groups", "env", "-i",
             "PATH=/usr/lib/postgresql/15/bin:/usr/bin:/bin", "LANG=en_US.utf8", "bash", "-euc", line],
            check=False, capture_output=True, text=True, timeout=1200)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    in_root.roots = roots  # type: ignore[attr-defined]
    with emulated(other):
        yield in_root


def asked(run: Run, architecture: str, sql: str) -> str:
    return run(architecture, f"{ASK} <<'SQL'\n{sql}\nSQL").strip()


@pytest.mark.parametrize(("there", "here"), [(AMD64, ARM64), (ARM64, AMD64)])
def test_a_base_backup_and_its_log_are_recovered_by_the_other_architecture(run: Run, there: str, here: str) -> None:
    data = "/tmp/data"
    run(there, f"initdb -D {data} -U observer --data-checksums >/dev/null; cat >> {data}/postgresql.conf <<'CONF'"
               f"{SETTINGS}CONF\n{START.format(data=data)}; createdb -h /tmp -U observer observer")
    asked(run, there, DATA)
    run(there, "pg_basebackup -h /tmp -U observer -D /tmp/base -X fetch -c fast")
    asked(run, there, AFTER_THE_BASE)
    before = asked(run, there, QUESTIONS)
    # Nobody says goodbye: what the base backup lacks is in the log alone.
    run(there, f"pg_ctl -D {data} -m immediate stop >/dev/null; mkdir /tmp/wal; cp {data}/pg_wal/0* /tmp/wal/")
    roots: dict[str, Path] = run.roots  # type: ignore[attr-defined]
    packed = subprocess.run(["tar", "-c", "-C", roots[there] / "tmp", "base", "wal"], check=True, capture_output=True)
    subprocess.run(["tar", "-x", "-C", roots[here] / "tmp"], input=packed.stdout, check=True)

    run(here, "touch /tmp/base/recovery.signal; echo \"restore_command = 'cp /tmp/wal/%f %p'\" >> "
              f"/tmp/base/postgresql.conf; {START.format(data='/tmp/base')}")
    run(here, f"until [ \"$({ASK} -c 'SELECT pg_is_in_recovery()')\" = f ]; do sleep 1; done")
    assert asked(run, here, "SELECT version()").count({AMD64: "x86_64", ARM64: "aarch64"}[here]) >= 1
    assert asked(run, here, QUESTIONS) == before
    # Text is in the order of this C library as well, and every index of what is in its table.
    first, second = asked(run, here, QUESTIONS).splitlines()[3].split("|")
    assert first == second
    assert asked(run, here, WHOLE) == "whole"
    plan = asked(run, here, "SET enable_seqscan = off;"
                            " EXPLAIN (COSTS off) SELECT id FROM kinds WHERE word LIKE '%abcdef%'")
    assert "kinds_trigram" in plan
    run(here, "pg_ctl -D /tmp/base -m fast stop >/dev/null; rm -rf /tmp/base /tmp/wal /tmp/log")
    run(there, "rm -rf /tmp/data /tmp/base /tmp/wal /tmp/log")
