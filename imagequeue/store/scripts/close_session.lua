-- Ends a session, or lets it expire when it was idle. A running turn finishes; those that wait are halted.
-- KEYS: session, turns, halted, sessions_idle, sessions_closed
-- ARGV: session_id, 'ended' or 'expired', idle_ms (0 unless it expires)
-- Returns: 'ended' or 'expired' (also when it was before), 'active' (not idle), 'missing'
local session, turns, halted, sessions_idle, sessions_closed = unpack(KEYS)
local session_id, final_state, idle_ms = unpack(ARGV)
local state, updated_at, turn_lock = unpack(redis.call('HMGET', session, 'state', 'updated_at', 'turn_lock'))
if not state then
  redis.call('ZREM', sessions_idle, session_id)
  return 'missing'
end
local now = now_ms()
if state ~= 'active' then
  redis.call('ZREM', sessions_idle, session_id)
  redis.call('ZADD', sessions_closed, 'NX', now, session_id)
  return state
end
if final_state == 'expired' then
  if redis.call('ZCARD', turns) > 0 or updated_at + idle_ms >= now then
    redis.call('ZADD', sessions_idle, math.max(updated_at, now - idle_ms + 1000), session_id)
    return 'active'
  end
end
local running = turn_lock and string.match(turn_lock, '^[^:]+')
local place = running and redis.call('ZSCORE', turns, running)
if place then
  redis.call('ZREM', turns, running)
end
halt_turns(turns, halted, 'session_ended', now)
if place then
  redis.call('ZADD', turns, place, running)
end
redis.call('HSET', session, 'state', final_state, 'updated_at', now)
redis.call('ZREM', sessions_idle, session_id)
redis.call('ZADD', sessions_closed, now, session_id)
return final_state
