-- Marks an input image whose removal begins, unless it was about to be used lately.
-- KEYS: input_uses, inputs_leaving
-- ARGV: sha256, how long a use counts (ms)
-- Returns: 'leaving' (also when repeated), 'used'
local input_uses, inputs_leaving = unpack(KEYS)
local sha256, window_ms = unpack(ARGV)
local now = now_ms()
redis.call('ZREMRANGEBYSCORE', input_uses, '-inf', now - window_ms)
if redis.call('ZSCORE', input_uses, sha256) then
  return 'used'
end
redis.call('ZADD', inputs_leaving, now, sha256)
return 'leaving'
