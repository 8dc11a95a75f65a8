-- Makes a session whose image is there from the start, and notes that the image's job is needed.
-- KEYS: session, index_sessions, sessions_idle, pinned, leaving
-- ARGV: session_id, `job_id:owner` of the image's job, then field and value in turn
-- Returns: 'stored' (also when repeated), 'gone' (the image is being deleted)
local session, index_sessions, sessions_idle, pinned, leaving = unpack(KEYS)
local session_id, source = unpack(ARGV, 1, 2)
if redis.call('EXISTS', session) == 1 then
  return 'stored'
end
if redis.call('ZSCORE', leaving, source) then
  return 'gone'
end
local now = now_ms()
redis.call('HSET', session, 'created_at', now, 'updated_at', now, 'state', 'active', unpack(ARGV, 3))
redis.call('SADD', pinned, session_id)
redis.call('ZADD', index_sessions, 0, session_id)
redis.call('ZADD', sessions_idle, now, session_id)
return 'stored'
