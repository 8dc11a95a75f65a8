-- Put before every script: helpers that more than one needs.

-- Redis's own clock in milliseconds: the only clock that records know.
local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Appends to the job's own event stream and wakes every waiting process through the fleet's stream.
local function record_event(events, changes, job_id, event, data)
  redis.call('XADD', events, 'MAXLEN', '~', 200, '*', 'event', event, 'data', cjson.encode(data))
  redis.call('XADD', changes, 'MAXLEN', '~', 20000, '*', 'job', job_id, 'event', event)
end

-- Moves the job from one state's index to another's.
local function move_index(from, to, job_id)
  redis.call('ZREM', from, job_id)
  redis.call('ZADD', to, 0, job_id)
end

-- Sets fields of attempt `number`, which is kept as a JSON object in the job's hash.
local function patch_attempt(job, number, patch)
  local field = 'attempt:' .. number
  local attempt = cjson.decode(redis.call('HGET', job, field))
  for name, value in pairs(patch) do
    attempt[name] = value
  end
  redis.call('HSET', job, field, cjson.encode(attempt))
  return attempt
end

-- Lets the next turn of a session run: it joins the queue at the place that it got when it was submitted.
-- Returns its job's id, or '' when no turn waits.
local function promote_turn(turns, waiting, outbox, now)
  local head = redis.call('ZRANGE', turns, 0, 0, 'WITHSCORES')
  if not head[1] then
    return ''
  end
  redis.call('ZADD', waiting, head[2], head[1])
  redis.call('ZADD', outbox, now, head[1])
  return head[1]
end

-- Takes every turn that waits out of a session, to be cancelled one by one: a sweep does what its caller does not.
local function halt_turns(turns, halted, reason, now)
  for _, job_id in ipairs(redis.call('ZRANGE', turns, 0, -1)) do
    redis.call('ZADD', halted, now, job_id .. ':' .. reason)
  end
  redis.call('DEL', turns)
end

-- Takes a turn that is over out of its session and unlocks it. The turns behind a failed one assumed it: they are halted.
-- Those behind a cancelled one go on, unless there is no image yet. Returns the id of the turn that is next, or ''.
local function leave_session(session, turns, halted, waiting, outbox, job_id, final_state, now)
  local was_head = redis.call('ZRANK', turns, job_id) == 0
  redis.call('ZREM', turns, job_id)
  if not was_head then
    return ''
  end
  redis.call('HDEL', session, 'turn_lock')
  redis.call('HSET', session, 'updated_at', now)
  local has_image = redis.call('HEXISTS', session, 'image') == 1
  if has_image and final_state ~= 'failed' then
    return promote_turn(turns, waiting, outbox, now)
  end
  halt_turns(turns, halted, 'previous_turn_failed', now)
  if not has_image and redis.call('HGET', session, 'state') == 'active' then
    redis.call('HSET', session, 'state', 'ended', 'end_reason', 'first_turn_failed')
  end
  return ''
end

-- The worker's suspect did not kill it: another one may run there.
local function clear_suspect(suspect, job_id)
  if redis.call('GET', suspect) == job_id then
    redis.call('DEL', suspect)
  end
end
