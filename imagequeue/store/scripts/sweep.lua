-- Takes one job back from a worker whose lease lapsed, or puts one whose delay is over into the outbox.
-- USES: _budget, _batches
-- KEYS: job, waiting, outbox, delayed, leases, index_running, index_queued, index_failed, index_cancelled, events, changes, session, turns, halted, suspect, reserved, spending, finished, usage, webhook_endpoints, webhook_announced, batch, batch_lines, batch_ended, batch_again, batches_active, batches_resuming, batches_flying, batches_over
-- ARGV: job_id, lease member or '', most losses, most unknown outcomes, milliseconds that an answer on a disk is waited for, lease_ms,
--   errors when lost, when unknown, when cancelled (JSON)
-- Returns: 'queued' (in the outbox now), 'spooled' (its answer lies on a disk: left to who works there), 'failed',
--   'cancelled', 'nothing' (not due any more). A turn that is next in its session is in the outbox too.
local job, waiting, outbox, delayed, leases, index_running, index_queued, index_failed, index_cancelled, events, changes,
  session, turns, halted, suspect, reserved, spending, finished, usage, webhook_endpoints, webhook_announced, batch,
  batch_lines, batch_ended, batch_again, batches_active, batches_resuming, batches_flying, batches_over = unpack(KEYS)
local job_id, member, most_losses, most_unknowns, spool_ms, lease_ms, lost_error, unknown_error, cancelled_error = unpack(ARGV)
local now = now_ms()

if member == '' then
  local due = redis.call('ZSCORE', delayed, job_id)
  if not due or tonumber(due) > now then
    return 'nothing'
  end
  redis.call('ZREM', delayed, job_id)
  if redis.call('HGET', job, 'state') ~= 'queued' then
    return 'nothing'
  end
  redis.call('ZADD', outbox, now, job_id)
  return 'queued'
end

local lapses = redis.call('ZSCORE', leases, member)
if not lapses or tonumber(lapses) > now then
  return 'nothing'
end
redis.call('ZREM', leases, member)
local state, attempt, current_holder, place, cancel, policy, unknowns, losses, session_id, spooled_at, key_id, webhook, batch_id = unpack(redis.call(
  'HMGET', job, 'state', 'attempt', 'holder', 'place', 'cancel_requested', 'on_unknown_outcome', 'unknowns', 'losses', 'session_id',
  'spooled_at', 'key_id', 'webhook', 'batch_id'))
if state ~= 'running' or member ~= job_id .. ':' .. attempt .. ':' .. current_holder then
  return 'nothing'
end

-- A worker's death is the fault of the suspect that it ran, if it ran one: its other jobs are innocent.
local culprit = redis.call('GET', suspect)
if culprit == job_id then
  redis.call('PEXPIRE', suspect, 4 * lease_ms) -- until the other jobs of that worker are taken back, too
end
if not spooled_at and (not culprit or culprit == job_id) then
  losses = redis.call('HINCRBY', job, 'losses', 1)
end
losses = tonumber(losses or 0)

local last = cjson.decode(redis.call('HGET', job, 'attempt:' .. attempt))
if last.answered and not spooled_at and losses < tonumber(most_losses) then
  redis.call('HSET', job, 'spooled_at', now)
  redis.call('ZADD', leases, now + spool_ms, member)
  return 'spooled'
end

local called = last.call_started
local outcome = called and 'unknown' or 'lost'
local text = spooled_at and 'the answer was on a disk that no worker came back to' or 'the worker went silent'
patch_attempt(job, attempt, {ended = now, outcome = outcome, error = text})
redis.call('HDEL', job, 'holder', 'spooled_at')
if session_id then
  redis.call('HDEL', session, 'turn_lock')
end
unknowns = called and redis.call('HINCRBY', job, 'unknowns', 1) or tonumber(unknowns or 0)

local function finish(final_state, index, error_json)
  redis.call('HSET', job, 'state', final_state, 'finished_at', now, 'error', error_json)
  move_index(index_running, index, job_id)
  if key_id then
    settle(reserved, spending, job_id, job_cost(job), now)
  end
  note_end(job, finished, usage, job_id, final_state, now)
  record_event(job, events, changes, job_id, final_state, {state = final_state, attempt = tonumber(attempt), at = now})
  if batch_id then
    settle_line(batch, batch_lines, batch_ended, batch_again, batches_active, batches_resuming, batches_flying, batches_over,
      changes, webhook_endpoints, webhook_announced, job, final_state, now)
  end
  announce(webhook_endpoints, webhook_announced, webhook, job_id, now)
  if session_id then
    leave_session(session, turns, halted, waiting, outbox, job_id, final_state, now)
  end
  return final_state
end

if cancel then
  return finish('cancelled', index_cancelled, cancelled_error)
end
if losses >= tonumber(most_losses) then
  return finish('failed', index_failed, lost_error)
end
local repeats = policy ~= 'fail' and unknowns <= tonumber(most_unknowns)
if called and not (repeats and (not batch_id or reserve_repeat(batch, job))) then
  return finish('failed', index_failed, unknown_error)
end
redis.call('HSET', job, 'state', 'queued')
redis.call('ZADD', waiting, place, job_id)
redis.call('ZADD', outbox, now, job_id)
move_index(index_running, index_queued, job_id)
record_event(job, events, changes, job_id, 'queued', {state = 'queued', attempt = tonumber(attempt), at = now})
return 'queued'
