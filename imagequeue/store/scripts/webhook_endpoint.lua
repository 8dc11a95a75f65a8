-- Adds an endpoint of an owner, or replaces the one of the same URL, which is enabled again.
-- KEYS: webhook_endpoints, webhook_disabled
-- ARGV: endpoint id, url, events with commas between them, most endpoints
-- Returns: 'added', 'replaced', 'full'
local webhook_endpoints, webhook_disabled = unpack(KEYS)
local endpoint_id, url, events, most = unpack(ARGV)
local known = redis.call('HEXISTS', webhook_endpoints, endpoint_id) == 1
if not known and redis.call('HLEN', webhook_endpoints) >= tonumber(most) then
  return 'full'
end
local endpoint = {id = endpoint_id, url = url, events = events, created_at = now_ms()}
redis.call('HSET', webhook_endpoints, endpoint_id, cjson.encode(endpoint))
redis.call('HDEL', webhook_disabled, endpoint_id)
return known and 'replaced' or 'added'
