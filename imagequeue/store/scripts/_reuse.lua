-- For scripts that store a job which has succeeded with copies of an earlier one's images.

-- Whether the copies may be used: `folder` was noted before the first, and nobody deletes it yet.
local function has_copies(copies, folder, now)
  return tonumber(redis.call('ZSCORE', copies, folder) or 0) > now
end

-- Stores the job; from then on its copies belong to it. Returns 1 when webhooks are to be told, else 0.
local function store_reused(job, index_all, index_succeeded, events, changes, finished, usage, reuse, copies,
    webhook_endpoints, webhook_announced, job_id, folder, reuse_field, retention_ms, now, fields)
  redis.call('ZREM', copies, folder)
  redis.call('HSET', job, 'id', job_id, 'state', 'succeeded', 'created_at', now, 'finished_at', now, 'attempt', 0,
    unpack(fields))
  redis.call('ZADD', index_all, 0, job_id)
  redis.call('ZADD', index_succeeded, 0, job_id)
  note_end(job, finished, usage, job_id, 'succeeded', now)
  note_reusable(reuse, reuse_field, job_id, retention_ms)
  record_event(job, events, changes, job_id, 'succeeded', {state = 'succeeded', at = now})
  local webhook = redis.call('HGET', job, 'webhook')
  return announce(webhook_endpoints, webhook_announced, webhook, job_id, now)
end
