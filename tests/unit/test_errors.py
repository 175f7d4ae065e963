"""An SQLSTATE becomes an exception in one place."""

from __future__ import annotations

import pytest

import pgjobs
from pgjobs import errors
from pgjobs.errors import for_sqlstate


@pytest.mark.parametrize(
    ("sqlstate", "message", "kind"),
    [
        ("PJ001", "The payload of a job must be a JSON object.", pgjobs.InvalidJob),
        ("PJ002", "There is no dead letter 7.", pgjobs.JobNotFound),
        ("PJ004", "Worker 3 is no longer known.", pgjobs.LeaseLost),
    ],
)
def test_our_own_codes_become_our_errors_with_the_servers_sentence(
    sqlstate: str, message: str, kind: type[pgjobs.PgjobsError]
) -> None:
    error = for_sqlstate(sqlstate, message)
    assert type(error) is kind
    assert str(error) == message


@pytest.mark.parametrize(
    ("sqlstate", "message", "kind"),
    [
        ("3F000", 'schema "pgjobs" does not exist', pgjobs.SchemaMissing),
        ("42P01", 'relation "pgjobs.all_jobs" does not exist', pgjobs.SchemaMissing),
        ("42883", "function pgjobs.enqueue_v1(text) does not exist", pgjobs.SchemaTooOld),
    ],
)
def test_a_schema_that_is_not_there_or_too_old_is_told_with_what_to_do(
    sqlstate: str, message: str, kind: type[pgjobs.PgjobsError]
) -> None:
    error = for_sqlstate(sqlstate, message)
    assert type(error) is kind
    assert "run `pgjobs migrate`" in str(error)


@pytest.mark.parametrize(
    ("sqlstate", "message"),
    [
        (None, "anything"),
        ("", "anything"),
        ("23505", "duplicate key"),
        ("3F000", 'schema "letters" does not exist'),
        ("42P01", 'relation "letters" does not exist'),
        ("42883", "function levenshtein(text, text) does not exist"),
    ],
)
def test_what_is_not_about_pgjobs_stays_what_it_is(sqlstate: str | None, message: str) -> None:
    assert for_sqlstate(sqlstate, message) is None


def test_all_errors_share_one_root() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    assert all(issubclass(kind, pgjobs.PgjobsError) for kind in kinds)
    assert {kind.__name__ for kind in kinds} <= set(pgjobs.__all__)
