-- Put before every script: helpers that more than one needs.

-- Redis's own clock in milliseconds: the only clock that records know.
local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Appends to the fleet's stream, which wakes every waiting process, and to the job's own, under the same id: a client
-- that saw one may go on in the other. Whom it concerns and how the job ended is taken from its hash: write that first.
local function record_event(job, events, changes, job_id, event, data)
  local owner, session_id, turn, images, error_json, batch_id, line, custom_id = unpack(redis.call('HMGET', job,
    'owner', 'session_id', 'turn', 'images', 'error', 'batch_id', 'line', 'custom_id'))
  data.session_id = session_id or nil
  data.turn = tonumber(turn)
  data.batch_id = batch_id or nil
  data.line = tonumber(line)
  data.custom_id = custom_id or nil
  data.images = images and #cjson.decode(images) or nil
  data.error = error_json and cjson.decode(error_json).code or nil
  local text = cjson.encode(data)
  local fields = {'job', job_id, 'event', event, 'owner', owner or '', 'session', session_id or '', 'data', text}
  if batch_id then
    fields[#fields + 1], fields[#fields + 2] = 'batch', batch_id
    fields[#fields + 1], fields[#fields + 2] = 'lane', 'batch'
  end
  local id = redis.call('XADD', changes, 'MAXLEN', '~', 20000, '*', unpack(fields))
  -- The fleet's ids are behind the job's only if its stream was deleted and the clock set back: no reason to fail here.
  local kept = redis.pcall('XADD', events, 'MAXLEN', '~', 200, id, 'event', event, 'data', text)
  if type(kept) == 'table' and kept.err then
    redis.call('XADD', events, 'MAXLEN', '~', 200, '*', 'event', event, 'data', text)
  end
end

-- What came of a submit with this idempotency key before: a refusal, or what it made, as {'replayed', id}; nil when the key is new.
local function known_submit(idempotency, fingerprint)
  local before = fingerprint ~= '' and redis.call('GET', idempotency)
  if not before then
    return nil
  end
  local known, known_job = string.match(before, '^(%S+) (%S+)$')
  if known ~= fingerprint then
    return {'idempotency_key_reused'}
  end
  return {'replayed', known_job}
end

-- Lets requests equal to a job's find it in its owner's index: under `field`, the ULIDs of the newest eight such jobs.
local function note_reusable(reuse, field, job_id, retention_ms)
  local others = string.gsub(redis.call('HGET', reuse, field) or '', string.sub(job_id, -26), '')
  redis.call('HSET', reuse, field, string.sub(string.sub(job_id, -26) .. others, 1, 8 * 26))
  if redis.call('PTTL', reuse) < tonumber(retention_ms) then
    redis.call('PEXPIRE', reuse, retention_ms)
  end
end

-- Takes a job out of that index.
local function forget_reusable(reuse, field, job_id)
  local known = redis.call('HGET', reuse, field)
  local others = known and string.gsub(known, string.sub(job_id, -26), '')
  if others == '' then
    redis.call('HDEL', reuse, field)
  elseif others and others ~= known then
    redis.call('HSET', reuse, field, others)
  end
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

-- A job has ended: from now on it may leave Redis, and its owner's figures of the day (UTC) and model count it. Money is
-- in millionths of a dollar; days are those since 1970. Once a day the figures older than 400 days are dropped.
local function note_end(job, finished, usage, job_id, state, now)
  redis.call('ZADD', finished, now, job_id)
  local day = math.floor(now / 86400000)
  local model, estimate, cost, tokens, images, last_attempt, key_id =
    unpack(redis.call('HMGET', job, 'model', 'estimate', 'cost_usd_estimated', 'usage', 'images', 'attempt', 'key_id'))
  local whose = ':' .. (key_id or '') .. ':' .. model
  local expected = math.floor(cjson.decode(estimate).expected_usd * 1000000 + 0.5)
  local extra, uncosted = 0, false
  for number = 1, tonumber(last_attempt or 0) do
    local text = redis.call('HGET', job, 'attempt:' .. number)
    local attempt = text and cjson.decode(text)
    if attempt and attempt.call_started and not attempt.cost_usd_estimated then
      uncosted = true
      if attempt.outcome == 'unknown' or attempt.outcome == 'cancelled' or attempt.code == 'bad_output' then
        extra = extra + expected
      end
    end
  end
  local used = tokens and cjson.decode(tokens) or {}
  local function count(counter, amount)
    if amount and amount > 0 then
      redis.call('HINCRBY', usage, day .. ':' .. counter .. whose, amount)
    end
  end
  count(state, 1)
  count('images', images and #cjson.decode(images))
  count('input_tokens', used.input_tokens)
  count('output_tokens', used.output_tokens)
  count('estimate', expected)
  count('cost', cost and math.floor(cost * 1000000 + 0.5))
  count('cost_unknown', uncosted and 1 or 0)
  count('extra', extra)
  redis.call('PEXPIRE', usage, 34560000000)
  if redis.call('HGET', usage, day .. ':' .. state .. whose) == '1' then
    for _, field in ipairs(redis.call('HKEYS', usage)) do
      if tonumber(string.match(field, '^%d+')) < day - 400 then
        redis.call('HDEL', usage, field)
      end
    end
  end
end

-- Writes a new job. It joins the queue, with its message in the outbox, unless others have to end first.
local function store_job(job, waiting, outbox, index_all, index_queued, job_id, place, joins, now, fields)
  redis.call('HSET', job, 'id', job_id, 'state', 'queued', 'created_at', now, 'attempt', 0, 'place', place, unpack(fields))
  if joins then
    redis.call('ZADD', waiting, place, job_id)
    redis.call('ZADD', outbox, now, job_id)
  end
  redis.call('ZADD', index_all, 0, job_id)
  redis.call('ZADD', index_queued, 0, job_id)
end

-- Leaves the end of `subject` to be told to webhooks: its own URL, if it names one, and its owner's endpoints.
-- Returns 1 when there is anybody to tell, else 0.
local function announce(webhook_endpoints, webhook_announced, webhook, subject, now)
  if not webhook and redis.call('EXISTS', webhook_endpoints) == 0 then
    return 0
  end
  redis.call('ZADD', webhook_announced, now, subject)
  return 1
end
