-- For scripts that admit calls to OpenAI: rate limits per minute, the fleet's pause after a 429, and the circuit breaker.
--
-- Each limit is a token bucket that holds one image, or a fiftieth of the limit, and refills at 98 % of it: calls leave
-- evenly spaced, so that no window of a minute, wherever it begins, holds more than the limit. A call that needs more
-- than the bucket holds leaves a debt behind.

local REFILL, BURST = 0.98, 0.02
local PROBE_MS = 60000      -- how often the open breaker lets one call through
local LEARNED_DOUBLES_MS = 60000
local INTERACTIVE_MS = 60000 -- how long an interactive call keeps the batch lane to its share
local DIMENSIONS = {'images', 'tokens', 'inputs'}

-- The limiter's hash as a table.
local function limiter_state(limiter)
  local flat, state = redis.call('HGETALL', limiter), {}
  for position = 1, #flat, 2 do
    state[flat[position]] = flat[position + 1]
  end
  return state
end

-- What limits the images of a minute: the setting (0: none), or less, as 429s taught. The lesson fades: the learned
-- rate doubles every minute, and is dropped at four times what was measured when it was learned.
local function images_per_minute(state, configured, now)
  if not state.learned then
    return configured
  end
  local learned = state.learned * 2 ^ ((now - state.learned_at) / LEARNED_DOUBLES_MS)
  if learned >= tonumber(state.learned_cap) then
    return configured
  end
  return configured > 0 and math.min(configured, learned) or learned
end

-- The buckets as they are now: name, per_ms, level, capacity, need, held. `held`: this call has to wait for the bucket.
local function buckets(state, lane, load, limits, now)
  local found = {}
  local interactive_lately = now - tonumber(state.interactive_at or -INTERACTIVE_MS) < INTERACTIVE_MS
  for position, name in ipairs(DIMENSIONS) do
    local limit = tonumber(limits[position])
    if position == 1 then
      limit = images_per_minute(state, limit, now)
    end
    if limit > 0 then
      for _, share in ipairs({1, 1 - limits[4]}) do
        if share == 1 or lane == 'batch' then
          local bucket = {name = share == 1 and name or 'batch_' .. name}
          bucket.per_ms = limit * share * REFILL / 60000
          bucket.capacity = math.max(1, limit * share * BURST)
          bucket.need = tonumber(load[position])
          local level = tonumber(state[bucket.name]) or bucket.capacity
          local since = tonumber(state[bucket.name .. '_at']) or now
          bucket.level = math.min(bucket.capacity, level + (now - since) * bucket.per_ms)
          bucket.held = share == 1 or interactive_lately
          found[#found + 1] = bucket
        end
      end
    end
  end
  return found
end

-- Milliseconds until the fleet may call again at all, and whether the next call is the breaker's probe.
local function stopped_for(state, now)
  local wait = math.max(0, tonumber(state.paused_until or 0) - now)
  if not state.broken_at then
    return wait, false
  end
  return math.max(wait, state.probe_at - now), true
end

-- Milliseconds until a call with this load may leave, 0 for now, and whether it is the breaker's probe.
local function limiter_wait(state, lane, load, limits, now)
  local wait, probe = stopped_for(state, now)
  for _, bucket in ipairs(buckets(state, lane, load, limits, now)) do
    local missing = math.min(bucket.need, bucket.capacity) - bucket.level
    if bucket.held and missing > 0 then
      wait = math.max(wait, math.ceil(missing / bucket.per_ms))
    end
  end
  return wait, probe
end

-- Charges a call that leaves now. Gives back whether it is the breaker's probe.
local function limiter_take(limiter, state, lane, load, limits, now)
  local changed = {}
  for _, bucket in ipairs(buckets(state, lane, load, limits, now)) do
    -- What the batch lane borrows while nobody else is there is not held against it later.
    local level = bucket.held and bucket.level - bucket.need or math.max(bucket.level - bucket.need, -bucket.need)
    changed[bucket.name] = string.format('%.6f', level)
    changed[bucket.name .. '_at'] = now
  end
  local minute = math.floor(now / 60000)
  if tonumber(state.minute) ~= minute then
    changed.images_before = tonumber(state.minute) == minute - 1 and state.images_now or 0
    changed.minute, state.images_now = minute, 0
  end
  changed.images_now = state.images_now + load[1]
  if lane == 'interactive' then
    changed.interactive_at = now
  end
  for position, name in ipairs(DIMENSIONS) do
    changed['limit_' .. name] = limits[position] -- for people: the API may not have the workers' settings
  end
  local probe = state.broken_at ~= nil
  if probe then
    changed.probe_at = now + PROBE_MS
  end
  for field, value in pairs(changed) do
    state[field] = tostring(value)
    redis.call('HSET', limiter, field, state[field])
  end
  return probe
end
