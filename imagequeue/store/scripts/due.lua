-- What the sweeper has to look at now.
-- KEYS: outbox, leases, delayed
-- ARGV: outbox_age_ms, limit
-- Returns: {ids whose message was not sent, members of leases that lapsed, ids whose delay is over}
local outbox, leases, delayed = unpack(KEYS)
local outbox_age_ms, limit = unpack(ARGV)
local now = now_ms()
return {
  redis.call('ZRANGEBYSCORE', outbox, '-inf', now - outbox_age_ms, 'LIMIT', 0, limit),
  redis.call('ZRANGEBYSCORE', leases, '-inf', now, 'LIMIT', 0, limit),
  redis.call('ZRANGEBYSCORE', delayed, '-inf', now, 'LIMIT', 0, limit),
}
