-- What the sweeper has to look at now.
-- KEYS: outbox, leases, delayed, halted, sessions_idle
-- ARGV: outbox_age_ms, idle_ms, limit
-- Returns: {ids whose message was not sent, members of leases that lapsed, ids whose delay is over,
--   `job_id:reason` of halted turns, ids of sessions that were idle}
local outbox, leases, delayed, halted, sessions_idle = unpack(KEYS)
local outbox_age_ms, idle_ms, limit = unpack(ARGV)
local now = now_ms()
return {
  redis.call('ZRANGEBYSCORE', outbox, '-inf', now - outbox_age_ms, 'LIMIT', 0, limit),
  redis.call('ZRANGEBYSCORE', leases, '-inf', now, 'LIMIT', 0, limit),
  redis.call('ZRANGEBYSCORE', delayed, '-inf', now, 'LIMIT', 0, limit),
  redis.call('ZRANGEBYSCORE', halted, '-inf', now, 'LIMIT', 0, limit),
  redis.call('ZRANGEBYSCORE', sessions_idle, '-inf', now - idle_ms, 'LIMIT', 0, limit),
}
