-- Ends a running job: final state, outputs, cost, in one step. Refused to everybody but the current holder.
-- KEYS: job, leases, index_running, index_final, events, changes
-- ARGV: job_id, attempt, holder, state, attempt_patch (JSON), then field and value in turn
-- Returns: 'finished' (also when the same holder repeats it), 'refused'
local job, leases, index_running, index_final, events, changes = unpack(KEYS)
local job_id, attempt, holder, state, attempt_patch = unpack(ARGV, 1, 5)
local current_state, current, current_holder = unpack(redis.call('HMGET', job, 'state', 'attempt', 'holder'))
if current ~= attempt or current_holder ~= holder then
  return 'refused'
end
if current_state == state then
  return 'finished'
end
if current_state ~= 'running' then
  return 'refused'
end
local now = now_ms()
local patch = cjson.decode(attempt_patch)
patch.ended = now
patch_attempt(job, attempt, patch)
redis.call('HSET', job, 'state', state, 'finished_at', now, unpack(ARGV, 6))
redis.call('ZREM', leases, job_id .. ':' .. attempt .. ':' .. holder)
move_index(index_running, index_final, job_id)
record_event(events, changes, job_id, state, {state = state, attempt = tonumber(attempt), at = now})
return 'finished'
