-- reports(fn) → what is reported while fn runs: an array of contexts, {message=, exception=, …}.

local lilac = require "lilac"

return function(fn)
  local reports = {}
  lilac.set_exception_handler(function(context) reports[#reports + 1] = context end)
  local ok, err = pcall(fn)
  lilac.set_exception_handler(nil)
  assert(ok, err)
  return reports
end
