-- Lists the secrets that sign for an owner now, making the first; or puts a new one in the place of the one in use, which
-- goes on signing for a while. Repeating it with the same new secret changes nothing.
-- KEYS: webhook_secrets
-- ARGV: a new secret, 1 to rotate or 0, milliseconds that a replaced secret goes on, most secrets
-- Returns: secrets, each followed by the time until which it signs, the one in use last, with `inf`
local webhook_secrets = unpack(KEYS)
local secret, rotate, overlap_ms, most = unpack(ARGV)
local now = now_ms()
redis.call('ZREMRANGEBYSCORE', webhook_secrets, '-inf', now)
local in_use = redis.call('ZRANGEBYSCORE', webhook_secrets, '+inf', '+inf')[1]
if not in_use or (rotate == '1' and in_use ~= secret) then
  if in_use then
    redis.call('ZADD', webhook_secrets, now + overlap_ms, in_use)
  end
  redis.call('ZADD', webhook_secrets, '+inf', secret)
  redis.call('ZREMRANGEBYRANK', webhook_secrets, 0, -most - 1)
end
return redis.call('ZRANGE', webhook_secrets, 0, -1, 'WITHSCORES')
