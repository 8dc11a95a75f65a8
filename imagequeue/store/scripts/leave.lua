-- Marks a job whose removal begins: no session may be made from its image any more.
-- KEYS: job, leaving
-- ARGV: `job_id:owner`, after how long a sweep takes over (ms)
-- Returns: 'leaving' (also when repeated), 'unfinished'
local job, leaving = unpack(KEYS)
local member, takeover_ms = unpack(ARGV)
local state = redis.call('HGET', job, 'state')
if state == 'queued' or state == 'running' then
  return 'unfinished'
end
redis.call('ZADD', leaving, 'NX', now_ms() + takeover_ms, member)
return 'leaving'
