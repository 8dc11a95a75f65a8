-- Makes a delivery due now, with the whole schedule of retries before it; one that is being attempted stays as it is.
-- USES: _webhooks
-- KEYS: webhook_delivery, webhook_due, webhook_flying, webhook_receivers, webhook_failing
-- ARGV: delivery id, receiver
-- Returns: 'due', 'missing'
local webhook_delivery, webhook_due, webhook_flying, webhook_receivers, webhook_failing = unpack(KEYS)
local delivery_id, receiver = unpack(ARGV)
if redis.call('EXISTS', webhook_delivery) == 0 then
  return 'missing'
end
local now = now_ms()
local lease = redis.call('ZSCORE', webhook_flying, delivery_id)
if not lease or tonumber(lease) <= now then
  redis.call('HSET', webhook_delivery, 'state', 'pending', 'tries', 0, 'next_attempt_at', now)
  redis.call('PERSIST', webhook_delivery)
  redis.call('ZADD', webhook_due, now, delivery_id)
  note_receiver(webhook_due, webhook_receivers, webhook_failing, receiver)
end
return 'due'
