-- Ends a running job: final state, outputs, cost, in one step. Refused to everybody but the current holder. A session's
-- turn unlocks the session, hands its image over and lets the next turn run.
-- USES: _budget, _batches
-- KEYS: job, leases, index_running, index_final, events, changes, waiting, outbox, session, turns, halted, suspect, reserved, spending, finished, usage, reuse, webhook_endpoints, webhook_announced, batch, batch_lines, batch_ended, batch_again, batches_active, batches_resuming, batches_flying, batches_over
-- ARGV: job_id, attempt, holder, state, attempt_patch (JSON), image for the session (JSON) or '', its format, field of the
--   index of what may be used again or '', then field and value in turn
-- Returns: {'finished', id of the turn that runs next or '', 1 if webhooks are to be told or 0}, {'finished', ''} when the same
--   holder repeats it, {'refused', ''}
local job, leases, index_running, index_final, events, changes, waiting, outbox, session, turns, halted, suspect,
  reserved, spending, finished, usage, reuse, webhook_endpoints, webhook_announced, batch, batch_lines, batch_ended,
  batch_again, batches_active, batches_resuming, batches_flying, batches_over = unpack(KEYS)
local job_id, attempt, holder, state, attempt_patch, session_image, session_format, reuse_field = unpack(ARGV, 1, 8)
local current_state, current, current_holder, session_id, turn, key_id, webhook, retention_ms, batch_id =
  unpack(redis.call('HMGET', job, 'state', 'attempt', 'holder', 'session_id', 'turn', 'key_id', 'webhook',
    'retention_ms', 'batch_id'))
if current ~= attempt or current_holder ~= holder then
  return {'refused', ''}
end
if current_state == state then
  return {'finished', ''}
end
if current_state ~= 'running' then
  return {'refused', ''}
end
if session_id and redis.call('HGET', session, 'turn_lock') ~= job_id .. ':' .. attempt then
  return {'refused', ''}
end
local now = now_ms()
local patch = cjson.decode(attempt_patch)
patch.ended = now
patch_attempt(job, attempt, patch)
redis.call('HSET', job, 'state', state, 'finished_at', now, unpack(ARGV, 9))
redis.call('HDEL', job, 'spooled_at')
redis.call('ZREM', leases, job_id .. ':' .. attempt .. ':' .. holder)
clear_suspect(suspect, job_id)
if key_id then
  settle(reserved, spending, job_id, job_cost(job), now)
end
move_index(index_running, index_final, job_id)
note_end(job, finished, usage, job_id, state, now)
if reuse_field ~= '' then
  note_reusable(reuse, reuse_field, job_id, retention_ms)
end
record_event(job, events, changes, job_id, state, {state = state, attempt = tonumber(attempt), at = now})
if batch_id then
  settle_line(batch, batch_lines, batch_ended, batch_again, batches_active, batches_resuming, batches_flying, batches_over,
    changes, webhook_endpoints, webhook_announced, job, state, now)
end
local announced = announce(webhook_endpoints, webhook_announced, webhook, job_id, now)
if not session_id then
  return {'finished', '', announced}
end
if session_image ~= '' then
  redis.call('HSET', session, 'image', session_image, 'output_format', session_format, 'turn', turn)
end
return {'finished', leave_session(session, turns, halted, waiting, outbox, job_id, state, now), announced}
