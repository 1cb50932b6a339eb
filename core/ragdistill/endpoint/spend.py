"""What an endpoint has billed, remembered in the store across restarts, and the cap on it.

One row for each request, written before it is sent: what a killed process had under way still
counts. SQLite, because several threads and processes may ask at once.
"""

import sqlite3
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from ragdistill.errors import UserError
from ragdistill.files import writing

_TABLE = """CREATE TABLE IF NOT EXISTS requests (
    id INTEGER PRIMARY KEY,
    session TEXT NOT NULL,
    texts INTEGER NOT NULL,
    estimate INTEGER NOT NULL,
    most INTEGER NOT NULL,
    begun REAL NOT NULL,
    tokens INTEGER,
    seconds REAL
)"""
_LONGEST_SECONDS = 600.0
"""A request of another process that has been under way for longer died with it."""
# A request under way counts with the most that it can take; one that was under way when its process
# died with what it was thought to take.
_BILLED = """SELECT
    COALESCE(SUM(CASE WHEN NOT open THEN COALESCE(tokens, estimate) END), 0),
    COALESCE(SUM(CASE WHEN open THEN most END), 0),
    MAX(1.0, COALESCE(MAX(1.0 * tokens / most), 1.0))
FROM (SELECT *, tokens IS NULL AND (session = ? OR begun > ?) AS open FROM requests)"""
_WAIT_SECONDS = 60.0


class OverBudget(Exception):
    """The next request might cost more than is left."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A request, in figures."""

    texts: int
    estimate: int
    """Tokens that it is thought to have."""
    most: int
    """Tokens that it has at the most."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """A request that may be sent."""

    ask: Ask
    row: int | None
    """Where it is noted; None before the endpoint has ever answered, when nothing is written yet."""


@dataclass(frozen=True, slots=True)
class Totals:
    """All that was ever asked of the endpoint, as the store remembers it."""

    requests: int
    """Those that were billed."""
    texts: int
    tokens: int
    seconds: tuple[float, ...]
    """Of each request that was answered well."""


class Spend:
    """Counts tokens; money is tokens at today's price."""

    def __init__(self, path: Path, *, price: float | None, budget: float | None) -> None:
        """``price`` in USD per million tokens, ``budget`` in USD.

        Raises:
            UserError: a budget without a price.
        """
        if budget is not None and price is None:
            raise UserError(
                "needs a price to count with",
                where="--teacher-budget",
                mend="give the endpoint's with --teacher-price USD_PER_MILLION_TOKENS",
            )
        self._path = path
        self._price = price
        self._budget = budget
        self._session = uuid.uuid4().hex
        self._limit: int | None = None
        if budget is not None and price:
            self._limit = int(Decimal(str(budget)) * 1_000_000 / Decimal(str(price)))

    def usd(self, tokens: int) -> float | None:
        """What so many tokens cost; None where the price is not known."""
        return (
            None if self._price is None else float(tokens * Decimal(str(self._price)) / 1_000_000)
        )

    def reserve(self, ask: Ask) -> Ticket:
        """Note a request that is about to be sent.

        Raises:
            OverBudget: it might cost more than is left.
            UserError: the store cannot be written.
        """
        if not self._path.exists():
            self._check(0, ask.most)
            return Ticket(ask, None)
        with self._transaction() as database:
            found = database.execute(
                _BILLED, [self._session, time.time() - _LONGEST_SECONDS]
            ).fetchone()
            billed, under_way, excess = found
            # What was billed more than anybody thought possible may be so again.
            self._check(billed, (under_way + ask.most) * excess)
            return Ticket(ask, self._insert(database, ask))

    def _check(self, billed: int, most: float) -> None:
        if self._limit is not None and billed + most > self._limit:
            raise OverBudget

    def _insert(self, database: sqlite3.Connection, ask: Ask) -> int | None:
        return database.execute(
            "INSERT INTO requests (session, texts, estimate, most, begun) VALUES (?, ?, ?, ?, ?)",
            (self._session, ask.texts, ask.estimate, ask.most, time.time()),
        ).lastrowid

    def settle(self, ticket: Ticket, tokens: int, seconds: float | None = None) -> None:
        """Note what a request was billed, 0 where it failed; its ``seconds`` if it was answered well.

        Raises:
            UserError: the store cannot be written.
        """
        if ticket.row is None and not tokens:
            return
        with self._transaction() as database:
            row = self._insert(database, ticket.ask) if ticket.row is None else ticket.row
            database.execute(
                "UPDATE requests SET tokens = ?, seconds = ? WHERE id = ?", (tokens, seconds, row)
            )

    def totals(self) -> Totals:
        """What was billed so far, requests under way not counted; nothing is written for this."""
        if not self._path.exists() or not self._path.stat().st_size:
            return Totals(0, 0, 0, ())
        with self._opened(f"{self._path.resolve().as_uri()}?mode=ro") as database:
            rows = database.execute(
                "SELECT texts, COALESCE(tokens, estimate), seconds FROM requests"
                " WHERE COALESCE(tokens, 1) > 0 AND NOT (tokens IS NULL AND session = ?)",
                [self._session],
            ).fetchall()
        seconds = tuple(float(row[2]) for row in rows if row[2] is not None)
        return Totals(len(rows), sum(row[0] for row in rows), sum(row[1] for row in rows), seconds)

    def refusal(self) -> UserError:
        """What to say where the budget allows no further request."""
        spent = self.usd(self.totals().tokens) or 0.0
        return UserError(
            f"the next text might cost more than the budget of {self._budget} USD leaves "
            f"({spent:.6f} USD are spent)",
            where="--teacher-budget",
            mend="raise it, and the same command goes on; what was answered is kept",
        )

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with writing(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._opened(self._path.resolve().as_uri()) as database:
            database.execute("BEGIN IMMEDIATE")
            database.execute(_TABLE)
            yield database
            database.execute("COMMIT")

    @contextmanager
    def _opened(self, uri: str) -> Iterator[sqlite3.Connection]:
        try:
            with closing(
                sqlite3.connect(uri, timeout=_WAIT_SECONDS, isolation_level=None, uri=True)
            ) as database:
                yield database
        except sqlite3.Error as error:
            raise UserError(
                f"the record of what was spent cannot be kept: {error}",
                where=self._path,
                mend="free space and see that it can be written; if it is damaged, remove it, and "
                "counting begins anew",
            ) from error
