-- Notes that the whole answer is on the worker's disk: from here on the image is paid for, and kept there.
-- KEYS: job
-- ARGV: attempt, holder
-- Returns: 'noted' (also when repeated), 'refused' (the claim is not valid any more)
local job = KEYS[1]
local attempt, holder = unpack(ARGV)
local state, current, current_holder = unpack(redis.call('HMGET', job, 'state', 'attempt', 'holder'))
if state ~= 'running' or current ~= attempt or current_holder ~= holder then
  return 'refused'
end
patch_attempt(job, attempt, {answered = now_ms()})
return 'noted'
