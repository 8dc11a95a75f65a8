-- Notes how an attempt went: the delivery has ended, or is due again after a delay. Refused when its lease is not the one
-- that it was given out under.
-- USES: _webhooks
-- KEYS: webhook_delivery, webhook_due, webhook_flying, webhook_receivers, webhook_failing
-- ARGV: delivery id, receiver, time at which the lease lapses, 'delivered' or 'failed' or 'pending', delay_ms, attempt (JSON),
--   1 if the receiver fails or 0, most attempts kept, milliseconds that what has ended is kept
-- Returns: 'noted', 'refused'
local webhook_delivery, webhook_due, webhook_flying, webhook_receivers, webhook_failing = unpack(KEYS)
local delivery_id, receiver, lapses, state, delay_ms, attempt_json, fails, most_attempts, kept_ms = unpack(ARGV)
local lease = redis.call('ZSCORE', webhook_flying, delivery_id)
if not lease or tonumber(lease) ~= tonumber(lapses) then
  return 'refused'
end
local now = now_ms()
redis.call('ZREM', webhook_flying, delivery_id)
redis.call('ZREM', webhook_due, delivery_id)
if redis.call('EXISTS', webhook_delivery) == 1 then
  local attempt = cjson.decode(attempt_json)
  attempt.number = redis.call('HINCRBY', webhook_delivery, 'attempted', 1)
  attempt.at = now - attempt.ms
  redis.call('HSET', webhook_delivery, 'state', state, 'attempt:' .. attempt.number, cjson.encode(attempt))
  redis.call('HDEL', webhook_delivery, 'attempt:' .. (attempt.number - most_attempts))
  if state == 'pending' then
    redis.call('HINCRBY', webhook_delivery, 'tries', 1)
    redis.call('HSET', webhook_delivery, 'next_attempt_at', now + delay_ms)
    redis.call('ZADD', webhook_due, now + delay_ms, delivery_id)
  else
    redis.call('HDEL', webhook_delivery, 'next_attempt_at')
    redis.call('PEXPIRE', webhook_delivery, kept_ms)
  end
end
if fails == '1' then
  redis.call('HSET', webhook_failing, receiver, now)
else
  redis.call('HDEL', webhook_failing, receiver)
end
note_receiver(webhook_due, webhook_receivers, webhook_failing, receiver)
return 'noted'
