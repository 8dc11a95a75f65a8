-- Renews every lease that a worker process holds, and shows that the process lives.
-- KEYS: leases, workers
-- ARGV: worker, lease_ms, then members of leases (job_id:attempt:holder)
-- Returns: the members whose lease was taken back meanwhile
local leases, workers = unpack(KEYS)
local worker, lease_ms = ARGV[1], ARGV[2]
local now = now_ms()
local lost = {}
redis.call('ZADD', workers, now, worker)
redis.call('ZREMRANGEBYSCORE', workers, '-inf', now - 86400000)
for position = 3, #ARGV do
  if redis.call('ZSCORE', leases, ARGV[position]) then
    redis.call('ZADD', leases, 'GT', now + lease_ms, ARGV[position]) -- never less than an answer on a disk is waited for
  else
    lost[#lost + 1] = ARGV[position]
  end
end
return lost
