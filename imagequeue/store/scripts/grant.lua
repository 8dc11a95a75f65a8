-- Lets parked jobs go for which there is room now, interactive ones first, each lane in its order. Their calls are
-- charged here; they are in the outbox until their message is sent.
-- USES: _limiter
-- KEYS: limiter, parked_interactive, parked_batch, parked_loads, granted, outbox
-- ARGV: images, tokens, inputs per minute, interactive share, most jobs
-- Returns: {milliseconds until there may be room for the next or -1 when none is parked, then lane and id in turn}
local limiter, parked_interactive, parked_batch, parked_loads, granted, outbox = unpack(KEYS)
local limits = {unpack(ARGV, 1, 4)}
local most = tonumber(ARGV[5])
local now = now_ms()
local answer = {-1}
local state = limiter_state(limiter)

-- Lets jobs of one lane go; false when one has to wait.
local function let_go(lane, parked)
  local job_id = redis.call('ZRANGE', parked, 0, 0)[1]
  while job_id do
    local load = {string.match(redis.call('HGET', parked_loads, job_id), '(%d+):(%d+):(%d+)')}
    local wait = #answer > 2 * most and 1 or limiter_wait(state, lane, load, limits, now)
    if wait > 0 then
      answer[1] = wait
      return false
    end
    local probe = limiter_take(limiter, state, lane, load, limits, now)
    redis.call('ZREM', parked, job_id)
    redis.call('HDEL', parked_loads, job_id)
    redis.call('HSET', granted, job_id, probe and 'probe' or 'plain')
    redis.call('ZADD', outbox, now, job_id)
    answer[#answer + 1] = lane
    answer[#answer + 1] = job_id
    job_id = redis.call('ZRANGE', parked, 0, 0)[1]
  end
  return true
end

if let_go('interactive', parked_interactive) then
  let_go('batch', parked_batch)
end
return answer
