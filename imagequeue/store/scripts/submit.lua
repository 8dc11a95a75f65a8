-- Stores a new job, lets it join the queue, and leaves it in the outbox until its message is sent.
-- KEYS: job, waiting, outbox, sequence, index_all, index_queued, events, changes
-- ARGV: job_id, then field and value in turn
-- Returns: {'stored', created_at} or {'exists', created_at} (a repetition after a lost answer)
local job, waiting, outbox, sequence, index_all, index_queued, events, changes = unpack(KEYS)
local job_id = ARGV[1]
local created = redis.call('HGET', job, 'created_at')
if created then
  return {'exists', created}
end
local now = now_ms()
local place = redis.call('INCR', sequence)
redis.call('HSET', job, 'id', job_id, 'state', 'queued', 'created_at', now, 'attempt', 0, 'place', place, unpack(ARGV, 2))
redis.call('ZADD', waiting, place, job_id)
redis.call('ZADD', outbox, now, job_id)
redis.call('ZADD', index_all, 0, job_id)
redis.call('ZADD', index_queued, 0, job_id)
record_event(events, changes, job_id, 'queued', {state = 'queued', at = now})
return {'stored', tostring(now)}
