-- Notes that the whole answer is on the worker's disk: from here on the image is paid for, and kept there. How long the
-- call took goes into the average of its class, in which the last calls count most.
-- KEYS: job, durations
-- ARGV: attempt, holder, class of the call, calls that the average remembers
-- Returns: 'noted' (also when repeated), 'refused' (the claim is not valid any more)
local job, durations = unpack(KEYS)
local attempt, holder, class, remembered = unpack(ARGV)
local state, current, current_holder = unpack(redis.call('HMGET', job, 'state', 'attempt', 'holder'))
if state ~= 'running' or current ~= attempt or current_holder ~= holder then
  return 'refused'
end
local known = cjson.decode(redis.call('HGET', job, 'attempt:' .. attempt))
if known.answered then
  return 'noted'
end
local now = now_ms()
patch_attempt(job, attempt, {answered = now})
if known.call_started then
  local mean, count = string.match(redis.call('HGET', durations, class) or '0:0', '(%d+):(%d+)')
  count = math.min(count + 1, tonumber(remembered))
  mean = mean + (now - known.call_started - mean) / count
  redis.call('HSET', durations, class, string.format('%d:%d', math.floor(mean + 0.5), count))
end
return 'noted'
