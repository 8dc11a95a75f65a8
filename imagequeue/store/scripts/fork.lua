-- Makes a session whose image is there from the start.
-- KEYS: session, index_sessions, sessions_idle
-- ARGV: session_id, then field and value in turn
-- Returns: 'stored' (also when repeated)
local session, index_sessions, sessions_idle = unpack(KEYS)
local session_id = ARGV[1]
if redis.call('EXISTS', session) == 1 then
  return 'stored'
end
local now = now_ms()
redis.call('HSET', session, 'created_at', now, 'updated_at', now, 'state', 'active', unpack(ARGV, 2))
redis.call('ZADD', index_sessions, 0, session_id)
redis.call('ZADD', sessions_idle, now, session_id)
return 'stored'
