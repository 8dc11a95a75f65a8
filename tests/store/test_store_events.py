"""Streams of events: each event once and in order, whatever happens between reading and following."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import pytest
from store_kit import FAILED, OWNER, SUCCEEDED, Bench

from imagequeue.batch_records import BatchRecords
from imagequeue.event_service import EventService
from imagequeue.event_streams import MOST_UNTOLD, EventStream
from imagequeue.events import EntryId, LastEventId, StreamEvent
from imagequeue.jobs import Job
from imagequeue.session_service import SessionService
from imagequeue.store.event_log import EventLog
from imagequeue.store.scripts import source
from imagequeue.waiting import ChangeReader

Named = tuple[str, str]


@dataclass(frozen=True)
class Streams:
    """Streams on a bench, read as a client reads them."""

    bench: Bench
    changes: ChangeReader
    log: EventLog
    service: EventService

    def all(self, last_event_id: str = "") -> EventStream:
        """Everything of the owner."""
        return self.service.of_owner(OWNER, last_event_id)

    def job(self, job: Job, last_event_id: str = "") -> Generator[StreamEvent]:
        """One job, as it is now."""
        stream = self.service.of_job(self.bench.store.get(job.id), last_event_id)
        assert stream is not None
        return iter(stream)


class BusyLog(EventLog):
    """A log between whose reads something happens."""

    meanwhile: Callable[[], object] = staticmethod(lambda: None)

    def records(self, job_ids: Sequence[str]) -> tuple[Sequence[Job], EntryId]:
        """The records, after something has happened."""
        self.meanwhile()
        found = super().records(job_ids)
        self.meanwhile()
        return found


@pytest.fixture
def streams(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Generator[Streams]:
    """Streams on each engine, which look and give signs of life often."""
    monkeypatch.setattr("imagequeue.event_streams.PROGRESS_SECONDS", 0.02)
    monkeypatch.setattr("imagequeue.event_streams.PING_SECONDS", 0.05)
    changes = ChangeReader(bench.client, bench.keys.changes)
    log = BusyLog(bench.client, bench.keys)
    sessions, batches = cast("SessionService", None), cast("BatchRecords", None)
    yield Streams(bench, changes, log, EventService(log, bench.store, bench.limiter, sessions, batches, changes))
    closer = threading.Thread(target=changes.close)
    closer.start()
    bench.submit()  # wakes the reader from its read
    closer.join(30)


def named(event: StreamEvent) -> Named:
    """Name and state, or what else says which it was."""
    return event.name, str(event.data.get("state", event.data.get("reason", event.data.get("index", ""))))


def take(stream: Generator[StreamEvent], count: int) -> list[StreamEvent]:
    """The next events, without progress and signs of life."""
    found: list[StreamEvent] = []
    while len(found) < count:
        event = next(stream)
        if event.name not in ("", "progress"):
            found.append(event)
    return found


def told_so_far(bench: Bench, stream: Generator[StreamEvent]) -> list[StreamEvent]:
    """All that the stream tells of what has happened before now."""
    mark = bench.submit()
    found: list[StreamEvent] = []
    while not found or found[-1].data.get("id") != mark.id:
        found += take(stream, 1)
    return found[:-1]


def record(bench: Bench, job: Job, event: str, data: dict[str, Any]) -> None:
    """Append an event as the scripts do."""
    script = source("leave_spooled").text.split("-- Leaves", 1)[0]
    keys = [bench.keys.job(job.id), bench.keys.events(job.id), bench.keys.changes]
    call = "record_event(KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[2], cjson.decode(ARGV[3]))"
    bench.raw.eval(f"{script}\n{call}", 3, *keys, job.id, event, json.dumps(data))


def test_both_streams_have_an_event_under_one_id_with_whom_it_concerns(bench: Bench) -> None:
    job = bench.submit()
    bench.store.finish(bench.claimed(job), SUCCEEDED)
    own = bench.client.xrange(bench.keys.events(job.id), "-", "+")
    fleet = bench.client.xrange(bench.keys.changes, "-", "+")
    assert [entry_id for entry_id, _ in own] == [entry_id for entry_id, _ in fleet]
    assert {fields["owner"] for _, fields in fleet} == {OWNER}
    assert [fields["data"] for _, fields in own] == [fields["data"] for _, fields in fleet]
    assert json.loads(own[-1][1]["data"])["images"] == 1


def test_a_lost_stream_of_the_fleet_and_a_clock_set_back_fail_no_transition(bench: Bench) -> None:
    job = bench.submit()
    bench.raw.delete(bench.keys.changes)
    bench.raw.xadd(bench.keys.events(job.id), {"event": "from the future", "data": "{}"}, id="9999999999999-0")
    bench.store.finish(bench.claimed(job), SUCCEEDED)
    assert bench.events(job.id) == ["queued", "from the future", "running", "succeeded"]
    assert bench.changes() == [(job.id, "running"), (job.id, "succeeded")]


def test_a_job_is_told_from_its_state_to_its_end(streams: Streams) -> None:
    bench = streams.bench
    job = bench.submit()
    stream = streams.job(job)
    first = take(stream, 1)
    bench.store.finish(bench.claimed(job), FAILED)
    events = [*first, *(event for event in stream if event.name != "progress")]
    assert [*map(named, events)] == [
        ("state", "queued"),
        ("state", "running"),
        ("state", "failed"),
        ("end", "failed"),
    ]
    assert events[-1].data["error"] == "moderation_blocked"
    assert LastEventId.parse(events[-1].id or "") == (EntryId.parse(events[-2].id or ""), True)


@pytest.mark.parametrize("known", [0, 1, 2], ids=["queued", "running", "all but the end"])
def test_who_comes_back_gets_what_is_missing_and_nothing_twice(streams: Streams, known: int) -> None:
    bench = streams.bench
    job = bench.submit()
    stream = streams.job(job)
    events = take(stream, 1)
    bench.store.finish(bench.claimed(job), SUCCEEDED)
    events += take(stream, 3)
    assert [event.data["state"] for event in events] == ["queued", "running", "succeeded", "succeeded"]
    again = list(streams.job(job, str(events[known].id)))
    assert again == events[known + 1 :]
    assert streams.service.of_job(bench.store.get(job.id), str(events[-1].id)) is None


def test_any_other_event_is_passed_on_by_its_own_name(streams: Streams) -> None:
    bench = streams.bench
    job = bench.submit()
    everything, own = iter(streams.all()), streams.job(job)
    take(everything, 1)
    take(own, 1)
    bench.claimed(job)
    record(bench, job, "partial_image", {"index": 0, "url": "/somewhere"})
    for stream in (everything, own):
        events = take(stream, 2)
        assert [*map(named, events)] == [("state", "running"), ("partial_image", "0")]
        assert events[1].data == {"id": job.id, "index": 0, "url": "/somewhere"}


def test_what_happens_while_the_records_are_read_is_told_once(streams: Streams) -> None:
    bench = streams.bench
    shown = bench.submit()
    late: list[Job] = []
    cast("BusyLog", streams.log).meanwhile = lambda: late.append(bench.submit())
    stream = iter(streams.all())
    events = [*take(stream, 1), *told_so_far(bench, stream)]
    assert [event.data["id"] for event in events] == [shown.id, *(job.id for job in late)]
    last = str(events[0].id)  # what a client has that was cut off after the records
    again = told_so_far(bench, iter(streams.all(last)))
    assert [event.data["id"] for event in again[:2]] == [job.id for job in late]


def test_a_client_is_told_of_its_own_jobs_only_and_comes_back_from_a_sign_of_life(streams: Streams) -> None:
    bench = streams.bench
    stream = iter(streams.all())
    assert next(stream).name == "", "there is no job yet"
    other = bench.submit(owner="somebody-else")
    newest = bench.client.xrevrange(bench.keys.changes, "+", "-", 1)[0][0]
    assert next(event for event in stream if event.id == newest).name == "", "the position goes on, nothing is told"
    bench.claimed(other)
    mine = bench.submit()
    assert [event.data["id"] for event in take(stream, 1)] == [mine.id]


def test_a_trimmed_stream_is_a_reset_and_the_states_of_now(streams: Streams) -> None:
    bench = streams.bench
    running, queued = bench.submit(), bench.submit()
    last = bench.client.xrevrange(bench.keys.changes, "+", "-", 1)[0][0]
    bench.claimed(running)
    bench.raw.xtrim(bench.keys.changes, maxlen=1, approximate=False)
    events = take(iter(streams.all(last)), 3)
    assert [*map(named, events)] == [("reset", "events_missing"), ("state", "running"), ("state", "queued")]
    assert [event.id is None for event in events] == [True, True, False], "an id comes with the last only"
    assert [event.data["id"] for event in events[1:]] == [running.id, queued.id]
    assert [*map(named, take(streams.job(running, last), 1))] == [("state", "running")], "its own stream has it all"
    bench.raw.xtrim(bench.keys.events(running.id), maxlen=0, approximate=False)
    assert [*map(named, take(streams.job(running, last), 2))] == [("reset", "events_missing"), ("state", "running")]


@pytest.mark.parametrize("last", ["9999999999999-0", "999999999999999-999999999999999", "0-0", "5-5-end"])
def test_an_id_of_another_time_is_a_reset(streams: Streams, last: str) -> None:
    job = streams.bench.submit()
    for stream in (iter(streams.all(last)), streams.job(job, last)):
        assert [*map(named, take(stream, 2))] == [("reset", "events_missing"), ("state", "queued")]


@pytest.mark.parametrize("last", ["yesterday", "-", "1", "1-", "1-2-3", "9" * 30 + "-0", "١-٢", "1-1-END"])
def test_an_id_that_is_none_is_a_reset(streams: Streams, last: str) -> None:
    job = streams.bench.submit()
    for stream in (iter(streams.all(last)), streams.job(job, last)):
        assert [*map(named, take(stream, 2))] == [("reset", "unknown_last_event_id"), ("state", "queued")]


def test_who_was_away_while_too_much_happened_is_told_how_things_are(
    streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imagequeue.store.event_log._PAGE", 3)
    monkeypatch.setattr("imagequeue.store.event_log._PAGES", 2)
    bench = streams.bench
    jobs = [bench.submit() for _ in range(8)]
    ids = [entry_id for entry_id, _ in bench.client.xrange(bench.keys.changes, "-", "+")]
    assert [event.data["id"] for event in take(iter(streams.all(ids[2])), 5)] == [job.id for job in jobs[3:]]
    events = take(iter(streams.all(ids[0])), 6 + 1 + 8)
    assert [event.data.get("id") for event in events] == [
        *(job.id for job in [*jobs[1:7]]),
        None,
        *(j.id for j in jobs),
    ]
    assert named(events[6]) == ("reset", "events_missing")


def test_a_slow_client_is_held_a_bounded_number_of_events_and_told_how_things_are(streams: Streams) -> None:
    bench = streams.bench
    stream = iter(streams.all())
    assert next(stream).name == ""
    jobs = [bench.submit() for _ in range(MOST_UNTOLD + 50)]
    told = threading.Event()
    with streams.changes.following("job", (last := bench.submit()).id, lambda _entry: told.set()):
        bench.claimed(last)
        assert told.wait(30), "the reader has handed everything out"
    events = take(stream, 1)
    assert named(events[0]) == ("reset", "too_slow")
    events = take(stream, 100)
    assert [event.data["id"] for event in events] == [last.id, *(job.id for job in jobs[:99])]
    bench.store.cancel(jobs[-1])
    assert take(stream, 1)[0].data["id"] == jobs[-1].id, "it goes on"


def test_after_an_interruption_of_the_reader_nothing_is_told_twice(streams: Streams) -> None:
    bench = streams.bench
    job = bench.submit()
    stream = iter(streams.all())
    take(stream, 1)
    claim = bench.claimed(job)
    streams.changes.wake_all()
    take(stream, 1)
    streams.changes.wake_all()
    bench.store.finish(claim, SUCCEEDED)
    streams.changes.wake_all()
    assert [*map(named, told_so_far(bench, stream))] == [("state", "succeeded")]


def test_an_end_that_the_reader_missed_is_found_by_the_look_at_the_record(
    streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = streams.bench
    job = bench.submit()
    stream = streams.job(job)
    take(stream, 1)
    monkeypatch.setattr(streams.changes, "_hand_out", lambda _entry: None)  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    bench.store.finish(bench.claimed(job), SUCCEEDED)
    assert [*map(named, take(stream, 3))] == [("state", "running"), ("state", "succeeded"), ("end", "succeeded")]


def test_streams_end_when_the_process_is_to_end(streams: Streams) -> None:
    job = streams.bench.submit()
    opened = [iter(streams.all()), streams.job(job)]
    for stream in opened:
        take(stream, 1)
    streams.service.stop()
    streams.changes.wake_all()
    assert {event.name for stream in opened for event in stream} <= {"", "progress"}


def test_progress_is_told_when_it_changes_and_of_the_next_jobs_only(streams: Streams) -> None:
    bench = streams.bench
    first, second, *_ = [bench.submit() for _ in range(30)]
    stream = streams.job(second)
    look = next(event for event in stream if event.name == "progress")
    assert (look.data["position"], look.id) == (2, None)
    assert look.data["estimate"]["expected_usd"] == second.estimate.expected_usd
    bench.claimed(first)
    assert next(event for event in stream if event.name == "progress").data["position"] == 1
    everything = iter(streams.all())
    take(everything, 30)
    progress = (event.data for event in everything if event.name == "progress")
    assert [next(progress)["position"] for _ in range(20)] == [None, *range(1, 20)]
    bench.claimed(second)
    told = next(progress)
    while told["id"] != second.id:  # that of the running one changes with the time
        told = next(progress)
    assert (told["state"], told["position"]) == ("running", None)
