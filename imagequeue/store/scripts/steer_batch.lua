-- Pauses, resumes, cancels or changes a batch. Repeating it changes nothing.
-- USES: _budget, _batches
-- KEYS: batch, batch_lines, batch_again, batches_active, batches_resuming, batches_over, changes, webhook_endpoints, webhook_announced
-- ARGV: batch_id, 'pause', 'resume', 'resume_due' (what was paused until a time that has come), 'cancel' or 'change', then
--   for a change field and value in turn; an empty value takes the field away
-- Returns: 'done' (also when nothing was left to do), 'over' (it has ended, or was cancelled), 'missing'
local batch, batch_lines, batch_again, batches_active, batches_resuming, batches_over, changes, webhook_endpoints,
  webhook_announced = unpack(KEYS)
local batch_id, action = unpack(ARGV, 1, 2)
local now = now_ms()
local state, reason, resumes_at = unpack(redis.call('HMGET', batch, 'state', 'reason', 'resumes_at'))
if not state then
  redis.call('ZREM', batches_active, batch_id)
  redis.call('ZREM', batches_resuming, batch_id)
  return 'missing'
end

local function set_state(to, told)
  redis.call('HSET', batch, 'state', to, 'updated_at', now)
  redis.call('HDEL', batch, 'reason', 'resumes_at', 'waits_for', 'line_ended_at')
  redis.call('ZREM', batches_active, batch_id)
  redis.call('ZREM', batches_resuming, batch_id)
  if to == 'running' and has_lines(batch, batch_again) then
    redis.call('ZADD', batches_active, 0, batch_id)
  end
  if to == 'paused' then
    redis.call('HSET', batch, 'reason', 'asked')
  end
  note_batch(batch, changes, webhook_endpoints, webhook_announced, batch_id, told, now)
end

-- Lines that have not begun, and those to be run again, are cancelled; those in flight end as they end.
local function cancel_waiting()
  local next_line, feed_until = unpack(redis.call('HMGET', batch, 'next_line', 'feed_until'))
  local again = redis.call('ZRANGE', batch_again, 0, -1)
  redis.call('HINCRBY', batch, 'cancelled', feed_until - next_line + #again)
  redis.call('HSET', batch, 'feed_until', next_line)
  for _, line in ipairs(again) do
    redis.call('SETRANGE', batch_lines, line * LINE_BYTES + ULID_BYTES, LETTERS.cancelled)
  end
  redis.call('DEL', batch_again)
end

if state == 'completed' or state == 'cancelled' then
  return state == 'cancelled' and action == 'cancel' and 'done' or 'over'
end
if action == 'pause' and reason ~= 'asked' then
  set_state('paused', state == 'running' and 'batch.paused' or '')
elseif action == 'resume' and state == 'paused' then
  set_state('running', '')
elseif action == 'resume_due' then
  if not resumes_at then
    redis.call('ZREM', batches_resuming, batch_id)
  elseif tonumber(resumes_at) <= now then
    set_state('running', '')
  end
elseif action == 'cancel' then
  cancel_waiting()
  set_state('cancelled', '')
  end_batch(batch, batch_again, batches_active, batches_resuming, batches_over, changes, webhook_endpoints,
    webhook_announced, batch_id, now)
elseif action == 'change' then
  for position = 3, #ARGV, 2 do
    if ARGV[position + 1] == '' then
      redis.call('HDEL', batch, ARGV[position])
    else
      redis.call('HSET', batch, ARGV[position], ARGV[position + 1])
    end
  end
  redis.call('HSET', batch, 'updated_at', now)
  local cap, spent, held = unpack(redis.call('HMGET', batch, 'max_cost', 'spent', 'reserved'))
  if reason == 'max_cost_usd' and (not cap or tonumber(cap) > spent + held) then
    set_state('running', '') -- the cap was raised: it pauses again if that is not enough for a line
  else
    note_batch(batch, changes, webhook_endpoints, webhook_announced, batch_id, '', now)
  end
end
return 'done'
