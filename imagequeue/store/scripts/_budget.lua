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

-- What all attempts of a job cost. When OpenAI did not say, what may be billed counts at the expected price.
local function job_cost(job)
  local last, estimate = unpack(redis.call('HMGET', job, 'attempt', 'estimate'))
  local cost = 0
  for number = 1, tonumber(last) do
    local kept = redis.call('HGET', job, 'attempt:' .. number)
    local attempt = kept and cjson.decode(kept) or {}
    local maybe_billed = MAYBE_BILLED[attempt.outcome] or attempt.code == 'bad_output'
    if attempt.cost_usd_estimated then
      cost = cost + to_micro(attempt.cost_usd_estimated)
    elseif attempt.call_started and maybe_billed then
      cost = cost + to_micro(cjson.decode(estimate).expected_usd)
    end
  end
  return cost
end
