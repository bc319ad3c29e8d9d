-- A token bucket. KEYS: the bucket. ARGV: its capacity; how long a token takes to flow in, in microseconds; -1 to take one, or how
-- much to put back, measured likewise. Answers 1, or 0 where there was none to be taken.
--
-- As in bucket.rs, what is in it is measured as time. All numbers are whole and below 2^53, so that doubles hold them exactly.
local capacity, token, share = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local full = capacity * token
local level, at = full, now

local kept = redis.call('HMGET', KEYS[1], 'capacity', 'token', 'level', 'at')
if kept[1] then
  local old_token = tonumber(kept[2])
  local old_full = tonumber(kept[1]) * old_token
  level, at = tonumber(kept[3]), tonumber(kept[4])
  -- Until now the old numbers held. A clock that was set back adds nothing.
  level = math.min(old_full, level + math.max(0, now - at))
  if old_token ~= token then
    -- Tokens stay tokens; what is left of one is rounded down, also where the product is not exact.
    local part = math.fmod(level, old_token)
    level = (level - part) / old_token * token + math.max(0, math.floor(part / old_token * token) - 1)
  end
  level = math.min(full, level)
  -- Nothing is counted twice, and a clock that was far ahead keeps nobody out for ever.
  at = math.max(now, math.min(at, now + old_full))
end

local granted = 1
if share >= 0 then
  level = math.min(full, level + share)
elseif level >= token then
  level = level - token
else
  granted = 0
end

local function whole(number) return string.format('%.0f', number) end
redis.call('HSET', KEYS[1], 'capacity', whole(capacity), 'token', whole(token), 'level', whole(level), 'at', whole(at))
-- A bucket that is full again is the same as none.
redis.call('PEXPIRE', KEYS[1], whole(math.ceil((full - level + at - now) / 1000) + 1000))
return granted
