-- Forgets that a call waits for its result, unless the record has come to name another job.
-- KEYS: delivery
-- ARGV: job_id
-- Returns: 1 when it was forgotten, else 0
local delivery = unpack(KEYS)
local job_id = unpack(ARGV)
if redis.call('GET', delivery) == job_id then
  return redis.call('DEL', delivery)
end
return 0
