-- Stops the fleet: OpenAI refuses the account. From now on one job a minute is let through, to see whether it works again.
-- KEYS: limiter
-- ARGV: reason, what to do about it, milliseconds until the first probe
-- Returns: 1 when the breaker was closed before, else 0
local limiter = KEYS[1]
local reason, advice, probe_ms = unpack(ARGV)
local now = now_ms()
local opened = redis.call('HSETNX', limiter, 'broken_at', now)
redis.call('HSET', limiter, 'broken_reason', reason, 'broken_text', advice)
if opened == 1 then
  redis.call('HSET', limiter, 'probe_at', now + probe_ms)
end
return opened
