-- What a key has used.
-- USES: _budget
-- KEYS: reserved, spending
-- ARGV: none
-- Returns: {jobs in flight, reserved, spent today, spent this month}; money in millionths of a dollar
local reserved, spending = unpack(KEYS)
local day, month = spending_fields(now_ms())
local sums = redis.call('HMGET', spending, 'reserved', day, month)
return {redis.call('HLEN', reserved), tonumber(sums[1] or 0), tonumber(sums[2] or 0), tonumber(sums[3] or 0)}
