-- Ends a batch's next line of which no job can be made: it costs nothing.
-- USES: _budget, _batches, _feeding
-- KEYS: changes, batch, batch_lines, batch_ended, batch_again, batch_earlier, batch_faults, batches_active, batches_resuming, batches_over, webhook_endpoints, webhook_announced
-- ARGV: batch_id, line, error (JSON)
-- Returns: 'failed', 'not_running', 'window_full', 'other_line' (also when repeated)
local changes, batch, batch_lines, batch_ended, batch_again, batch_earlier, batch_faults, batches_active, batches_resuming,
  batches_over, webhook_endpoints, webhook_announced = unpack(KEYS)
local batch_id, line, error_json = unpack(ARGV)
local refused = line_refusal(batch, batch_again, line)
if refused then
  return refused
end
local now = now_ms()
begin_line(batch, batch_lines, batch_again, batch_earlier, batches_active, batch_id, line, string.rep(' ', ULID_BYTES))
redis.call('HSET', batch_faults, line, error_json)
line_ended(batch, batch_lines, batch_ended, line, 'failed', now)
end_batch(batch, batch_again, batches_active, batches_resuming, batches_over, changes, webhook_endpoints, webhook_announced,
  batch_id, now)
return 'failed'
