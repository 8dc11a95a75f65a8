-- Takes away all that Redis has of a closed session, but for its place among the closed ones: its record in S3 follows.
-- KEYS: session, turns, history, sessions_idle, index_sessions
-- ARGV: session_id
-- Returns: 'removed' (also when repeated), 'active'
local session, turns, history, sessions_idle, index_sessions = unpack(KEYS)
local session_id = ARGV[1]
if redis.call('HGET', session, 'state') == 'active' then
  return 'active'
end
redis.call('DEL', session, turns, history)
redis.call('ZREM', sessions_idle, session_id)
redis.call('ZREM', index_sessions, session_id)
return 'removed'
