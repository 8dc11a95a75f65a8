-- Puts a running job back into the queue, at its old place, to be tried again after a delay.
-- USES: _budget, _batches
-- KEYS: job, waiting, delayed, leases, index_running, index_queued, events, changes, session, suspect, batch
-- ARGV: job_id, attempt, holder, delay_ms, attempt_patch (JSON)
-- Returns: 'released', 'cancelled' (a cancel was asked for: finish it instead), 'unaffordable' (the last call may have been
--   billed, and the batch's cap has no room for another one: finish it instead), 'refused'
local job, waiting, delayed, leases, index_running, index_queued, events, changes, session, suspect, batch = unpack(KEYS)
local job_id, attempt, holder, delay_ms, attempt_patch = unpack(ARGV)
local state, current, current_holder, place, cancel, session_id, batch_id = unpack(redis.call('HMGET', job,
  'state', 'attempt', 'holder', 'place', 'cancel_requested', 'session_id', 'batch_id'))
if current ~= attempt or current_holder ~= holder then
  return 'refused'
end
if state == 'queued' then
  return 'released'
end
if state ~= 'running' then
  return 'refused'
end
if cancel then
  return 'cancelled'
end
local now = now_ms()
local patch = cjson.decode(attempt_patch)
if batch_id and patch.outcome == 'unknown' and not reserve_repeat(batch, job) then
  return 'unaffordable'
end
patch.ended = now
patch_attempt(job, attempt, patch)
local before = patch.code == 'account_blocked' and redis.call('HGET', job, 'attempt:' .. (attempt - 1))
if before and cjson.decode(before).code == patch.code then
  redis.call('HDEL', job, 'attempt:' .. (attempt - 1)) -- a long outage must not leave an attempt for each of its minutes
end
if patch.outcome == 'unknown' then
  redis.call('HINCRBY', job, 'unknowns', 1)
end
redis.call('HSET', job, 'state', 'queued', 'not_before', now + delay_ms)
redis.call('HDEL', job, 'spooled_at')
redis.call('ZREM', leases, job_id .. ':' .. attempt .. ':' .. holder)
clear_suspect(suspect, job_id)
if session_id then
  redis.call('HDEL', session, 'turn_lock')
end
redis.call('ZADD', waiting, place, job_id)
redis.call('ZADD', delayed, now + delay_ms, job_id)
move_index(index_running, index_queued, job_id)
record_event(job, events, changes, job_id, 'queued', {state = 'queued', attempt = tonumber(attempt), at = now, not_before = now + delay_ms})
return 'released'
