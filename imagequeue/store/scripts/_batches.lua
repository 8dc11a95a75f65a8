-- For scripts that move batches and their lines. Money is in whole millionths of a dollar. Needs _budget.
--
-- `batch_lines` has 27 bytes for each line that was begun: the 26 characters of its job's ULID (blanks when no job could
-- be made of it) and a letter: q in flight, s succeeded, f failed, r refused by OpenAI's safety system, c cancelled,
-- w to be run again. Lines from the cursor `next_line` on have not begun, and wait in S3.

local LINE_BYTES, ULID_BYTES = 27, 26
local LETTERS = {succeeded = 's', failed = 'f', refused = 'r', cancelled = 'c'}

-- Tells of a batch's state, to whoever follows the batch or its owner; `told` is the event that webhooks get, if any.
local function note_batch(batch, changes, webhook_endpoints, webhook_announced, batch_id, told, now)
  local owner, webhook, state, reason, resumes_at, name, lines, in_flight, succeeded, failed, refused, cancelled, spent =
    unpack(redis.call('HMGET', batch, 'owner', 'webhook', 'state', 'reason', 'resumes_at', 'name', 'lines', 'in_flight',
      'succeeded', 'failed', 'refused', 'cancelled', 'spent'))
  local text = cjson.encode({id = batch_id, name = name or nil, state = state, reason = reason or nil, at = now,
    resumes_at = tonumber(resumes_at), lines = tonumber(lines), in_flight = tonumber(in_flight),
    succeeded = tonumber(succeeded), failed = tonumber(failed), refused = tonumber(refused),
    cancelled = tonumber(cancelled), spent = tonumber(spent)})
  redis.call('XADD', changes, 'MAXLEN', '~', 20000, '*', 'job', '', 'event', 'batch', 'owner', owner, 'session', '',
    'data', text, 'batch', batch_id, 'lane', 'batch')
  if told ~= '' then
    local number = redis.call('HINCRBY', batch, 'told', 1)
    redis.call('HSET', batch, 'told:' .. number, told .. ' ' .. text)
    announce(webhook_endpoints, webhook_announced, webhook, batch_id .. '.' .. number, now)
  end
end

-- Whether lines wait that are to be submitted.
local function has_lines(batch, batch_again)
  local next_line, feed_until = unpack(redis.call('HMGET', batch, 'next_line', 'feed_until'))
  return tonumber(next_line) < tonumber(feed_until) or redis.call('EXISTS', batch_again) == 1
end

-- A batch whose lines have all ended is over.
local function end_batch(batch, batch_again, batches_active, batches_resuming, batches_over, changes, webhook_endpoints,
    webhook_announced, batch_id, now)
  local state, in_flight, finished_at = unpack(redis.call('HMGET', batch, 'state', 'in_flight', 'finished_at'))
  if finished_at or tonumber(in_flight) > 0 or (state ~= 'cancelled' and has_lines(batch, batch_again)) then
    return
  end
  if state ~= 'cancelled' then
    state = 'completed'
  end
  redis.call('HSET', batch, 'state', state, 'finished_at', now, 'updated_at', now)
  redis.call('HDEL', batch, 'reason', 'resumes_at', 'waits_for')
  redis.call('ZREM', batches_active, batch_id)
  redis.call('ZREM', batches_resuming, batch_id)
  redis.call('ZADD', batches_over, now, batch_id)
  note_batch(batch, changes, webhook_endpoints, webhook_announced, batch_id, 'batch.' .. state, now)
end

-- Notes how a line ended. `pace` is the average of the milliseconds from one end to the next, of the last 20 or so.
local function line_ended(batch, batch_lines, batch_ended, line, state, now)
  local last, pace = unpack(redis.call('HMGET', batch, 'line_ended_at', 'pace'))
  if last then
    redis.call('HSET', batch, 'pace', string.format('%.1f', pace and pace * 0.95 + (now - last) * 0.05 or now - last))
  end
  redis.call('HINCRBY', batch, state, 1)
  redis.call('HSET', batch, 'updated_at', now, 'line_ended_at', now)
  redis.call('SETRANGE', batch_lines, line * LINE_BYTES + ULID_BYTES, LETTERS[state])
  redis.call('RPUSH', batch_ended, line)
end

-- Reserves one more call of a line's job, whose last one may have been billed; false when the cap has no room for it.
local function reserve_repeat(batch, job)
  local cap, spent, reserved = unpack(redis.call('HMGET', batch, 'max_cost', 'spent', 'reserved'))
  local most_cost = to_micro(cjson.decode(redis.call('HGET', job, 'estimate')).high_usd)
  if cap and spent + reserved + most_cost > tonumber(cap) then
    return false
  end
  redis.call('HINCRBY', batch, 'reserved', most_cost)
  redis.call('HINCRBY', job, 'held', most_cost)
  return true
end

-- The job of a line has ended: what was reserved for it is settled, and its place is free. Once for each job.
local function settle_line(batch, batch_lines, batch_ended, batch_again, batches_active, batches_resuming, batches_flying,
    batches_over, changes, webhook_endpoints, webhook_announced, job, state, now)
  local batch_id, line, held, owner, error_json, images =
    unpack(redis.call('HMGET', job, 'batch_id', 'line', 'held', 'owner', 'error', 'images'))
  if not held or redis.call('EXISTS', batch) == 0 then
    return
  end
  if state == 'failed' and error_json and cjson.decode(error_json).code == 'moderation_blocked' then
    state = 'refused'
  end
  local cost, guessed = job_cost(job)
  redis.call('HDEL', job, 'held')
  redis.call('HINCRBY', batch, 'in_flight', -1)
  redis.call('HINCRBY', batch, 'reserved', -held)
  redis.call('HINCRBY', batch, 'spent', cost)
  redis.call('HINCRBY', batch, 'guessed', guessed)
  redis.call('HINCRBY', batch, 'images_made', images and #cjson.decode(images) or 0)
  if redis.call('HINCRBY', batches_flying, owner, -1) <= 0 then
    redis.call('HDEL', batches_flying, owner)
  end
  line_ended(batch, batch_lines, batch_ended, line, state, now)
  end_batch(batch, batch_again, batches_active, batches_resuming, batches_over, changes, webhook_endpoints,
    webhook_announced, batch_id, now)
end
