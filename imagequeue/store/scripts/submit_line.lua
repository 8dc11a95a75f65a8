-- Stores the job of a batch's next line, queued and in the outbox, and reserves what it may cost: of the batch's own cap,
-- and of the API key's budget. A line without room pauses the batch, unless jobs in flight may still make room.
-- USES: _budget, _batches, _feeding
-- KEYS: job, waiting, outbox, sequence, index_all, index_queued, events, changes, api_key, reserved, spending, pace, batch, batch_lines, batch_again, batch_earlier, batch_faults, batches_active, batches_resuming, batches_flying, webhook_endpoints, webhook_announced
-- ARGV: job_id, batch_id, line, owner, key_id or '', most that the job may cost (millionths of a dollar), field and value in turn
-- Returns: 'stored' (also when repeated), 'not_running', 'window_full', 'other_line', 'waits' (for room), 'paused',
--   'too_many_jobs' or 'too_fast' (the key has as many as it may)
local job, waiting, outbox, sequence, index_all, index_queued, events, changes, api_key, reserved, spending, pace, batch,
  batch_lines, batch_again, batch_earlier, batch_faults, batches_active, batches_resuming, batches_flying,
  webhook_endpoints, webhook_announced = unpack(KEYS)
local job_id, batch_id, line, owner, key_id, most_cost = unpack(ARGV, 1, 6)
if redis.call('EXISTS', job) == 1 then
  return 'stored'
end
local refused = line_refusal(batch, batch_again, line)
if refused then
  return refused
end
local now = now_ms()
local no_room = room_refusal(batch, batches_active, batches_resuming, changes, webhook_endpoints, webhook_announced, api_key,
  reserved, spending, pace, batch_id, key_id, 1, most_cost, now)
if no_room then
  return no_room
end
if key_id ~= '' then
  reserve(reserved, spending, job_id, most_cost)
end
begin_line(batch, batch_lines, batch_again, batch_earlier, batches_active, batch_id, line, string.sub(job_id, -ULID_BYTES))
redis.call('HDEL', batch_faults, line)
redis.call('HINCRBY', batch, 'in_flight', 1)
redis.call('HINCRBY', batch, 'reserved', most_cost)
redis.call('HSETNX', batch, 'started_at', now)
redis.call('HINCRBY', batches_flying, owner, 1)
local fields = {'batch_id', batch_id, 'line', line, 'held', most_cost, unpack(ARGV, 7)}
store_job(job, waiting, outbox, index_all, index_queued, job_id, redis.call('INCR', sequence), true, now, fields)
record_event(job, events, changes, job_id, 'queued', {state = 'queued', at = now})
return 'stored'
