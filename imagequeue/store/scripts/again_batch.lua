-- Lets lines of a batch run again: those that ended with one of some letters. The batch runs, if it had ended.
-- USES: _budget, _batches
-- KEYS: batch, batch_lines, batch_again, batches_active, batches_over, changes, webhook_endpoints, webhook_announced
-- ARGV: batch_id, letters of states (see _batches), token of this request
-- Returns: {'again', how many lines} (the same when repeated with the same token), {'none'}, {'missing'}
local batch, batch_lines, batch_again, batches_active, batches_over, changes, webhook_endpoints, webhook_announced =
  unpack(KEYS)
local batch_id, letters, token = unpack(ARGV)
local state, lines, feed_until, before, count_before =
  unpack(redis.call('HMGET', batch, 'state', 'lines', 'feed_until', 'again_token', 'again_lines'))
if not state then
  return {'missing'}
end
if before == token then
  return {'again', tonumber(count_before)}
end
local now = now_ms()
local text = redis.call('GET', batch_lines) or ''
local counts = {succeeded = 0, failed = 0, refused = 0, cancelled = 0}
local total = 0
for line = 0, #text / LINE_BYTES - 1 do
  local letter = string.sub(text, (line + 1) * LINE_BYTES, (line + 1) * LINE_BYTES)
  for name, known in pairs(LETTERS) do
    if letter == known and string.find(letters, letter, 1, true) then
      redis.call('ZADD', batch_again, line, line)
      redis.call('SETRANGE', batch_lines, line * LINE_BYTES + ULID_BYTES, 'w')
      counts[name] = counts[name] + 1
      total = total + 1
    end
  end
end
if string.find(letters, LETTERS.cancelled, 1, true) and tonumber(feed_until) < tonumber(lines) then
  counts.cancelled = counts.cancelled + lines - feed_until
  total = total + lines - feed_until
  redis.call('HSET', batch, 'feed_until', lines)
end
if total == 0 then
  return {'none'}
end
for name, count in pairs(counts) do
  redis.call('HINCRBY', batch, name, -count)
end
redis.call('HSET', batch, 'again_token', token, 'again_lines', total, 'updated_at', now)
redis.call('HDEL', batch, 'finished_at')
redis.call('ZREM', batches_over, batch_id)
if state ~= 'paused' then
  redis.call('HSET', batch, 'state', 'running')
  redis.call('ZADD', batches_active, 0, batch_id)
end
note_batch(batch, changes, webhook_endpoints, webhook_announced, batch_id, '', now)
return {'again', total}
