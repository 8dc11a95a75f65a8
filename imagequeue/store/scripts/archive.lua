-- Lets a finished job leave Redis, now that its record is in S3. Its owner's archive of the hour in which its id was made
-- keeps the id, state and type.
-- KEYS: job, events, finished, index_all, index_final, archive, archive_hours, expiring, delivery
-- ARGV: job_id, entry of the archive, its hour, `hour:owner`, when the job's retention ends (ms)
-- Returns: 'archived', 'awaited' (nobody has fetched its result yet: the same call would get it), 'gone' (also when repeated)
local job, events, finished, index_all, index_final, archive, archive_hours, expiring, delivery = unpack(KEYS)
local job_id, entry, hour, bucket, expires = unpack(ARGV)
if redis.call('EXISTS', job) == 0 then
  redis.call('ZREM', finished, job_id)
  return 'gone'
end
if redis.call('GET', delivery) == job_id then
  redis.call('ZADD', finished, now_ms(), job_id)
  return 'awaited'
end
redis.call('DEL', job, events)
redis.call('ZREM', finished, job_id)
redis.call('ZREM', index_all, job_id)
redis.call('ZREM', index_final, job_id)
redis.call('RPUSH', archive, entry)
redis.call('ZADD', archive_hours, hour, hour)
redis.call('ZADD', expiring, 'LT', expires, bucket)
return 'archived'
