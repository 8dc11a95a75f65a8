-- Gives a key a new secret; the one before is good for a while longer, and none that came earlier.
-- KEYS: api_key, by_digest, by_old_digest, by_older_digest
-- ARGV: key_id, digest of the new secret, its hint, digest of the secret before or '', milliseconds that that one stays good
-- Returns: 'rotated' (also when repeated), 'missing' (no such key, or it is revoked), 'changed' (another secret came before),
--   'taken' (another key has this secret)
local api_key, by_digest, by_old_digest, by_older_digest = unpack(KEYS)
local key_id, digest, hint, old_digest, grace_ms = unpack(ARGV)
local id, before, revoked_at = unpack(redis.call('HMGET', api_key, 'id', 'digest', 'revoked_at'))
if not id or revoked_at then
  return 'missing'
end
if before == digest then
  return 'rotated'
end
if (before or '') ~= old_digest then
  return 'changed'
end
if not redis.call('SET', by_digest, key_id, 'NX') then
  return 'taken'
end
redis.call('HSET', api_key, 'digest', digest, 'hint', hint)
if not before then
  return 'rotated'
end
redis.call('HSET', api_key, 'rotated_at', now_ms(), 'old_digest', before)
redis.call('DEL', by_older_digest)
if tonumber(grace_ms) > 0 then
  redis.call('PEXPIRE', by_old_digest, grace_ms)
else
  redis.call('DEL', by_old_digest)
end
return 'rotated'
