-- Notes that the request is about to leave: from here on the attempt may cost money.
-- KEYS: job
-- ARGV: attempt, holder, route
-- Returns: 'started' (also when repeated), 'cancelled' (a cancel was asked for), 'refused' (the claim is not valid any more)
local job = KEYS[1]
local attempt, holder, route = unpack(ARGV)
local state, current, current_holder, cancel = unpack(redis.call('HMGET', job, 'state', 'attempt', 'holder', 'cancel_requested'))
if state ~= 'running' or current ~= attempt or current_holder ~= holder then
  return 'refused'
end
if cancel then
  return 'cancelled'
end
patch_attempt(job, attempt, {call_started = now_ms(), route = route})
return 'started'
