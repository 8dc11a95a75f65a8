-- Forgets that a call waits for its result, unless the record has come to name another job.
-- KEYS: delivery
-- ARGV: job_id
-- Returns: 1 when it was forgotten, else 0
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
