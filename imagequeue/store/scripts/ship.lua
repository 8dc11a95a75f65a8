-- Gives the next lines of a batch in the economy lane to parcels, one for each of OpenAI's endpoints, and reserves what
-- they may cost: of the batch's own cap, and of the API key's budget. Without room for one line the batch pauses, unless
-- lines in flight may still make room.
-- USES: _budget, _batches, _feeding
-- KEYS: batch, batch_lines, batch_again, batches_active, batches_resuming, changes, webhook_endpoints, webhook_announced, api_key, reserved, spending, pace, batch_parcels, parcels_due, parcel_generations, parcel_edits
-- ARGV: batch_id, key_id or '', first line, line behind the last, then for generations and for edits: id, endpoint, lines, most
--   that they may cost (millionths of a dollar); '' and 0 for a parcel that is not needed
-- Returns: 'shipped' (also when repeated), 'not_running', 'other_line', 'fewer' (for so many there is no room), 'waits',
--   'paused', 'too_many_jobs' or 'too_fast' (the key has as many as it may)
local batch, batch_lines, batch_again, batches_active, batches_resuming, changes, webhook_endpoints, webhook_announced,
  api_key, reserved, spending, pace, batch_parcels, parcels_due, parcel_generations, parcel_edits = unpack(KEYS)
local batch_id, key_id, first, behind = unpack(ARGV, 1, 4)
local lines, most_cost = ARGV[7] + ARGV[11], ARGV[8] + ARGV[12]
if redis.call('EXISTS', parcel_generations) == 1 or redis.call('EXISTS', parcel_edits) == 1 then
  return 'shipped'
end
local state, economy, next_line, owner = unpack(redis.call('HMGET', batch, 'state', 'economy', 'next_line', 'owner'))
if state ~= 'running' or not economy then
  return 'not_running'
end
if next_line ~= first then
  return 'other_line'
end
local now = now_ms()
local no_room = room_refusal(batch, batches_active, batches_resuming, changes, webhook_endpoints, webhook_announced, api_key,
  reserved, spending, pace, batch_id, key_id, lines, most_cost, now)
if no_room then
  return no_room
end

local function store_parcel(parcel, id, endpoint, count, cost)
  if id == '' then
    return
  end
  redis.call('HSET', parcel, 'id', id, 'batch_id', batch_id, 'owner', owner, 'endpoint', endpoint, 'first', first,
    'end', behind, 'lines', count, 'reserved', cost, 'state', 'new')
  if key_id ~= '' then
    redis.call('HSET', parcel, 'key_id', key_id)
    reserve(reserved, spending, id, cost)
  end
  redis.call('ZADD', parcels_due, now, id)
  redis.call('SADD', batch_parcels, id)
end

store_parcel(parcel_generations, unpack(ARGV, 5, 8))
store_parcel(parcel_edits, unpack(ARGV, 9, 12))
redis.call('SETRANGE', batch_lines, first * LINE_BYTES, string.rep(string.rep(' ', ULID_BYTES) .. 'q', lines))
redis.call('HINCRBY', batch, 'next_line', lines)
redis.call('HINCRBY', batch, 'in_flight', lines)
redis.call('HINCRBY', batch, 'at_openai', lines)
redis.call('HINCRBY', batch, 'reserved', most_cost)
redis.call('HSETNX', batch, 'started_at', now)
redis.call('HSET', batch, 'updated_at', now)
redis.call('HDEL', batch, 'waits_for')
if not has_lines(batch, batch_again) then
  redis.call('ZREM', batches_active, batch_id)
end
note_batch(batch, changes, webhook_endpoints, webhook_announced, batch_id, '', now)
return 'shipped'
