-- Gives an open call to whoever makes the same call again: the one that was left last, for it is the likeliest to be
-- theirs; or, if any will do, the one whose waiter was heard of the longest time ago.
-- KEYS: open_calls
-- ARGV: token, lease_ms, 'left' or 'any'
-- Returns: the job's id (the same when the token repeats it), 'attended' (somebody waits for each of them), 'none'
local open_calls = unpack(KEYS)
local token, lease_ms, which = unpack(ARGV)
local now = now_ms()
local left, left_at, attended, attended_until = nil, -1, nil, math.huge
local calls = redis.call('HGETALL', open_calls)
for position = 1, #calls, 2 do
  local until_text, holder = string.match(calls[position + 1], '^(%d+):(.*)$')
  local waited_until = tonumber(until_text)
  if holder == token then
    return calls[position]
  end
  if waited_until <= now and waited_until > left_at then
    left, left_at = calls[position], waited_until
  elseif waited_until > now and waited_until < attended_until then
    attended, attended_until = calls[position], waited_until
  end
end
local taken = left or (which == 'any' and attended)
if not taken then
  return attended and 'attended' or 'none'
end
redis.call('HSET', open_calls, taken, string.format('%.0f', now + lease_ms) .. ':' .. token)
return taken
