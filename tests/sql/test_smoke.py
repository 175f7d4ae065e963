def test_enqueue(db):
    assert db.execute("select pgjobs.enqueue('x')").fetchone()[0] > 0
def test_two(db, clock):
    assert db.execute("select pgjobs.enqueue('x')").fetchone()[0] > 0
