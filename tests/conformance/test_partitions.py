from tests.conformance.worlds import World, UNLIMITED
from tests.conformance.conftest import *
from tests.conftest import *
from trueup import Verdict
def test_it(world):
    world.tables("id {integer} PRIMARY KEY NOT NULL, tenant {text}, v {integer}",
       [(n, f"T{n%3}" if n%7 else None, n) for n in range(100)],
       [(n, f"T{n%3}" if n%7 else None, n + (n==5)) for n in range(99)])
    world.target.sql("UPDATE dst SET tenant = 'x' WHERE id = 1")
    for columns in (["v"], None):
        whole = world.app(columns=columns).check("p", rows=0)
        app = world.app(columns=columns, partition={"by": "column", "column": "tenant"})
        r = app.check("p", rows=0)
        print(r.strategy, r.partitions)
        key=lambda d: sorted(map(str,d.drift))
        assert key(r)==key(whole)
        assert (r.source_rows,r.target_rows,r.missing,r.extra,r.different,r.different_by_column)==(whole.source_rows,whole.target_rows,whole.missing,whole.extra,whole.different,whole.different_by_column)
