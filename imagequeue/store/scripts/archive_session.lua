-- Lets a closed session leave Redis, now that its record is in S3. Its id stays in its owner's index.
-- KEYS: session, turns, history, sessions_closed
-- ARGV: session_id, when its retention ends (ms)
-- Returns: 'archived' (also when repeated), 'active'
local session, turns, history, sessions_closed = unpack(KEYS)
local session_id, expires = unpack(ARGV)
if redis.call('HGET', session, 'state') == 'active' then
  return 'active'
end
redis.call('DEL', session, turns, history)
redis.call('ZADD', sessions_closed, expires, session_id)
return 'archived'
