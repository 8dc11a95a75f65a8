-- Lists queued jobs that should have a message in the broker: neither delayed nor parked.
-- KEYS: waiting, delayed, parked
-- ARGV: first rank, how many ranks to look at
-- Returns: {how many ranks there were, then ids}
local waiting, delayed, parked = unpack(KEYS)
local first, count = unpack(ARGV)
local ids = redis.call('ZRANGE', waiting, first, first + count - 1)
local answer = {#ids}
for _, job_id in ipairs(ids) do
  if not redis.call('ZSCORE', delayed, job_id) and not redis.call('ZSCORE', parked, job_id) then
    answer[#answer + 1] = job_id
  end
end
return answer
