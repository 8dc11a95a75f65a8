-- Gives a queued job to one worker: a new attempt number (the fencing token) and a lease. A session's turn must be the
-- first of those that wait; it gets the turn lock.
-- KEYS: job, waiting, outbox, delayed, leases, index_queued, index_running, events, changes, session, turns
-- ARGV: job_id, worker, holder, lease_ms
-- Returns: 'claimed' (also when this holder has it already), 'missing', 'not_queued', 'not_due', 'not_its_turn'
local job, waiting, outbox, delayed, leases, index_queued, index_running, events, changes, session, turns =
  unpack(KEYS)
local job_id, worker, holder, lease_ms = unpack(ARGV)
local state, attempt, current_holder, not_before, session_id =
  unpack(redis.call('HMGET', job, 'state', 'attempt', 'holder', 'not_before', 'session_id'))
if not state then
  return 'missing'
end
if state == 'running' and current_holder == holder then
  return 'claimed'
end
if state ~= 'queued' then
  return 'not_queued'
end
local now = now_ms()
if not_before and tonumber(not_before) > now then
  return 'not_due'
end
if session_id and redis.call('ZRANGE', turns, 0, 0)[1] ~= job_id then
  return 'not_its_turn'
end
attempt = attempt + 1
if session_id then
  redis.call('HSET', session, 'turn_lock', job_id .. ':' .. attempt)
end
redis.call('HSET', job, 'state', 'running', 'attempt', attempt, 'holder', holder,
  'attempt:' .. attempt, cjson.encode({number = attempt, worker = worker, started = now}))
redis.call('HSETNX', job, 'started_at', now)
redis.call('HDEL', job, 'not_before')
redis.call('ZREM', waiting, job_id)
redis.call('ZREM', outbox, job_id)
redis.call('ZREM', delayed, job_id)
redis.call('ZADD', leases, now + lease_ms, job_id .. ':' .. attempt .. ':' .. holder)
move_index(index_queued, index_running, job_id)
record_event(events, changes, job_id, 'running', {state = 'running', attempt = attempt, at = now})
return 'claimed'
