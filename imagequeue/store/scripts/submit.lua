-- Stores a new job, lets it join the queue, and leaves it in the outbox until its message is sent. A session's turn joins
-- the session's turns; it joins the queue only when no other turn is before it. All refusals come before any write.
-- USES: _budget
-- KEYS: job, waiting, outbox, sequence, index_all, index_queued, events, changes, session, turns, history, index_sessions, sessions_idle, idempotency, api_key, reserved, spending, pace
-- ARGV: job_id, session_id or '', 'start' or 'continue', idle_ms, most turns that wait, field count, fingerprint of what came
--   with the idempotency key or '', milliseconds that the key is kept, key_id or '', most that the job may cost (millionths of
--   a dollar), fields of the session, fields of the job
-- Returns: {'stored', the job's fields and values in turn, 1 if it has joined the queue} (also when repeated after a lost
--   answer), followed by {jobs a minute, how many may come now, milliseconds until one more may} if those are limited,
--   {'replayed', job_id}, {'idempotency_key_reused'}, {'session_missing'},
--   {'session_ended'}, {'session_expired'}, {'session_full'}, {'too_many_jobs', in flight, limit},
--   {'too_fast', milliseconds to wait, limit}, {'daily_budget' or 'monthly_budget', limit, spent, reserved} (millionths)
local job, waiting, outbox, sequence, index_all, index_queued, events, changes, session, turns, history, index_sessions,
  sessions_idle, idempotency, api_key, reserved, spending, pace = unpack(KEYS)
local job_id, session_id, mode, idle_ms, most_turns, field_count, fingerprint, kept_ms, key_id, most_cost = unpack(ARGV, 1, 10)
local first_session_field = 11
local first_job_field = first_session_field + 2 * field_count
local left = {}

local function stored()
  return {'stored', redis.call('HGETALL', job), redis.call('ZSCORE', waiting, job_id) and 1 or 0, unpack(left)}
end

if redis.call('EXISTS', job) == 1 then
  return stored()
end
local now = now_ms()

local known = known_submit(idempotency, fingerprint)
if known then
  return known
end

if mode == 'continue' then
  local state, updated_at = unpack(redis.call('HMGET', session, 'state', 'updated_at'))
  if not state then
    return {'session_missing'}
  end
  local turns_waiting = redis.call('ZCARD', turns)
  if state == 'active' and turns_waiting == 0 and updated_at + idle_ms < now then
    redis.call('HSET', session, 'state', 'expired')
    state = 'expired'
  end
  if state ~= 'active' then
    return {state == 'expired' and 'session_expired' or 'session_ended'}
  end
  if turns_waiting >= tonumber(most_turns) then
    return {'session_full'}
  end
end

if key_id ~= '' then
  local refusal, may_come = key_refusal(api_key, reserved, spending, pace, most_cost, now)
  if refusal then
    return refusal
  end
  left = may_come
  reserve(reserved, spending, job_id, most_cost)
end

if fingerprint ~= '' then
  redis.call('SET', idempotency, fingerprint .. ' ' .. job_id, 'PX', kept_ms)
end
if mode == 'start' then
  redis.call('HSET', session, 'created_at', now, 'state', 'active', unpack(ARGV, first_session_field, first_job_field - 1))
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
store_job(job, waiting, outbox, index_all, index_queued, job_id, place, runs_next, now, {unpack(ARGV, first_job_field)})
record_event(job, events, changes, job_id, 'queued', {state = 'queued', at = now})
return stored()
