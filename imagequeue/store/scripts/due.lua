-- What the sweeper has to look at now. After a time in which nobody swept, Redis was away, or the fleet: leases lapsed
-- although their holders may live, so that those get the time to renew them before any is taken back.
-- KEYS: outbox, leases, delayed, halted, sessions_idle, sweeps
-- ARGV: outbox_age_ms, idle_ms, lease_ms, limit
-- Returns: {ids whose message was not sent, members of leases that lapsed, ids whose delay is over,
--   `job_id:reason` of halted turns, ids of sessions that were idle, milliseconds for which lapsed leases are still spared}
local outbox, leases, delayed, halted, sessions_idle, sweeps = unpack(KEYS)
local outbox_age_ms, idle_ms, lease_ms, limit = unpack(ARGV)
local now = now_ms()
local last, spared_until = unpack(redis.call('HMGET', sweeps, 'at', 'spared_until'))
-- Not again right after it: sweeps that take long by themselves must not spare leases for ever.
local gap = math.max(lease_ms / 2, 3000)
if last and now - last > gap and now > (spared_until or 0) + lease_ms then
  spared_until = now + lease_ms * 2 / 3
  redis.call('HSET', sweeps, 'spared_until', spared_until)
end
redis.call('HSET', sweeps, 'at', now)
local lapsed = {}
local spared_ms = math.max(0, math.ceil((spared_until or 0) - now))
if spared_ms == 0 then
  lapsed = redis.call('ZRANGEBYSCORE', leases, '-inf', now, 'LIMIT', 0, limit)
end
return {
  redis.call('ZRANGEBYSCORE', outbox, '-inf', now - outbox_age_ms, 'LIMIT', 0, limit),
  lapsed,
  redis.call('ZRANGEBYSCORE', delayed, '-inf', now, 'LIMIT', 0, limit),
  redis.call('ZRANGEBYSCORE', halted, '-inf', now, 'LIMIT', 0, limit),
  redis.call('ZRANGEBYSCORE', sessions_idle, '-inf', now - idle_ms, 'LIMIT', 0, limit),
  spared_ms,
}
