-- Gives lines of a parcel back that OpenAI has not executed, and with them what was reserved for them: they run in real
-- time, or are cancelled as their batch was. Lines that landed meanwhile, or were given back, stay as they are.
-- USES: _budget, _batches
-- KEYS: batch, batch_lines, batch_ended, batch_again, batches_active, batches_resuming, batches_over, changes, webhook_endpoints, webhook_announced, reserved, spending, parcel
-- ARGV: batch_id, parcel_id, line and most that it may cost (millionths of a dollar) in turn
-- Returns: how many were given back now
local batch, batch_lines, batch_ended, batch_again, batches_active, batches_resuming, batches_over, changes,
  webhook_endpoints, webhook_announced, reserved, spending, parcel = unpack(KEYS)
local batch_id, parcel_id = unpack(ARGV, 1, 2)
if redis.call('EXISTS', parcel) == 0 then
  return 0
end
local now = now_ms()
local state = redis.call('HGET', batch, 'state')
local lines, money = 0, 0
for position = 3, #ARGV, 2 do
  local line, held = ARGV[position], ARGV[position + 1]
  local begins = line * LINE_BYTES
  local known = redis.call('GETRANGE', batch_lines, begins, begins + LINE_BYTES - 1)
  if known == string.rep(' ', ULID_BYTES) .. 'q' then
    lines, money = lines + 1, money + held
    if state == 'cancelled' then
      line_ended(batch, batch_lines, batch_ended, line, 'cancelled', now)
    else
      redis.call('SETRANGE', batch_lines, begins + ULID_BYTES, 'w')
      redis.call('ZADD', batch_again, line, line)
    end
  end
end
if lines == 0 then
  return 0
end
redis.call('HINCRBY', batch, 'in_flight', -lines)
redis.call('HINCRBY', batch, 'at_openai', -lines)
redis.call('HINCRBY', batch, 'reserved', -money)
if state ~= 'cancelled' then
  redis.call('HINCRBY', batch, 'moved', lines)
end
if redis.call('HEXISTS', reserved, parcel_id) == 1 then
  if redis.call('HINCRBY', reserved, parcel_id, -money) <= 0 then
    redis.call('HDEL', reserved, parcel_id)
  end
  redis.call('HINCRBY', spending, 'reserved', -money)
end
if state == 'running' then
  redis.call('ZADD', batches_active, 0, batch_id)
end
note_batch(batch, changes, webhook_endpoints, webhook_announced, batch_id, '', now)
end_batch(batch, batch_again, batches_active, batches_resuming, batches_over, changes, webhook_endpoints,
  webhook_announced, batch_id, now)
return lines
