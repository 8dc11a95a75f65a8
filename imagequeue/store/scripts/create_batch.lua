-- Stores a new batch, whose manifest must be in S3; it runs from now on.
-- USES: _batches
-- KEYS: batch, index_batches, batches_active, batches_drafts, idempotency, changes, webhook_endpoints, webhook_announced
-- ARGV: batch_id, milliseconds that writing a manifest may take, fingerprint of what came with the idempotency key or '',
--   milliseconds that the key is kept, field and value in turn
-- Returns: {'stored'} (also when repeated), {'replayed', batch_id}, {'idempotency_key_reused'}, {'too_late'} (the manifest is
--   being deleted: writing it took too long)
local batch, index_batches, batches_active, batches_drafts, idempotency, changes, webhook_endpoints, webhook_announced =
  unpack(KEYS)
local batch_id, writing_ms, fingerprint, kept_ms = unpack(ARGV, 1, 4)
if redis.call('EXISTS', batch) == 1 then
  return {'stored'}
end
local known = known_submit(idempotency, fingerprint)
if known then
  return known
end
local now = now_ms()
if tonumber(redis.call('ZSCORE', batches_drafts, batch_id) or 0) + writing_ms <= now then
  return {'too_late'}
end
if fingerprint ~= '' then
  redis.call('SET', idempotency, fingerprint .. ' ' .. batch_id, 'PX', kept_ms)
end
redis.call('HSET', batch, 'id', batch_id, 'state', 'running', 'created_at', now, 'updated_at', now, 'next_line', 0,
  'in_flight', 0, 'succeeded', 0, 'failed', 0, 'refused', 0, 'cancelled', 0, 'images_made', 0, 'spent', 0, 'guessed', 0,
  'reserved', 0, unpack(ARGV, 5))
redis.call('ZADD', index_batches, 0, batch_id)
redis.call('ZADD', batches_active, 0, batch_id)
redis.call('ZREM', batches_drafts, batch_id)
note_batch(batch, changes, webhook_endpoints, webhook_announced, batch_id, '', now)
return {'stored'}
