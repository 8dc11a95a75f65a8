"""The way to the queue is opened once for all who want it then, and tried again after a failure."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import cast

import pytest

from imagequeue.errors import StoreUnavailable
from mcp_bridge.doorkeeping import Doorkeeper
from mcp_bridge.doors import Opening


class Keeper:
    """Notes that it was closed."""

    closed = False

    async def close(self) -> None:
        """See Doorkeeper."""
        self.closed = True


class Ways:
    """Opens when it is told to; those that are to fail do."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.opened = 0
        self.go_on = asyncio.Event()
        self.keeper = Keeper()

    async def __call__(self) -> Doorkeeper:
        self.opened += 1
        await self.go_on.wait()
        if self.opened <= self.failures:
            raise StoreUnavailable("Redis does not serve")
        return cast("Doorkeeper", self.keeper)


def test_calls_that_come_while_it_opens_share_it_and_one_that_goes_away_disturbs_nobody() -> None:
    async def many() -> tuple[int, bool]:
        ways = Ways()
        way = Opening(ways)
        way.begin()
        calls = [asyncio.create_task(way.keeper()) for _ in range(5)]
        await asyncio.sleep(0)
        calls[0].cancel()
        ways.go_on.set()
        assert {id(keeper) for keeper in await asyncio.gather(*calls[1:])} == {id(ways.keeper)}
        await way.aclose()
        return ways.opened, ways.keeper.closed

    assert asyncio.run(many()) == (1, True)


def test_a_failure_is_told_to_all_who_waited_and_the_next_call_tries_again() -> None:
    async def two() -> int:
        ways = Ways(failures=1)
        way = Opening(ways)
        ways.go_on.set()
        failed = await asyncio.gather(way.keeper(), way.keeper(), return_exceptions=True)
        assert [type(error) for error in failed] == [StoreUnavailable, StoreUnavailable]
        await way.keeper()
        return ways.opened

    assert asyncio.run(two()) == 2


def test_what_fails_before_anybody_asks_hurts_nobody() -> None:
    async def prepared() -> int:
        ways = Ways(failures=1)
        way = Opening(ways)
        ways.go_on.set()
        with pytest.raises(StoreUnavailable):
            await way.begin()
        await way.aclose()
        return ways.opened

    assert asyncio.run(prepared()) == 1


def test_what_is_heavy_to_import_is_left_until_the_way_is_opened() -> None:
    heavy = "boto3", "celery", "redis", "imagequeue.client"
    script = f"import sys, mcp_bridge.process; print(*(name for name in {heavy!r} if name in sys.modules))"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert found.split() == []
