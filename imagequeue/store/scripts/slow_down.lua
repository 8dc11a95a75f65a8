-- Draws the lesson of a 429: the fleet pauses as long as OpenAI asks, and then goes on at half the rate it had. The many
-- 429s that come together teach once.
-- KEYS: limiter
-- ARGV: milliseconds to pause, what OpenAI said
-- Returns: milliseconds until the fleet goes on
local limiter = KEYS[1]
local pause_ms, text = unpack(ARGV)
local now = now_ms()
local paused_until, learned, learned_at, learned_cap, minute, images_now, images_before = unpack(redis.call('HMGET', limiter,
  'paused_until', 'learned', 'learned_at', 'learned_cap', 'minute', 'images_now', 'images_before'))
local until_then = math.max(tonumber(paused_until or 0), now + pause_ms)
redis.call('HSET', limiter, 'paused_until', until_then, 'pause_text', text)
if learned_at and now - learned_at < 10000 then
  return until_then - now
end
local measured = 1
if minute then
  local age = now / 60000 - minute
  measured = age < 1 and images_now + (images_before or 0) * (1 - age) or age < 2 and images_now * (2 - age) or 1
end
if learned then
  local still = learned * 2 ^ ((now - learned_at) / 60000)
  measured = still < tonumber(learned_cap) and math.min(measured, still) or measured
end
measured = math.max(10, measured) -- half of it is what OpenAI's smallest tier may make
redis.call('HSET', limiter, 'learned', string.format('%.3f', measured / 2), 'learned_at', now,
  'learned_cap', string.format('%.3f', measured * 4))
return until_then - now
