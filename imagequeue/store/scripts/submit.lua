-- Stores a new job, lets it join the queue, and leaves it in the outbox until its message is sent. A session's turn joins
-- the session's turns; it joins the queue only when no other turn is before it.
-- KEYS: job, waiting, outbox, sequence, index_all, index_queued, events, changes, session, turns, history, index_sessions, sessions_idle
-- ARGV: job_id, session_id or '', 'start' or 'continue', idle_ms, most turns that wait, field count, fields of the session, fields of the job
-- Returns: 'stored' (also when repeated after a lost answer), 'session_missing', 'session_ended', 'session_expired', 'session_full'
local job, waiting, outbox, sequence, index_all, index_queued, events, changes, session, turns, history, index_sessions, sessions_idle =
  unpack(KEYS)
local job_id, session_id, mode, idle_ms, most_turns, field_count = unpack(ARGV, 1, 6)
if redis.call('EXISTS', job) == 1 then
  return 'stored'
end
local now = now_ms()
local first_job_field = 7 + 2 * field_count

if mode == 'continue' then
  local state, updated_at = unpack(redis.call('HMGET', session, 'state', 'updated_at'))
  if not state then
    return 'session_missing'
  end
  local turns_waiting = redis.call('ZCARD', turns)
  if state == 'active' and turns_waiting == 0 and updated_at + idle_ms < now then
    redis.call('HSET', session, 'state', 'expired')
    state = 'expired'
  end
  if state ~= 'active' then
    return state == 'expired' and 'session_expired' or 'session_ended'
  end
  if turns_waiting >= tonumber(most_turns) then
    return 'session_full'
  end
elseif mode == 'start' then
  redis.call('HSET', session, 'created_at', now, 'state', 'active', unpack(ARGV, 7, first_job_field - 1))
  redis.call('ZADD', index_sessions, 0, session_id)
end

local place = redis.call('INCR', sequence)
local runs_next = true
if session_id ~= '' then
  local turn = redis.call('HINCRBY', session, 'submitted', 1)
  redis.call('HSET', session, 'updated_at', now)
  redis.call('ZADD', sessions_idle, now, session_id)
  redis.call('ZADD', turns, place, job_id)
  redis.call('ZADD', history, turn, job_id)
  redis.call('HSET', job, 'turn', turn)
  runs_next = redis.call('ZCARD', turns) == 1
end
redis.call('HSET', job, 'id', job_id, 'state', 'queued', 'created_at', now, 'attempt', 0, 'place', place,
  unpack(ARGV, first_job_field))
if runs_next then
  redis.call('ZADD', waiting, place, job_id)
  redis.call('ZADD', outbox, now, job_id)
end
redis.call('ZADD', index_all, 0, job_id)
redis.call('ZADD', index_queued, 0, job_id)
record_event(events, changes, job_id, 'queued', {state = 'queued', at = now})
return 'stored'
