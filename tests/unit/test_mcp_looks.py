"""Looking and telling: many who wait cost few looks, and none of them waits in silence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import cast

import pytest
from client_kit import JOB_ID, job

from imagequeue.errors import JobNotFound
from imagequeue.views import JobView
from mcp_bridge import waiting
from mcp_bridge.door import Door
from mcp_bridge.looks import MOST, Looks

OTHER_ID = "job_01K7ZJ5V4T8N3Q2M6R9W0X1Y30"


class Reading:
    """Notes what is read, and takes as long as it is told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []
        self.go_on = asyncio.Event()

    async def __call__(self, job_ids: Sequence[str]) -> list[JobView]:
        self.asked.append(tuple(job_ids))
        await self.go_on.wait()
        return [job().model_copy(update={"id": job_id}) for job_id in job_ids if job_id != OTHER_ID]


def test_what_is_asked_for_during_a_look_goes_into_the_next_together() -> None:
    async def many() -> list[tuple[str, ...]]:
        reading = Reading()
        looks = Looks(reading)
        first = asyncio.create_task(looks.look([JOB_ID]))
        while not reading.asked:
            await asyncio.sleep(0)
        ids = [f"job_{number}" for number in range(MOST + 5)]
        others = [asyncio.create_task(looks.look([job_id, JOB_ID])) for job_id in ids]
        await asyncio.sleep(0)
        reading.go_on.set()
        assert [view.id for view in await first] == [JOB_ID]
        assert [[view.id for view in await other] for other in others] == [[job_id, JOB_ID] for job_id in ids]
        return reading.asked

    asked = asyncio.run(many())
    assert [len(part) for part in asked] == [1, MOST, 7], "what two of them ask for is in both"
    assert asked[1][:2] == ("job_0", JOB_ID)


def test_one_who_asks_for_a_missing_job_or_goes_away_disturbs_nobody() -> None:
    async def three() -> str:
        reading = Reading()
        looks = Looks(reading)
        good, bad, gone = (asyncio.create_task(looks.look([asked])) for asked in (JOB_ID, OTHER_ID, JOB_ID))
        while not reading.asked:
            await asyncio.sleep(0)
        gone.cancel()
        reading.go_on.set()
        with pytest.raises(JobNotFound):
            await bad
        return (await good)[0].id

    assert asyncio.run(three()) == JOB_ID


def test_a_failed_look_fails_for_all_who_wait_and_the_next_one_is_tried() -> None:
    async def two() -> int:
        calls = 0

        async def read(job_ids: Sequence[str]) -> list[JobView]:
            nonlocal calls
            calls += 1
            if calls == 1:
                raise ConnectionError
            return [job()]

        looks = Looks(read)
        failed = await asyncio.gather(looks.look([JOB_ID]), looks.look([JOB_ID]), return_exceptions=True)
        assert [type(error) for error in failed] == [ConnectionError, ConnectionError]
        return len(await looks.look([JOB_ID]))

    assert asyncio.run(two()) == 1


def test_while_no_look_succeeds_the_last_words_are_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "REPEAT_AFTER_SECONDS", 0.01)
    told: list[str] = []
    heard = asyncio.Event()

    class Stuck:
        """A door whose second look takes until the client has heard the first thrice."""

        async def watch(self, job_ids: Sequence[str], seconds: float, every: float) -> AsyncGenerator[object]:
            yield (job(),)
            await heard.wait()

    async def report(words: str) -> None:
        told.append(words)
        if len(told) == 3:
            heard.set()

    asyncio.run(asyncio.wait_for(waiting.wait(cast("Door", Stuck()), [JOB_ID], 60, report), 30))
    assert told == [waiting.progress([job()])] * 3
