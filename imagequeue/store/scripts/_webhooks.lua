-- Put before the scripts that move deliveries.

-- Notes when the next delivery of a receiver is due, and forgets a receiver that has none.
local function note_receiver(webhook_due, webhook_receivers, webhook_failing, receiver)
  local first = redis.call('ZRANGE', webhook_due, 0, 0, 'WITHSCORES')
  if first[1] then
    redis.call('ZADD', webhook_receivers, first[2], receiver)
  else
    redis.call('ZREM', webhook_receivers, receiver)
    redis.call('HDEL', webhook_failing, receiver)
  end
end
