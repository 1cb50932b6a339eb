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
from decimal import Decimal, InvalidOperation
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
    seconds REAL,
    writes INTEGER NOT NULL DEFAULT 0,
    written INTEGER NOT NULL DEFAULT 0
)"""
_LATER = ("writes", "written")
"""Columns that a store of before there were endpoints that write has not."""
_LONGEST_SECONDS = 600.0
"""A request of another process that has been under way for longer died with it."""
# A request under way counts with the most that it can take; one that was under way when its process
# died with what it was thought to take.
_BILLED = """SELECT
    COALESCE(SUM(CASE WHEN NOT open THEN COALESCE(tokens, estimate) END), 0),
    COALESCE(SUM(CASE WHEN NOT open THEN IIF(tokens IS NULL, writes, written) END), 0),
    COALESCE(SUM(CASE WHEN open THEN most END), 0),
    COALESCE(SUM(CASE WHEN open THEN writes END), 0),
    MAX(1.0, COALESCE(MAX(1.0 * (tokens - written) / (most - writes)), 1.0)),
    MAX(1.0, COALESCE(MAX(1.0 * written / writes), 1.0))
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
    writes: int = 0
    """How many of both are of what is answered, not of what is read."""


@dataclass(frozen=True, slots=True)
class Price:
    """USD for a million tokens."""

    read: Decimal
    written: Decimal

    @classmethod
    def of(cls, told: str | float) -> "Price":
        """One price, or two as ``0.15,0.60``: of what is read, and of what is written.

        Raises:
            UserError: it is neither, or below 0.
        """
        try:
            prices = [Decimal(part.strip()) for part in str(told).split(",")]
        except InvalidOperation:
            prices = []
        if len(prices) not in (1, 2) or not all(item.is_finite() and item >= 0 for item in prices):
            raise UserError(
                f"{told!r} is not a price, or two, of 0 or more",
                where="--teacher-price",
                mend="give USD for a million tokens, as 0.02; or as 0.15,0.60 where those that are "
                "written cost other than those that are read",
            )
        return cls(prices[0], prices[-1])

    def usd(self, tokens: Decimal | int, written: Decimal | int = 0) -> Decimal:
        """What so many tokens cost, so many of them ``written``."""
        return ((tokens - written) * self.read + written * self.written) / 1_000_000


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
    written: int = 0
    """How many of the tokens are of what was answered."""


class Spend:
    """Counts tokens; money is tokens at today's price, and what is written may have one of its own."""

    def __init__(self, path: Path, *, price: str | float | None, budget: float | None) -> None:
        """``price`` as :meth:`Price.of` takes it, ``budget`` in USD.

        Raises:
            UserError: no such price, or a budget without one.
        """
        if budget is not None and price is None:
            raise UserError(
                "needs a price to count with",
                where="--teacher-budget",
                mend="give the endpoint's with --teacher-price USD_PER_MILLION_TOKENS",
            )
        self._path = path
        self._price = None if price is None else Price.of(price)
        self._budget = budget
        self._session = uuid.uuid4().hex

    def usd(self, tokens: int, written: int = 0) -> float | None:
        """What so many tokens cost, so many of them ``written``; None where the price is not known."""
        return None if self._price is None else float(self._price.usd(tokens, written))

    def reserve(self, ask: Ask) -> Ticket:
        """Note a request that is about to be sent.

        Raises:
            OverBudget: it might cost more than is left.
            UserError: the store cannot be written.
        """
        if not self._path.exists():
            self._check(0, 0, ask.most, ask.writes)
            return Ticket(ask, None)
        with self._transaction() as database:
            found = database.execute(
                _BILLED, [self._session, time.time() - _LONGEST_SECONDS]
            ).fetchone()
            billed, written, most, writes, *excess = found
            self._check(billed, written, most + ask.most, writes + ask.writes, *excess)
            return Ticket(ask, self._insert(database, ask))

    def _check(self, billed: int, written: int, most: int, writes: int, *excess: float) -> None:
        """Refuse what might cost more than is left.

        Args:
            billed: tokens so far, ``written`` of them of answers.
            most: tokens that may come, ``writes`` of them of answers.
            excess: how many times as many was billed as anybody had thought possible, of what is
                read and of what is written: it may be so again.
        """
        if self._price is None or self._budget is None:
            return
        reads, more = map(Decimal, excess or (1, 1))
        to_come = self._price.usd((most - writes) * reads + writes * more, writes * more)
        if self._price.usd(billed, written) + to_come > Decimal(str(self._budget)):
            raise OverBudget

    def _insert(self, database: sqlite3.Connection, ask: Ask) -> int | None:
        return database.execute(
            "INSERT INTO requests (session, texts, estimate, most, writes, begun)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (self._session, ask.texts, ask.estimate, ask.most, ask.writes, time.time()),
        ).lastrowid

    def settle(
        self, ticket: Ticket, tokens: int, seconds: float | None = None, *, written: int = 0
    ) -> None:
        """Note what a request was billed, 0 where it failed, and how much of it was ``written``; its
        ``seconds`` if it was answered well.

        Raises:
            UserError: the store cannot be written.
        """
        if ticket.row is None and not tokens:
            return
        with self._transaction() as database:
            row = self._insert(database, ticket.ask) if ticket.row is None else ticket.row
            database.execute(
                "UPDATE requests SET tokens = ?, seconds = ?, written = ? WHERE id = ?",
                (tokens, seconds, written, row),
            )

    def totals(self) -> Totals:
        """What was billed so far, requests under way not counted; nothing is written for this."""
        if not self._path.exists() or not self._path.stat().st_size:
            return Totals(0, 0, 0, ())
        with self._opened(f"{self._path.resolve().as_uri()}?mode=ro") as database:
            of_answers = "0" if _lacking(database) else "IIF(tokens IS NULL, writes, written)"
            rows = database.execute(
                f"SELECT texts, COALESCE(tokens, estimate), seconds, {of_answers} FROM requests"
                " WHERE COALESCE(tokens, 1) > 0 AND NOT (tokens IS NULL AND session = ?)",
                [self._session],
            ).fetchall()
        seconds = tuple(float(row[2]) for row in rows if row[2] is not None)
        texts, tokens, written = (sum(row[column] for row in rows) for column in (0, 1, 3))
        return Totals(len(rows), texts, tokens, seconds, written)

    def refusal(self) -> UserError:
        """What to say where the budget allows no further request."""
        totals = self.totals()
        spent = self.usd(totals.tokens, totals.written) or 0.0
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
            for column in _lacking(database):
                database.execute(f"ALTER TABLE requests ADD {column} INTEGER NOT NULL DEFAULT 0")
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


def _lacking(database: sqlite3.Connection) -> list[str]:
    """Columns that have come since the table was made."""
    known = {row[1] for row in database.execute("PRAGMA table_info(requests)")}
    return [column for column in _LATER if column not in known]
