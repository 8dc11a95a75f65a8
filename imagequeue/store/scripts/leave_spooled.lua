-- Leaves a job whose answer is on this worker's disk to whoever works on that disk next.
-- KEYS: job, leases
-- ARGV: job_id, attempt, holder, milliseconds that nobody calls OpenAI again for it
-- Returns: 'left' (also when repeated), 'refused'
local job, leases = unpack(KEYS)
local job_id, attempt, holder, spool_ms = unpack(ARGV)
local state, current, current_holder = unpack(redis.call('HMGET', job, 'state', 'attempt', 'holder'))
if state ~= 'running' or current ~= attempt or current_holder ~= holder then
  return 'refused'
end
local now = now_ms()
redis.call('HSETNX', job, 'spooled_at', now)
redis.call('ZADD', leases, now + spool_ms, job_id .. ':' .. attempt .. ':' .. holder)
return 'left'
