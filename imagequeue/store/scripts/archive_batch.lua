-- Lets a batch that has ended leave Redis, now that its record is in S3.
-- KEYS: batch, batch_lines, batch_ended, batch_again, batch_faults, batch_earlier, batches_over
-- ARGV: batch_id, when it ended as its record in S3 says (ms), when retention looks at it again (ms)
-- Returns: 'archived' (also when repeated), 'changed' (it has gone on meanwhile)
local batch, batch_lines, batch_ended, batch_again, batch_faults, batch_earlier, batches_over = unpack(KEYS)
local batch_id, finished_at, look_again_at = unpack(ARGV)
if redis.call('EXISTS', batch) == 1 and redis.call('HGET', batch, 'finished_at') ~= finished_at then
  return 'changed'
end
redis.call('DEL', batch, batch_lines, batch_ended, batch_again, batch_faults, batch_earlier)
redis.call('ZADD', batches_over, look_again_at, batch_id)
return 'archived'
