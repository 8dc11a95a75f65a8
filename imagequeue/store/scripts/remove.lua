-- Takes away all that Redis has of a finished job, archived or not.
-- KEYS: job, events, finished, index_all, index_final, archive, archive_hours, expiring, history, pinned, delivery, reuse
-- ARGV: job_id, entry of the archive, its hour, `hour:owner`, field of the index of what may be used again or ''
-- Returns: 'removed' (also when repeated)
local job, events, finished, index_all, index_final, archive, archive_hours, expiring, history, pinned, delivery,
  reuse = unpack(KEYS)
local job_id, entry, hour, bucket, reuse_field = unpack(ARGV)
redis.call('DEL', job, events, pinned)
redis.call('ZREM', finished, job_id)
redis.call('ZREM', index_all, job_id)
redis.call('ZREM', index_final, job_id)
redis.call('ZREM', history, job_id)
redis.call('LREM', archive, 1, entry)
if redis.call('EXISTS', archive) == 0 then
  redis.call('ZREM', archive_hours, hour)
  redis.call('ZREM', expiring, bucket)
end
if redis.call('GET', delivery) == job_id then
  redis.call('DEL', delivery)
end
forget_reusable(reuse, reuse_field, job_id)
return 'removed'
