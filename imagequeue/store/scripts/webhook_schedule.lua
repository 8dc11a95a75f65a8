-- Makes the delivery of one event to one URL, due at once. Repeating it changes nothing.
-- USES: _webhooks
-- KEYS: webhook_delivery, webhook_log, webhook_subject, webhook_due, webhook_receivers, webhook_failing
-- ARGV: delivery id, receiver, most deliveries in the log, milliseconds that the lists are kept, then field and value in turn
-- Returns: 'scheduled' (also when it was before)
local webhook_delivery, webhook_log, webhook_subject, webhook_due, webhook_receivers, webhook_failing = unpack(KEYS)
local delivery_id, receiver, most_in_log, kept_ms = unpack(ARGV, 1, 4)
if redis.call('EXISTS', webhook_delivery) == 1 then
  return 'scheduled'
end
local now = now_ms()
redis.call('HSET', webhook_delivery, 'id', delivery_id, 'state', 'pending', 'created_at', now, 'next_attempt_at', now,
  unpack(ARGV, 5))
redis.call('ZADD', webhook_log, now, delivery_id)
redis.call('ZREMRANGEBYRANK', webhook_log, 0, -most_in_log - 1)
redis.call('PEXPIRE', webhook_log, kept_ms)
redis.call('ZADD', webhook_subject, now, delivery_id)
redis.call('PEXPIRE', webhook_subject, kept_ms)
redis.call('ZADD', webhook_due, now, delivery_id)
note_receiver(webhook_due, webhook_receivers, webhook_failing, receiver)
return 'scheduled'
