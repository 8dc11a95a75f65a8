-- Makes the job of a line that OpenAI's Batch API has answered: it runs at once, in an attempt whose call is over. What was
-- reserved for it in its parcel is reserved for the job from now on.
-- USES: _budget, _batches
-- KEYS: job, leases, index_all, index_running, events, changes, sequence, reserved, batch, batch_lines, batches_flying, parcel
-- ARGV: job_id, batch_id, line, owner, parcel_id, most that the line may cost (millionths of a dollar), worker, holder,
--   lease_ms, when the call began, field and value in turn
-- Returns: 'landed' (also when this holder has it already), 'exists' (there is such a job), 'over' (the line is not the
--   parcel's any more)
local job, leases, index_all, index_running, events, changes, sequence, reserved, batch, batch_lines,
  batches_flying, parcel = unpack(KEYS)
local job_id, batch_id, line, owner, parcel_id, held, worker, holder, lease_ms, called_at = unpack(ARGV, 1, 10)
local current_holder = redis.call('HGET', job, 'holder')
if current_holder == holder then
  return 'landed'
end
if redis.call('EXISTS', job) == 1 then
  return 'exists'
end
local begins = line * LINE_BYTES
local known = redis.call('GETRANGE', batch_lines, begins, begins + LINE_BYTES - 1)
if redis.call('EXISTS', parcel) == 0 or known ~= string.rep(' ', ULID_BYTES) .. 'q' then
  return 'over'
end
local now = now_ms()
redis.call('SETRANGE', batch_lines, begins, string.sub(job_id, -ULID_BYTES))
redis.call('HINCRBY', batch, 'at_openai', -1)
redis.call('HINCRBY', batches_flying, owner, 1)
if redis.call('HEXISTS', reserved, parcel_id) == 1 then
  if redis.call('HINCRBY', reserved, parcel_id, -held) <= 0 then
    redis.call('HDEL', reserved, parcel_id)
  end
  redis.call('HSET', reserved, job_id, held)
end
local called = tonumber(called_at)
local attempt = cjson.encode({number = 1, worker = worker, started = called, call_started = called, route = 'batch', answered = now})
redis.call('HSET', job, 'id', job_id, 'state', 'running', 'created_at', now, 'started_at', called_at, 'attempt', 1,
  'holder', holder, 'attempt:1', attempt, 'place', redis.call('INCR', sequence), 'batch_id', batch_id, 'line', line,
  'held', held, unpack(ARGV, 11))
redis.call('ZADD', index_all, 0, job_id)
redis.call('ZADD', index_running, 0, job_id)
redis.call('ZADD', leases, now + lease_ms, job_id .. ':1:' .. holder)
record_event(job, events, changes, job_id, 'running', {state = 'running', attempt = 1, at = now})
return 'landed'
