-- Stores a job that has succeeded at once, with copies of an earlier job's images. No call is made for it and nothing is
-- spent, so no budget refuses it. Its images are in `folder`, which was noted before the first was copied there.
-- USES: _budget, _reuse
-- KEYS: job, index_all, index_succeeded, events, changes, idempotency, api_key, pace, finished, usage, reuse, copies, webhook_endpoints, webhook_announced
-- ARGV: job_id, folder, fingerprint of what came with the idempotency key or '', milliseconds that the key is kept, key_id or
--   '', field of the index of what may be used again, retention (ms), then field and value in turn
-- Returns: {'stored', 0} (when repeated after a lost answer), {'stored', 1 if webhooks are to be told or 0, and what is left of
--   the jobs a minute as submit says, if they are limited}, {'too_late'} (the copies are being deleted), {'replayed', job_id},
--   {'idempotency_key_reused'}, {'too_fast', milliseconds to wait, limit}
local job, index_all, index_succeeded, events, changes, idempotency, api_key, pace, finished, usage, reuse, copies,
  webhook_endpoints, webhook_announced = unpack(KEYS)
local job_id, folder, fingerprint, kept_ms, key_id, reuse_field, retention_ms = unpack(ARGV, 1, 7)
if redis.call('EXISTS', job) == 1 then
  return {'stored', 0}
end
local now = now_ms()
local known = known_submit(idempotency, fingerprint)
if known then
  return known
end
if not has_copies(copies, folder, now) then
  return {'too_late'}
end
local per_minute, left = key_id ~= '' and redis.call('HGET', api_key, 'jobs_per_minute'), {}
if per_minute then
  local refusal
  refusal, left = take_pace(pace, tonumber(per_minute), now)
  if refusal then
    return refusal
  end
end
if fingerprint ~= '' then
  redis.call('SET', idempotency, fingerprint .. ' ' .. job_id, 'PX', kept_ms)
end
local announced = store_reused(job, index_all, index_succeeded, events, changes, finished, usage, reuse, copies,
  webhook_endpoints, webhook_announced, job_id, folder, reuse_field, retention_ms, now, {unpack(ARGV, 8)})
return {'stored', announced, unpack(left)}
