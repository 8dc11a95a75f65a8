-- Gives a running job that nobody holds, but whose answer lies on a disk, to the worker that found it there. The attempt
-- stays the same: nothing is called again. A job that lost workers before is a suspect here, too: one at a time.
-- KEYS: job, leases, events, changes, suspect
-- ARGV: job_id, attempt, worker, holder, lease_ms, suspect from this many losses on
-- Returns: 'adopted' (also when this holder has it already), 'held' (somebody works on it, or another suspect runs here),
--   'over' (the answer is not needed)
local job, leases, events, changes, suspect = unpack(KEYS)
local job_id, attempt, worker, holder, lease_ms, suspect_from = unpack(ARGV)
local state, current, current_holder, spooled_at, losses =
  unpack(redis.call('HMGET', job, 'state', 'attempt', 'holder', 'spooled_at', 'losses'))
if state ~= 'running' or current ~= attempt then
  return 'over'
end
if current_holder == holder then
  return 'adopted'
end
local now = now_ms()
local member = job_id .. ':' .. attempt .. ':' .. current_holder
local lapses = redis.call('ZSCORE', leases, member)
-- A lapsed lease will do: the record may not know of the answer because Redis was away when it came.
if not spooled_at and lapses and tonumber(lapses) > now then
  return 'held'
end
if tonumber(losses or 0) >= tonumber(suspect_from) then
  if redis.call('EXISTS', suspect) == 1 then
    return 'held'
  end
  redis.call('SET', suspect, job_id, 'PX', 86400000)
end
redis.call('ZREM', leases, member)
redis.call('ZADD', leases, now + lease_ms, job_id .. ':' .. attempt .. ':' .. holder)
redis.call('HSET', job, 'holder', holder)
redis.call('HDEL', job, 'spooled_at')
local kept = cjson.decode(redis.call('HGET', job, 'attempt:' .. attempt)).answered
patch_attempt(job, attempt, {worker = worker, answered = kept or now})
record_event(job, events, changes, job_id, 'adopted', {state = 'running', attempt = tonumber(attempt), at = now})
return 'adopted'
