-- What a key has spent and what is reserved for its jobs, in whole millionths of a dollar.

-- The fields of a key's spending for the day and the month (UTC) of a time in milliseconds. The month is found by
-- counting days from 1 March of year 0, so that a leap day is the last day of its year.
local function spending_fields(now)
  local days = math.floor(now / 86400000)
  local shifted = days + 719468
  local era = math.floor(shifted / 146097)
  local day_of_era = shifted - era * 146097
  local year_of_era = math.floor((day_of_era - math.floor(day_of_era / 1460) + math.floor(day_of_era / 36524)
    - math.floor(day_of_era / 146096)) / 365)
  local day_of_year = day_of_era - (365 * year_of_era + math.floor(year_of_era / 4) - math.floor(year_of_era / 100))
  local months = math.floor((5 * day_of_year + 2) / 153) + 2
  return 'day:' .. days, 'month:' .. ((era * 400 + year_of_era) * 12 + months)
end

-- Counts one more job of a key's minute: a leaking bucket that holds a minute's jobs, how full it was, and when. Whole jobs
-- stay whole numbers, so that rounding refuses none. Gives back a refusal, or nil and what is left: the limit, how many may
-- come now, milliseconds until one more may.
local function take_pace(pace, limit, now)
  local interval = 60000 / limit
  local level, at = string.match(redis.call('GET', pace) or '', '^(%S+) (%S+)$')
  level = math.max(0, tonumber(level or 0) - math.max(0, now - tonumber(at or now)) / interval) + 1
  if level > limit + 0.000001 then
    return {'too_fast', math.ceil((level - limit) * interval), limit}
  end
  redis.call('SET', pace, string.format('%.9f %.0f', level, now), 'PX', 60001)
  local remaining = math.floor(limit - level + 0.000001)
  return nil, {limit, remaining, math.ceil((level - (limit - remaining - 1)) * interval)}
end

-- When the budget that refused a job begins anew: `daily_budget` or `monthly_budget`.
local function budget_begins(refused, now)
  local day_ms = 86400000
  local at = (math.floor(now / day_ms) + 1) * day_ms
  local _, month = spending_fields(now)
  while refused == 'monthly_budget' and select(2, spending_fields(at)) == month do
    at = at + day_ms
  end
  return at
end

-- Reserves what a new job may cost at most, and counts it as in flight.
local function reserve(reserved, spending, job_id, amount)
  redis.call('HSET', reserved, job_id, amount)
  redis.call('HINCRBY', spending, 'reserved', amount)
end

-- A job has ended: `amount` was spent on it, nothing is reserved any more. Repeating it changes nothing.
local function settle(reserved, spending, job_id, amount, now)
  local held = redis.call('HGET', reserved, job_id)
  if not held then
    return
  end
  redis.call('HDEL', reserved, job_id)
  redis.call('HINCRBY', spending, 'reserved', -held)
  if amount > 0 then
    local day, month = spending_fields(now)
    redis.call('HINCRBY', spending, day, amount)
    redis.call('HINCRBY', spending, month, amount)
  end
end

local function to_micro(dollars)
  return math.floor(dollars * 1000000 + 0.5)
end

local MAYBE_BILLED = {succeeded = true, unknown = true, cancelled = true}

-- What all attempts of a job cost, and how much of it is not known: when OpenAI did not say, what may be billed counts
-- at the expected price.
local function job_cost(job)
  local last, estimate = unpack(redis.call('HMGET', job, 'attempt', 'estimate'))
  local cost, guessed = 0, 0
  for number = 1, tonumber(last) do
    local kept = redis.call('HGET', job, 'attempt:' .. number)
    local attempt = kept and cjson.decode(kept) or {}
    local maybe_billed = MAYBE_BILLED[attempt.outcome] or attempt.code == 'bad_output'
    if attempt.cost_usd_estimated then
      cost = cost + to_micro(attempt.cost_usd_estimated)
    elseif attempt.call_started and maybe_billed then
      guessed = guessed + to_micro(cjson.decode(estimate).expected_usd)
    end
  end
  return cost + guessed, guessed
end

-- Holds a key's limits against one more job, which may cost `most_cost`. Gives back a refusal, or nil and what is left of
-- the jobs a minute: their limit, how many may come now, milliseconds until one more may; nothing without such a limit.
-- Only jobs a minute are counted here, and last: `reserve` does the rest.
local function key_refusal(api_key, reserved, spending, pace, most_cost, now)
  local per_minute, in_flight, daily, monthly =
    unpack(redis.call('HMGET', api_key, 'jobs_per_minute', 'jobs_in_flight', 'daily_budget', 'monthly_budget'))
  local flying = in_flight and redis.call('HLEN', reserved)
  if in_flight and flying >= tonumber(in_flight) then
    return {'too_many_jobs', flying, tonumber(in_flight)}
  end
  if daily or monthly then
    local day, month = spending_fields(now)
    local held, today, this_month = unpack(redis.call('HMGET', spending, 'reserved', day, month))
    held, today, this_month = tonumber(held or 0), tonumber(today or 0), tonumber(this_month or 0)
    if daily and today + held + most_cost > tonumber(daily) then
      return {'daily_budget', tonumber(daily), today, held}
    end
    if monthly and this_month + held + most_cost > tonumber(monthly) then
      return {'monthly_budget', tonumber(monthly), this_month, held}
    end
  end
  if not per_minute then
    return nil, {}
  end
  return take_pace(pace, tonumber(per_minute), now)
end
