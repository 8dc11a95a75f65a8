-- Ends a batch's next line with copies of an earlier job's images: its job is stored and has succeeded. No cap or budget
-- refuses it: nothing is spent.
-- USES: _budget, _batches, _feeding, _reuse
-- KEYS: job, index_all, index_succeeded, events, changes, finished, usage, reuse, copies, batch, batch_lines, batch_again, batch_earlier, batch_ended, batch_faults, batches_active, batches_resuming, batches_over, webhook_endpoints, webhook_announced
-- ARGV: job_id, batch_id, line, how many images, folder of the copies, field of the index of what may be used again, retention
--   (ms), then field and value in turn
-- Returns: 'reused' (also when repeated), 'not_running', 'window_full', 'other_line', 'too_late' (the copies are being deleted)
local job, index_all, index_succeeded, events, changes, finished, usage, reuse, copies, batch, batch_lines, batch_again,
  batch_earlier, batch_ended, batch_faults, batches_active, batches_resuming, batches_over, webhook_endpoints,
  webhook_announced = unpack(KEYS)
local job_id, batch_id, line, images, folder, reuse_field, retention_ms = unpack(ARGV, 1, 7)
if redis.call('EXISTS', job) == 1 then
  return 'reused'
end
local refused = line_refusal(batch, batch_again, line)
if refused then
  return refused
end
local now = now_ms()
if not has_copies(copies, folder, now) then
  return 'too_late'
end
begin_line(batch, batch_lines, batch_again, batch_earlier, batches_active, batch_id, line, string.sub(job_id, -ULID_BYTES))
redis.call('HDEL', batch_faults, line)
redis.call('HSETNX', batch, 'started_at', now)
redis.call('HINCRBY', batch, 'images_made', images)
store_reused(job, index_all, index_succeeded, events, changes, finished, usage, reuse, copies, webhook_endpoints,
  webhook_announced, job_id, folder, reuse_field, retention_ms, now,
  {'batch_id', batch_id, 'line', line, unpack(ARGV, 8)})
line_ended(batch, batch_lines, batch_ended, line, 'succeeded', now)
end_batch(batch, batch_again, batches_active, batches_resuming, batches_over, changes, webhook_endpoints,
  webhook_announced, batch_id, now)
return 'reused'
