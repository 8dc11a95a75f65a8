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
