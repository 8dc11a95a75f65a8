-- Notes until when somebody waits for the answer of a call: a new one, or one that is waited for under this token.
-- KEYS: open_calls
-- ARGV: job_id, token, lease_ms (0: nobody waits any more), milliseconds that the calls are kept, 'new' or 'known'
-- Returns: 'attended' (also when repeated), 'over' (it was answered, or somebody else waits for it now)
local open_calls = unpack(KEYS)
local job_id, token, lease_ms, keep_ms, mode = unpack(ARGV)
if mode == 'known' then
  local current = redis.call('HGET', open_calls, job_id)
  if not current or string.match(current, ':(.*)$') ~= token then
    return 'over'
  end
end
redis.call('HSET', open_calls, job_id, string.format('%.0f', now_ms() + lease_ms) .. ':' .. token)
redis.call('PEXPIRE', open_calls, keep_ms)
return 'attended'
