-- Notes that a preview of the unfinished image is stored, and tells of it.
-- KEYS: job, events, changes
-- ARGV: job_id, attempt, holder, partial image (JSON), its url
-- Returns: 'noted' (also when repeated), 'refused' (the claim is not valid any more)
local job, events, changes = unpack(KEYS)
local job_id, attempt, holder, partial_json, url = unpack(ARGV)
local state, current, current_holder = unpack(redis.call('HMGET', job, 'state', 'attempt', 'holder'))
if state ~= 'running' or current ~= attempt or current_holder ~= holder then
  return 'refused'
end
local partial = cjson.decode(partial_json)
local kept = cjson.decode(redis.call('HGET', job, 'attempt:' .. attempt)).partial_images or {}
for _, earlier in ipairs(kept) do
  if earlier.partial_index == partial.partial_index then
    return 'noted'
  end
end
kept[#kept + 1] = cjson.decode(partial_json)
patch_attempt(job, attempt, {partial_images = kept})
partial.index, partial.key, partial.url = 0, nil, url
partial.attempt, partial.at = tonumber(attempt), now_ms()
record_event(job, events, changes, job_id, 'partial_image', partial)
return 'noted'
