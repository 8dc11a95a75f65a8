-- Gives a queued job to one worker: a new attempt number (the fencing token) and a lease. A session's turn must be the
-- first of those that wait; it gets the turn lock. A job for which the fleet has no room now is parked: it keeps its
-- place, and `grant` lets it go. A job that lost workers before is a suspect: a worker runs one of them at a time.
-- USES: _limiter
-- KEYS: job, waiting, outbox, delayed, leases, index_queued, index_running, events, changes, session, turns, limiter, parked, parked_interactive, parked_loads, granted, suspect
-- ARGV: job_id, worker, holder, lease_ms, lane, suspect from this many losses on, images, tokens, inputs per minute, interactive share
-- Returns: {'claimed' or 'probe', the job's fields and values in turn} ('claimed' also when this holder has it already, 'probe':
--   to find out whether the account works again), {'missing'}, {'not_queued'}, {'not_due'}, {'not_its_turn'}, {'parked'},
--   {'suspect_waits'} (delayed)
local job, waiting, outbox, delayed, leases, index_queued, index_running, events, changes, session, turns, limiter, parked,
  parked_interactive, parked_loads, granted, suspect = unpack(KEYS)
local job_id, worker, holder, lease_ms, lane, suspect_from = unpack(ARGV, 1, 6)
local limits = {unpack(ARGV, 7, 10)}
local state, attempt, current_holder, not_before, session_id, place, load_text, losses = unpack(redis.call('HMGET', job,
  'state', 'attempt', 'holder', 'not_before', 'session_id', 'place', 'load', 'losses'))
if not state then
  return {'missing'}
end
if state == 'running' and current_holder == holder then
  return {'claimed', redis.call('HGETALL', job)}
end
if state ~= 'queued' then
  return {'not_queued'}
end
local now = now_ms()
if not_before and tonumber(not_before) > now then
  return {'not_due'}
end
if session_id and redis.call('ZRANGE', turns, 0, 0)[1] ~= job_id then
  return {'not_its_turn'}
end

local is_suspect = tonumber(losses or 0) >= tonumber(suspect_from)
if is_suspect and redis.call('EXISTS', suspect) == 1 then
  redis.call('HSET', job, 'not_before', now + 1000)
  redis.call('ZADD', delayed, now + 1000, job_id)
  redis.call('ZREM', outbox, job_id)
  redis.call('ZREM', parked, job_id)
  redis.call('HDEL', parked_loads, job_id)
  return {'suspect_waits'}
end

local grant = redis.call('HGET', granted, job_id)
local limiter_now = limiter_state(limiter)
local load, probe = {string.match(load_text, '(%d+):(%d+):(%d+)')}, grant == 'probe'
local must_park = false
if grant == 'plain' then
  must_park = stopped_for(limiter_now, now) > 0
elseif not grant then
  local first = redis.call('ZRANGE', parked, 0, 0, 'WITHSCORES')[2]
  must_park = (first and tonumber(first) < tonumber(place))
    or (lane == 'batch' and redis.call('ZCARD', parked_interactive) > 0)
    or limiter_wait(limiter_now, lane, load, limits, now) > 0
end
redis.call('HDEL', granted, job_id)
redis.call('ZREM', outbox, job_id)
if must_park then
  redis.call('ZADD', parked, place, job_id)
  redis.call('HSET', parked_loads, job_id, load_text)
  return {'parked'}
end
if not grant then
  probe = limiter_take(limiter, limiter_now, lane, load, limits, now)
  redis.call('ZREM', parked, job_id)
  redis.call('HDEL', parked_loads, job_id)
end

attempt = attempt + 1
if session_id then
  redis.call('HSET', session, 'turn_lock', job_id .. ':' .. attempt)
end
if is_suspect then
  redis.call('SET', suspect, job_id, 'PX', 86400000)
end
redis.call('HSET', job, 'state', 'running', 'attempt', attempt, 'holder', holder,
  'attempt:' .. attempt, cjson.encode({number = attempt, worker = worker, started = now}))
redis.call('HSETNX', job, 'started_at', now)
redis.call('HDEL', job, 'not_before')
redis.call('ZREM', waiting, job_id)
redis.call('ZREM', delayed, job_id)
redis.call('ZADD', leases, now + lease_ms, job_id .. ':' .. attempt .. ':' .. holder)
move_index(index_queued, index_running, job_id)
record_event(job, events, changes, job_id, 'running', {state = 'running', attempt = attempt, at = now})
return {probe and 'probe' or 'claimed', redis.call('HGETALL', job)}
