-- For scripts that take a batch's next line. Needs _budget and _batches.

-- Why a line is not the next one to be taken; nil when it is: lines to be run again come first, then the cursor's. In the
-- economy lane the cursor's lines are shipped.
local function line_refusal(batch, batch_again, line)
  local state, next_line, feed_until, in_flight, window, at_openai, economy = unpack(redis.call('HMGET', batch, 'state',
    'next_line', 'feed_until', 'in_flight', 'window', 'at_openai', 'economy'))
  if state ~= 'running' then
    return 'not_running'
  end
  if in_flight - (at_openai or 0) >= tonumber(window) then
    return 'window_full'
  end
  local head = redis.call('ZRANGE', batch_again, 0, 0)[1]
    or (not economy and tonumber(next_line) < tonumber(feed_until) and next_line)
  if head ~= line then
    return 'other_line'
  end
  return nil
end

-- Takes a line: it has begun, by a job's ULID or without one.
local function begin_line(batch, batch_lines, batch_again, batch_earlier, batches_active, batch_id, line, ulid)
  if redis.call('ZREM', batch_again, line) == 1 then
    local before = redis.call('GETRANGE', batch_lines, line * LINE_BYTES, line * LINE_BYTES + ULID_BYTES - 1)
    if string.find(before, '%w') then
      redis.call('RPUSH', batch_earlier, before)
    end
  else
    redis.call('HINCRBY', batch, 'next_line', 1)
  end
  redis.call('SETRANGE', batch_lines, line * LINE_BYTES, ulid .. 'q')
  redis.call('HDEL', batch, 'waits_for')
  if not has_lines(batch, batch_again) then
    redis.call('ZREM', batches_active, batch_id)
  end
end

-- There is no room for a line, for this reason. While `held` is reserved for others, what they leave of it may be room
-- enough: then the batch waits ('waits'); else it pauses ('paused'), until `resumes_at` if that is known.
local function wait_for_room(batch, batches_active, batches_resuming, changes, webhook_endpoints, webhook_announced, batch_id,
    reason, held, resumes_at, now)
  if held > 0 then
    redis.call('HSET', batch, 'waits_for', reason)
    return 'waits'
  end
  redis.call('HSET', batch, 'state', 'paused', 'reason', reason, 'updated_at', now)
  redis.call('HDEL', batch, 'waits_for')
  redis.call('ZREM', batches_active, batch_id)
  if resumes_at then
    redis.call('HSET', batch, 'resumes_at', resumes_at)
    redis.call('ZADD', batches_resuming, resumes_at, batch_id)
  end
  note_batch(batch, changes, webhook_endpoints, webhook_announced, batch_id, 'batch.paused', now)
  return 'paused'
end

-- Why so many lines, which may cost `most_cost` in all, may not begin: the batch's cap or the API key's limits have no room.
-- nil when there is room; 'fewer' when there may be some for fewer lines; 'too_many_jobs' or 'too_fast', which pass soon;
-- else as wait_for_room says. Nothing is reserved here.
local function room_refusal(batch, batches_active, batches_resuming, changes, webhook_endpoints, webhook_announced, api_key,
    reserved, spending, pace, batch_id, key_id, lines, most_cost, now)
  local function no_room(reason, held, resumes_at)
    if lines > 1 then
      return 'fewer'
    end
    return wait_for_room(batch, batches_active, batches_resuming, changes, webhook_endpoints, webhook_announced, batch_id,
      reason, held, resumes_at, now)
  end

  local cap, spent, held = unpack(redis.call('HMGET', batch, 'max_cost', 'spent', 'reserved'))
  if cap and spent + held + most_cost > tonumber(cap) then
    return no_room('max_cost_usd', tonumber(held))
  end
  local refusal = key_id ~= '' and key_refusal(api_key, reserved, spending, pace, most_cost, now)
  if not refusal then
    return nil
  end
  if refusal[1] == 'too_many_jobs' or refusal[1] == 'too_fast' then
    redis.call('HSET', batch, 'waits_for', refusal[1])
    return refusal[1]
  end
  -- What is dearer than the whole budget would be refused at its next beginning, too.
  local fits = tonumber(most_cost) <= refusal[2]
  return no_room('budget_exceeded', refusal[4], fits and budget_begins(refusal[1], now) or nil)
end
