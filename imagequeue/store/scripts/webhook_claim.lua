-- Gives out the next delivery that is due at a receiver, under a lease: it is due again when the lease lapses. A receiver
-- is asked by few at a time, and by fewer while it fails.
-- USES: _webhooks
-- KEYS: webhook_due, webhook_flying, webhook_receivers, webhook_failing
-- ARGV: receiver, lease_ms, most attempts at once, most while it fails
-- Returns: {delivery id, time at which the lease lapses}; {'', 0} when none is due, or enough are being attempted
local webhook_due, webhook_flying, webhook_receivers, webhook_failing = unpack(KEYS)
local receiver, lease_ms, most, most_failing = unpack(ARGV)
local now = now_ms()
redis.call('ZREMRANGEBYSCORE', webhook_flying, '-inf', now)
if redis.call('HEXISTS', webhook_failing, receiver) == 1 then
  most = most_failing
end
local next_due = redis.call('ZRANGEBYSCORE', webhook_due, '-inf', now, 'LIMIT', 0, 1)[1]
if not next_due or redis.call('ZCARD', webhook_flying) >= tonumber(most) then
  note_receiver(webhook_due, webhook_receivers, webhook_failing, receiver)
  return {'', 0}
end
local lapses = now + lease_ms
redis.call('ZADD', webhook_due, lapses, next_due)
redis.call('ZADD', webhook_flying, lapses, next_due)
note_receiver(webhook_due, webhook_receivers, webhook_failing, receiver)
return {next_due, lapses}
