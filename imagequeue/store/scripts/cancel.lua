-- Cancels a queued job at once; asks the worker of a running one to stop. A session's turn leaves its session.
-- USES: _budget, _batches
-- KEYS: job, waiting, outbox, delayed, index_queued, index_cancelled, events, changes, session, turns, halted, parked, parked_loads, granted, reserved, spending, finished, usage, webhook_endpoints, webhook_announced, batch, batch_lines, batch_ended, batch_again, batches_active, batches_resuming, batches_flying, batches_over
-- ARGV: job_id, error (JSON)
-- Returns: {what, id of the turn that runs next or '', 1 if webhooks are to be told}; what is 'cancelled' (also when it was
--   before), 'requested', 'finished' (too late) or 'missing'
local job, waiting, outbox, delayed, index_queued, index_cancelled, events, changes, session, turns, halted, parked,
  parked_loads, granted, reserved, spending, finished, usage, webhook_endpoints, webhook_announced, batch, batch_lines,
  batch_ended, batch_again, batches_active, batches_resuming, batches_flying, batches_over = unpack(KEYS)
local job_id, error_json = unpack(ARGV)
local state, key_id, webhook, batch_id = unpack(redis.call('HMGET', job, 'state', 'key_id', 'webhook', 'batch_id'))
if not state then
  return {'missing', ''}
end
if state == 'cancelled' then
  return {'cancelled', ''}
end
local now = now_ms()
if state == 'running' then
  if redis.call('HSETNX', job, 'cancel_requested', 1) == 1 then
    record_event(job, events, changes, job_id, 'cancel_requested', {state = 'running', at = now})
  end
  return {'requested', ''}
end
if state ~= 'queued' then
  return {'finished', ''}
end
redis.call('HSET', job, 'state', 'cancelled', 'finished_at', now, 'error', error_json)
redis.call('HDEL', job, 'not_before', 'holder')
redis.call('ZREM', waiting, job_id)
redis.call('ZREM', outbox, job_id)
redis.call('ZREM', delayed, job_id)
redis.call('ZREM', parked, job_id)
redis.call('HDEL', parked_loads, job_id)
redis.call('HDEL', granted, job_id)
if key_id then
  settle(reserved, spending, job_id, job_cost(job), now)
end
move_index(index_queued, index_cancelled, job_id)
note_end(job, finished, usage, job_id, 'cancelled', now)
record_event(job, events, changes, job_id, 'cancelled', {state = 'cancelled', at = now})
if batch_id then
  settle_line(batch, batch_lines, batch_ended, batch_again, batches_active, batches_resuming, batches_flying, batches_over,
    changes, webhook_endpoints, webhook_announced, job, 'cancelled', now)
end
local announced = announce(webhook_endpoints, webhook_announced, webhook, job_id, now)
local next_turn = ''
if redis.call('HEXISTS', job, 'session_id') == 1 then
  next_turn = leave_session(session, turns, halted, waiting, outbox, job_id, 'cancelled', now)
end
return {'cancelled', next_turn, announced}
